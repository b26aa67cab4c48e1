"""A volume's files in a bucket of an S3 server: the key of an object is its path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Final

from pacs_server.errors import VolumeUnavailable
from pacs_server.storage.layout import LITTER_AFTER, ROOT, Entry, is_temporary, litter, temporary_name
from pacs_server.storage.location import BucketAddress
from pacs_server.storage.medium import Advice, OneCall, Room, all_of
from pacs_server.storage.s3 import S3, checksum_of
from pacs_server.storage.uploading import ServerCopy, Upload

_PORTION: Final = 1_000  # as a server lists at once
_NEVER: Final = datetime.fromtimestamp(0, UTC)


class Bucket:
    """The objects below a prefix of a bucket. `on_leftover` is told of unfinished ones that could not be removed.

    Raises: VolumeUnavailable when its keys cannot be had.
    """

    def __init__(
        self, address: BucketAddress, *, timeout_s: float, on_leftover: Callable[[PurePosixPath], None]
    ) -> None:
        self._address = address
        self._on_leftover = on_leftover
        self._s3 = S3(
            address.bucket,
            endpoint=address.endpoint,
            region=address.region,
            credentials_file=address.credentials_file,
            timeout_s=timeout_s,
        )

    def _key(self, path: PurePosixPath) -> str:
        return str(self._address.path / path)

    def _below(self, directory: PurePosixPath) -> str:
        key = self._key(directory)
        return "" if key == "." else f"{key}/"

    def is_current(self) -> bool:
        """Always: nothing is mounted, and the sentinel is looked at whenever the volume is."""
        return True

    def room(self) -> Room:
        """A bucket tells none."""
        return Room()

    def hold(self, path: PurePosixPath) -> None:
        """Nothing: a bucket has no locks."""

    def is_held(self, path: PurePosixPath) -> bool:
        """Never, because that cannot be told."""
        return False

    def check_writable(self, day: date) -> None:
        """Write a small object, and have it copied to another key; both go again."""
        with self._probe() as key, self._probe() as copied:
            self._s3.put(key, b"\0", is_new=True)
            copy = ServerCopy(self._s3, key, copied, 1)
            try:
                copy.step()
            finally:
                copy.abort()

    def _probe(self) -> _Probe:
        return _Probe(self._s3, self._key(PurePosixPath(temporary_name())))

    def clock_ahead(self) -> timedelta:
        """Nothing that matters: an S3 server refuses requests that are a quarter of an hour off."""
        return timedelta()

    def advice(self) -> list[Advice]:
        """What the server does not do that is relied on, as it shows when it is tried."""
        found = [
            Advice(
                problem="whether the S3 server flushes what it has acknowledged cannot be seen from here",
                remedy="see docs/operate/object-storage.md, and with need 2 have a copy on a disk or NAS too",
            )
        ]
        if self._address.endpoint.startswith("http://") and not self._address.is_here:
            found.append(Advice(problem="images cross the network unencrypted", remedy="give an https:// endpoint"))
        with self._probe() as key:
            self._s3.put(key, b"\0", is_new=True)
            with suppress(FileExistsError):
                self._s3.put(key, b"\0", is_new=True)
                found.append(
                    Advice(
                        problem="the S3 server ignores If-None-Match: what is there may be written again",
                        remedy="use a release of it that knows conditional writes",
                    )
                )
        with self._probe() as key, suppress(VolumeUnavailable):
            self._s3.call("put_object", key, Body=b"\0", **checksum_of(b"\1"))
            found.append(
                Advice(
                    problem="the S3 server does not compare what arrives with the checksum that is sent",
                    remedy="use a release of it that knows x-amz-checksum-sha256; pacs verify finds what was damaged",
                )
            )
        return found

    def has_objects(self) -> bool:
        """Whether anything lies where objects lie."""
        return any(self._s3.listed(self._below(ROOT)))

    def entries(self, directory: PurePosixPath) -> Iterator[list[Entry]]:
        """What is in a directory, which is a common prefix, some of it at each step; one that does not exist has
        nothing in it.
        """
        prefix = self._below(directory)
        found = (entry for one in self._s3.listed(prefix) if (entry := _entry(one, prefix)).name)
        while portion := list(islice(found, _PORTION)):
            yield portion

    def size_of(self, path: PurePosixPath) -> int | None:
        """The size of an object in bytes, None when there is none."""
        held = self._s3.head(self._key(path))
        return None if held is None else held[0]

    def stamp_of(self, path: PurePosixPath) -> tuple[int, str] | None:
        """Its size and, where the server tells it, its SHA-256."""
        return self._s3.head(self._key(path))

    def open_file(self, path: PurePosixPath, *, at_once_bytes: int, from_disk: bool = False) -> ObjectInBucket:
        """Read an object when it is not longer than `at_once_bytes`; nothing of it is remembered here."""
        return ObjectInBucket(self._s3, self._key(path), at_once_bytes)

    def new_file(self, directory: PurePosixPath) -> Upload:
        """Begin an object in the directory that it will stay in."""
        return Upload(self._s3, directory, self._key, self._on_leftover)

    def put_first(self, path: PurePosixPath, content: bytes) -> None:
        """Write a small object unless there is one already."""
        with suppress(FileExistsError):
            self._s3.put(self._key(path), content, is_new=True)

    def move(self, path: PurePosixPath, target: PurePosixPath, one_call: OneCall) -> None:
        """Have the server copy an object, if it is there, and remove it at its former key when the copy is there."""
        size_bytes = one_call(partial(self.size_of, path))
        if size_bytes is None:
            return
        copy = ServerCopy(self._s3, self._key(path), self._key(target), size_bytes)
        try:
            while not one_call(copy.step):
                pass
        finally:
            with suppress(OSError, VolumeUnavailable):  # else it is found as litter
                one_call(copy.abort)
        one_call(partial(self.remove, path))

    def remove(self, path: PurePosixPath) -> None:
        """Remove an object, if it is there."""
        self._s3.call("delete_object", self._key(path))

    def remove_empty(self, path: PurePosixPath, *, below: PurePosixPath) -> None:
        """Nothing: a bucket has no directories that could be empty."""

    def litter(self, now: datetime, one_call: OneCall) -> Iterator[PurePosixPath]:
        """Uploads for which nothing was sent for an hour, and temporary objects of that age."""
        prefix = self._below(PurePosixPath())
        uploads = self._s3.uploads(prefix)
        found = iter(lambda: one_call(partial(next, uploads, None)), None)
        old = (PurePosixPath(key.removeprefix(prefix)) for key, _, sent in found if now - sent > LITTER_AFTER)
        return chain(dict.fromkeys(old), litter(lambda directory: all_of(self.entries(directory), one_call), now))

    def remove_litter(self, path: PurePosixPath) -> None:
        """Abort the uploads to a key, and remove its object if its name is that of an unfinished one."""
        key = self._key(path)
        for found, upload_id, _ in list(self._s3.uploads(key)):
            if found == key:
                with suppress(FileNotFoundError):
                    self._s3.call("abort_multipart_upload", key, UploadId=upload_id)
        if is_temporary(path.name):
            self.remove(path)


class ObjectInBucket:
    """An object that is read by ranges; what was read to find out how large it is stays in memory."""

    def __init__(self, s3: S3, key: str, at_once_bytes: int) -> None:
        self._s3, self._key = s3, key
        self._begin, self.size_bytes = s3.fetch(key, 0, max(1, at_once_bytes))
        self.whole = self._begin if len(self._begin) == self.size_bytes else None

    @property
    def is_open_to_all(self) -> bool:
        """Never: who may write it is a matter of its server."""
        return False

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`."""
        if offset + length <= len(self._begin):
            return self._begin[offset : offset + length]
        content, _ = self._s3.fetch(self._key, offset, length)
        if len(content) != length:
            raise VolumeUnavailable(f"{self._key} is shorter than it was")
        return content


def _entry(listed: tuple[str, int, datetime] | str, prefix: str) -> Entry:
    is_directory = isinstance(listed, str)
    key, size_bytes, modified = (listed, 0, _NEVER) if isinstance(listed, str) else listed
    return Entry(
        name=key.removeprefix(prefix).removesuffix("/"),
        is_directory=is_directory,
        is_file=not is_directory and not key.endswith("/"),
        size_bytes=size_bytes,
        modified=modified,
    )


class _Probe:
    """A key to try something with; whatever is there goes at the end of the context."""

    def __init__(self, s3: S3, key: str) -> None:
        self._s3, self._key = s3, key

    def __enter__(self) -> str:
        return self._key

    def __exit__(self, *_: object) -> None:
        self._s3.call("delete_object", self._key)
