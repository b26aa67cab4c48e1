"""Reads the value of a field that was added later from the objects that were here before, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pacs_server import log
from pacs_server.dicom.describe import FieldValue, describe
from pacs_server.dicom.stored import head_of
from pacs_server.dicom.vocabulary import Field, Vocabulary
from pacs_server.errors import BadObject, CopyUnknown, CopyUnreadable
from pacs_server.index.recording.fields import Fields, Unread
from pacs_server.storage.placement import Placement

_PORTION: Final = 100


def backfill(fields: Fields, field: Field, placement: Placement, charset_of: Callable[[str], str]) -> bool:
    """Read the next objects for a field and enter their values; answers whether it can go on with others at once.

    Of each file only the head is read. A damaged one is passed over: what it holds is not found by this field, which
    the log says. One whose volumes are away is waited for, also when they went away a moment ago. `charset_of` is the
    assumed character set of a sender.

    Raises: IndexUnavailable.
    """
    unread = fields.unread(field, _PORTION)
    found: dict[int, tuple[FieldValue, ...]] = {}
    read: list[Unread] = []
    for one in unread:
        if one.copies and not placement.can_read(one.copies):
            break
        if one.owner_row not in found:
            try:
                values = _values(one, field, placement, charset_of(one.sender))
            except (BadObject, CopyUnreadable) as error:
                if _is_for_now(error, one, placement):
                    break
                log.warning("object not read for a field", field=field.keyword, why=error)
                values = ()
            if values:
                found[one.owner_row] = values
        read.append(one)
    if read or not unread:
        fields.enter(field, found, read)
    return bool(read)


def _is_for_now(error: BadObject | CopyUnreadable, one: Unread, placement: Placement) -> bool:
    """Whether an object that could not be read may be readable later."""
    return isinstance(error, CopyUnknown) or (isinstance(error, CopyUnreadable) and placement.may_come_back(one.copies))


def _values(one: Unread, field: Field, placement: Placement, charset: str) -> tuple[FieldValue, ...]:
    vocabulary = Vocabulary((field,))
    with placement.open(one.copies, at_once_bytes=0) as opened:
        head = head_of(opened.pieces(), one.transfer_syntax, vocabulary)
    return describe(head, assumed_charset=charset, vocabulary=vocabulary).fields.get(field, ())
