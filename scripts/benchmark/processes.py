"""Child processes of the bench and what they use, read from /proc: CPU seconds and memory of whole process trees."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeAlias

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_STOP_S: Final = 40.0
_LEFT_S: Final = 10.0
_SETTLED_S: Final = 180.0
_SETTLE_LOOK_S: Final = 2.0
_SETTLED_SHARE: Final = 0.1

Process: TypeAlias = subprocess.Popen[bytes]


class Failed(Exception):
    """A program that the bench needs did not do what it should; the message says which and what it said.

    `cell` is what a table shows in place of the figure.
    """

    cell: ClassVar[str] = "failed"


class Refused(Failed):
    """A client that ran beside others ended with an error: the server did not serve it."""

    cell = "refused"


class LeftOut(Failed):
    """A server cannot do what a row asks for, or not in a time that a bench has."""

    cell = "–"


def nagle(*, on: bool) -> dict[str, str]:
    """The environment that turns Nagle's algorithm of DCMTK's programs on or off. Source: DCMTK's docs/envvars.txt."""
    return {"TCP_NODELAY": "0" if on else "1"}


def first_line(*command: str) -> str:
    """The first line of what a program prints; empty when it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


def trees(pids: Iterable[int]) -> list[int]:
    """The processes and everything below them that is alive."""
    found = list(pids)
    for parent in found:
        for file in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in file.read_text().split())
            except OSError:
                continue
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system seconds of the trees since their start, with children that ended and were waited for."""
    ticks = 0
    for member in trees(pids):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # proc(5): utime, stime, cutime and cstime are fields 14 to 17, and the first after the name is field 3.
        ticks += sum(int(value) for value in fields[11:15])
    return ticks / _TICKS_PER_S


def run_seconds(pids: Iterable[int]) -> float:
    """The same of the threads that live, to the nanosecond. The ticks of `cpu_seconds` count for whoever runs when one
    comes, which says little of processes that wake for a millisecond each.
    """
    if not Path("/proc/self/schedstat").exists():
        return cpu_seconds(pids)
    ran_ns = 0
    for member in trees(pids):
        for task in Path(f"/proc/{member}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                ran_ns += int(task.read_text().split()[0])
    return ran_ns / 1e9


def settle(pids: Sequence[int]) -> None:
    """Wait until a server has done what it does once when it has started, like counting what it holds: until its trees
    use less than a tenth of a processor. After three minutes it is as it is.
    """
    ends_at = time.monotonic() + _SETTLED_S
    while time.monotonic() < ends_at:
        before = cpu_seconds(pids)
        time.sleep(_SETTLE_LOOK_S)
        if cpu_seconds(pids) - before < _SETTLED_SHARE * _SETTLE_LOOK_S:
            return


def memory_bytes(pids: Iterable[int], kind: str) -> dict[int, int]:
    """For each process of the trees a line of /proc/PID/status (VmRSS; RssAnon is what no file backs) or smaps_rollup.

    Pss of the latter counts a page that several processes share once, in equal parts.
    """
    file, sizes = "smaps_rollup" if kind == "Pss" else "status", {}
    for member in trees(pids):
        try:
            lines = Path(f"/proc/{member}/{file}").read_text().splitlines()
        except OSError:
            continue
        sizes[member] = next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{kind}:")), 0)
    return sizes


class MemoryWatch:
    """The most that any one process of some trees grew while this was open, in bytes of anonymous memory."""

    def __init__(self, pids: Sequence[int], every_s: float = 0.02) -> None:
        self._pids = pids
        self._every_s = every_s
        self._before = memory_bytes(pids, "RssAnon")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.growth_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            for member, size in memory_bytes(self._pids, "RssAnon").items():
                # A process that came later is compared with the largest that was there: it is a copy of it.
                before = self._before.get(member, max(self._before.values(), default=0))
                self.growth_bytes = max(self.growth_bytes, size - before)


def start(
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    somebody: Mapping[str, Any] | None = None,
) -> Process:
    """Start a program with its output in `log`, and in a group of its own with all that it forks; as somebody else
    where subprocess is told whom.
    """
    whole = {**os.environ, **(environment or {})}
    with log.open("ab") as output:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=whole,
            start_new_session=True,
            **(somebody or {}),
        )


def stop(process: Process) -> None:
    """End a program politely, and after 40 s by force; what is left of its group has ten more.

    dcmqrscp leaves a process for each association that is not done yet, which still writes and removes files.
    """
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    deadline = time.monotonic() + _LEFT_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)


def run(arguments: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and answer its standard output.

    Raises: Failed when it takes too long or exits with another code than 0.
    """
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{arguments[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-2_000:]
        raise Failed(f"{' '.join(arguments[:6])} ... exited with {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def run_together(
    commands: Sequence[Sequence[str]], *, timeout_s: float, environment: Mapping[str, str], may_fail: bool = False
) -> float:
    """Run programs side by side and answer the seconds from the start of the first to the end of the last.

    Raises: Refused when one of them fails (unless `may_fail`), Failed when one takes too long; the others are ended.
    """
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        for command in commands
    ]
    try:
        for command, process in zip(commands, processes, strict=True):
            _, said = process.communicate(timeout=max(0.1, started + timeout_s - time.monotonic()))
            if process.returncode and not may_fail:
                told = said.decode(errors="replace").strip()[-2_000:]
                raise Refused(f"{command[0]} exited with {process.returncode}" + (f": {told}" if told else ""))
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{error.cmd!s:.200} took more than {timeout_s:.0f} s") from error
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return time.monotonic() - started
