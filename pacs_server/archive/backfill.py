"""Reads the value of a field that was added later from the objects that were here before, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

from pacs_server import log
from pacs_server.dicom.describe import FieldValue, describe
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.vocabulary import Field, Vocabulary
from pacs_server.errors import BadObject, CopyUnreadable
from pacs_server.index.fields import Fields, Unread
from pacs_server.storage.placement import Placement

_PORTION: Final = 100


def backfill(fields: Fields, field: Field, placement: Placement, charset_of: Callable[[str], str]) -> bool:
    """Read the next objects for a field and enter their values; answers whether it can go on with others at once.

    Of each file only the head is read. A damaged one is passed over: what it holds is not found by this field, which
    the log says. One whose volumes are away is waited for. `charset_of` is the assumed character set of a sender.

    Raises: IndexUnavailable.
    """
    unread = fields.unread(field, _PORTION)
    portion = list(takewhile(lambda one: not one.copies or placement.can_read(one.copies), unread))
    if unread and not portion:
        return False
    found: dict[int, tuple[FieldValue, ...]] = {}
    for one in portion:
        if one.owner_row in found:
            continue
        try:
            values = _values(one, field, placement, charset_of(one.sender))
        except (BadObject, CopyUnreadable) as error:
            log.warning("object not read for a field", field=field.keyword, why=error)
            continue
        if values:
            found[one.owner_row] = values
    fields.enter(field, found, portion)
    return bool(portion)


def _values(one: Unread, field: Field, placement: Placement, charset: str) -> tuple[FieldValue, ...]:
    vocabulary = Vocabulary((field,))
    scanner = HeadScanner(one.transfer_syntax, vocabulary=vocabulary)
    with placement.open(one.copies, at_once_bytes=0) as opened:
        pieces = opened.pieces()
        first = next(pieces)
        scanner.feed(first[read_file_meta(first).data_set_offset :])
        while not scanner.is_past_head and (piece := next(pieces, None)) is not None:
            scanner.feed(piece)
    return describe(scanner.head(), assumed_charset=charset, vocabulary=vocabulary).fields.get(field, ())
