"""A directory that holds backups: `runs/<stamp>/` with the index, the settings and a manifest of each run, and `v1/`
with the objects of all of them, under the paths that they have on volumes. Nothing in it is ever removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

import blake3

from pacs_server.errors import CopyUnreadable, Undecodable, UnknownName, VolumeUnavailable
from pacs_server.ownership import make_folder
from pacs_server.settings import StorageLimits
from pacs_server.storage.condition import VolumeSpec
from pacs_server.storage.layout import ROOT
from pacs_server.storage.location import Location
from pacs_server.storage.medium import Medium
from pacs_server.storage.placement import Placement
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.volume import Volume

INDEX: Final = "index.db"
SETTINGS: Final = "pacs.yaml"
MANIFEST: Final = "manifest.jsonl"
SUMMARY: Final = "backup.json"
_TLS: Final = "tls"
# What every run has, and is told of.
_FILES: Final = {INDEX, SETTINGS, MANIFEST}
_COUNTS: Final = {"studies", "instances"}

_RUNS: Final = PurePosixPath("runs")
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_CLOCKS_DIFFER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One object in a manifest; `size_bytes` is that of its file, `path` the one below the directory."""

    sop_uid: str
    digest: str
    size_bytes: int
    path: str

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """The object of a line. Raises: Undecodable when it names no object."""
        try:
            listed = cls(**json.loads(line))
            parts = PurePosixPath(listed.path).parts
        except (ValueError, TypeError, RecursionError) as error:
            raise Undecodable(f"a line of the manifest cannot be read: {error}") from error
        if parts[:1] != ROOT.parts or ".." in parts:
            raise Undecodable(f"a line of the manifest names no file of an object: {listed.path[:200]}")
        return listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is told of a run that is complete. `digests` are BLAKE3, by file name; `counts` are rows, by table;
    `missing_count` is how many objects could not be read when it was made. `verified_at` is None until all of it was
    read and found whole; `damaged` are the objects that were not, by path.
    """

    stamp: str
    taken_at: datetime
    release: str
    schema: str
    counts: Mapping[str, int]
    size_bytes: int
    digests: Mapping[str, str]
    with_objects: bool
    missing_count: int = 0
    verified_at: datetime | None = None
    damaged: Sequence[str] = field(default=())

    def to_json(self) -> bytes:
        """Its text."""
        moments = {"taken_at": self.taken_at.isoformat()}
        moments["verified_at"] = self.verified_at.isoformat() if self.verified_at else None  # type: ignore[assignment]
        return json.dumps(asdict(self) | moments, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The run of such a text. Raises: Undecodable."""
        try:
            told: dict[str, Any] = json.loads(text)
            told["taken_at"] = datetime.fromisoformat(told["taken_at"])
            if told["verified_at"] is not None:
                told["verified_at"] = datetime.fromisoformat(told["verified_at"])
            lacking = (_FILES - told["digests"].keys()) | (_COUNTS - told["counts"].keys())
            if lacking:
                raise ValueError(f"it does not tell of {', '.join(sorted(lacking))}")  # noqa: TRY301
            return cls(**told)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Undecodable(f"{SUMMARY} cannot be read: {error}") from error


def stamp_of(moment: datetime) -> str:
    """The name of a run that began at this moment."""
    return moment.astimezone(UTC).strftime(_STAMP)


class BackupDirectory:
    """A directory of backups, with the deadlines and the checks of a volume. Belongs to one thread."""

    def __init__(self, path: Path, limits: StorageLimits, *, volume_id: str = "") -> None:
        """Look into a directory. Without the id of its sentinel it is read whatever that says: an offline copy may
        have lost it.

        Raises: VolumeUnavailable when it cannot be read.
        """
        self.path = path
        self.volume = Volume(VolumeSpec(id=volume_id, name=str(path), path=path, tier="cold", domain="backup"), limits)
        self.placement = Placement((self.volume,), need=1, degraded=1)
        if not (state := self.volume.check()).is_readable:
            raise VolumeUnavailable(f"{path} cannot be read: {state.reason}; is it mounted?")

    @classmethod
    def for_writing(cls, path: Path, limits: StorageLimits, *, volumes: Iterable[Location]) -> Self:
        """Open a directory, or begin one that is empty; `volumes` are those of the archive.

        Raises: Refused when it cannot be one; VolumeUnavailable.
        """
        return cls(path, limits, volume_id=adopt(path, name="backup", others=volumes, may_be_in_use=lambda _: True))

    def stamps(self) -> list[str]:
        """The runs, first to last, also those that were broken off. Raises: VolumeUnavailable."""
        return sorted(entry.name for entry in self.volume.entries(_RUNS) if entry.is_directory)

    def chosen(self, stamp: str) -> Summary:
        """The run of this name, or without one the newest that is complete. A run with a time in the future, by a clock
        that was wrong, counts as older than all others.

        Raises: UnknownName when there is none; Undecodable; VolumeUnavailable; CopyUnreadable.
        """
        stamps = self.stamps()
        if stamp and stamp not in stamps:
            raise UnknownName(f"{self.path} has no run {stamp}; pacs backup list shows those there are")
        by_now = stamp_of(datetime.now(UTC) + _CLOCKS_DIFFER)
        newest_first = sorted(reversed(stamps), key=lambda one: one > by_now)
        for one in (stamp,) if stamp else newest_first:
            if (summary := self.summary(one)) is not None:
                return summary
        if stamp:
            raise UnknownName(f"the run {stamp} was broken off and cannot be used; pacs backup list shows the others")
        raise UnknownName(f"{self.path} has no complete backup; is the right directory mounted there?")

    def summary(self, stamp: str) -> Summary | None:
        """What is told of a run; None when it was broken off.

        Raises: Undecodable when what is told is damaged; VolumeUnavailable; CopyUnreadable.
        """
        path = part(stamp, SUMMARY)
        if not self.volume.has_file(path):
            return None
        return Summary.from_json(b"".join(self.pieces(path)))

    def put(self, path: PurePosixPath, chunks: Iterable[bytes]) -> str:
        """Write a file, complete and flushed or not at all; answers its BLAKE3. One of that name is replaced.

        Raises: NotEnoughCopies when it cannot be written; the message says why.
        """
        hasher = blake3.blake3()
        stream = self.placement.stream(path.parent)
        try:
            for chunk in chunks:
                hasher.update(chunk)
                stream.write(chunk)
            stream.finish(path)
        finally:
            stream.abandon()
        return hasher.hexdigest()

    def put_secret(self, path: PurePosixPath, content: bytes) -> str:
        """Like `put`, for its owner alone; what has no modes, as a memory stick, is as open as it is mounted.

        Raises: NotEnoughCopies; VolumeUnavailable.
        """
        folder = self.path / path.parent

        def close(_: Medium) -> None:
            make_folder(folder, 0o700)

        def close_file(_: Medium) -> None:
            with suppress(PermissionError):
                (folder / path.name).chmod(0o600)

        self.volume.change_files(close)
        digest = self.put(path, [content])
        self.volume.change_files(close_file)
        return digest

    def pieces(self, path: PurePosixPath) -> Iterator[bytes]:
        """The bytes of a file. Raises: CopyUnreadable; VolumeUnavailable."""
        with OpenCopy(self.volume, path) as opened:
            yield from map(bytes, opened.pieces())

    def fetch(self, path: PurePosixPath, target: Path, digest: str) -> None:
        """Copy a file to a place of this machine.

        Raises: CopyUnreadable when it is not what was backed up; VolumeUnavailable; OSError when `target` cannot be
        written.
        """
        hasher = blake3.blake3()
        with target.open("wb") as file:
            for piece in self.pieces(path):
                hasher.update(piece)
                file.write(piece)
        if hasher.hexdigest() != digest:
            raise CopyUnreadable(f"{path} on {self.path} is not what was backed up; use another run")

    def secret(self, path: PurePosixPath, digest: str) -> bytes:
        """What `put_secret` has put there.

        Raises: CopyUnreadable when it is not what was backed up; VolumeUnavailable.
        """
        content = b"".join(self.pieces(path))
        if blake3.blake3(content).hexdigest() != digest:
            raise CopyUnreadable(f"{path} on {self.path} is not what was backed up; use another run")
        return content

    def digest_of(self, path: PurePosixPath) -> str:
        """The BLAKE3 of a file. Raises: CopyUnreadable; VolumeUnavailable."""
        hasher = blake3.blake3()
        for piece in self.pieces(path):
            hasher.update(piece)
        return hasher.hexdigest()

    def listed(self, stamp: str) -> Iterator[Listed]:
        """The objects of a run, by its manifest. Raises: Undecodable; CopyUnreadable; VolumeUnavailable."""
        rest = b""
        for piece in self.pieces(part(stamp, MANIFEST)):
            *lines, rest = (rest + piece).split(b"\n")
            yield from map(Listed.from_line, lines)
        if rest:
            raise Undecodable(f"{MANIFEST} ends in the middle of a line")


def part(stamp: str, name: str) -> PurePosixPath:
    """The path of a file of a run."""
    return _RUNS / stamp / name


def tls_name(name: str) -> str:
    """How a file of the directory with certificates and keys is named within a run."""
    return f"{_TLS}/{name}"


def manifest_lines(objects: Iterable[Listed]) -> Iterator[bytes]:
    """The lines of a manifest."""
    return (json.dumps(asdict(one)).encode() + b"\n" for one in objects)
