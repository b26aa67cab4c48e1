"""What becomes of an object that arrives: where it lies, what it is beside others, and what is noted of it."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from sqlalchemy import select
from support.samples import encoded, tiny
from support.server import files_below
from support.site import NOW, SENDER, Site

from pacs_server.archive.ingest import ingest
from pacs_server.archive.operations import learn
from pacs_server.archive.reception import Declared, Reception
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.operations import Content, OperationKind
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.errors import NotEnoughCopies
from pacs_server.index.engine import Index
from pacs_server.index.objects import Arrival, Outcome, Recorded
from pacs_server.index.operations import SENT_AGAIN
from pacs_server.index.tables import flags, instances
from pacs_server.storage.operations import keep_everywhere

IN_MEMORY = 1 << 20


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Site:
    return Site(index, tmp_path)


def taken(
    site: Site,
    dataset: Dataset,
    syntax: str = ExplicitVRLittleEndian,
    *,
    now: datetime = NOW,
    memory_bytes: int = IN_MEMORY,
    partners: tuple[str, ...] = (),
) -> Outcome:
    """What an object became that a peer sent."""
    declared = Declared(sop_class=dataset.SOPClassUID, sop_instance=Uid(dataset.SOPInstanceUID), transfer_syntax=syntax)
    reception = Reception(
        declared, SENDER, instances=site.instances, placement=site.placement(need=2), vocabulary=STANDARD,
        memory_bytes=memory_bytes, now=now, partners=partners,
    )  # fmt: skip
    try:
        reception.feed(memoryview(encoded(dataset, syntax)))
        return ingest(reception).outcome
    finally:
        reception.abandon()


def noted(site: Site) -> list[str]:
    """The kinds of what was noted, in their order."""
    with site.index.read() as connection:
        return list(connection.execute(select(flags.c.kind).order_by(flags.c.id)).scalars())


@pytest.mark.parametrize("memory_bytes", [IN_MEMORY, 0], ids=["in memory", "streamed"])
def test_what_comes_of_a_study_on_a_later_day_lies_beside_the_rest_of_it(site: Site, memory_bytes: int) -> None:
    for number in range(3):
        taken(site, tiny(number), now=NOW + timedelta(days=number), memory_bytes=memory_bytes)
    for name in ("a", "b"):
        found = files_below(site.folder / name, "*.dcm")
        assert len(found) == 3
        (folder,) = {path.parent for path in found}
        assert folder.is_relative_to(site.folder / name / f"v1/{NOW:%Y/%m/%d}")


def valued(comment: str) -> Dataset:
    """One with values of several forms, which each syntax writes in its own way."""
    item = tiny("item")
    return tiny(1, ImageComments=comment, Rows=2, PixelSpacing=[1, 2], ReferencedImageSequence=Sequence([item, item]))


def test_the_same_values_in_another_uncompressed_syntax_are_no_conflict_and_others_are(site: Site) -> None:
    assert taken(site, valued("one")) is Outcome.NEW
    assert taken(site, valued("one"), ImplicitVRLittleEndian) is Outcome.ENCODING
    assert noted(site) == []
    assert taken(site, valued("two"), ImplicitVRLittleEndian) is Outcome.VERSION
    assert taken(site, valued("three")) is Outcome.VERSION
    assert taken(site, valued("one"), JPEGBaseline8Bit) is Outcome.VERSION
    assert noted(site) == ["conflict-version"] * 3


def test_what_cannot_be_compared_with_what_is_current_is_a_version(site: Site) -> None:
    taken(site, valued("one"))
    for path in files_below(site.folder, "*.dcm"):
        path.unlink()
    assert taken(site, valued("one"), ImplicitVRLittleEndian) is Outcome.VERSION


def test_what_is_acknowledged_once_more_is_noted_where_a_partner_may_have_deleted_it(site: Site) -> None:
    taken(site, tiny(1), partners=("osaka",))
    written = {path: path.stat().st_mtime_ns for path in files_below(site.folder, "*.dcm")}
    assert taken(site, tiny(1)) is Outcome.DUPLICATE
    assert noted(site) == []
    assert taken(site, tiny(1), partners=("osaka",)) is Outcome.DUPLICATE
    assert noted(site) == [SENT_AGAIN]
    assert {path: path.stat().st_mtime_ns for path in files_below(site.folder, "*.dcm")} == written


def test_an_object_that_came_again_is_not_acknowledged_when_nobody_knows_whether_its_file_is_still_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(site, tiny(1))
    for path in files_below(site.folder / "b", "*.dcm"):
        path.unlink()
    record = site.instances.record

    def recorded(arrival: Arrival) -> Recorded:
        became = record(arrival)
        site.volumes["b"].let_go()  # it is away at that moment
        return became

    monkeypatch.setattr(site.instances, "record", recorded)
    # One that is in memory would be written once more, where it can be.
    with pytest.raises(NotEnoughCopies, match="is still there is not known"):
        taken(site, tiny(1), memory_bytes=0)


@pytest.mark.parametrize("is_on_volumes", [True, False], ids=["held", "lost"])
def test_what_is_acknowledged_after_a_deletion_that_was_killed_before_it_took_effect_is_held(
    site: Site, is_on_volumes: bool
) -> None:
    for number in (1, 2):
        taken(site, tiny(number))
    study_uid, operations = tiny(1).StudyInstanceUID, site.instances.operations
    with site.index.read() as connection:
        rows = connection.execute(select(instances.c.sop_uid, instances.c.digest)).all()
    contents = [Content(sop_uid=row.sop_uid, digest=row.digest, role="current") for row in rows]
    deletion = operations.draft(OperationKind.DELETE, study_uid, contents, now=NOW, who="a", reason="b")
    assert operations.is_being_deleted(study_uid)
    assert not operations.is_being_deleted("1.2.3")
    volumes = [*site.volumes.values()]
    keep_everywhere(deletion, volumes)
    if not is_on_volumes:
        for path in files_below(site.folder, "*.dcm"):
            path.unlink()
    assert taken(site, tiny(1), now=NOW + timedelta(seconds=1)) is Outcome.DUPLICATE
    for _ in range(2):
        learn(volumes[0], operations, volumes, now=NOW)
        with site.index.read() as connection:
            roles = {sop_uid: role for sop_uid, role in connection.execute(select(*instances.c["sop_uid", "role"]))}
        assert roles == {tiny(1).SOPInstanceUID: "current", tiny(2).SOPInstanceUID: "trash"}
    assert not operations.is_being_deleted(study_uid)
    assert taken(site, tiny(1), now=NOW + timedelta(seconds=2)) is Outcome.DUPLICATE
    assert noted(site) == [SENT_AGAIN, "readmitted"]
