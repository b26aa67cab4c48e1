"""What the processes of a server hold and take, as the kernel counts it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support.server import children, descendants


@dataclass(frozen=True, slots=True)
class Held:
    """What the processes of a server hold at one moment."""

    threads: int
    sockets: int
    descriptors: int
    objects: tuple[str, ...]  # files on its volumes that are open

    @classmethod
    def by(cls, pid: int) -> "Held":
        """Those of the supervisor of this id and of its children."""
        threads, links = 0, list[str]()
        for one in (pid, *children(pid)):
            with suppress(OSError):
                threads += len(list(Path(f"/proc/{one}/task").iterdir()))
                for link in Path(f"/proc/{one}/fd").iterdir():
                    with suppress(OSError):
                        links.append(str(link.readlink()))
        objects = tuple(link for link in links if link.partition(" ")[0].endswith((".dcm", ".tmp")))
        # A volume keeps the last 128 directories open that it wrote to.
        others = [link for link in links if "/v1/" not in link or link in objects]
        return cls(threads, sum(link.startswith("socket:") for link in links), len(others), objects)


def peak_bytes(pid: int) -> int:
    """The most memory that a process and its descendants have had at once since the last `forget_peak`."""
    return sum(map(_high_water_bytes, (pid, *descendants(pid))))


def forget_peak(pid: int) -> None:
    """Begin to look for the most memory anew."""
    for one in (pid, *descendants(pid)):
        with suppress(OSError):
            Path(f"/proc/{one}/clear_refs").write_text("5", encoding="ascii")


def cpu_s(pid: int) -> float:
    """The processor time that a process and its descendants have taken so far."""
    ticks = 0
    for one in (pid, *descendants(pid)):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _high_water_bytes(pid: int) -> int:
    with suppress(OSError):  # it may just have ended
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
