"""Sends objects to a destination on our own account, over one association that is kept from one series to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from pacs_server import log
from pacs_server.archive.deliver import NotAcceptable, Sender, contexts_for, deliver, refusal
from pacs_server.errors import AssociationBroken, CopyUnreadable, DecoderUnavailable, Undecodable
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import HELD_ALREADY, MAX_CONTEXTS, Destination, connect, is_stored
from pacs_server.settings import NetworkLimits

# Processing failure, resource limitation, out of resources: the same object may be taken later.
_LATER: Final = frozenset({0x0110, 0x0213})


class Verdict(Enum):
    """What became of one object."""

    TAKEN = "taken"
    REFUSED = "refused"  # for good: the same object would be refused again
    LATER = "later"  # it may be taken when it is sent again


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One object that was sent, or not. With `ends`, sending more of them now is no use. What `was_there` the
    destination has taken before, in whichever version it got then.
    """

    item: Deliverable
    verdict: Verdict
    reason: str = ""
    ends: bool = False
    was_there: bool = False


class Line:
    """An association to one destination, requested when there is something to send, and again when that needs
    presentation contexts which were not proposed. Belongs to one thread.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        calling_aet: str,
        limits: NetworkLimits,
        sender: Sender,
        preferred: str = "",
        originator: Callable[[Deliverable], tuple[str, int] | None] = lambda _: None,
    ) -> None:
        """`originator` says who is named as the one that caused an object to be sent (PS3.7 section 9.1.1.1)."""
        self.destination = destination
        self._originator = originator
        self._calling_aet = calling_aet
        self._limits = limits
        self._sender = sender
        self._preferred = preferred
        self._association: Association | None = None
        self._has_answered = False  # over this association, so that another one is worth it when it breaks
        self._proposed: dict[tuple[str, str], tuple[str, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def send(self, items: Sequence[Deliverable]) -> Iterator[Delivery]:
        """Send objects, one after the other, and tell of each as soon as it is acknowledged or refused.

        An object that the destination has acknowledged and that is sent once more, because that was not noted any
        more, does no harm: it is the same object.

        Raises: PeerFailed without an association.
        """
        for portion in _portions(items, self._preferred):
            needed = contexts_for(portion, self._preferred)
            for item in portion:
                delivery = self._deliver(item, self._associated(needed))
                yield delivery
                if delivery.ends:
                    return

    def _deliver(self, item: Deliverable, association: Association) -> Delivery:
        try:
            status = deliver(
                item, association, self._sender, originator=self._originator(item), preferred=self._preferred
            )
        except (NotAcceptable, Undecodable) as error:
            return Delivery(item=item, verdict=Verdict.REFUSED, reason=str(error))
        except (CopyUnreadable, DecoderUnavailable) as error:
            return Delivery(item=item, verdict=Verdict.LATER, reason=str(error))
        except AssociationBroken as error:
            reason, ends = f"the association broke: {error}", not self._has_answered
            self._close()
            return Delivery(item=item, verdict=Verdict.LATER, reason=reason, ends=ends)
        self._has_answered = True
        return verdict_of(item, status)

    def _associated(self, needed: dict[tuple[str, str], tuple[str, ...]]) -> Association:
        """An association for which these contexts were proposed, another one where the destination ended the last."""
        fits = needed.items() <= self._proposed.items()
        if self._association is not None and fits and not self._association.is_spent():
            return self._association
        self.release()
        together = self._proposed | needed
        self._proposed = together if len(together) <= MAX_CONTEXTS else needed
        contexts = [(kind[0], syntaxes, False) for kind, syntaxes in self._proposed.items()]
        self._association = connect(
            self.destination, calling_aet=self._calling_aet, contexts=contexts, limits=self._limits
        )
        self._has_answered = False
        return self._association

    def release(self) -> None:
        """End the association, if there is one."""
        if self._association is not None:
            try:
                self._association.release()
            except AssociationBroken as error:
                log.warning("destination did not release", aet=self.destination.aet, why=error)
            self._close()

    def _close(self) -> None:
        if self._association is not None:
            self._association.close()
            self._association = None


def verdict_of(item: Deliverable, status: int) -> Delivery:
    """What the status of a C-STORE response means for sending it again. Source: PS3.4 section B.2.3, PS3.7 annex C."""
    if is_stored(status):
        return Delivery(item=item, verdict=Verdict.TAKEN, was_there=status == HELD_ALREADY)
    if status in _LATER or status & 0xFF00 == 0xA700:
        return Delivery(item=item, verdict=Verdict.LATER, reason=refusal(status), ends=True)
    return Delivery(item=item, verdict=Verdict.REFUSED, reason=refusal(status))


def _portions(items: Sequence[Deliverable], preferred: str) -> Iterator[Sequence[Deliverable]]:
    """Halves until the presentation contexts of each part fit in one association (PS3.8 section 9.3.2.2)."""
    if len(contexts_for(items, preferred)) <= MAX_CONTEXTS:
        yield items
    else:
        middle = len(items) // 2
        yield from _portions(items[:middle], preferred)
        yield from _portions(items[middle:], preferred)
