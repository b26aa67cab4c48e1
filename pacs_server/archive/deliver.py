"""Sends one stored object over an association, from disk as it is, or transcoded where its syntax was not accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from pacs_server.archive.read_ahead import ReadAhead
from pacs_server.codecs.transcoder import Transcoder
from pacs_server.dicom.elements import (
    DEFLATED_LE,
    DEFLATED_SYNTAXES,
    EXPLICIT_LE,
    IMPLICIT_LE,
    NATIVE_SYNTAXES,
    Buffer,
)
from pacs_server.dicom.part10 import IMPLEMENTATION_VERSION
from pacs_server.dicom.pixels.mislabelled import is_mislabelled
from pacs_server.dicom.pixels.padding import padded
from pacs_server.dicom.pixels.transcoding import DECODABLE, ENCODABLE, UNCOMPRESSED, can_convert
from pacs_server.dicom.reencode import can_reencode, reencode
from pacs_server.dicom.stored import data_set_of, holds_object
from pacs_server.errors import CopyUnknown, PacsError, Unconvertible, Undecodable
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association, Context
from pacs_server.net.client import store
from pacs_server.net.negotiate import name_of
from pacs_server.net.sending import SEND_BYTES
from pacs_server.storage.placement import NamesCopy, Placement
from pacs_server.storage.reading import OpenCopy

_UNCOMPRESSED: Final = (EXPLICIT_LE, IMPLICIT_LE)
# What is smaller is put into another native syntax, by which it grows to two and a half times at most, before any of it
# is sent.
_MADE_AT_ONCE_BYTES: Final = SEND_BYTES // 3
# In the place of a preferred transfer syntax: the stored one and no other, for who is to give back what it got.
AS_STORED: Final = "as stored"


class NotAcceptable(PacsError):
    """The destination accepted no transfer syntax in which the object can be sent."""


class _Mislabelled(PacsError):
    """The pixels of the object are not compressed, though its transfer syntax says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What sending takes. `placement` answers with that of this moment; `on_damage` is told of a copy that is bad;
    `meanwhile` is called now and then while an object is read, transcoded and sent, twice a second while others are
    waited for. `ahead` may have read what is sent.
    """

    placement: Callable[[], Placement]
    transcoder: Transcoder
    on_damage: Callable[[Deliverable, NamesCopy, str], None]
    meanwhile: Callable[[], None] = lambda: None
    ahead: ReadAhead | None = None


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
    transfer syntax that the receiver wants uncompressed objects in. What has uncompressed pixels goes as such, whatever
    syntax it came under, unless that is all that the receiver accepts.

    Raises: NotAcceptable; CopyUnreadable when no copy can be read; Undecodable when it cannot be converted, and
    DecoderUnavailable when that cannot be tried now; AssociationBroken.
    """
    reasons: list[str] = []
    damage: list[Undecodable] = []  # emptied when it is raised, as in each_in_turn
    for context in usable_contexts(item, association, preferred):
        if damage and _is_transcoded(item, context):
            continue
        try:
            return _send(item, association, context, sender, originator, is_exact=preferred == AS_STORED)
        except Unconvertible as error:
            reasons.append(str(error))
        except _Mislabelled:
            return _deliver_as_uncompressed(item, association, context, sender, originator, preferred)
        except Undecodable as error:
            damage = damage or [error]  # it may still go as it is
    if damage:
        raise damage.pop()
    raise NotAcceptable(f"{'; '.join(reasons)}, and the destination accepted no other transfer syntax")


def _deliver_as_uncompressed(
    item: Deliverable,
    association: Association,
    context: Context,
    sender: Sender,
    originator: tuple[str, int] | None,
    preferred: str,
) -> int:
    """As what it is; but as it came to who accepts only the syntax under which it came: some show it all the same."""
    relabelled = replace(item, transfer_syntax=EXPLICIT_LE)
    try:
        return deliver(relabelled, association, sender, originator=originator, preferred=preferred)
    except NotAcceptable:
        if context.transfer_syntax != item.transfer_syntax:
            raise
        return _send(item, association, context, sender, originator, is_exact=True)


def _is_transcoded(item: Deliverable, context: Context) -> bool:
    """Whether its pixels have to be coded anew for this context."""
    stored, target = item.transfer_syntax, context.transfer_syntax
    return target != stored and not can_reencode(stored, target)


def refusal(status: int) -> str:
    """What is told of an object that was sent and not taken."""
    return f"the destination answered status {status:04X}"


def _send(
    item: Deliverable,
    association: Association,
    context: Context,
    sender: Sender,
    originator: tuple[str, int] | None,
    *,
    is_exact: bool,
) -> int:
    target = context.transfer_syntax
    # Another archive of ours takes whatever this one took, and what it gets has to be the same object.
    is_exact = is_exact or association.implementation == IMPLEMENTATION_VERSION
    send = partial(
        store,
        association,
        context_id=context.id,
        sop_class=item.sop_class,
        sop_instance=item.sop_uid,
        originator=originator,
        meanwhile=sender.meanwhile,
    )
    is_transcoded = _is_transcoded(item, context)
    if is_transcoded and (found := sender.transcoder.found(item.digest, target)) is not None:
        with suppress(CopyUnknown):  # it is made anew
            return send(data_set=found)
    read = sender.ahead.take(item) if sender.ahead is not None else None
    with nullcontext((read,)) if read is not None else _whole(item, sender) as opened:
        source = partial(_data_set, opened)
        if not is_exact and item.transfer_syntax in DECODABLE and is_mislabelled(source(), item.transfer_syntax):
            raise _Mislabelled(f"{item.sop_uid} has uncompressed pixels under {name_of(item.transfer_syntax)}")
        if target == item.transfer_syntax:
            is_fit = is_exact or item.size_bytes % 2 == 0
            return send(data_set=source() if is_fit else _padded(source, target, sender.meanwhile))
        if not is_transcoded:
            if item.transfer_syntax in DEFLATED_SYNTAXES or item.size_bytes > _MADE_AT_ONCE_BYTES:
                _check(source(), item.transfer_syntax, sender.meanwhile)
            return send(data_set=reencode(source(), item.transfer_syntax, target))
        return send(
            data_set=sender.transcoder.made(item.digest, source, item.transfer_syntax, target, sender.meanwhile)
        )


def _padded(
    source: Callable[[], Iterable[Buffer]], transfer_syntax: str, meanwhile: Callable[[], None]
) -> Iterable[Buffer]:
    """A data set of odd length, in which values are padded that should have been; as it is where it is damaged."""
    try:
        for _ in padded(source(), transfer_syntax):
            meanwhile()
    except Undecodable:
        return source()
    return padded(source(), transfer_syntax)


def _check(data_set: Iterable[Buffer], transfer_syntax: str, meanwhile: Callable[[], None]) -> None:
    """Raises: Undecodable when it cannot be rewritten to its end, before anything is sent: that would end the
    association, and with it whatever else is to be sent.
    """
    for _ in reencode(data_set, transfer_syntax, EXPLICIT_LE):
        meanwhile()


def _whole(item: Deliverable, sender: Sender) -> OpenCopy:
    """A copy that was read to its end and is what was received."""

    def is_whole(pieces: Iterator[memoryview]) -> bool:
        return holds_object(_with_turns(pieces, sender.meanwhile), item.digest)

    return sender.placement().open_whole(item.copies, is_whole, partial(sender.on_damage, item))


def _with_turns(pieces: Iterator[memoryview], meanwhile: Callable[[], None]) -> Iterator[memoryview]:
    for piece in pieces:
        meanwhile()
        yield piece


def _data_set(opened: OpenCopy | tuple[Buffer]) -> Iterable[Buffer]:
    """The data set of a copy; what was read ahead is one already."""
    if isinstance(opened, tuple):
        return opened
    return data_set_of(opened.pieces())


def usable_contexts(item: Deliverable, association: Association, preferred: str) -> list[Context]:
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
    only = stored if preferred == AS_STORED else ""
    fitting = [one for one in usable if _fits(stored, one.transfer_syntax) and only in ("", one.transfer_syntax)]
    if not usable:
        raise NotAcceptable(f"the destination accepted no context for {name_of(item.sop_class)}")
    if not fitting:
        raise NotAcceptable(f"stored as {name_of(stored)}, it fits no transfer syntax that the destination took")
    return sorted(fitting, key=lambda context: order.index(context.transfer_syntax))


def _fits(stored: str, target: str) -> bool:
    return target == stored or can_convert(stored, target)


def contexts_for(items: Iterable[Deliverable], preferred: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """What to propose to a destination, by (SOP class, what for): the preferred syntax and each stored one alone, and
    where objects can be converted one context with the two little endian syntaxes that every receiver understands at
    least one of, and one with those that compress without loss, for a receiver that takes nothing else. Where
    UNCOMPRESSED is preferred, nothing but the two is proposed for what can be put into them; AS_STORED, only that.
    """
    proposals: dict[tuple[str, str], tuple[str, ...]] = {}
    for item in items:
        stored = item.transfer_syntax
        if preferred == AS_STORED:
            proposals[item.sop_class, stored] = (stored,)
            continue
        if preferred == UNCOMPRESSED and can_convert(stored, EXPLICIT_LE):
            proposals[item.sop_class, "uncompressed"] = _UNCOMPRESSED
            continue
        if preferred and can_convert(stored, preferred):
            proposals[item.sop_class, "preferred"] = (preferred,)
        proposals[item.sop_class, stored] = (stored,)
        if can_convert(stored, EXPLICIT_LE):
            proposals[item.sop_class, "uncompressed"] = _UNCOMPRESSED
            proposals[item.sop_class, "compressed"] = tuple(ENCODABLE)
    return proposals
