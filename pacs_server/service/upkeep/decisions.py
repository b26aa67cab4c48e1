"""What a person decides about objects, from the command line: wired to the volumes that keep each decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server.archive import retire
from pacs_server.archive.operations import learn
from pacs_server.archive.retire import Decider, kept_because
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.operations import Content, Operation, OperationKind
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.queries.predicates import Predicate
from pacs_server.errors import BadQuery, Refused, UnknownName
from pacs_server.index.fates import Hold, holds_of
from pacs_server.index.queries.trash import Held, Trash
from pacs_server.index.queries.view import contents_view
from pacs_server.index.site.retention import retention_of
from pacs_server.service.assemble import Node
from pacs_server.service.contacts import remembered
from pacs_server.service.person import this_person
from pacs_server.service.roll_call import node_name
from pacs_server.service.telling import serving
from pacs_server.service.upkeep.tiers import release_what_is_due

# Of the days that something stays in the trash none is lost by so little.
_CLOCKS_DIFFER: Final = timedelta(hours=1)


def decider(node: Node, reason: str, *, who: str = "") -> Decider:
    """Who decides, the one who runs this command unless it is said, and knows what the volumes know: a decision comes
    after all before it.

    Raises: Refused without a reason; IndexUnavailable; VolumeUnavailable when a volume fails while it is read.
    """
    if not reason.strip():
        raise Refused("a reason is needed; whoever reads the history later has nothing else: --reason TEXT")
    now = _now(node)
    volumes = node.volumes()
    for volume in volumes:
        if volume.check().is_readable:
            learn(volume, node.instances.operations, volumes, now=now)
    return Decider(
        who=who or this_person(),
        reason=reason,
        now=now,
        operations=node.instances.operations,
        volumes=volumes,
        partners=node.partners.all(),
    )


def _now(node: Node) -> datetime:
    """The time; by the clock of PostgreSQL where that of this node is far behind: what is deleted by it would stay in
    the trash for less than it has to. Raises: IndexUnavailable.
    """
    now, told = datetime.now(UTC), node.nodes.clock()
    return told if told is not None and told - now > _CLOCKS_DIFFER else now


def to_delete(node: Node, keys: Mapping[str, str]) -> list[Held]:
    """The objects that these keys select, with every version of them.

    Raises: BadQuery when there is no key, or one is unknown; Refused when a study is on hold.
    """
    found = Trash(node.index).found(_predicates(node, keys))
    retire.refuse_held_back(found)
    return found


def in_trash(node: Node, keys: Mapping[str, str]) -> list[Held]:
    """The objects in the trash that these keys select, or all. Raises: BadQuery when a key is unknown."""
    return Trash(node.index).trashed(_predicates(node, keys) if keys else ())


def delete(node: Node, objects: list[Held], reason: str) -> Iterator[Operation]:
    """Put objects into the trash. Raises: Refused when a study is on hold; NotEnoughCopies; IndexUnavailable."""
    return retire.delete(objects, decider(node, reason))


def restore(node: Node, objects: list[Held], reason: str) -> Iterator[Operation]:
    """Bring objects back from the trash. Raises: NotEnoughCopies; IndexUnavailable."""
    return retire.restore(objects, decider(node, reason))


def due(node: Node, objects: list[Held]) -> tuple[list[Held], Counter[str]]:
    """Those of the objects that may be destroyed now, and why others must not, with how many there are of each.

    Raises: Refused when this site destroys nothing, or the clock of this node is in doubt; IndexUnavailable.
    """
    retention, now = retention_of(node.index), datetime.now(UTC)
    retire.refuse_unless_purging(retention)
    refuse_doubtful_clock(node, now)
    partners = node.partners.all()
    reasons = [(one, kept_because(one, retention, partners, now)) for one in objects]
    return [one for one, why in reasons if not why], Counter(why for _, why in reasons if why)


def refuse_doubtful_clock(node: Node, now: datetime) -> None:
    """Destroy nothing by a clock that has perhaps jumped ahead: the trash would be emptied long before its time. It is
    compared with those of PostgreSQL and of the partners that were greeted last.

    Raises: Refused; IndexUnavailable.
    """
    others = {one.name: timedelta(seconds=-one.clock_ahead_s) for one in remembered(node.settings.data_dir).values()}
    if (told := node.nodes.clock()) is not None:
        others["the database"] = now - told
    for name, ahead in others.items():
        if abs(ahead) > _CLOCKS_DIFFER:
            raise Refused(
                f"the clock of this node is {ahead.total_seconds():+.0f} s from that of {name}, and nothing is "
                "destroyed by a clock that may be wrong: set both by NTP"
            )


def purge(node: Node, objects: list[Held], reason: str) -> Iterator[Operation]:
    """Destroy those objects in the trash whose time is over. The running server removes their files, or this when
    none runs.

    Raises: Refused; NotEnoughCopies; IndexUnavailable.
    """
    for operation in retire.purge(objects, retention_of(node.index), decider(node, reason)):
        for content in operation.objects:
            node.transcoder.forget(content.digest)
        yield operation
    if serving(node.settings.data_dir) is None:
        release_what_is_due(node, f"{node_name(node.settings)}:purge")


def hold(node: Node, keys: Mapping[str, str], reason: str) -> Iterator[Operation]:
    """Put the studies that these keys select on hold; those that are so already are passed over.

    Raises: UnknownName when there is no such study; BadQuery; NotEnoughCopies; IndexUnavailable.
    """
    uids = _studies(node, keys)
    held = {one.study_uid for one in holds_of(node.index)}
    return retire.hold([uid for uid in uids if uid not in held], decider(node, reason))


def on_hold(node: Node, keys: Mapping[str, str]) -> list[Hold]:
    """The holds of the studies that these keys select.

    Raises: UnknownName when there is no such study; BadQuery; IndexUnavailable.
    """
    uids = set(_studies(node, keys))
    return [one for one in holds_of(node.index) if one.study_uid in uids]


def release(node: Node, holds: Sequence[Hold], reason: str) -> Iterator[Operation]:
    """End these holds. Raises: Refused without a reason; NotEnoughCopies; VolumeUnavailable; IndexUnavailable."""
    by = decider(node, reason)
    return (by.decide(OperationKind.RELEASE, one.study_uid) for one in holds)


def use_version(node: Node, sop_uid: str, digest: str, reason: str) -> Operation:
    """Make one content, by the beginning of its digest, the one of its SOP Instance UID that its study shows.

    Raises: UnknownName when there is none such, or more than one; Refused when it is in the trash or current already.
    """
    objects = node.copies.of_objects([sop_uid])
    named = [one for one in objects if one.digest.startswith(digest.lower())]
    if len(named) != 1:
        shown = ", ".join(f"{one.digest[:16]} ({one.role})" for one in objects) or "none"
        raise UnknownName(f"{len(named)} contents under this SOP Instance UID begin so; there are: {shown}")
    (chosen,) = named
    if chosen.role not in ("version", "encoding"):
        raise Refused(f"this content is {chosen.role}, so it cannot be made the current one")
    study_uid = node.instances.study_of(chosen.row)
    content = Content(sop_uid=sop_uid, digest=chosen.digest, role=chosen.role)
    return decider(node, reason).decide(OperationKind.VERSION, study_uid, [content])


def use_latest(node: Node, study_uid: str, reason: str) -> Operation:
    """Make of each object of a study the content current that came last, as after a correction of all of it.

    Raises: UnknownName when that is so of each one already, or there is no such study.
    """
    last = {
        row["sop_uid"]: row for row in contents_view(node.index, study_uid) if row["role"] in ("current", "version")
    }
    chosen = [
        Content(sop_uid=row["sop_uid"], digest=row["digest"], role=row["role"])
        for row in last.values()
        if row["role"] == "version"
    ]
    if not chosen:
        raise UnknownName("no object of this study has a later content than the current one: pacs conflicts show")
    return decider(node, reason).decide(OperationKind.VERSION, study_uid, chosen)


def _studies(node: Node, keys: Mapping[str, str]) -> Sequence[str]:
    uids = Trash(node.index).uids_of_studies(_predicates(node, keys))
    if not uids:
        raise UnknownName("no study is held that these keys select; pacs find studies KEY=VALUE shows what does")
    return uids


def _predicates(node: Node, keys: Mapping[str, str]) -> tuple[Predicate, ...]:
    predicates = query_from_keywords(Level.IMAGE, keys, node.vocabulary()).predicates
    if not predicates:
        raise BadQuery("at least one KEY=VALUE that selects something is needed, for instance StudyInstanceUID=1.2.3")
    return predicates
