"""How a volume is mounted, and what of that is dangerous for images that exist nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pacs_server.storage.location import BucketAddress, Location
from pacs_server.storage.medium import Advice

_NFS: Final = ("nfs", "nfs4")
_SMB: Final = ("cifs", "smb3", "smbfs")
# As the kernel names them. A FUSE file system that is not among them may well lie on disks of this machine.
_ELSEWHERE: Final = frozenset(
    {*_NFS, *_SMB, "afs", "ceph", "lustre", "beegfs", "glusterfs", "9p", "virtiofs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph-fuse", "s3fs", "rclone", "mfs", "juicefs", "davfs")}
)
_IN_MEMORY: Final = ("tmpfs", "ramfs")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of the kernel's table of mounts."""

    point: Path
    file_system: str
    source: str
    options: frozenset[str]
    device: str

    @property
    def is_elsewhere(self) -> bool:
        """Whether its files outlive this machine. A disk that is reached as a block device counts as one of it."""
        return self.file_system in _ELSEWHERE


def mount_table() -> str:
    """The kernel's table of the mounts that this process sees."""
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")


def mount_of(path: Path, table: str) -> Mount | None:
    """The mount that holds a path, by the kernel's table; None when that names none.

    Source: proc(5), /proc/pid/mountinfo.
    """
    best: Mount | None = None
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        left, right = fields.split(), rest.split()
        if len(left) < 6 or len(right) < 3:
            continue
        point = Path(_unescaped(left[4]))
        if (point == path or point in path.parents) and (best is None or len(point.parts) >= len(best.point.parts)):
            options = frozenset((*left[5].split(","), *right[2].split(",")))
            best = Mount(
                point=point, file_system=right[0], source=_unescaped(right[1]), options=options, device=left[2]
            )
    return best


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What a volume stands on: those on one `device` fail together. Whether its files outlive this machine."""

    device: str
    is_elsewhere: bool


def footing_of(location: Location, table: str) -> Footing | None:
    """What is under a location, by the kernel's table; None when that does not name it."""
    if isinstance(location, BucketAddress):
        return Footing(device=f"{location.endpoint} {location.region}", is_elsewhere=not location.is_here)
    mount = mount_of(location, table)
    return None if mount is None else Footing(device=mount.device, is_elsewhere=mount.is_elsewhere)


def fail_together(one: Location, other: Location, table: str) -> bool:
    """Whether two locations are on one disk, or at one S3 server, by the kernel's table: neither is asked, because it
    may hang.
    """
    footing, beside = footing_of(one, table), footing_of(other, table)
    return footing is not None and beside is not None and footing.device == beside.device


def advice(mount: Mount) -> Iterator[Advice]:
    """What is dangerous about a mount.

    Source: nfs(5), mount.cifs(8).
    """
    options = mount.options
    if mount.file_system in _NFS:
        yield from _advice_for_nfs(options)
    if mount.file_system in _SMB:
        yield from _advice_for_smb(options)
    if mount.file_system in _IN_MEMORY:
        yield Advice(problem="it lies in memory and is gone after a restart", remedy="use a disk or a NAS")
    if "nobarrier" in options or "barrier=0" in options:
        yield Advice(
            problem="barriers are off: a power cut can lose what was flushed", remedy="take nobarrier out of fstab"
        )
    if "ro" in options:
        yield Advice(
            problem="it is mounted read-only", remedy="write rw in fstab, and look into the kernel log for why"
        )


def _advice_for_nfs(options: frozenset[str]) -> Iterator[Advice]:
    if "soft" in options or "softerr" in options:
        yield Advice(
            problem="soft: a write that times out may be neither done nor undone, and is told as an error",
            remedy="write hard instead of soft in fstab",
        )
    if "nocto" in options:
        yield Advice(
            problem="nocto: another server may read what is not there any more", remedy="take nocto out of fstab"
        )
    if "nolock" in options or any(
        option.startswith("local_lock=") and option != "local_lock=none" for option in options
    ):
        yield Advice(
            problem="nolock: locks are not seen by other servers; the archive needs none, other programs may",
            remedy="take nolock out of fstab, or mount with NFS version 4.1",
        )
    if any(option in options for option in ("vers=2", "vers=3")):
        yield Advice(
            problem="NFS version 3 or older: no sessions, so a repeated rename may be told as an error",
            remedy="write vers=4.1 or newer in fstab",
        )
    if "async" in options:
        yield Advice(problem="async: data waits in memory for longer", remedy="take async out of fstab")
    yield Advice(
        problem="whether the NAS exports with sync cannot be seen from here: with async it lies about every flush",
        remedy="write sync in the exports of the NAS",
    )


def _advice_for_smb(options: frozenset[str]) -> Iterator[Advice]:
    if "soft" in options:
        yield Advice(problem="soft: operations fail while the NAS restarts", remedy="write hard in fstab")
    if "cache=loose" in options:
        yield Advice(
            problem="cache=loose: what another server wrote may not be seen, and what was written may wait here",
            remedy="write cache=strict in fstab",
        )
    if any(option in options for option in ("vers=1.0", "vers=2.0", "vers=2.1")):
        yield Advice(problem="an old version of SMB", remedy="write vers=3.1.1 in fstab")
    yield Advice(
        problem="whether the NAS flushes when it is asked to cannot be seen from here",
        remedy="on Samba write `strict sync = yes` for the share, which is its default",
    )
