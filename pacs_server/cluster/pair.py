"""Compares what two partners hold: the sums of buckets, of studies in those that differ, then objects of those studies.

Of a million objects that is 80 KB where nothing differs. What is found is exact: every object that one side has and the
other neither has nor has destroyed.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import blake3

from pacs_server.cluster.link import Link
from pacs_server.cluster.messages import Body, list_of, moment_of
from pacs_server.errors import IndexUnavailable, ProtocolViolation
from pacs_server.index.contents import BUCKETS, Contents, Held, StudyContent
from pacs_server.index.retiring import TRASH

SUMS: Final = "sums"
STUDIES: Final = "studies"
CONTENT: Final = "content"
OWE: Final = "owe"
# A study's UID and sum are 90 characters, an object's UIDs and digest 250: a message has 4 MiB.
_STUDIES_AT_ONCE: Final = 20_000
_OBJECTS_AT_ONCE: Final = 10_000
_SERIES_AT_ONCE: Final = 10_000
_MAX_TEXT: Final = 128
_COUNTING_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An object that one side has and the other lacks, received there at that moment."""

    study_uid: str
    series_uid: str
    sop_uid: str
    digest: str
    received_at: datetime


@dataclass(slots=True, kw_only=True)
class Differences:
    """What a comparison found: what is missing here and there, and how many studies differed. `on_their_way` counts
    objects that were owed already, so that nothing but time is missing. `refusal` is why the partner does not send what
    is missing here, empty when it does.
    """

    here: list[Missing] = field(default_factory=list)
    there: list[Missing] = field(default_factory=list)
    studies: int = 0
    on_their_way: int = 0
    refusal: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether both sides hold the same."""
        return not (self.here or self.there or self.on_their_way)

    def leave_out(self, owed_here: Container[tuple[str, str]], owed_there: Container[tuple[str, str]]) -> None:
        """Take what is owed already, by series, for what is on its way."""
        here = [one for one in self.here if (one.study_uid, one.series_uid) not in owed_there]
        there = [one for one in self.there if (one.study_uid, one.series_uid) not in owed_here]
        self.on_their_way += len(self.here) + len(self.there) - len(here) - len(there)
        self.here, self.there = here, there


def compare(link: Link, contents: Contents, *, full: bool = False) -> Differences:
    """Find what one of two partners lacks, whose logs were made the same a moment ago. With `full` the partner counts
    its sums anew from the rows of all objects first.

    Raises: what `Link.ask` raises; IndexUnavailable.
    """
    found = Differences()
    theirs = _numbers(_sums_counted_anew(link) if full else link.ask(SUMS, {}), BUCKETS)
    ours = contents.buckets()
    differing = [bucket for bucket in range(BUCKETS) if ours[bucket] != theirs[bucket]]
    # Few buckets at once: what they have in common need not be in memory.
    for start in range(0, len(differing), 64):
        for study_uid in _differing_studies(link, contents, differing[start : start + 64]):
            found.studies += 1
            here, there = contents.of(study_uid), content_of(link, study_uid)
            found.there += missing(study_uid, of=here, in_=there)
            found.here += missing(study_uid, of=there, in_=here)
    return found


def missing(study_uid: str, *, of: StudyContent, in_: StudyContent) -> Iterator[Missing]:
    """What one side holds of a study and the other neither holds nor has destroyed."""
    known = {(one.sop_uid, one.digest) for one in in_.held} | in_.purged
    for one in of.held:
        if (one.sop_uid, one.digest) not in known:
            yield Missing(
                study_uid=study_uid,
                series_uid=one.series_uid,
                sop_uid=one.sop_uid,
                digest=one.digest,
                received_at=datetime.fromisoformat(one.received_at),
            )


def content_of(link: Link, study_uid: str, series_uid: str = "", *, ours: StudyContent | None = None) -> StudyContent:
    """What the partner holds of a study, or of one series of it; it does not tell what it has as `ours`.

    Raises: what `Link.ask` raises.
    """
    held: list[Held] = []
    purged: set[tuple[str, str]] = set()
    after: Any = ["", ""]
    mark = mark_of(ours) if ours is not None else ""
    while after:
        answer = link.ask(CONTENT, {"study": study_uid, "series": series_uid, "after": after, "mark": mark})
        if ours is not None and answer.get("is_same") is True:
            return ours
        held += [_held(row) for row in _rows(answer, "held", 5)]
        purged |= {(row[0], row[1]) for row in _rows(answer, "purged", 2)}
        after = answer.get("next")
    return StudyContent(held=tuple(held), purged=frozenset(purged))


def ask_for(link: Link, wanted: Mapping[tuple[str, str], datetime], *, heals: bool) -> set[tuple[str, str]]:
    """Which of these series the partner owes us already; with `heals` it owes us all of them then, each since a moment.

    Raises: what `Link.ask` raises.
    """
    rows = [[study_uid, series_uid, at.isoformat()] for (study_uid, series_uid), at in wanted.items()]
    owed: set[tuple[str, str]] = set()
    for start in range(0, len(rows), _SERIES_AT_ONCE):
        answer = link.ask(OWE, {"series": rows[start : start + _SERIES_AT_ONCE], "heals": heals})
        owed |= {(row[0], row[1]) for row in _rows(answer, "owed", 2)}
    return owed


def mark_of(content: StudyContent) -> str:
    """Equal where the same objects are held in the same roles: what a partner acknowledges a series by."""
    hasher = blake3.blake3(f"{len(content.held)}\n".encode())
    for one in content.held:
        hasher.update(f"{one.sop_uid} {one.digest} {one.role}\n".encode())
    return hasher.hexdigest()


def by_series(objects: Iterable[Missing]) -> dict[tuple[str, str], datetime]:
    """The series of these objects, each with the moment at which the oldest of them was received."""
    oldest: dict[tuple[str, str], datetime] = {}
    for one in objects:
        series = one.study_uid, one.series_uid
        oldest[series] = min(oldest.get(series, one.received_at), one.received_at)
    return oldest


def differing(ours: StudyContent, theirs: StudyContent) -> set[str]:
    """The SOP Instance UIDs under which a content has another role here than there."""
    there = {(one.sop_uid, one.digest): one.role for one in theirs.held}
    return {one.sop_uid for one in ours.held if there.get((one.sop_uid, one.digest), one.role) != one.role}


def beside_others(content: StudyContent) -> set[str]:
    """The SOP Instance UIDs under which something is held in this series only beside what is current in another one:
    its roles do not tell whether both sites have the same current.
    """
    current = {one.sop_uid for one in content.held if one.role == "current"}
    return {one.sop_uid for one in content.held if one.role != TRASH} - current


def to_agree_on(ours: Iterable[Held], theirs: Iterable[Held], decided: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Where two sites found different contents of one SOP Instance UID current, the one that was decided on, by UID in
    `decided`, else the one that was received first by whichever of them, as (digest, role here), by UID: both come to
    the same. Only where both hold all of them.

    What is the same values in another syntax on both sides is no matter of choice. On one side alone it may be those of
    a third content that was current there once.
    """
    chosen: dict[str, tuple[str, str]] = {}
    for sop_uid, (here, there) in _contested(ours, theirs).items():
        current = [next((one.digest for one in side if one.role == "current"), "") for side in (here, there)]
        if current[0] == current[1] or not all(current):
            continue
        received: dict[str, str] = {}
        for one in (*here, *there):
            received[one.digest] = min(received.get(one.digest, one.received_at), one.received_at)
        if {one.digest for one in here} != {one.digest for one in there}:
            continue
        first = min(current, key=lambda digest: (received[digest], digest))
        if (wanted := decided.get(sop_uid, "")) in received:
            first = wanted
        elif all(one.role != "version" for one in (*here, *there) if one.digest in current):
            continue
        chosen[sop_uid] = first, next(one.role for one in here if one.digest == first)
    return chosen


def _contested(ours: Iterable[Held], theirs: Iterable[Held]) -> dict[str, tuple[list[Held], list[Held]]]:
    found: dict[str, tuple[list[Held], list[Held]]] = {}
    for side, held in enumerate((ours, theirs)):
        for one in held:
            if one.role != TRASH:
                found.setdefault(one.sop_uid, ([], []))[side].append(one)
    return {sop_uid: sides for sop_uid, sides in found.items() if len(sides[0]) > 1 and len(sides[1]) > 1}


# --- the side that is asked ---


class SumsAnswered:
    """Answers the sum of every bucket. Where a partner wants them counted anew, a thread does so, because that may take
    longer than a partner waits for an answer; it asks again until they are counted, each time with the same name.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._lock = threading.Lock()
        self._name = ""
        self._counting: threading.Thread | None = None
        self._is_counted = False
        self._problem = ""

    def answer(self, body: Body) -> Body:
        """Raises: ProtocolViolation; IndexUnavailable, also when the index was away while it was counted."""
        if "recount" in body and not self._is_done(_text(body["recount"])):
            return {"is_counting": True}
        return {"sums": self._contents.buckets()}

    def _is_done(self, name: str) -> bool:
        """Whether they were counted for this name; begins to when they were not, once nothing is counted any more."""
        with self._lock:
            if self._counting is not None and self._counting.is_alive():
                return False
            if name == self._name:
                if self._is_counted:
                    return True
                raise IndexUnavailable(self._problem or "the sums were not counted: the log says why")
            self._name, self._is_counted, self._problem = name, False, ""
            self._counting = threading.Thread(target=self._count, name="recount", daemon=True)
            self._counting.start()
        return False

    def _count(self) -> None:
        try:
            self._contents.recount()
            self._is_counted = True
        except IndexUnavailable as error:
            self._problem = str(error)


def answer_studies(body: Body, contents: Contents) -> Body:
    """The studies of some buckets, and the sum of each. Raises: ProtocolViolation; IndexUnavailable."""
    buckets = body.get("buckets")
    if not isinstance(buckets, list) or not all(type(one) is int and 0 <= one < BUCKETS for one in buckets):
        raise ProtocolViolation("a question names no buckets")
    rows = contents.studies(buckets, after=_text(body.get("after")), limit=_STUDIES_AT_ONCE)
    return {"studies": rows, "next": rows[-1][0] if len(rows) == _STUDIES_AT_ONCE else ""}


def answer_content(body: Body, contents: Contents) -> Body:
    """What is held of a study, or a series, behind a place. Raises: ProtocolViolation; IndexUnavailable."""
    after = body.get("after")
    if not isinstance(after, list) or len(after) != 2:
        raise ProtocolViolation("a question names no place")
    place = _text(after[0]), _text(after[1])
    content = contents.of(_text(body.get("study")), _text(body.get("series")))
    if body.get("mark") == mark_of(content):
        return {"is_same": True}
    behind = [one for one in content.held if (one.sop_uid, one.digest) > place]
    part = behind[:_OBJECTS_AT_ONCE]
    rows = [[one.series_uid, one.sop_uid, one.digest, one.role, one.received_at] for one in part]
    last = [part[-1].sop_uid, part[-1].digest] if len(part) < len(behind) else None
    return {"held": rows, "purged": [] if any(place) else sorted(content.purged), "next": last}


def series_asked_for(body: Body) -> dict[tuple[str, str], datetime]:
    """What a partner asks us to owe it. Raises: ProtocolViolation."""
    return {(row[0], row[1]): moment_of(row[2]) for row in _rows(body, "series", 3)}


def _differing_studies(link: Link, contents: Contents, buckets: Sequence[int]) -> list[str]:
    ours: dict[str, int] = {}
    after = ""
    while rows := contents.studies(buckets, after=after, limit=_STUDIES_AT_ONCE):
        ours |= dict(rows)
        after = rows[-1][0]
    theirs: dict[str, int] = {}
    after, more = "", True
    while more:
        answer = link.ask(STUDIES, {"buckets": list(buckets), "after": after})
        for row in list_of(answer, "studies"):
            if not isinstance(row, list) or len(row) != 2 or type(row[1]) is not int:
                raise ProtocolViolation("an answer has something that is no study where one belongs")
            theirs[_text(row[0])] = row[1]
        after = _text(answer.get("next"))
        more = bool(after)
    return sorted(uid for uid in ours.keys() | theirs.keys() if ours.get(uid, 0) != theirs.get(uid, 0))


def _sums_counted_anew(link: Link) -> Body:
    """The sums of a partner that has counted; while it does, it says so, however long that takes."""
    question: Body = {"recount": secrets.token_hex(8)}
    while (answer := link.ask(SUMS, question)).get("is_counting") is True:
        time.sleep(_COUNTING_S)
    return answer


def _numbers(answer: Body, count: int) -> list[int]:
    sums = list_of(answer, "sums")
    if len(sums) != count or not all(type(one) is int for one in sums):
        raise ProtocolViolation(f"an answer has not {count} whole numbers for its sums")
    return sums


def _rows(body: Body, name: str, width: int) -> list[list[str]]:
    rows = list_of(body, name)
    for row in rows:
        if not isinstance(row, list) or len(row) != width or not all(isinstance(one, str) for one in row):
            raise ProtocolViolation(f"a row of {name} is not so many texts as belong there")
    return rows


def _held(row: Sequence[str]) -> Held:
    series_uid, sop_uid, digest, role, received_at = row
    moment_of(received_at)
    return Held(series_uid=series_uid, sop_uid=sop_uid, digest=digest, role=role, received_at=received_at)


def _text(told: Any) -> str:
    if not isinstance(told, str) or len(told) > _MAX_TEXT:
        raise ProtocolViolation("a message has no text, or too long a one, where a text belongs")
    return told
