"""Two machines as far as the network goes: namespaces of the kernel, joined by a cable that can be pulled.

Source: network_namespaces(7), veth(4).
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_OWN = Path("/proc/thread-self/ns/net")
_NAMED = Path("/run/netns")
_END = "cable"


def enter(network: Path) -> None:
    """Have this thread make its sockets in a namespace; those it has stay where they are.

    os.setns is new in Python 3.12.
    """
    with network.open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"{network} cannot be entered")


@contextmanager
def entered(network: Path | None) -> Iterator[None]:
    """This thread in a namespace, if one is given, until the block ends."""
    if network is None:
        yield
        return
    with _OWN.open("rb") as before:
        enter(network)
        try:
            yield
        finally:
            enter(Path(f"/proc/self/fd/{before.fileno()}"))


class Cable:
    """Two namespaces, each with its own loopback and one end of the cable."""

    addresses = ("10.77.0.1", "10.77.0.2")

    def __init__(self) -> None:
        self._names = [f"pacs-test-{os.getpid()}-{number}" for number in range(2)]
        self.networks = [_NAMED / name for name in self._names]

    def __enter__(self) -> "Cable":
        if os.geteuid() or shutil.which("ip") is None:
            pytest.skip("network namespaces need root, and the program ip of iproute2")
        try:
            self._lay()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _lay(self) -> None:
        for name in self._names:
            made = _ip("netns", "add", name)
            if made.returncode:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        first, second = self._names
        _ip("-n", first, "link", "add", _END, "type", "veth", "peer", "name", _END, "netns", second, check=True)
        for name, address in zip(self._names, self.addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/30", "dev", _END, check=True)
            for device in ("lo", _END):
                _ip("-n", name, "link", "set", device, "up", check=True)

    def __exit__(self, *_: object) -> None:
        for name, network in zip(self._names, self.networks, strict=True):
            if network.exists():
                _ip("netns", "delete", name)

    def pull(self) -> None:
        """Cut: one side sees that its end is down, the other sends into nothing."""
        _ip("-n", self._names[0], "link", "set", _END, "down", check=True)

    def plug_in(self) -> None:
        _ip("-n", self._names[0], "link", "set", _END, "up", check=True)


def _ip(*words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = ("ip", *words)
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=check)
