"""A data set with values of odd length in a form that every receiver takes: DCMTK, and what is built upon it, aborts
the association at a fragment of odd length.

Source: PS3.5 sections 6.2 and 7.1.1 (values of even length), A.4 (fragments) and A.5 (a deflated stream).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pacs_server.dicom.element_source import ElementSource
from pacs_server.dicom.elements import DEFLATED_SYNTAXES, NATIVE_SYNTAXES, UNDEFINED_LENGTH, Buffer
from pacs_server.dicom.pixels.encapsulated import padded_fragments
from pacs_server.dicom.reencode import reencode
from pacs_server.errors import Undecodable

_EXTENDED_OFFSETS: Final = frozenset({0x7FE00001, 0x7FE00002})  # padded fragments lie elsewhere


def padded(data_set: Iterable[Buffer], transfer_syntax: str) -> Iterator[Buffer]:
    """The data set in its own transfer syntax, its length even: odd values and fragments are padded.

    Raises: Undecodable, while it is read, when it is damaged.
    """
    if transfer_syntax in DEFLATED_SYNTAXES:
        return _filled_up(data_set)
    amendment = None if transfer_syntax in NATIVE_SYNTAXES else _Fragments()
    return reencode(data_set, transfer_syntax, transfer_syntax, amendment)


def _filled_up(stream: Iterable[Buffer]) -> Iterator[Buffer]:
    size = 0
    for piece in stream:
        size += len(piece)
        yield piece
    yield b"\0" * (size % 2)


class _Fragments:
    """What stays as it is, but for fragments of odd length and the offset tables that do not fit them any more."""

    changed: Mapping[int, bytes] = {}
    dropped = _EXTENDED_OFFSETS

    def note(self, tag: int, value: bytes) -> None:
        """Nothing depends on the attributes of pixels."""

    def change(self, tag: int, value: bytes | None) -> bytes | None:
        """No attribute changes."""
        return value

    def pixels(self, elements: ElementSource, length: int) -> Iterator[Buffer]:
        """Pixel Data with the same fragments, padded. Raises: Undecodable when they are not in fragments."""
        if length != UNDEFINED_LENGTH:
            raise Undecodable("its pixel data are not in fragments, as its transfer syntax demands")
        return padded_fragments(elements)
