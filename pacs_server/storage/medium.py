"""What a volume is asked for, whatever its files lie on. A directory and a bucket are the two answers to that.

Every call may block, and hang: a volume makes them in its own threads, under its deadline. They raise `OSError`,
VolumeFull or VolumeUnavailable, which says that nothing is known of the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol, Self, TypeVar

from pacs_server.dicom.elements import Buffer
from pacs_server.storage.layout import Entry

Answer = TypeVar("Answer")


class OneCall(Protocol):
    """Makes one call under the deadline of a volume, in a thread of it."""

    def __call__(self, call: Callable[[], Answer], /) -> Answer:
        """Its answer. Raises: VolumeUnavailable."""


def all_of(portions: Iterator[list[Entry]], one_call: OneCall) -> list[Entry]:
    """What comes in portions, each under the deadline of a volume: of 100,000 files a NAS may take minutes to tell."""
    found: list[Entry] = []
    while portion := one_call(partial(next, portions, [])):
        found += portion
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a medium tells of its room, in bytes; None for what it does not tell."""

    free_bytes: int | None = None
    total_bytes: int | None = None
    is_read_only: bool = False
    has_inodes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Something about a medium that can lose data, show it to others or hang, and what to change."""

    problem: str
    remedy: str


class OpenFile(Protocol):
    """A file that is read. `whole` is its content when it is not longer than was to be read at once."""

    size_bytes: int
    whole: bytes | None

    @property
    def is_open_to_all(self) -> bool:
        """Whether every user of this machine may write it."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`."""


class UnfinishedFile(Protocol):
    """One file on its way to its final name. Belongs to one thread at a time; a failed step is final."""

    @property
    def can_be_read(self) -> bool:
        """Whether `read` can be used now."""

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Append the chunks, all of them. They stay as they are until the file is finished or discarded."""

    def write_back(self) -> None:
        """Keep small what a last flush has to write; called now and then for a file that grows large."""

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes of what was written, at `offset`; also after it was finished."""

    def finish(self, name: str) -> bool:
        """Make it durable under its final name, in the directory in which it was begun. False when that takes a
        further call: each may take as long as any call.

        A file of that name is the same object, because its digest is in the name, or a damaged copy of it: what was
        received stands there in the end.
        """

    def discard(self) -> None:
        """Leave nothing of an unfinished file behind; a finished one stays."""

    def __enter__(self) -> Self:
        """Discard it at the end of the context, unless it was finished."""

    def __exit__(self, *_: object) -> None:
        """Discard it, unless it was finished."""


class Medium(Protocol):
    """Files under paths below one root, each there whole and durably or not at all. May be used from any thread."""

    def is_current(self) -> bool:
        """Whether this still is what is found at the place of the volume: something else may be mounted there."""

    def room(self) -> Room:
        """How much more fits, as far as that can be told."""

    def hold(self, path: PurePosixPath) -> None:
        """Let others see by this file, as long as the medium is open, that somebody uses it; where it has locks."""

    def is_held(self, path: PurePosixPath) -> bool:
        """Whether somebody holds it by this file, as far as that can be told."""

    def check_writable(self, day: date) -> None:
        """Write, durably, a small file that goes again, where objects of a day would go."""

    def clock_ahead(self) -> timedelta:
        """How far the clock that dates its files is ahead of ours, as far as that matters and can be told."""

    def advice(self) -> list[Advice]:
        """What of this medium is dangerous for images that exist nowhere else."""

    def has_objects(self) -> bool:
        """Whether any file of an object or operation may be there."""

    def entries(self, directory: PurePosixPath) -> Iterator[list[Entry]]:
        """What is in a directory, some of it at each step, which may take as long as any call; one that does not exist
        has nothing in it.
        """

    def size_of(self, path: PurePosixPath) -> int | None:
        """The size of a regular file in bytes, None when there is none."""

    def stamp_of(self, path: PurePosixPath) -> tuple[int | str, ...] | None:
        """By what it can be seen that another file has taken the place of one; None when there is none."""

    def open_file(self, path: PurePosixPath, *, at_once_bytes: int, from_disk: bool = False) -> OpenFile:
        """Open a file, and read it when it is not longer than `at_once_bytes`. `from_disk`: not from what this machine
        still remembers of it. Raises: FileNotFoundError.
        """

    def new_file(self, directory: PurePosixPath) -> UnfinishedFile:
        """Begin a file in the directory that it will stay in."""

    def put_first(self, path: PurePosixPath, content: bytes) -> None:
        """Write a small file unless there is one already."""

    def move(self, path: PurePosixPath, target: PurePosixPath, one_call: OneCall) -> None:
        """Give a file another place, if it is there. At every moment it is at one of the two, or at both."""

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file, if it is there."""

    def remove_empty(self, path: PurePosixPath, *, below: PurePosixPath) -> None:
        """Remove a directory and those above it, as far as they are empty; `below` stays."""

    def litter(self, now: datetime, one_call: OneCall) -> Iterator[PurePosixPath]:
        """Unfinished files that nobody has written to for an hour."""

    def remove_litter(self, path: PurePosixPath) -> None:
        """Remove an unfinished file, if it is there; a finished one of that name stays."""
