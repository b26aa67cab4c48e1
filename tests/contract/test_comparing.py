"""A comparison with another archive tells the same in the same order each time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from support.site import NOW, Site

from pacs_server.archive.comparing import Comparison, DifferenceKind
from pacs_server.dicom.attributes import Level
from pacs_server.index.engine import Index
from pacs_server.index.queries.search import Search


class Empty:
    """An archive that holds nothing."""

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        return iter(())


def test_what_another_archive_lacks_is_told_in_order(index: Index, tmp_path: Path) -> None:
    site = Site(index, tmp_path)
    site.take_in(9)
    comparison = Comparison(
        Empty(), Search(index), site.instances.operations, {"StudyDate": "19000101"}, is_thorough=False
    )
    *_, last = comparison.everything(NOW.date(), NOW.date(), NOW.date(), [site.samples[0].study_uid])
    assert {one.kind for one in last.differences} == {DifferenceKind.MISSING_THERE}
    assert [one.sop_uid for one in last.differences] == sorted(one.sop_uid for one in site.samples)
