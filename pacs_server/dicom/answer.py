"""Encodes the answers of a query straight from rows: the same elements each time, only the values differ.

Source: PS3.4 section C.4.1.1.3 (response identifier), PS3.5 section 7.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import getitem
from struct import Struct
from typing import Any, Final, Literal

from pacs_server.dicom.attributes import (
    BY_KEYWORD,
    QUERY_RETRIEVE_LEVEL,
    SPECIFIC_CHARACTER_SET,
    Attribute,
    ItemSequence,
    Level,
    Matching,
)
from pacs_server.dicom.charset import encode_reply
from pacs_server.dicom.elements import ITEM, LONG_VRS, NUMBERS, encoding_of
from pacs_server.dicom.items import unpack
from pacs_server.dicom.matching import Query, ReturnKey

_RETRIEVE_AET: Final = BY_KEYWORD["RetrieveAETitle"].tag
_AVAILABILITY: Final = BY_KEYWORD["InstanceAvailability"].tag
_MAX_SHORT_BYTES: Final = 0xFFFE
_SHORT_LENGTH: Final = 2


class _Lengths(dict[int, bytes]):
    """The bytes of a length field of `size` bytes for a value of so many, which is padded to an even number.

    Raises: OverflowError when the length does not fit.
    """

    def __init__(self, size: int, order: Literal["little", "big"]) -> None:
        super().__init__()
        self.size = size
        self._order = order

    def __missing__(self, length: int) -> bytes:
        if length > _MAX_SHORT_BYTES and self.size == _SHORT_LENGTH:
            raise OverflowError
        self[length] = made = (length + length % 2).to_bytes(self.size, self._order)
        return made


class _Pads(dict[int, bytes]):
    """What stands behind a value of so many bytes."""

    def __init__(self, pad: bytes) -> None:
        super().__init__()
        self._pad = pad

    def __missing__(self, length: int) -> bytes:
        self[length] = made = self._pad * (length % 2)
        return made


@lru_cache
def _lengths(size: int, order: Literal["little", "big"]) -> _Lengths:
    return _Lengths(size, order)


_SPACE: Final = _Pads(b" ")
_NUL: Final = _Pads(b"\0")


class AnswerEncoder:
    """Encodes the answers of all queries that ask for the same. `columns` are the attributes that a row must hold, in
    this order. May be used from any thread.

    What is the same in every answer is encoded once.
    """

    def __init__(
        self,
        level: Level,
        return_keys: Sequence[ReturnKey],
        transfer_syntax: str,
        charset: tuple[str, ...],
        retrieve_aet: str,
    ) -> None:
        self._encoding = encoding_of(transfer_syntax)
        self._order: Literal["little", "big"] = "big" if self._encoding.big_endian else "little"
        self._preferred = charset
        self._fixed = {
            QUERY_RETRIEVE_LEVEL: level.name.encode("ascii"),
            _RETRIEVE_AET: retrieve_aet.encode("ascii"),
        }
        added = (ReturnKey(SPECIFIC_CHARACTER_SET, "CS", None), ReturnKey(QUERY_RETRIEVE_LEVEL, "CS", None))
        keys = sorted({key.tag: key for key in (*return_keys, *added)}.values(), key=lambda key: key.tag)
        self.columns = tuple(key.attribute for key in keys if key.attribute and _is_read(key))
        self._vrs = ["SQ" if isinstance(column, ItemSequence) else column.vr for column in self.columns]
        self._has_sequences = "SQ" in self._vrs
        order = ">" if self._encoding.big_endian else "<"
        forms = {vr: Struct(order + form) for vr, form in NUMBERS.items()}
        self._binary = [(place, forms[vr]) for place, vr in enumerate(self._vrs) if vr in forms]
        self._label_at = sum(_is_read(key) for key in keys if key.tag < SPECIFIC_CHARACTER_SET)
        self._integers = [
            place for place, column in enumerate(self.columns) if isinstance(column, Attribute) and column.is_integer
        ]
        # Four to a value that comes from the row: the bytes before it, its length, itself, what pads it; then the bytes
        # behind all.
        self._parts: list[bytes] = []
        self._lengths: list[_Lengths] = []
        self._pads: list[_Pads] = []
        self._plan(keys)

    def _plan(self, keys: Sequence[ReturnKey]) -> None:
        before = b""
        for key in keys:
            vr = key.vr.encode("ascii")
            if key.tag == SPECIFIC_CHARACTER_SET or _is_read(key):
                size = 4 if not self._encoding.explicit or vr in LONG_VRS else 2
                header = self._encoding.write_header(key.tag, vr, 0)[:-size]
                self._parts += (before + header, b"", b"", b"")
                self._lengths.append(_lengths(size, self._order))
                self._pads.append(_NUL if vr == b"UI" else _SPACE)
                before = b""
            else:
                value = self._fixed.get(key.tag) or key.text.encode("ascii", "ignore")
                value += b" " * (len(value) % 2)
                before += self._encoding.write_header(key.tag, vr, len(value)) + value
        self._parts.append(before)

    def encode(self, row: Sequence[str | int | None]) -> bytes:
        """One answer. It declares its own character set: the query's if every character fits, else UTF-8."""
        texts: list[Any] = list(row)
        for place in self._integers:
            if texts[place] is not None:
                texts[place] = str(texts[place])
        if None in texts:
            texts = ["" if value is None else value for value in texts]
        if self._has_sequences:
            label, values = self._encode_with_sequences(texts)
        else:
            label, values = encode_reply(texts, self._vrs, self._preferred)
        for place, form in self._binary:
            values[place] = b"".join(form.pack(int(number)) for number in texts[place].split("\\") if number)
        values.insert(self._label_at, label.encode("ascii"))
        try:
            return self._joined(values)
        except OverflowError:
            sizes = [lengths.size for lengths in self._lengths]
            return self._joined(
                [_cut(value) if size == _SHORT_LENGTH else value for value, size in zip(values, sizes, strict=True)]
            )

    def _joined(self, values: Sequence[bytes]) -> bytes:
        """The values between what is the same in every answer; slices and maps fill them in without a loop of ours.

        Raises: OverflowError when one is too long for its length field.
        """
        parts, sizes = self._parts.copy(), [*map(len, values)]
        parts[1::4] = map(getitem, self._lengths, sizes)
        parts[2::4] = values
        parts[3::4] = map(getitem, self._pads, sizes)
        return b"".join(parts)

    def _encode_with_sequences(self, texts: Sequence[str]) -> tuple[str, list[bytes]]:
        """The same with the items of sequences, whose texts take part in the choice of the character set."""
        single: list[str] = []
        vrs: list[str] = []
        for column, text in zip(self.columns, texts, strict=True):
            if isinstance(column, ItemSequence):
                for item in unpack(text):
                    single += item
                    vrs += (one.vr for one in column.fields)
            else:
                single.append(text)
                vrs.append(column.vr)
        label, encoded = encode_reply(single, vrs, self._preferred)
        left = iter(encoded)
        return label, [
            self._items(column, len(unpack(text)), left) if isinstance(column, ItemSequence) else next(left)
            for column, text in zip(self.columns, texts, strict=True)
        ]

    def _items(self, sequence: ItemSequence, count: int, values: Iterator[bytes]) -> bytes:
        parts = []
        for _ in range(count):
            item = b"".join(self._element(one, next(values)) for one in sequence.fields)
            parts.append(self._encoding.write_header(ITEM, b"", len(item)) + item)
        return b"".join(parts)

    def _element(self, one: Attribute, value: bytes) -> bytes:
        padded = value + b" " if len(value) & 1 else value
        return self._encoding.write_header(one.tag, one.vr.encode("ascii"), len(padded)) + padded


# A viewer asks for the same columns each time; to plan their answers took as long as finding nothing.
_encoder: Final = lru_cache(maxsize=64)(AnswerEncoder)


def encoder_of(query: Query, transfer_syntax: str, *, reply_charset: str, retrieve_aet: str) -> AnswerEncoder:
    """What encodes the answers of a query: in `reply_charset` where the peer has one, else in that of the query."""
    charset = tuple(reply_charset.split("\\")) if reply_charset else query.character_set
    return _encoder(query.level, query.return_keys, transfer_syntax, charset, retrieve_aet)


def _is_read(key: ReturnKey) -> bool:
    known = key.attribute
    if known is None or isinstance(known, ItemSequence):
        return known is not None
    return known.matching is not Matching.COMPUTED or known.tag == _AVAILABILITY


def _cut(value: bytes) -> bytes:
    """As many whole values of a list as one element of a short-form VR can hold."""
    if len(value) <= _MAX_SHORT_BYTES:
        return value
    kept = value[: value.rindex(b"\\", 0, _MAX_SHORT_BYTES)] if b"\\" in value[:_MAX_SHORT_BYTES] else b""
    return kept + b" " * (len(kept) % 2)
