"""Encodes the answers of a query straight from rows: the same elements each time, only the values differ.

Source: PS3.4 section C.4.1.1.3 (response identifier), PS3.5 section 7.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import Final, cast

from pacs_server.dicom.attributes import (
    BY_KEYWORD,
    QUERY_RETRIEVE_LEVEL,
    SPECIFIC_CHARACTER_SET,
    ItemSequence,
    Level,
    Matching,
)
from pacs_server.dicom.elements import LONG_VRS, NUMBERS, Encoding, encoding_of, padding_of
from pacs_server.dicom.queries.matching import Query, ReturnKey
from pacs_server.dicom.queries.reply import Column, ItemColumn, NumberColumn, TextColumn, encode_columns

_RETRIEVE_AET: Final = BY_KEYWORD["RetrieveAETitle"].tag
_AVAILABILITY: Final = BY_KEYWORD["InstanceAvailability"].tag
_MAX_SHORT_BYTES: Final = 0xFFFE
_MAX_KEPT_LENGTH: Final = 1_024


class _Before(dict[int, bytes]):
    """What stands before a value of so many bytes: all that is the same in every answer since the value before it, its
    tag and VR, and its length, padded to an even number.
    """

    def __init__(self, same: bytes, key: ReturnKey, encoding: Encoding) -> None:
        super().__init__()
        vr = key.vr.encode("ascii")
        size = 4 if not encoding.explicit or vr in LONG_VRS else 2
        self.is_short = size == 2
        self.pad = padding_of(vr)
        self._same = same + encoding.write_header(key.tag, vr, 0)[:-size]
        self._length = Struct(encoding.byte_order + ("H" if self.is_short else "I"))

    def __missing__(self, length: int) -> bytes:
        made = self._same + self._length.pack(length + length % 2)
        if length <= _MAX_KEPT_LENGTH:
            self[length] = made
        return made


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
        self._preferred = charset
        self._fixed = {
            QUERY_RETRIEVE_LEVEL: level.name.encode("ascii"),
            _RETRIEVE_AET: retrieve_aet.encode("ascii"),
        }
        added = (
            ReturnKey(SPECIFIC_CHARACTER_SET, "CS", None),
            ReturnKey(QUERY_RETRIEVE_LEVEL, "CS", None),
            ReturnKey(_RETRIEVE_AET, "AE", None),
        )
        keys = sorted({key.tag: key for key in (*return_keys, *added)}.values(), key=lambda key: key.tag)
        self.columns = tuple(key.attribute for key in keys if key.attribute and _is_read(key))
        self._writers = [_column(key, self._encoding) for key in keys if key.attribute and _is_read(key)]
        self._label_at = sum(_is_read(key) for key in keys if key.tag < SPECIFIC_CHARACTER_SET)
        self._before: list[_Before] = []
        self._behind = b""
        self._plan(keys)

    def _plan(self, keys: Sequence[ReturnKey]) -> None:
        same = b""
        for key in keys:
            if key.tag == SPECIFIC_CHARACTER_SET or _is_read(key):
                self._before.append(_Before(same, key, self._encoding))
                same = b""
            else:
                value = self._fixed.get(key.tag) or key.text.encode("ascii", "ignore")
                same += self._encoding.write_element(key.tag, key.vr.encode("ascii"), value)
        self._behind = same

    def encode(self, rows: Sequence[Sequence[str | int | None]]) -> list[bytes]:
        """The answers for these rows. Each declares its own character set: the query's if every character fits, else
        UTF-8.
        """
        texts = [_texts(values) for values in zip(*rows, strict=True)]
        labels, values = encode_columns(self._writers, texts, self._preferred, answers=len(rows))
        values.insert(self._label_at, labels)
        pieces: list[Iterable[bytes]] = []
        for before, column in zip(self._before, values, strict=True):
            sizes = [*map(len, column)]
            if before.is_short and max(sizes) > _MAX_SHORT_BYTES:
                column = [*map(_cut, column)]
                sizes = [*map(len, column)]
            pieces.append(map(before.__getitem__, sizes))
            if any(size % 2 for size in set(sizes)):
                column = [value + before.pad if len(value) % 2 else value for value in column]
            pieces.append(column)
        return [*map(b"".join, zip(*pieces, repeat(self._behind)))]


def _column(key: ReturnKey, encoding: Encoding) -> Column:
    if isinstance(key.attribute, ItemSequence):
        return ItemColumn(key.attribute, encoding, asked=key.asked, fitting=key.fitting)
    if key.vr in NUMBERS:
        return NumberColumn(Struct(encoding.byte_order + NUMBERS[key.vr]))
    return TextColumn(key.vr)


def _texts(values: Sequence[str | int | None]) -> Sequence[str]:
    """The values of one column as texts."""
    if {*map(type, values)} <= {str}:
        return cast("Sequence[str]", values)
    return ["" if value is None else str(value) for value in values]


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
