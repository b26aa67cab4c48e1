"""Sends one stored object over an association, from disk as it is, or transcoded where its syntax was not accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from pacs_server.codecs.transcoder import Transcoder
from pacs_server.dicom.elements import DEFLATED_LE, EXPLICIT_LE, IMPLICIT_LE, NATIVE_SYNTAXES, Buffer
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.reencode import can_reencode, reencode
from pacs_server.dicom.stored import is_intact
from pacs_server.dicom.transcoding import ENCODABLE, UNCOMPRESSED, can_convert
from pacs_server.errors import PacsError, Unconvertible
from pacs_server.index.search import Deliverable
from pacs_server.net.association import Association, Context
from pacs_server.net.client import store
from pacs_server.storage.placement import NamesCopy, Placement
from pacs_server.storage.reading import OpenCopy

_UNCOMPRESSED: Final = (EXPLICIT_LE, IMPLICIT_LE)


class NotAcceptable(PacsError):
    """The destination accepted no transfer syntax in which the object can be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What sending takes. `placement` answers with that of this moment; `on_damage` is told of a copy that is bad;
    `meanwhile` is called now and then while an object is read, transcoded and sent, twice a second while others are
    waited for.
    """

    placement: Callable[[], Placement]
    transcoder: Transcoder
    on_damage: Callable[[Deliverable, NamesCopy, str], None]
    meanwhile: Callable[[], None] = lambda: None


def deliver(
    item: Deliverable,
    association: Association,
    sender: Sender,
    *,
    originator: tuple[str, int] | None = None,
    preferred: str = "",
) -> int:
    """Send one object and return the status of the receiver's C-STORE response.

    What is sent was compared with its digest a moment ago; a copy that is missing, short or has other bytes is told to
    the sender's `on_damage`, and the next one is sent.

    `originator` is the AE title and message ID of the C-MOVE that asked for it (PS3.7 section 9.1.1.1); `preferred` the
    transfer syntax that the receiver wants uncompressed objects in.

    Raises: NotAcceptable; CopyUnreadable when no copy can be read; Undecodable when it cannot be converted;
    PeerAborted, PeerTimedOut or ProtocolViolation when the association broke.
    """
    reasons: list[str] = []
    for context in usable_contexts(item, association, preferred):
        try:
            return _send(item, association, context, sender, originator)
        except Unconvertible as error:
            reasons.append(str(error))
    raise NotAcceptable(f"the destination accepted no transfer syntax that it can be sent in: {'; '.join(reasons)}")


def _send(
    item: Deliverable,
    association: Association,
    context: Context,
    sender: Sender,
    originator: tuple[str, int] | None,
) -> int:
    target = context.transfer_syntax
    send = partial(
        store,
        association,
        context_id=context.id,
        sop_class=item.sop_class,
        sop_instance=item.sop_uid,
        originator=originator,
        meanwhile=sender.meanwhile,
    )
    is_transcoded = target != item.transfer_syntax and not can_reencode(item.transfer_syntax, target)
    if is_transcoded and (found := sender.transcoder.found(item.digest, target)) is not None:
        return send(data_set=found)
    with _whole(item, sender) as copy:
        if target == item.transfer_syntax:
            return send(data_set=_data_set(copy))
        if not is_transcoded:
            return send(data_set=reencode(_data_set(copy), item.transfer_syntax, target))
        source = partial(_data_set, copy)
        return send(
            data_set=sender.transcoder.made(item.digest, source, item.transfer_syntax, target, sender.meanwhile)
        )


def _whole(item: Deliverable, sender: Sender) -> OpenCopy:
    """A copy that was read to its end and is what was received."""

    def is_whole(pieces: Iterator[memoryview]) -> bool:
        return is_intact(_with_turns(pieces, sender.meanwhile), item.digest)

    return sender.placement().open_whole(item.copies, is_whole, partial(sender.on_damage, item))


def _with_turns(pieces: Iterator[memoryview], meanwhile: Callable[[], None]) -> Iterator[memoryview]:
    for piece in pieces:
        meanwhile()
        yield piece


def _data_set(copy: OpenCopy) -> Iterable[Buffer]:
    pieces = copy.pieces()
    first = next(pieces)
    return chain((first[read_file_meta(first).data_set_offset :],), pieces)


def usable_contexts(item: Deliverable, association: Association, preferred: str = "") -> list[Context]:
    """The accepted contexts that an object may be sent on, best first: its stored syntax, uncompressed, compressed
    without loss. What is stored uncompressed goes in the preferred syntax before all others.

    Raises: NotAcceptable when there is none.
    """
    usable = [
        context
        for context in association.contexts.values()
        if context.abstract_syntax == item.sop_class and context.as_scu
    ]
    stored = item.transfer_syntax
    first = (preferred, stored) if stored in NATIVE_SYNTAXES else (stored, preferred)
    order = [*first, *_UNCOMPRESSED, DEFLATED_LE, *ENCODABLE]
    fitting = [context for context in usable if _fits(stored, context.transfer_syntax)]
    if not usable:
        raise NotAcceptable(f"the destination accepted no context for SOP class {item.sop_class}")
    if not fitting:
        raise NotAcceptable(f"the destination accepted no transfer syntax that {stored} can be sent in")
    return sorted(fitting, key=lambda context: order.index(context.transfer_syntax))


def _fits(stored: str, target: str) -> bool:
    return target == stored or can_convert(stored, target)


def contexts_for(items: Iterable[Deliverable], preferred: str = "") -> dict[tuple[str, str], tuple[str, ...]]:
    """What to propose to a destination, by (SOP class, what for): the preferred syntax and each stored one alone, and
    where objects can be converted one context with the two little endian syntaxes that every receiver understands at
    least one of, and one with those that compress without loss, for a receiver that takes nothing else. Where
    UNCOMPRESSED is preferred, nothing but the two is proposed for what can be put into them.
    """
    proposals: dict[tuple[str, str], tuple[str, ...]] = {}
    for item in items:
        stored = item.transfer_syntax
        if preferred == UNCOMPRESSED and (stored in _UNCOMPRESSED or can_convert(stored, EXPLICIT_LE)):
            proposals[item.sop_class, "uncompressed"] = _UNCOMPRESSED
            continue
        if preferred and can_convert(stored, preferred):
            proposals[item.sop_class, "preferred"] = (preferred,)
        proposals[item.sop_class, stored] = (stored,)
        if can_convert(stored, EXPLICIT_LE):
            proposals[item.sop_class, "uncompressed"] = _UNCOMPRESSED
            proposals[item.sop_class, "compressed"] = tuple(ENCODABLE)
    return proposals
