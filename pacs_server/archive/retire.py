"""Takes objects out of sight, brings them back, and destroys them in the end: each an operation, which lies on every
volume before it takes effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Final

from pacs_server.dicom.deposits import Deposit
from pacs_server.dicom.operations import MAX_OBJECTS, Content, Operation, OperationKind
from pacs_server.errors import IndexUnavailable, Refused
from pacs_server.index.looking import looking
from pacs_server.index.operations import Operations
from pacs_server.index.queries.trash import Held
from pacs_server.index.site.partners import Partner
from pacs_server.index.site.retention import Purging, Retention
from pacs_server.storage.operations import keep_everywhere
from pacs_server.storage.volume import Volume

_TOLD_WITHIN: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """Who decides, when and why, and where decisions are kept."""

    who: str
    reason: str
    now: datetime
    operations: Operations
    volumes: Sequence[Volume]
    partners: Sequence[Partner] = ()

    def decide(
        self,
        kind: OperationKind,
        study_uid: str,
        objects: Iterable[Content] = (),
        *,
        deposit: Deposit | None = None,
    ) -> Operation:
        """Let an operation take effect: its file on every volume that takes it, flushed, then its rows. Killed between
        the two, it takes effect when the volumes are read for operations next. It is answered with those objects alone
        that are deleted, restored or purged then: a study that was put on hold meanwhile keeps its own.

        Raises: NotEnoughCopies when no volume takes it; IndexUnavailable, which tells of it where its file is there.
        """
        if kind is OperationKind.RESTORE:  # a hold has said it before its first operation
            objects = self.operations.as_brought_back(study_uid, objects)
        operation = self.operations.draft(
            kind, study_uid, objects, now=self.now, who=self.who, reason=self.reason, deposit=deposit
        )
        missed = self._keep(operation)
        try:
            # Nothing happens the second time to what was committed the first time.
            return looking(self._take_effect)(operation, missed)
        except IndexUnavailable as error:
            decided = (
                f"the decision about study {operation.study_uid} is on the volumes already, and takes effect with the "
                "next one: once the index is back, ask for it again"
            )
            raise type(error)(error.problem, "; ".join(filter(None, (error.remedy, decided)))) from error

    def _take_effect(self, operation: Operation, missed: Sequence[str]) -> Operation:
        if operation.kind is not OperationKind.PURGE:
            return self.operations.record(operation, missed=missed, now=self.now)
        # What was put on hold or restored since it was drafted comes back before.
        (done,) = self.operations.take_over(
            [operation], lambda one: missed if one is operation else self._keep(one), now=self.now
        )
        return done

    def _keep(self, operation: Operation) -> list[str]:
        return [volume.spec.id for volume in keep_everywhere(operation, self.volumes)]


def delete(objects: Sequence[Held], decider: Decider) -> Iterator[Operation]:
    """Put objects into the trash: they are found no more, and nothing of them is destroyed.

    Raises: Refused when one of their studies is on hold, and then nothing is done; NotEnoughCopies; IndexUnavailable.
    """
    refuse_held_back(objects)
    yield from _decide_each(OperationKind.DELETE, objects, decider)


def hold(study_uids: Iterable[str], decider: Decider) -> Iterator[Operation]:
    """Put studies on hold; what of them is in the trash comes back, and is named, so that a purge on another site that
    is not known here does not destroy it. A study of which very much is in the trash takes several.

    Raises: NotEnoughCopies; IndexUnavailable.
    """
    for study_uid in study_uids:
        # Before the first operation, which brings all of it back.
        trashed = decider.operations.as_brought_back(study_uid, decider.operations.trashed(study_uid))
        for start in range(0, max(1, len(trashed)), MAX_OBJECTS):
            yield decider.decide(OperationKind.HOLD, study_uid, trashed[start : start + MAX_OBJECTS])


def restore(objects: Sequence[Held], decider: Decider) -> Iterator[Operation]:
    """Bring objects back from the trash: of several contents of one that which was deleted last comes first, and is the
    current one. Raises: NotEnoughCopies; IndexUnavailable.
    """
    in_order = sorted(objects, key=lambda one: (one.study_uid, one.content.sop_uid, -one.trashed_by))
    yield from _decide_each(OperationKind.RESTORE, in_order, decider)


def purge(objects: Sequence[Held], retention: Retention, decider: Decider) -> Iterator[Operation]:
    """Destroy objects that are in the trash, for ever; what must still be kept is passed over.

    Their files leave every volume, also one that is away now once it is back, and a tombstone stays.

    Raises: Refused when the site does not destroy anything; NotEnoughCopies; IndexUnavailable.
    """
    refuse_unless_purging(retention)
    due = [one for one in objects if not kept_because(one, retention, decider.partners, decider.now)]
    yield from _decide_each(OperationKind.PURGE, due, decider)


def refuse_held_back(objects: Sequence[Held]) -> None:
    """Raises: Refused when one of their studies is on hold."""
    if held_back := sorted({one.study_uid for one in objects if one.is_held_back}):
        raise Refused(
            f"{len(held_back)} of the studies are on hold ({held_back[0]}), so nothing was deleted; "
            "pacs hold list says why, pacs hold remove ends a hold"
        )


def refuse_unless_purging(retention: Retention) -> None:
    """Raises: Refused when the site destroys nothing, which is so until an admin decides otherwise."""
    if retention.purging is Purging.NEVER:
        raise Refused("nothing is destroyed on this site: pacs retention set --purge by-hand allows it")


def kept_because(one: Held, retention: Retention, partners: Iterable[Partner], now: datetime) -> str:
    """Why an object must not be destroyed now; empty when it may be.

    A partner may have put its study on hold, which beats the deletion: so it has to know of the deletion, and to have
    told a moment ago what was decided there. What it decides after that loses nothing: it has to have every series of
    the study itself.
    """
    if one.is_held_back:
        return "its study is on hold"
    if one.trashed_at is None:
        return "it is not in the trash"
    over = one.trashed_at + timedelta(days=retention.grace_days)
    if now < over:
        return f"it stays in the trash until {over:%Y-%m-%d}"
    # A date of the year 9999, which stands for none that is known, is not followed by many days.
    keep = one.made_on + min(timedelta(days=retention.keep_days), date.max - one.made_on)
    if now.date() < keep:
        return f"its study has to be kept until {keep}"
    for partner in partners:
        if one.trashed_by > partner.acknowledged:
            return f"partner {partner.name} does not know yet that it was deleted"
        if partner.exchanged_at is None or abs(now - partner.exchanged_at) > _TOLD_WITHIN:
            return f"partner {partner.name} was not heard of for {_TOLD_WITHIN.seconds // 60} minutes"
    return f"partner {one.owed_to} does not have all of its series yet" if one.owed_to else ""


def _decide_each(kind: OperationKind, objects: Sequence[Held], decider: Decider) -> Iterator[Operation]:
    for study_uid, of_study in groupby(objects, key=lambda one: one.study_uid):
        contents = [one.content for one in of_study]
        for start in range(0, len(contents), MAX_OBJECTS):
            yield decider.decide(kind, study_uid, contents[start : start + MAX_OBJECTS])
