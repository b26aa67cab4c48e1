"""What becomes of an object that arrives: where it lies, what it is beside others, and what is noted of it."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from sqlalchemy import delete, select
from support.samples import encoded, tiny
from support.server import files_below
from support.site import NOW, SENDER, Site

from pacs_server.archive.ingest import ingest
from pacs_server.archive.operations import learn
from pacs_server.archive.reception import Declared, Reception
from pacs_server.archive.releasing import release_due
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.operations import Content, OperationKind
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.errors import IndexUnavailable, NotEnoughCopies, Refused
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.objects import Arrival, Outcome, Recorded
from pacs_server.index.overtaken import SENT_AGAIN
from pacs_server.index.releases import Releases
from pacs_server.index.retiring import forget_study
from pacs_server.index.tables import copies, flags, instances
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
    through: str = "",
) -> Outcome:
    """What an object became that a peer sent, or that a partner handed on."""
    declared = Declared(sop_class=dataset.SOPClassUID, sop_instance=Uid(dataset.SOPInstanceUID), transfer_syntax=syntax)
    reception = Reception(
        declared, replace(SENDER, through=through), instances=site.instances, placement=site.placement(need=2),
        vocabulary=STANDARD, memory_bytes=memory_bytes, now=now, partners=partners,
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


def test_what_somebody_else_stored_meanwhile_is_not_acknowledged_when_its_file_is_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody had it when it came, so only its row tells that its file may have been on its way out."""
    record = site.instances.record

    def recorded(arrival: Arrival) -> Recorded:
        monkeypatch.undo()
        taken(site, tiny(1))
        for path in files_below(site.folder, "*.dcm"):
            path.unlink()
        return record(arrival)

    monkeypatch.setattr(site.instances, "record", recorded)
    with pytest.raises(NotEnoughCopies, match="left its volume while it was stored again"):
        taken(site, tiny(1), memory_bytes=0)
    monkeypatch.setattr(site.instances, "record", recorded)
    assert taken(site, tiny(1)) is Outcome.DUPLICATE
    assert {path.relative_to(site.folder).parts[0] for path in files_below(site.folder, "*.dcm")} == {"a", "b"}


def decide(site: Site, *kinds: OperationKind) -> None:
    """Decide about the objects that are here, or were, once for each kind."""
    operations, volumes = site.instances.operations, [*site.volumes.values()]
    for kind in kinds:
        operation = operations.draft(kind, tiny(1).StudyInstanceUID, contents(site), now=NOW, who="a", reason="b")
        keep_everywhere(operation, volumes)
        operations.record(operation, missed=(), now=NOW)


def contents(site: Site) -> list[Content]:
    with site.index.read() as connection:
        rows = connection.execute(select(instances.c.sop_uid, instances.c.digest)).all()
    return [Content(sop_uid=row.sop_uid, digest=row.digest, role="current") for row in rows]


def roles(site: Site) -> dict[str, str]:
    with site.index.read() as connection:
        return {sop_uid: role for sop_uid, role in connection.execute(select(*instances.c["sop_uid", "role"]))}


@pytest.mark.parametrize("memory_bytes", [IN_MEMORY, 0], ids=["in memory", "streamed"])
def test_what_was_purged_and_comes_again_is_not_acknowledged_when_its_new_file_left_with_the_old_one(
    site: Site, monkeypatch: pytest.MonkeyPatch, memory_bytes: int
) -> None:
    taken(site, tiny(1))
    decide(site, OperationKind.DELETE, OperationKind.PURGE)
    record, written = site.instances.record, []

    def recorded(arrival: Arrival) -> Recorded:
        for volume in site.volumes.values():
            written.extend(
                release_due(volume, Releases(site.index), Holdings(site.index), site.copies, site.placement(), now=NOW)
            )
        return record(arrival)

    monkeypatch.setattr(site.instances, "record", recorded)
    if memory_bytes:
        assert taken(site, tiny(1)) is Outcome.DUPLICATE, "it was written once more"
    else:
        with pytest.raises(NotEnoughCopies, match="left its volume while it was stored again"):
            taken(site, tiny(1), memory_bytes=0)
        assert taken(site, tiny(1), memory_bytes=0) is Outcome.DUPLICATE
    assert len(written) == 2
    assert {path.relative_to(site.folder).parts[0] for path in files_below(site.folder, "*.dcm")} == {"a", "b"}


def test_what_leaves_its_volume_whenever_it_is_stored_again_is_refused_at_last(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(site, tiny(1))
    record, times = site.instances.record, []

    def recorded(arrival: Arrival) -> Recorded:
        times.append(1)
        assert len(times) <= 2
        for path in files_below(site.folder, "*.dcm"):
            path.unlink()
        return record(arrival)

    for path in files_below(site.folder / "a", "*.dcm"):
        path.unlink()
    monkeypatch.setattr(site.instances, "record", recorded)
    with pytest.raises(NotEnoughCopies, match="left its volume while it was stored again"):
        taken(site, tiny(1))
    assert len(times) == 2


def test_what_a_partner_hands_on_brings_nothing_back_that_was_deleted_here(site: Site) -> None:
    """The partner has not heard of it yet, or its sender would have brought it back there."""
    for number in (1, 2):
        taken(site, tiny(number))
    decide(site, OperationKind.DELETE)
    assert taken(site, tiny(1), through="osaka") is Outcome.DUPLICATE
    with site.index.write() as connection:  # one that never was here
        ((row,),) = connection.execute(select(instances.c.id).where(instances.c.sop_uid == tiny(2).SOPInstanceUID))
        connection.execute(delete(copies).where(copies.c.instance_row == row))
        connection.execute(delete(instances).where(instances.c.id == row))
    assert taken(site, tiny(2), through="osaka") is Outcome.TRASHED
    assert roles(site) == {tiny(number).SOPInstanceUID: "trash" for number in (1, 2)}
    assert taken(site, tiny(1)) is Outcome.NEW
    assert roles(site)[tiny(1).SOPInstanceUID] == "current"
    decide(site, OperationKind.DELETE, OperationKind.PURGE)
    with pytest.raises(Refused, match="it was purged here, which osaka is about to be told"):
        taken(site, tiny(1), through="osaka")
    assert roles(site) == {}


@pytest.mark.parametrize("kinds", [[OperationKind.DELETE], [OperationKind.DELETE, OperationKind.PURGE], []])
@pytest.mark.parametrize("partners", [(), ("osaka",)], ids=["alone", "with a partner"])
def test_what_is_deleted_or_forgotten_while_it_is_received_again_is_not_acknowledged(
    site: Site, monkeypatch: pytest.MonkeyPatch, partners: tuple[str, ...], kinds: list[OperationKind]
) -> None:
    taken(site, tiny(1))
    if not partners:  # else nothing is written, because it is held
        for path in files_below(site.folder / "b", "*.dcm"):
            path.unlink()
    record = site.instances.record

    def recorded(arrival: Arrival) -> Recorded:
        decide(site, *kinds)
        if not kinds:
            forget_study(site.index, tiny(1).StudyInstanceUID, NOW)
        return record(arrival)

    monkeypatch.setattr(site.instances, "record", recorded)
    if partners or kinds:
        with pytest.raises(IndexUnavailable, match="was deleted at this moment"):
            taken(site, tiny(1), partners=partners)
        assert set(roles(site).values()) <= {"trash"}
    else:
        assert taken(site, tiny(1)) is Outcome.NEW
    monkeypatch.undo()
    assert taken(site, tiny(1), partners=partners) in (Outcome.NEW, Outcome.DUPLICATE)
    assert roles(site) == {tiny(1).SOPInstanceUID: "current"}


@pytest.mark.parametrize("is_on_volumes", [True, False], ids=["held", "lost"])
def test_what_is_acknowledged_after_a_deletion_that_was_killed_before_it_took_effect_is_held(
    site: Site, is_on_volumes: bool
) -> None:
    for number in (1, 2):
        taken(site, tiny(number))
    study_uid, operations = tiny(1).StudyInstanceUID, site.instances.operations
    deletion = operations.draft(OperationKind.DELETE, study_uid, contents(site), now=NOW, who="a", reason="b")
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
        assert roles(site) == {tiny(1).SOPInstanceUID: "current", tiny(2).SOPInstanceUID: "trash"}
    assert not operations.is_being_deleted(study_uid)
    assert taken(site, tiny(1), now=NOW + timedelta(seconds=2)) is Outcome.DUPLICATE
    assert noted(site) == [SENT_AGAIN, "readmitted"]


def test_what_too_few_volumes_took_is_owed_its_copies(site: Site) -> None:
    taken(site, tiny(1))
    assert site.jobs.counts() == {}
    site.volumes["b"].spec.path.rename(site.folder / "away")
    site.volumes["b"].check()
    taken(site, tiny(2))
    assert site.jobs.counts() == {(JobKind.COPY, "waiting"): 1}
