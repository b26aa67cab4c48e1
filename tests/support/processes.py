"""`pacs` as processes of their own, forked from one that has loaded the program before: a start takes hundredths of a
second in place of two seconds, of which a run of all tests has a thousand.
"""

import multiprocessing.context
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest
from support.namespaces import enter

DYING_SERVER = Path(__file__).with_name("dying_server.py")


@cache
def _forking() -> multiprocessing.context.ForkServerContext:
    """The process that is forked from, which finds its modules by PYTHONPATH alone."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.preload"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(DYING_SERVER.parent.parent))
        ensure_running()
    return context


class Pacs:
    """One process that runs `pacs`, with what it writes in files. `dies_at`: a step of dying_server.py, and the object
    that is killed in it. `network`: the namespace that it runs in. `umask`: what is kept from others of what it makes.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        out: Path,
        err: Path | None = None,
        dies_at: tuple[str, int] | None = None,
        network: Path | None = None,
        umask: int | None = None,
    ) -> None:
        program = ["pacs"] if dies_at is None else [str(DYING_SERVER), dies_at[0], str(dies_at[1])]
        self._words = words
        self._process = _forking().Process(
            target=_run,
            args=([*program, *words], environment(), str(Path.cwd()), str(out), str(err or out), network, umask),
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        """The exit code when it has ended. Raises: subprocess.TimeoutExpired."""
        self._process.join(timeout_s)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(["pacs", *self._words], timeout_s or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and its exit code is on the way here
                os.kill(self.pid, number)


def environment() -> dict[str, str]:
    """The environment without what a developer has set for an archive or for DCMTK."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PACS_", "TCP_", "DCM"))}


def _run(
    words: Sequence[str],
    variables: Mapping[str, str],
    folder: str,
    out: str,
    err: str,
    network: Path | None,
    umask: int | None,
) -> None:
    """In the new process: become `pacs`."""
    if network is not None:
        enter(network)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, path, mode in ((0, os.devnull, os.O_RDONLY), (1, out, appending), (2, err, appending)):
        opened = os.open(path, mode, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    if umask is not None:
        os.umask(umask)
    sys.argv = list(words)
    if words[0] == "pacs":
        runpy.run_module("pacs_server", run_name="__main__")
    else:
        runpy.run_path(words[0], run_name="__main__")
