"""Compares what is held with what another archive says it holds: by C-FIND, study by study, closer where they differ.

Counts of other archives are not believed when they differ, nor is a study missing because a list does not name it: its
objects are asked for one by one before anything is called missing.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.operations import Fate
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import AssociationBroken, PeerRejected
from pacs_server.index.operations import Operations
from pacs_server.index.queries.search import Deliverable, Search

# Before it there were no digital images.
FIRST_DAY: Final = date(1980, 1, 1)
_ONE_DAY: Final = timedelta(days=1)
_ASKED_AT_ONCE: Final = 200
_STUDY_KEYS: Final = ("StudyInstanceUID", "NumberOfStudyRelatedInstances")
_SERIES_KEYS: Final = ("SeriesInstanceUID", "NumberOfSeriesRelatedInstances")
_IMAGE_KEYS: Final = ("SOPInstanceUID", "SOPClassUID")


class Queried(Protocol):
    """Another archive that answers queries."""

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        """The answers to a query, by the keywords that were asked for.

        Raises: PeerRejected when it ends with a failure, for instance because there are too many answers.
        """


class DifferenceKind(StrEnum):
    """Where an object is not."""

    MISSING_HERE = "missing here"
    MISSING_THERE = "missing there"
    DELETED_HERE = "deleted here, held there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One object that only one of two archives has."""

    kind: DifferenceKind
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One period that was compared: so many studies were looked at, and so differ their objects. `period` is for a
    person; `problem` says why the other archive does not name all of its studies there.
    """

    period: str
    studies: int
    differences: tuple[Difference, ...]
    problem: str = ""


class Comparison:
    """One comparison with another archive. `keys` narrow it, as those of a query for studies; one that `is_thorough`
    asks for every object, also where the counts agree. Belongs to one thread.
    """

    def __init__(
        self,
        other: Queried,
        search: Search,
        operations: Operations,
        keys: Mapping[str, str],
        *,
        is_thorough: bool,
    ) -> None:
        self._other = other
        self._search = search
        self._operations = operations
        self._keys = dict(keys)
        self._is_thorough = is_thorough

    def everything(
        self, first: date, held_since: date, today: date, undated: Sequence[str] | None
    ) -> Iterator[Compared]:
        """Compare from the day `first` on: year by year until the day of the first study here, then month by month, so
        that no list of answers grows without bound; or, where the keys name a date, at once. Those without a date come
        last, unless `undated` is None; else it names the ones here, and those of days before.

        Raises: PeerRejected or AssociationBroken; BadQuery; IndexUnavailable.
        """
        if "StudyDate" in self._keys:
            yield self._compared(self._keys["StudyDate"])
            return
        for begin, end in periods(first, held_since, today):
            yield from self._between(begin, end)
        if undated is not None:
            yield self._without_date(undated, first)

    def _between(self, begin: date, end: date) -> Iterator[Compared]:
        """A period, in halves where the other archive does not answer for the whole of it."""
        try:
            yield self._compared(f"{_day(begin)}-{_day(end)}")
        except PeerRejected:
            if begin == end:
                raise
            middle = begin + (end - begin) // 2
            yield from self._between(begin, middle)
            yield from self._between(middle + _ONE_DAY, end)

    def _compared(self, period: str) -> Compared:
        asked = dict.fromkeys(_STUDY_KEYS, "") | self._keys | {"StudyDate": period}
        theirs = {
            one["StudyInstanceUID"]: _number(one["NumberOfStudyRelatedInstances"])
            for one in self._other.find(Level.STUDY, asked)
        }
        ours = self._counts(self._keys | {"StudyDate": period})
        return self._differing(period, ours, theirs)

    def _without_date(self, held: Sequence[str], first: date) -> Compared:
        """The studies that no period finds: without a date, with one that is none, or from before the first. They can
        be asked for only together with all others (PS3.4 section C.2.2.2.3).
        """
        asked = dict.fromkeys((*_STUDY_KEYS, "StudyDate"), "") | self._keys
        theirs: dict[str, int | None] = {}
        problem = ""
        try:
            for one in self._other.find(Level.STUDY, asked):
                if not _is_from(one["StudyDate"], first):
                    theirs[one["StudyInstanceUID"]] = _number(one["NumberOfStudyRelatedInstances"])
        except (PeerRejected, AssociationBroken) as error:  # so many may take longer than it, or we, wait
            problem = str(error)
        in_a_period = self._among(list(theirs), self._keys | {"StudyDate": f"{_day(first)}-"})
        theirs = {uid: count for uid, count in theirs.items() if uid not in in_a_period}
        ours = self._among(held, self._keys)
        return replace(self._differing("without a date", ours, theirs), problem=problem)

    def _differing(self, period: str, ours: Mapping[str, int | None], theirs: Mapping[str, int | None]) -> Compared:
        studies = dict.fromkeys((*ours, *theirs))
        suspects = [uid for uid in studies if not self._agree(ours.get(uid), theirs.get(uid))]
        found = tuple(one for uid in suspects for one in self._study(uid))
        return Compared(period=period, studies=len(studies), differences=found)

    def _among(self, uids: Sequence[str], keys: Mapping[str, str]) -> dict[str, int | None]:
        """Those of these studies that are here and fit keys, with their counts."""
        counts: dict[str, int | None] = {}
        for start in range(0, len(uids), _ASKED_AT_ONCE):
            some = uids[start : start + _ASKED_AT_ONCE]
            found = self._counts({"StudyInstanceUID": "\\".join(some)} | dict(keys))
            counts |= {uid: found[uid] for uid in some if uid in found}
        return counts

    def _agree(self, ours: int | None, theirs: int | None) -> bool:
        """Whether two counts are the same, and that is enough."""
        return not self._is_thorough and ours is not None and ours == theirs

    def _counts(self, keys: Mapping[str, str]) -> dict[str, int | None]:
        query = query_from_keywords(Level.STUDY, keys)
        columns = [BY_KEYWORD[keyword] for keyword in _STUDY_KEYS]
        return {str(uid): int(count or 0) for uid, count in self._search.find(query, columns)}

    def _study(self, uid: str) -> Iterator[Difference]:
        """Where the objects of a study differ, by what the other archive says of each series, then of each object."""
        here: dict[str, dict[str, Deliverable]] = {}
        for one in self._search.deliverables(RetrieveRequest(level=Level.STUDY, study_uids=(uid,))):
            here.setdefault(one.series_uid, {})[one.sop_uid] = one
        there = {
            one["SeriesInstanceUID"]: _number(one["NumberOfSeriesRelatedInstances"])
            for one in self._other.find(Level.SERIES, {"StudyInstanceUID": uid} | dict.fromkeys(_SERIES_KEYS, ""))
        }
        for series_uid in dict.fromkeys((*here, *there)):
            ours = here.get(series_uid, {})
            if self._agree(len(ours), there.get(series_uid)):
                continue
            of_series = partial(Difference, study_uid=uid, series_uid=series_uid)
            keys = {"StudyInstanceUID": uid, "SeriesInstanceUID": series_uid} | dict.fromkeys(_IMAGE_KEYS, "")
            theirs = {one["SOPInstanceUID"]: one for one in self._other.find(Level.IMAGE, keys)}
            for sop_uid in sorted(ours.keys() - theirs.keys()):
                missing, sop_class = DifferenceKind.MISSING_THERE, ours[sop_uid].sop_class
                yield of_series(kind=missing, sop_uid=sop_uid, sop_class=sop_class)
            for sop_uid in sorted(theirs.keys() - ours.keys()):
                decided = self._operations.fates(sop_uid, study_uid=uid).values()
                is_deleted = any(fate is not Fate.KEPT for fate in decided)
                kind = DifferenceKind.DELETED_HERE if is_deleted else DifferenceKind.MISSING_HERE
                yield of_series(kind=kind, sop_uid=sop_uid, sop_class=theirs[sop_uid]["SOPClassUID"])


def periods(first: date, held_since: date, today: date) -> Iterator[tuple[date, date]]:
    """The days from `first` on in years, after `held_since` in months; those before there were digital images at once.
    The last one has what a wrong clock dated later, or a device that has no date as 9999-12-31.
    """
    begin = first
    if begin < FIRST_DAY:
        yield begin, FIRST_DAY - _ONE_DAY
        begin = FIRST_DAY
    while begin <= today:
        end = date(begin.year, 12, 31)
        if end >= held_since:
            end = begin.replace(day=monthrange(begin.year, begin.month)[1])
        yield begin, end
        begin = end + _ONE_DAY
    yield begin, date.max


def _day(day: date) -> str:
    return day.isoformat().replace("-", "")


def _is_from(text: str, first: date) -> bool:
    """Whether a study has a date, of that day or later."""
    try:
        return datetime.strptime(text.strip(), "%Y%m%d").date() >= first  # noqa: DTZ007
    except ValueError:
        return False


def _number(text: str) -> int | None:
    """A count as an archive tells it; None where it tells none."""
    return int(text) if text.isdecimal() else None
