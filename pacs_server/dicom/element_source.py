"""A data set that comes in pieces and is read once, from front to back: memory is a piece, however large it is."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from pacs_server.dicom.elements import (
    DEFLATED_SYNTAXES,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
)
from pacs_server.errors import Undecodable

_SHORTEST_HEADER_BYTES, _LONGEST_HEADER_BYTES = 8, 12
_INFLATE_BYTES: Final = 1 << 20
# Deflate makes at most 1032 bytes of one. Real ones rarely make more than 100; an empty segmentation may, and is small.
_NEVER_A_BOMB_BYTES: Final = 64 << 20
_MAX_RATIO: Final = 500


class ElementSource:
    """Reads bytes from pieces; belongs to one thread. Views that it gives stay valid as long as the pieces do."""

    def __init__(self, pieces: Iterable[Buffer]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")
        self.offset = 0

    def peek(self, length: int) -> memoryview:
        """The next bytes without taking them: `length` of them, or fewer where the data set ends."""
        while len(self._piece) < length:
            following = next(self._pieces, None)
            if following is None:
                break
            rest = self._piece
            self._piece = memoryview(b"".join((rest, following))) if rest else memoryview(following)
        return self._piece[:length]

    @property
    def at_end(self) -> bool:
        """Whether everything was taken, but for zeros behind the data set that are fewer than an element header has."""
        rest = self.peek(_SHORTEST_HEADER_BYTES)
        return len(rest) < _SHORTEST_HEADER_BYTES and not any(rest)

    def header(self, encoding: Encoding) -> tuple[int, bytes, int]:
        """Take an element header: tag, VR and length.

        Raises: Undecodable when the data set ends inside of it.
        """
        found = encoding.header(self.peek(_LONGEST_HEADER_BYTES), 0)
        if found is None:
            raise Undecodable("the data set ends inside an element header")
        self._advance(found[3])
        return found[:3]

    def pieces(self, length: int) -> Iterator[memoryview]:
        """Take the next `length` bytes as they come.

        Raises: Undecodable when the data set ends before.
        """
        while length:
            if not self.peek(1):
                raise Undecodable("an element ends beyond the data set")
            some = self._piece[:length]
            self._advance(len(some))
            length -= len(some)
            yield some

    def read(self, length: int) -> memoryview:
        """Take the next `length` bytes as one. Raises: Undecodable when the data set ends before."""
        parts = list(self.pieces(length))
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def skip(self, length: int) -> None:
        """Take the next `length` bytes and forget them. Raises: Undecodable when the data set ends before."""
        for _ in self.pieces(length):
            pass

    def _advance(self, length: int) -> None:
        self._piece = self._piece[length:]
        self.offset += length


def skip_value(source: ElementSource, encoding: Encoding, length: int) -> None:
    """Take a value and forget it, also one of undefined length with whatever is nested in it, in that encoding.

    Raises: Undecodable when the data set ends inside of it.
    """
    if length != UNDEFINED_LENGTH:
        source.skip(length)
        return
    open_levels = [encoding]
    while open_levels:
        tag, vr, inner = source.header(open_levels[-1])
        if tag in (ITEM_END, SEQUENCE_END):
            open_levels.pop()
        elif inner == UNDEFINED_LENGTH:
            open_levels.append(open_levels[-1].inside(vr))
        else:
            source.skip(inner)


def inflated(pieces: Iterable[Buffer], transfer_syntax: str) -> Iterable[Buffer]:
    """The data set as its elements are laid out, inflated a bounded piece at a time where its syntax is deflated.

    Raises: Undecodable, while it is read, when the deflated stream is damaged or cut, or is a bomb, of which more than
    64 MiB come out, and more than 500 times what went in. Source: PS3.5 section A.5.
    """
    return _inflated(pieces) if transfer_syntax in DEFLATED_SYNTAXES else pieces


def _inflated(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    taken = made = 0
    try:
        for piece in pieces:
            rest: Buffer = piece
            is_full = False  # then some of what was taken may still be to come
            while (rest or is_full) and not inflater.eof:
                some = inflater.decompress(rest, _INFLATE_BYTES)
                taken += len(rest) - len(inflater.unconsumed_tail)
                made += len(some)
                if made > max(_NEVER_A_BOMB_BYTES, _MAX_RATIO * taken):
                    raise Undecodable(f"its deflated data are a bomb: {taken} bytes of them make more than {made}")
                if some:
                    yield some
                rest, is_full = inflater.unconsumed_tail, len(some) == _INFLATE_BYTES
    except zlib.error as error:
        raise Undecodable(f"its deflated data are damaged: {error}") from error
    if not inflater.eof:
        raise Undecodable("its deflated data end early")


def deflated(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    """The data set as a deflated stream of even length. Source: PS3.5 section A.5."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        if some := deflater.compress(piece):
            size += len(some)
            yield some
    last = deflater.flush()
    yield last + b"\0" * ((size + len(last)) % 2)
