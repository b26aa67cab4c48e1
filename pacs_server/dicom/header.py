"""The head of a data set: the values the index wants, read while the bytes arrive, within bounds, without decoding.

Everything else is skipped by its length. Memory stays small however large the data set is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pacs_server.dicom.elements import DEFLATED_SYNTAXES, NATIVE_SYNTAXES, Encoding, encoding_of
from pacs_server.dicom.head_walk import HeadLimits, Walk
from pacs_server.dicom.vocabulary import STANDARD, Vocabulary
from pacs_server.errors import Undecodable

# A flag: the pixel data are compressed, and the transfer syntax says that they are not.
COMPRESSED_PIXELS: Final = "compressed-pixels"
_INFLATE_BYTES: Final = 1 << 16
_USUAL_LIMITS: Final = HeadLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What was read: raw values by tag with their padding, those of sequences with their items; what was remarkable.

    The value of a private field stands under its `key`.
    """

    values: Mapping[int, bytes]
    encoding: Encoding
    flags: frozenset[str]


class HeadScanner:
    """Reads the head of one data set from fragments of any size. Belongs to one thread. `vocabulary` says what of it.

    Source: PS3.5 sections 7.1 to 7.5 and A.4 (structure), A.5 (deflated).
    """

    def __init__(
        self, transfer_syntax: str, limits: HeadLimits = _USUAL_LIMITS, *, vocabulary: Vocabulary = STANDARD
    ) -> None:
        is_deflated = transfer_syntax in DEFLATED_SYNTAXES
        self._inflater = _Inflater() if is_deflated else None
        self._left_bytes = limits.max_head_bytes
        # What is behind a deflated head is never looked at: how much of it is inflated depends on the fragments.
        self._walk = Walk(encoding_of(transfer_syntax), limits, vocabulary, is_head_alone=is_deflated)
        self._is_native = transfer_syntax in NATIVE_SYNTAXES

    def feed(self, fragment: bytes | memoryview) -> None:
        """Take the next bytes; no reference to them is kept.

        Raises: Undecodable as soon as they cannot be a data set within the limits; ObjectMismatch when they begin like
        one in another encoding than that of the transfer syntax.
        """
        if self._inflater is None:
            self._walk.feed(fragment)
            return
        for inflated in self._inflater.inflate(fragment):
            self._walk.feed(inflated)
            self._left_bytes -= len(inflated)
            if self._left_bytes < 0 and not self._walk.past_head:
                self._walk.cut()
            if self._left_bytes < 0 or self._walk.past_head:
                self._inflater.stop()

    @property
    def identified(self) -> bool:
        """Whether the four identifying UIDs were read."""
        return self._walk.identified

    def value(self, tag: int) -> bytes | None:
        """The raw value of an indexed element, as far as it was read."""
        return self._walk.values.get(tag)

    @property
    def is_past_head(self) -> bool:
        """Whether everything that is wanted was read, as far as it is there."""
        return self._walk.past_head

    def head(self) -> Head:
        """What was read so far."""
        flags = self._walk.flags | ({COMPRESSED_PIXELS} if self._is_native and self._walk.is_encapsulated else set())
        return Head(values=self._walk.values, encoding=self._walk.encoding, flags=frozenset(flags))

    def finish(self) -> Head:
        """What was read of the complete data set.

        Raises: Undecodable when it is empty or ends inside an element.
        """
        if self._inflater is None or not self._inflater.stopped:
            self._walk.check_end()
        return self.head()


class _Inflater:
    """Inflates only the head of a deflated data set, piece by piece, so that a bomb costs nothing."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # no header: PS3.5 section A.5 names RFC 1951
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def inflate(self, fragment: bytes | memoryview) -> Iterator[bytes]:
        """What comes of a fragment.

        Raises: Undecodable when it is damaged, after what comes before the damage, wherever fragments begin and end.
        """
        pending: bytes | memoryview = fragment
        is_full = False  # then some of what was taken may still be to come
        while (pending or is_full) and not self.stopped:
            before = self._inflate.copy()
            try:
                inflated = self._inflate.decompress(pending, _INFLATE_BYTES)
            except zlib.error as error:
                yield from self._up_to_damage(before, pending)
                if not self.stopped:
                    raise Undecodable(f"the deflated data set cannot be inflated: {error}") from error
                return
            pending, is_full = self._inflate.unconsumed_tail, len(inflated) == _INFLATE_BYTES
            if not inflated and not pending:
                return
            yield inflated

    def _up_to_damage(self, inflate: zlib._Decompress, damaged: bytes | memoryview) -> Iterator[bytes]:
        with suppress(zlib.error):
            for at in range(len(damaged)):
                if inflated := inflate.decompress(damaged[at : at + 1]):
                    yield inflated
                if self.stopped:
                    return
