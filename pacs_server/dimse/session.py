"""What a service works with: the association, who is calling, and the parts of the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from pacs_server.archive.reception import Declared, Origin, Reception
from pacs_server.codecs.transcoder import Transcoder
from pacs_server.dicom.audit import Actor, Event, EventKind, EventOutcome, digest_over
from pacs_server.dicom.vocabulary import Vocabulary
from pacs_server.dimse.access import Admission, Caller
from pacs_server.dimse.reporting import OpenRequests, Requester
from pacs_server.dimse.turns import Turns
from pacs_server.index.deposits import Deposits
from pacs_server.index.queries.search import Deliverable, Search
from pacs_server.index.sending.commitments import Commitments
from pacs_server.index.site.registry import Registry
from pacs_server.index.site.users import Users
from pacs_server.net.association import Association
from pacs_server.settings import Settings
from pacs_server.storage.placement import NamesCopy, Placement

Fetch: TypeAlias = Callable[[Sequence[Deliverable], Callable[[], bool]], Iterator[tuple[Deliverable, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The parts of the archive that services use. `placement` and `vocabulary` answer with those of this moment,
    `take_over_changes` looks at once for what an admin changed, `admission` says who is let in then, `receive` begins
    an object, which a partner may hand on from the AE title that it names, `on_damage` is told of a copy that is bad,
    `on_read` of each object that somebody got, `requests` are those that wait for a report. `fetch` has objects come
    from the archive servers that keep them, until it is stopped: each with the copies that it has then, or with why it
    did not come. What `audit` is told goes into the audit trail, without the answer waiting for that. `turns` are those
    of retrieves that send to the same destination.
    """

    settings: Settings
    search: Search
    transcoder: Transcoder
    registry: Registry
    users: Users
    take_over_changes: Callable[[], None]
    admission: Callable[[], Admission]
    placement: Callable[[], Placement]
    receive: Callable[[Declared, Origin, str], Reception]
    vocabulary: Callable[[], Vocabulary]
    on_damage: Callable[[Deliverable, NamesCopy, str], None]
    on_read: Callable[[Deliverable], None]
    commitments: Commitments
    deposits: Deposits
    requests: OpenRequests
    fetch: Fetch
    audit: Callable[[Event], None]
    turns: Turns = field(default_factory=Turns)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was done on one association; written by its thread, read by `status`."""

    stored: int = 0
    refused: int = 0
    received_bytes: int = 0
    answered: int = 0
    sent: int = 0
    not_sent: int = 0
    doing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One association that was accepted, from its first message to its end."""

    association: Association
    caller: Caller
    archive: Archive
    since: datetime
    tally: Tally = field(default_factory=Tally)
    requester: Requester = field(default_factory=Requester)

    @property
    def actor(self) -> Actor:
        """Who asks for what is done on it."""
        association = self.association
        return Actor(
            who=self.caller.aet,
            address=association.peer_address,
            association=association.number,
            person=self.caller.person,
        )

    def audit(
        self,
        kind: EventKind,
        outcome: EventOutcome = EventOutcome.DONE,
        *,
        target: str = "",
        patient_id: str = "",
        issuer: str = "",
        study_uid: str = "",
        count: int = 0,
        sop_uids: Iterable[str] = (),
        detail: str = "",
    ) -> None:
        """Have the audit trail tell of something on it; `sop_uids` are the objects that it was about, and count."""
        actor, uids = self.actor, list(sop_uids)
        event = Event(
            kind=kind,
            at=datetime.now(UTC),
            outcome=outcome,
            who=actor.who,
            person=actor.person,
            address=actor.address,
            target=target,
            patient_id=patient_id,
            issuer=issuer,
            study_uid=study_uid,
            count=len(uids) or count,
            uid_digest=digest_over(uids) if uids else "",
            detail="; ".join(filter(None, (detail, actor.channel))),
        )
        self.archive.audit(event)
