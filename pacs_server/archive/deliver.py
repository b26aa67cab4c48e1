"""Sends one stored object over an association, from disk, without decoding it unless its syntax was not accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain

from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE, Buffer
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.reencode import can_reencode, reencode
from pacs_server.dicom.stored import is_intact
from pacs_server.errors import PacsError
from pacs_server.index.search import Deliverable
from pacs_server.net.association import Association, Context
from pacs_server.net.client import store
from pacs_server.storage.placement import NamesCopy, Placement


class NotAcceptable(PacsError):
    """The destination accepted no transfer syntax in which the object can be sent."""


def deliver(
    item: Deliverable,
    association: Association,
    placement: Placement,
    on_damage: Callable[[Deliverable, NamesCopy, str], None],
    *,
    originator: tuple[str, int] | None = None,
) -> int:
    """Send one object and return the status of the receiver's C-STORE response.

    What is sent was compared with its digest a moment ago; a copy that is missing, short or has other bytes is told to
    `on_damage`, and the next one is sent.

    `originator` is the AE title and message ID of the C-MOVE that asked for it (PS3.7 section 9.1.1.1).

    Raises: NotAcceptable; CopyUnreadable when no copy can be read; Undecodable when it cannot be converted;
    PeerAborted, PeerTimedOut or ProtocolViolation when the association broke.
    """
    context = choose_context(item, association)
    with placement.open_whole(item.copies, partial(is_intact, digest=item.digest), partial(on_damage, item)) as copy:
        pieces = copy.pieces()
        first = next(pieces)
        start = read_file_meta(first).data_set_offset
        data_set: Iterable[Buffer] = chain((first[start:],), pieces)
        if context.transfer_syntax != item.transfer_syntax:
            data_set = reencode(copy.buffer[start:], item.transfer_syntax, context.transfer_syntax)
        return store(
            association,
            context_id=context.id,
            sop_class=item.sop_class,
            sop_instance=item.sop_uid,
            data_set=data_set,
            originator=originator,
        )


def choose_context(item: Deliverable, association: Association) -> Context:
    """The accepted context to send an object on: its stored syntax, else explicit, else implicit little endian.

    Raises: NotAcceptable.
    """
    usable = [
        context
        for context in association.contexts.values()
        if context.abstract_syntax == item.sop_class and context.as_scu
    ]
    for syntax in (item.transfer_syntax, EXPLICIT_LE, IMPLICIT_LE):
        for context in usable:
            if context.transfer_syntax == syntax and (
                syntax == item.transfer_syntax or can_reencode(item.transfer_syntax, syntax)
            ):
                return context
    if not usable:
        raise NotAcceptable(f"the destination accepted no context for SOP class {item.sop_class}")
    raise NotAcceptable(f"the destination accepted no transfer syntax that {item.transfer_syntax} can be sent in")


def contexts_for(items: Iterable[Deliverable]) -> dict[tuple[str, str], tuple[str, ...]]:
    """What to propose to a destination, by (SOP class, stored syntax): each stored syntax alone, and where it can be
    converted a further context with the two little endian syntaxes that every receiver understands at least one of.
    """
    proposals: dict[tuple[str, str], tuple[str, ...]] = {}
    for item in items:
        proposals[item.sop_class, item.transfer_syntax] = (item.transfer_syntax,)
        if can_reencode(item.transfer_syntax, EXPLICIT_LE) or can_reencode(item.transfer_syntax, IMPLICIT_LE):
            proposals[item.sop_class, "uncompressed"] = (EXPLICIT_LE, IMPLICIT_LE)
    return proposals
