"""An object on its way into a bucket, and from one key of it to another.

What fits into one part is sent as one object, under its final key, unless there is one. What is larger is sent in parts
under a temporary key, because the final one holds the digest, which nobody knows before the end; then the server copies
it to its final key, and only the last step of that makes it visible there, unless there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final, Self

from pacs_server import log
from pacs_server.dicom.elements import Buffer
from pacs_server.errors import VolumeUnavailable
from pacs_server.storage.layout import temporary_name
from pacs_server.storage.s3 import S3, Answer, sha256_of

PART_BYTES: Final = 8 << 20
# Parts of an upload double in size after so many: 10,000 of one size would end at 78 GiB.
# Source: Amazon S3 user guide, multipart upload limits.
_PARTS_OF_ONE_SIZE: Final = 1_000
# What a server copies within one call.
_COPY_BYTES: Final = 256 << 20


class ServerCopy:
    """The copying of one object to another key by the server, step by step. It is visible there after the last step."""

    def __init__(self, s3: S3, source: str, target: str, size_bytes: int) -> None:
        self._s3, self._source, self._target, self._size_bytes = s3, source, target, size_bytes
        self._upload_id = ""
        self._parts: list[dict[str, object]] = []

    def step(self) -> bool:
        """Do the next step; True when it was the last."""
        if not self._upload_id:
            self._upload_id = self._s3.call("create_multipart_upload", self._target)["UploadId"]
        start = len(self._parts) * _COPY_BYTES
        end = min(start + _COPY_BYTES, self._size_bytes)
        # Of an empty object, as a server may have left of one after a power cut, there is no range.
        part = {"CopySourceRange": f"bytes={start}-{end - 1}"} if self._size_bytes else {}
        told = self._s3.call(
            "upload_part_copy",
            self._target,
            CopySource={"Bucket": self._s3.bucket, "Key": self._source},
            UploadId=self._upload_id,
            PartNumber=len(self._parts) + 1,
            **part,
        )
        self._parts.append({"PartNumber": len(self._parts) + 1, "ETag": Answer(told["CopyPartResult"])["ETag"]})
        if end < self._size_bytes:
            return False
        self._complete()
        return True

    def _complete(self) -> None:
        parts = {"Parts": self._parts}
        try:
            _complete(self._s3, self._target, self._upload_id, parts, is_new=True)
        except FileExistsError:
            log.warning("object written again", key=self._target, why="it was there, perhaps damaged")
            _complete(self._s3, self._target, self._upload_id, parts, is_new=False)
        self._upload_id = ""
        held = self._s3.head(self._target)
        if held is None or held[0] != self._size_bytes:
            raise VolumeUnavailable(f"the S3 server has not kept {self._target} as it copied it")

    def abort(self) -> None:
        """Leave nothing behind, unless it was finished."""
        if self._upload_id:
            self._s3.call("abort_multipart_upload", self._target, UploadId=self._upload_id)


class Upload:
    """One object on its way to its final key; as a context it is discarded unless it was finished.

    Belongs to one thread at a time. At most one part is in memory. `key_of` tells the key of a path, `on_leftover` is
    told of what could not be removed.
    """

    def __init__(
        self,
        s3: S3,
        directory: PurePosixPath,
        key_of: Callable[[PurePosixPath], str],
        on_leftover: Callable[[PurePosixPath], None],
    ) -> None:
        self._s3, self._directory, self._key_of, self._on_leftover = s3, directory, key_of, on_leftover
        self._temporary = directory / temporary_name()
        self._waiting: list[Buffer] = []
        self._waiting_bytes = 0
        self._size_bytes = 0
        self._upload_id = ""
        self._parts: list[dict[str, object]] = []
        self._copy: ServerCopy | None = None
        self._final_key = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def can_be_read(self) -> bool:
        """Once it is finished: parts cannot be read."""
        return bool(self._final_key)

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Take the chunks; parts that are full are sent."""
        self._waiting += chunks
        self._waiting_bytes += sum(len(chunk) for chunk in chunks)
        while self._waiting_bytes > (part_bytes := PART_BYTES << len(self._parts) // _PARTS_OF_ONE_SIZE):
            content = b"".join(self._waiting)
            self._send(content[:part_bytes])
            self._waiting, self._waiting_bytes = [memoryview(content)[part_bytes:]], len(content) - part_bytes

    def write_back(self) -> None:
        """Nothing: what was sent waits nowhere on this machine."""

    def _send(self, content: bytes) -> None:
        key = self._key_of(self._temporary)
        if not self._upload_id:
            began = self._s3.call("create_multipart_upload", key, ChecksumAlgorithm="SHA256")
            self._upload_id = began["UploadId"]
        number, checksum = len(self._parts) + 1, sha256_of(content)
        told = self._s3.call(
            "upload_part", key, UploadId=self._upload_id, PartNumber=number, Body=content, ChecksumSHA256=checksum
        )
        self._parts.append({"PartNumber": number, "ETag": told["ETag"], "ChecksumSHA256": checksum})
        self._size_bytes += len(content)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset` of a finished object."""
        if not self._final_key:
            raise VolumeUnavailable("what is on its way into a bucket can be read only once it is finished")
        content, _ = self._s3.fetch(self._final_key, offset, length)
        if len(content) != length:
            raise VolumeUnavailable(f"{self._final_key} is shorter than it was")
        return content

    def finish(self, name: str) -> bool:
        """Give the object its final key; False when that takes a further call."""
        key = self._key_of(self._directory / name)
        if not self._upload_id:
            self._put(key, b"".join(self._waiting))
        elif self._copy is None:
            self._send(b"".join(self._waiting))
            self._waiting = []
            temporary = self._key_of(self._temporary)
            # Nobody else has that key; a condition would refuse the call that is made again when its answer was lost.
            _complete(self._s3, temporary, self._upload_id, {"Parts": self._parts}, is_new=False)
            self._copy = ServerCopy(self._s3, temporary, key, self._size_bytes)
            return False
        elif not self._copy.step():
            return False
        else:
            self._remove_temporary()
        self._final_key = key
        return True

    def _put(self, key: str, content: bytes) -> None:
        """Write the object whole. One that is there is read and compared: it may be damaged."""
        try:
            self._s3.put(key, content, is_new=True)
        except FileExistsError:
            held, size_bytes = self._s3.fetch(key, 0, len(content) or 1)
            if (held, size_bytes) == (content, len(content)):
                return
            log.warning("object written again", key=key, why="what was there is damaged")
            self._s3.put(key, content, is_new=False)
        kept = self._s3.head(key)
        if kept is None or kept[0] != len(content) or kept[1] not in ("", sha256_of(content)):
            raise VolumeUnavailable(f"the S3 server has not kept {key} as it was sent")

    def discard(self) -> None:
        """Abort an unfinished upload; a finished object stays. What cannot be removed now is left over for later."""
        if self._final_key or not self._upload_id:
            return
        if self._copy is not None:
            with suppress(OSError, VolumeUnavailable):  # else it is found as litter
                self._copy.abort()
        self._remove_temporary()
        self._upload_id = ""

    def _remove_temporary(self) -> None:
        key = self._key_of(self._temporary)
        try:
            if self._copy is None:
                self._s3.call("abort_multipart_upload", key, UploadId=self._upload_id)
            else:
                self._s3.call("delete_object", key)
        except (OSError, VolumeUnavailable):
            self._on_leftover(self._temporary)


def _complete(s3: S3, key: str, upload_id: str, parts: dict[str, list[dict[str, object]]], *, is_new: bool) -> None:
    condition = {"IfNoneMatch": "*"} if is_new else {}
    s3.call("complete_multipart_upload", key, UploadId=upload_id, MultipartUpload=parts, **condition)
