"""A comparison with another archive tells the same in the same order each time, and of what it was not told."""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import pytest
from support.site import NOW, Site

from pacs_server.archive.comparing import Compared, Comparison, DifferenceKind
from pacs_server.dicom.attributes import Level
from pacs_server.errors import AssociationBroken, PeerFailed, PeerRejected
from pacs_server.index.engine import Index
from pacs_server.index.queries.search import Search


class Empty:
    """An archive that holds nothing."""

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        return iter(())


class Capped:
    """An archive that names one of its studies without a date, and then gives up."""

    def __init__(self, refusal: PeerFailed) -> None:
        self._refusal = refusal

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        if level is Level.STUDY and not keys["StudyDate"]:
            yield dict.fromkeys(keys, "") | {"StudyInstanceUID": "1.2.3"}
            raise self._refusal
        if level is not Level.STUDY and keys["StudyInstanceUID"] == "1.2.3":
            yield dict.fromkeys(keys, "") | {"SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}


def compared(index: Index, site: Site, other: Empty | Capped) -> Compared:
    """What has no date, which comes last; here that is a study of nine objects."""
    comparison = Comparison(other, Search(index), site.instances.operations, {}, is_thorough=False)
    *_, last = comparison.everything(NOW.date(), NOW.date(), NOW.date(), [site.samples[0].study_uid])
    return last


def test_what_another_archive_lacks_is_told_in_order(index: Index, tmp_path: Path) -> None:
    site = Site(index, tmp_path)
    site.take_in(9)
    last = compared(index, site, Empty())
    assert {one.kind for one in last.differences} == {DifferenceKind.MISSING_THERE}
    assert [one.sop_uid for one in last.differences] == sorted(one.sop_uid for one in site.samples)


@pytest.mark.parametrize("refusal", [PeerRejected("too many"), AssociationBroken("too many")])
def test_that_another_archive_does_not_name_all_is_told_beside_what_it_names(
    index: Index, tmp_path: Path, refusal: PeerFailed
) -> None:
    site = Site(index, tmp_path)
    site.take_in(9)
    last = compared(index, site, Capped(refusal))
    assert last.problem == "too many"
    assert [one.sop_uid for one in last.differences if one.kind is DifferenceKind.MISSING_HERE] == ["1.2.3.4.5"]


def test_a_study_whose_date_the_other_archive_writes_otherwise_is_compared_once(index: Index, tmp_path: Path) -> None:
    site = Site(index, tmp_path)
    site.take_in(2)
    (study,) = {one.study_uid for one in site.samples}

    class Dotted:
        """An archive that gives dates as they came, from before DICOM, and finds them in no range."""

        def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
            if level is Level.STUDY and not keys["StudyDate"]:
                yield dict.fromkeys(keys, "") | {"StudyInstanceUID": study, "StudyDate": "2026.01.02"}

    comparison = Comparison(Dotted(), Search(index), site.instances.operations, {}, is_thorough=False)
    parts = list(comparison.everything(date(2026, 1, 1), date(2026, 1, 1), date(2026, 2, 1), []))
    assert sum(part.studies for part in parts) == 1
    assert len([one for part in parts for one in part.differences]) == 2
