"""Objects in another transfer syntax than the one they are stored in: from the cache, or made by the processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from pacs_server import log
from pacs_server.codecs.cache import Cache, NoRoom
from pacs_server.codecs.pool import Meanwhile, Pool
from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.pixels.recoding import Recoding
from pacs_server.dicom.pixels.transcoding import transcode
from pacs_server.settings import TranscodingLimits

_CACHE: Final = Path("cache", "transcoded")
_HELD_BYTES: Final = 16 << 20
# A decoder holds the codestream, its own numbers, mostly of 32 bits, and what it answers.
_FRAME_SHARE_OF_MEMORY: Final = 4


class Transcoder:
    """Transcodes for one server process. May be used from any thread."""

    def __init__(self, limits: TranscodingLimits, data_dir: Path, *, reserve_bytes: int) -> None:
        self._pool = Pool(limits)
        self._cache = Cache(data_dir / _CACHE, max_bytes=limits.cache_bytes, reserve_bytes=reserve_bytes)
        self._max_frame_bytes = limits.memory_bytes // _FRAME_SHARE_OF_MEMORY

    def found(self, digest: str, target: str) -> Iterator[Buffer] | None:
        """The data set of the object of that digest in another syntax, if it was made before and is here.

        Raises: CopyUnknown from its pieces when the disk fails.
        """
        return self._cache.find(digest, target)

    def made(
        self,
        digest: str,
        data_set: Callable[[], Iterable[Buffer]],
        source: str,
        target: str,
        meanwhile: Meanwhile,
    ) -> Iterator[Buffer]:
        """The data set in another syntax. All of it was made when this returns, so that what fails has failed; what is
        larger than 16 MiB and cannot be cached is made once more while it is read. `data_set` begins anew each time;
        `meanwhile` is called at least twice a second.

        Raises: Undecodable, Unconvertible, DecoderUnavailable; whatever `data_set` and `meanwhile` raise.
        """
        make = partial(self._pieces, data_set, source, target, meanwhile)
        try:
            with closing(make()) as pieces:
                return self._cache.keep(digest, target, pieces)
        except NoRoom as reason:
            log.debug("not cached", digest=digest, why=reason)
        return _made_whole(make)

    def digests(self) -> set[str]:
        """Those of the objects of which something is kept that was made of them."""
        return self._cache.digests()

    def forget(self, digest: str) -> None:
        """Remove what was made of an object that is destroyed."""
        self._cache.forget(digest)

    def _pieces(
        self, data_set: Callable[[], Iterable[Buffer]], source: str, target: str, meanwhile: Meanwhile
    ) -> Generator[Buffer, None, None]:
        recode = partial(self._recode, meanwhile)
        for piece in transcode(data_set(), source, target, recode, max_frame_bytes=self._max_frame_bytes):
            meanwhile()
            yield piece

    def _recode(self, meanwhile: Meanwhile, recoding: Recoding, frame: Buffer) -> bytes:
        """With a process of its own for each frame: what is too large to be kept is read as slowly as a receiver takes
        it, and others need one meanwhile.
        """
        with self._pool.child(meanwhile) as child:
            return child.recode(recoding, frame, meanwhile)

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def _made_whole(make: Callable[[], Iterator[Buffer]]) -> Iterator[Buffer]:
    """The pieces, once all of them could be made; those of a large object are not held, and made anew."""
    held: list[Buffer] = []
    size = 0
    for piece in make():
        size += len(piece)
        if size <= _HELD_BYTES:
            held.append(piece)
        else:
            held.clear()
    return iter(held) if size <= _HELD_BYTES else make()
