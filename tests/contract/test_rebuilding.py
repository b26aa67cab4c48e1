"""An index made anew from two volumes says what the former one said, and never more than the files do."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from sqlalchemy import delete as delete_rows
from sqlalchemy import select, update
from support.faulty_volume import FaultyVolume, mounted
from support.house import NOW, House, flip
from support.samples import tiny, write

from pacs_server.archive.adopting import Finding, FindingKind, Ledger
from pacs_server.archive.importing import import_paths
from pacs_server.archive.reconcile import SETTLED_AFTER
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.keep import print_findings
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.identity import AeTitle, ObjectHasher
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.vocabulary import new_field
from pacs_server.errors import Busy, IndexUnavailable, Refused, VolumeUnavailable
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance import holdings
from pacs_server.index.maintenance.holdings import Holdings, replace_content
from pacs_server.index.overtaken import SENT_AGAIN
from pacs_server.index.recording.fields import Stage
from pacs_server.index.releases import enter
from pacs_server.index.site.partners import Partner
from pacs_server.index.site.peers import Peer
from pacs_server.index.site.registry import Policy, VolumeMode, VolumeRow
from pacs_server.index.site.retention import Purging, change_retention
from pacs_server.index.site_tables import extra_fields
from pacs_server.index.tables import CONTENT, copies, flags, instances, patients, series, studies
from pacs_server.service.assemble import Node
from pacs_server.service.locks import rebuild_lock
from pacs_server.service.upkeep import rebuilding
from pacs_server.service.upkeep.decisions import delete, hold, in_trash, purge, restore, to_delete, use_latest
from pacs_server.service.upkeep.deeds import import_files
from pacs_server.service.upkeep.rebuilding import files_as_received, rebuild_index
from pacs_server.service.upkeep.reconciling import reconcile_volumes
from pacs_server.storage.layout import FoundFile, file_name_end, object_in_name
from pacs_server.storage.leaving import set_leaving
from pacs_server.storage.sentinel import adopt, sentinel_at


class TwoVolumes(House):
    """An archive with the volumes `first` and `second`, and two copies of everything unless one of them is closed."""

    def __init__(self, folder: Path, url: str, second: Path) -> None:
        super().__init__(folder, url)
        self.second = second
        with self.node() as node:
            row = VolumeRow(
                id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second"
            )
            node.registry.add_volume(row)
            node.registry.set_policy(Policy(want=2, need=2, degraded=1))

    def close(self, *names: str) -> None:
        """Let nothing new be written to these, and only to these."""
        with self.node() as node:
            for row in node.registry.volumes():
                mode = VolumeMode.READ_ONLY if row.name in names else VolumeMode.NORMAL
                node.registry.change_volume(row.id, {"mode": mode})

    def add(self, folder: Path) -> None:
        """Add a volume, on which everything lies from now on."""
        folder.mkdir()
        with self.node() as node:
            row = VolumeRow(id=adopt(folder, name="third"), name="third", path=str(folder), tier="hot", domain="third")
            node.registry.add_volume(row)
        self.close("first", "second")

    def destroy(self, sop_uid: str) -> None:
        with self.node() as node:
            change_retention(node.index, purging=Purging.BY_HAND, grace_days=0, keep_days=0)
            list(delete(node, to_delete(node, {"SOPInstanceUID": sop_uid}), "a test"))
            list(purge(node, in_trash(node, {}), "a test"))

    def files(self) -> list[Path]:
        return sorted(path for root in (self.volume, self.second) for path in (root / "v1").rglob("*.dcm"))

    def said(self) -> list[tuple[object, ...]]:
        """What the index says of every copy, without the numbers of its rows."""
        wanted = (
            select(
                patients.c.patient_id, patients.c.patient_name, studies.c.study_uid, studies.c.day,
                studies.c.study_description, studies.c.instance_count, series.c.series_uid, instances.c.sop_uid,
                instances.c.digest, instances.c.role, instances.c.size_bytes, instances.c.transfer_syntax,
                copies.c.volume_id, copies.c.path,
            )
            .select_from(copies).join(instances).join(series).join(studies).join(patients)
        )  # fmt: skip
        with self.node() as node, node.index.read() as connection:
            return sorted(tuple(row) for row in connection.execute(wanted))

    def rebuilt(self) -> list[Finding]:
        with self.node() as node:
            return list(rebuild_index(node))


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def house(tmp_path: Path, new_upgraded_url: Callable[[], str]) -> TwoVolumes:
    (tmp_path / "second").mkdir()
    return TwoVolumes(tmp_path / "data", new_upgraded_url(), tmp_path / "second")


@pytest.fixture(params=[0, 2], ids=["while nobody can write", "while others write"])
def read_late(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came during a rebuild is read before the exchange of the content, or, what came last of all, within it."""
    monkeypatch.setattr(rebuilding, "_ROUNDS", request.param)
    monkeypatch.setattr(holdings, "_BATCH", 1)


def came_in_this_order(house: TwoVolumes, before: set[Path], second: int) -> set[Path]:
    """Let the files that are not among those before have come at that second; all there are."""
    then = (NOW + timedelta(seconds=second)).timestamp()
    now = set(house.files())
    for path in now - before:
        os.utime(path, (then, then))
    return now


def test_what_came_first_is_the_first_again_on_whichever_volume_it_lies(house: TwoVolumes) -> None:
    known: set[Path] = set()
    house.close("first")
    house.take_in(tiny(1, PatientID="P", PatientName="First^Name", StudyDescription="first"))
    known = came_in_this_order(house, known, 1)
    house.close("second")
    house.take_in(tiny(1, PatientID="P", PatientName="Second^Name", StudyDescription="second", ImageComments="other"))
    house.take_in(tiny(2, PatientID="P", PatientName="Second^Name", StudyDescription="second"))
    known = came_in_this_order(house, known, 2)
    house.close()
    house.take_in(*(tiny(number, study=number % 3, PatientID=f"P{number % 3 // 2}") for number in range(10, 40)))
    came_in_this_order(house, known, 3)
    before = house.said()
    assert {row[1] for row in before} >= {"First^Name"}
    assert house.rebuilt() == []
    assert house.said() == before
    assert house.rebuilt() == []
    assert house.said() == before


def test_what_came_first_is_the_first_again_though_its_files_were_made_again(house: TwoVolumes) -> None:
    house.take_in(tiny(1, ImageComments="first"))
    first = set(house.files())
    house.take_in(tiny(1, ImageComments="second"))
    before = house.said()
    later = (NOW + timedelta(days=1)).timestamp()
    for path in first:  # as when it moved to another tier
        os.utime(path, (later, later))
    assert house.rebuilt() == []
    assert house.said() == before


def test_what_was_acknowledged_stays_current_beside_an_older_file_that_had_no_row(
    house: TwoVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise IndexUnavailable("ended")

    sent = write(tiny(1, ImageComments="never acknowledged"), house.folder.parent / "sent.dcm")
    with house.node() as node, monkeypatch.context() as patched:
        patched.setattr(node.instances, "record", end)
        with pytest.raises(IndexUnavailable):
            list(import_files(node, [sent.path]))
    came_in_this_order(house, set(), -int(timedelta(days=1).total_seconds()))
    house.take_in(tiny(1, ImageComments="acknowledged"))
    acknowledged = house.said()
    with house.node() as node:
        assert {one.detail for one in reconcile_volumes(node, since=None, repair=True)} == {"version", "duplicate"}
    before = house.said()
    assert {*acknowledged} < {*before}
    assert house.rebuilt() == []
    assert house.said() == before


@pytest.mark.parametrize("deed", ["restore", "hold"])
def test_what_came_back_from_the_trash_beside_another_content_is_not_current_in_a_new_index(
    house: TwoVolumes, deed: str
) -> None:
    of_it = {"PatientID": "T-1"}
    house.take_in(tiny(1, ImageComments="first"))
    known = came_in_this_order(house, set(), 1)
    with house.node() as node:
        list(delete(node, to_delete(node, of_it), "a test"))
    house.take_in(tiny(1, ImageComments="corrected"))
    came_in_this_order(house, known, 2)
    with house.node() as node:
        list(restore(node, in_trash(node, of_it), "a test") if deed == "restore" else hold(node, of_it, "a test"))
    before = house.said()
    assert sorted(row[9] for row in before) == ["current", "current", "version", "version"]
    assert house.rebuilt() == []
    assert house.said() == before


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ("one, delete, two, two otherwise, restore", ["current", "encoding", "version"]),
        ("one, two, choose, two otherwise", ["current", "encoding", "version"]),
        ("one, two, one otherwise, choose", ["current", "encoding", "version"]),
        ("one, two, two otherwise, choose", ["current", "version", "version"]),
        ("one, one otherwise, delete, two, restore", ["current", "encoding", "version"]),
        ("one, two, one otherwise, delete, two, restore", ["current", "encoding", "version"]),
    ],
)
def test_what_was_another_encoding_of_what_was_shown_is_so_in_a_new_index(
    house: TwoVolumes, history: str, told: list[str]
) -> None:
    of_it = {"PatientID": "T-1"}
    for step in history.split(", "):
        with house.node() as node:
            if step == "delete":
                list(delete(node, to_delete(node, of_it), "a test"))
            elif step == "restore":
                list(restore(node, in_trash(node, of_it), "a test"))
            elif step == "choose":
                use_latest(node, tiny(1).StudyInstanceUID, "a test")
            else:
                comment, _, otherwise = step.partition(" ")
                syntax = ImplicitVRLittleEndian if otherwise else ExplicitVRLittleEndian
                house.take_in(tiny(1, ImageComments=comment), syntax=syntax)
    before, noted = house.said(), sorted(flagged(house))
    assert sorted(row[9] for row in before[::2]) == told
    assert (house.rebuilt(), house.said(), sorted(flagged(house))) == ([], before, noted)


def test_what_is_flagged_of_objects_that_were_deleted_and_came_back_is_flagged_in_a_new_index(
    house: TwoVolumes,
) -> None:
    of_it = {"PatientID": "T-1"}
    for second, comment in enumerate(("first", "corrected")):
        known = set(house.files())
        house.take_in(tiny(1, ImageComments=comment))
        came_in_this_order(house, known, second)
    with house.node() as node:
        list(delete(node, to_delete(node, of_it), "a test"))
    assert flagged(house) == [], "of what is in the trash nothing is told to be contradicting"
    assert (house.rebuilt(), flagged(house)) == ([], [])
    house.take_in(tiny(1, ImageComments="first"))
    again = ("readmitted", "received again after it was trashed")
    assert flagged(house) == [again]
    assert (house.rebuilt(), flagged(house)) == ([], [again])
    with house.node() as node:
        list(delete(node, to_delete(node, of_it), "a test"))
        list(restore(node, in_trash(node, of_it), "a test"))
    conflict = ("conflict-version", "")
    assert flagged(house) == [conflict]
    assert (house.rebuilt(), flagged(house)) == ([], [conflict])


def flagged(house: TwoVolumes) -> list[tuple[str, str]]:
    with house.node() as node, node.index.read() as connection:
        return [(row.kind, row.detail) for row in connection.execute(select(flags.c.kind, flags.c.detail))]


def test_files_come_in_the_order_in_which_they_were_written_over_all_volumes(house: TwoVolumes) -> None:
    house.take_in(*(tiny(number, study=number) for number in range(6)))
    for second, path in enumerate(sorted(house.files(), key=lambda path: (path.name, str(path)))):
        then = (NOW + timedelta(seconds=second)).timestamp()
        os.utime(path, (then, then))
    with house.node() as node:
        placed = files_as_received(node.volumes(), lambda volume_id, folder: {})  # as of an index that is lost
        ordered = [file.modified for _, file in placed]
    assert ordered == sorted(ordered)
    assert len(ordered) == 12


def test_a_damaged_second_copy_is_told_and_never_counted(house: TwoVolumes) -> None:
    (sample, *_) = house.take_in(tiny(1), tiny(2))
    (bad,) = [path for path in (house.second / "v1").rglob("*.dcm") if path.name.startswith(f"{sample.sop_uid}-")]
    flip(bad)
    before = house.said()
    (finding,) = house.rebuilt()
    assert (finding.kind, finding.volume) == (FindingKind.UNREADABLE, "second")
    place = (sentinel_at(house.second), str(bad.relative_to(house.second)))
    assert house.said() == [row for row in before if row[-2:] != place]
    assert len(house.said()) == 3


def test_what_was_acknowledged_is_in_a_new_index_though_more_of_it_is_read_now_than_then(house: TwoVolumes) -> None:
    """A field that was added, or a stricter release, meets damage behind what was read when it was stored."""
    house.take_in(tiny(1))
    for path in house.files():
        content = path.read_bytes() + b"\xe1\x7f\x10\x10zz\0\0"
        meta = read_file_meta(content)
        hasher = ObjectHasher(meta.transfer_syntax)
        hasher.update(content[meta.data_set_offset :])
        sop_uid, _ = object_in_name(PurePosixPath(path))
        path.with_name(f"{sop_uid}{file_name_end(hasher.digest())}").write_bytes(content)
        path.unlink()
    with house.node() as node, node.index.write() as connection:
        for table in reversed(CONTENT):
            connection.execute(delete_rows(table))
    assert house.rebuilt() == []
    assert {row[7] for row in house.said()} == {sop_uid}
    with house.node() as node, node.index.read() as connection:
        assert "tail-unchecked" in connection.execute(select(flags.c.kind)).scalars().all()


def test_a_file_that_is_what_its_name_says_and_names_no_object_is_told(house: TwoVolumes) -> None:
    house.close("second")
    house.take_in(tiny(1))
    before = house.said()
    (path,) = house.files()
    meta = read_file_meta(path.read_bytes())
    rubbish = b"rubbish" * 20
    hasher = ObjectHasher(meta.transfer_syntax)
    hasher.update(rubbish)
    named = path.with_name(f"1.2.3{file_name_end(hasher.digest())}")
    named.write_bytes(path.read_bytes()[: meta.data_set_offset] + rubbish)
    assert [(one.kind, Path(one.path).name) for one in house.rebuilt()] == [(FindingKind.UNREADABLE, named.name)]
    assert house.said() == before


def broken_off_at_the_first_finding(node: Node) -> Iterator[Finding]:
    findings = rebuild_index(node)
    assert next(findings).kind is FindingKind.UNREADABLE
    return findings


def test_what_is_assumed_of_a_sender_is_assumed_of_what_it_sent_again(house: TwoVolumes) -> None:
    """Its policy, character set and issuer: without them a patient got another name, and fewer copies were wanted."""

    def told() -> list[tuple[object, ...]]:
        wanted = (
            select(instances.c.sender, patients.c.issuer, patients.c.patient_name, patients.c.patient_id)
            .join_from(instances, series).join(studies).join(patients)
        )  # fmt: skip
        with house.node() as node, node.index.read() as connection:
            return [tuple(row) for row in connection.execute(wanted)]

    sample = write(tiny(1, PatientName="ﾔﾏﾀﾞ^ﾀﾛｳ", SpecificCharacterSet="ISO_IR 13"), house.folder / "sent.dcm")
    sample.path.write_bytes(sample.path.read_bytes().replace(b"ISO_IR 13 ", b"          "))
    with house.node() as node:
        peer = Peer(
            aet=AeTitle("CR1"), host=None, port=None, rights=frozenset(), sources=(), issuer="WARD", charset="ISO_IR 13"
        )
        node.registry.save_peer(peer)
        list(import_paths([sample.path], lambda declared: node.reception(declared, node.origin_of("CR1"))))
    before = told()
    assert before == [("CR1", "WARD", "ﾔﾏﾀﾞ^ﾀﾛｳ", "T-1")]
    assert house.rebuilt() == []
    assert told() == before


def plant_rubbish(house: TwoVolumes) -> Path:
    """A file in the middle that is none of ours, so that a rebuild pauses there."""
    files = sorted(house.files(), key=lambda path: path.stat().st_mtime)
    rubbish = files[len(files) // 2].with_name("1.2.3-0123456789abcdef.dcm")
    rubbish.write_bytes(b"rubbish")
    then = files[len(files) // 2].stat().st_mtime
    os.utime(rubbish, (then, then))
    return rubbish


def test_broken_off_anywhere_it_goes_on_and_ends_with_the_same(house: TwoVolumes) -> None:
    house.take_in(*(tiny(number, study=number // 50, PatientID=f"P{number // 100}") for number in range(300)))
    before = house.said()
    rubbish = plant_rubbish(house)
    for _ in range(2):
        with house.node() as node:
            broken_off_at_the_first_finding(node).close()  # type: ignore[attr-defined]
        assert house.said() == before
    rubbish.unlink()
    assert house.rebuilt() == []
    assert house.said() == before


def test_another_one_at_the_same_time_is_refused(house: TwoVolumes) -> None:
    house.take_in(tiny(1))
    with (
        house.node() as node,
        rebuild_lock(node.settings.data_dir),
        pytest.raises(Busy, match="wait until it has ended"),
    ):
        house.rebuilt()
    assert house.rebuilt() == []


def test_a_volume_that_goes_away_meanwhile_ends_it_and_the_index_stays_as_it_was(
    tmp_path: Path, new_upgraded_url: Callable[[], str], mounts: ExitStack
) -> None:
    try:
        faulty = mounts.enter_context(mounted(tmp_path / "second"))
    except OSError as error:
        pytest.skip(str(error))
    house = TwoVolumes(tmp_path / "data", new_upgraded_url(), faulty.path)
    house.take_in(*(tiny(number, study=number // 50) for number in range(300)))
    before = house.said()
    rubbish = plant_rubbish(house)
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        faulty.tell("eio")
        with pytest.raises(VolumeUnavailable):
            list(findings)
    faulty.tell("ok")
    assert house.said() == before
    rubbish.unlink()
    assert house.rebuilt() == []
    assert house.said() == before


def test_an_index_is_not_made_anew_without_what_lies_on_a_volume_that_is_away(house: TwoVolumes) -> None:
    house.close("first")
    house.take_in(tiny(1))
    before = house.said()
    house.second.rename(house.second.with_name("away"))
    with pytest.raises(Refused, match=r"volume second is offline .* bring it back first"):
        house.rebuilt()
    assert house.said() == before


def test_copies_are_looked_for_though_a_volume_goes_away_when_the_content_was_exchanged(
    house: TwoVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.take_in(tiny(1))
    flip(house.files()[0])

    def away(*_: object, **__: object) -> Iterator[Finding]:
        raise VolumeUnavailable("away")

    monkeypatch.setattr(rebuilding, "rows_without_file", away)
    with house.node() as node:
        node.jobs.drop([job.id for job in node.jobs.listed()])
        findings = broken_off_at_the_first_finding(node)
        with pytest.raises(VolumeUnavailable):
            list(findings)
        assert JobKind.SURVEY in {job.kind for job in node.jobs.listed()}
    assert list(house.folder.glob("rebuild.db*")) == []
    assert len(house.said()) == 1


def test_a_file_of_which_its_volume_tells_nothing_is_tried_again_and_is_not_called_damaged(
    tmp_path: Path, new_upgraded_url: Callable[[], str], forgetful: FaultyVolume
) -> None:
    house = TwoVolumes(tmp_path / "data", new_upgraded_url(), forgetful.path)
    house.close("first")
    before = house.take_in(tiny(1), tiny(2)) and house.said()
    untold = Path(str(before[0][-1]))
    forgetful.tell(f"once EAGAIN open {untold.name}")
    assert house.rebuilt() == []
    assert house.said() == before
    forgetful.tell(f"fail EAGAIN open {untold.name}")
    (finding,) = house.rebuilt()
    assert (finding.kind, Path(finding.path).name) == (FindingKind.UNTOLD, untold.name)
    assert print_findings([finding], "all well", as_json=True) is ExitCode.PARTLY
    forgetful.tell("ok")
    os.utime(forgetful.path / untold, (0, 0))
    with house.node() as node:
        assert [one.kind for one in reconcile_volumes(node, since=None, repair=True)] == [FindingKind.ADOPTED]
    assert house.said() == before


@pytest.mark.usefixtures("read_late")
def test_an_object_that_was_purged_and_is_received_again_during_a_rebuild_is_in_the_index_afterwards(
    house: TwoVolumes,
) -> None:
    (sample, *_) = house.take_in(tiny(1), tiny(2), tiny(3))
    house.destroy(sample.sop_uid)
    plant_rubbish(house)
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        house.take_in(tiny(1))
        before = house.said()
        list(findings)
    assert house.said() == before
    assert len([row for row in before if row[7] == sample.sop_uid]) == 2


@pytest.mark.usefixtures("read_late")
def test_an_object_on_a_volume_that_was_added_during_a_rebuild_is_in_the_index_afterwards(
    house: TwoVolumes, tmp_path: Path
) -> None:
    house.take_in(tiny(1), tiny(2))
    plant_rubbish(house)
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        house.add(tmp_path / "third")
        house.take_in(tiny(3))
        before = house.said()
        list(findings)
    assert house.said() == before
    assert len(before) == 5


@pytest.mark.usefixtures("read_late")
def test_a_damaged_file_in_whose_place_the_object_is_received_again_during_a_rebuild_is_in_the_index_afterwards(
    house: TwoVolumes,
) -> None:
    house.close("second")
    (sample, *_) = house.take_in(tiny(1), tiny(2))
    (bad,) = [path for path in house.files() if path.name.startswith(f"{sample.sop_uid}-")]
    flip(bad)
    before = house.said()
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        house.take_in(tiny(1))
        assert list(findings) == []
    assert house.said() == before


def test_nobody_waits_while_what_came_during_a_rebuild_is_read(
    house: TwoVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.take_in(tiny(1), tiny(2))
    plant_rubbish(house)
    read_alone: list[str] = []

    def noted(index: Index, beside: Index, catch_up: Callable[[str, str], None], now: datetime) -> None:
        def noting(volume_id: str, path: str) -> None:
            read_alone.append(path)
            catch_up(volume_id, path)

        replace_content(index, beside, noting, now)

    monkeypatch.setattr(rebuilding, "replace_content", noted)
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        house.take_in(*(tiny(number) for number in range(3, 30)))
        before = house.said()
        assert list(findings) == []
    assert house.said() == before
    assert read_alone == []


def test_a_copy_that_moves_to_another_tier_during_a_rebuild_has_no_row_afterwards(house: TwoVolumes) -> None:
    house.take_in(tiny(1), tiny(2), tiny(3))
    rubbish = plant_rubbish(house)
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        moved, *_ = house.said()
        volume_id, path = map(str, moved[-2:])
        with node.index.write() as connection:
            connection.execute(delete_rows(copies).where(copies.c.volume_id == volume_id, copies.c.path == path))
        roots = {sentinel_at(root): root for root in (house.volume, house.second)}
        (roots[volume_id] / path).unlink()
        before = house.said()
        assert list(findings) == []
    assert house.said() == before
    rubbish.unlink()
    assert house.rebuilt() == []


def test_what_leaves_its_volume_before_a_rebuild_reads_it_is_not_called_damaged(
    house: TwoVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "_AHEAD", 1)
    *_, purged = house.take_in(*(tiny(number) for number in range(9)))
    plant_rubbish(house)
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        house.destroy(purged.sop_uid)
        before = house.said()
        assert list(findings) == []
    assert house.said() == before
    assert {path.name for path in house.files() if path.name.startswith(purged.sop_uid)} == set()


def test_what_leaves_its_volume_while_files_are_compared_is_not_called_damaged(
    house: TwoVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.take_in(tiny(1))
    left = plant_rubbish(house)
    os.utime(left, (0, 0))
    is_purged = Ledger.is_purged

    def late(ledger: Ledger, file: FoundFile) -> bool:
        left.unlink(missing_ok=True)
        return is_purged(ledger, file)

    monkeypatch.setattr(Ledger, "is_purged", late)
    with house.node() as node:
        assert list(reconcile_volumes(node, since=None, repair=True)) == []
    assert not left.exists()


def test_a_file_of_a_purged_object_that_is_removed_at_once_is_told(
    house: TwoVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (purged,) = house.take_in(tiny(1))
    (file, *_) = (path for path in house.files() if path.name.startswith(purged.sop_uid))
    content = file.read_bytes()
    house.destroy(purged.sop_uid)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (0, 0))
    monkeypatch.setattr(Holdings, "release", lambda *_: file.unlink())  # the server does it before the command goes on
    with house.node() as node:
        told = [one.kind for one in reconcile_volumes(node, since=None, repair=True)]
    assert told == [FindingKind.REMOVED]


def test_a_volume_that_is_removed_during_a_rebuild_has_no_rows_afterwards(house: TwoVolumes) -> None:
    house.take_in(tiny(1), tiny(2), tiny(3))
    plant_rubbish(house)
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        removed = str(sentinel_at(house.second))
        node.registry.remove_volume(removed)
        node.copies.forget_volume(removed)
        before = house.said()
        assert list(findings) == []
    assert len(before) == 3
    assert house.said() == before


def test_a_field_that_was_added_and_read_during_a_rebuild_is_read_once_more_afterwards(house: TwoVolumes) -> None:
    house.take_in(tiny(1), tiny(2))
    plant_rubbish(house)
    with house.node() as node:
        node.fields.add(new_field("SoftwareVersions", Level.SERIES), NOW)
        findings = broken_off_at_the_first_finding(node)
        node.fields.add(new_field("BodyPartThickness", Level.IMAGE), NOW)
        with node.index.write() as connection:
            connection.execute(update(extra_fields).values(stage=Stage.DONE, read_to=2))
        list(findings)
        assert [(one.field.keyword, one.stage) for one in node.fields.progress()] == [
            ("SoftwareVersions", Stage.DONE), ("BodyPartThickness", Stage.READING),
        ]  # fmt: skip


@pytest.fixture
def begun(house: TwoVolumes, monkeypatch: pytest.MonkeyPatch) -> TwoVolumes:
    """A house of which a rebuild was broken off when it had entered three objects."""
    for name in ("_AHEAD", "_PORTION"):
        monkeypatch.setattr(rebuilding, name, 1)
    house.take_in(tiny(1), tiny(2), tiny(3))
    rubbish = plant_rubbish(house)
    then = (NOW + timedelta(hours=1)).timestamp()
    os.utime(rubbish, (then, then))  # it is read last
    with house.node() as node:
        broken_off_at_the_first_finding(node).close()  # type: ignore[attr-defined]
    rubbish.unlink()
    return house


def test_a_volume_that_is_removed_between_two_attempts_of_a_rebuild_has_no_rows_afterwards(begun: TwoVolumes) -> None:
    with begun.node() as node:
        removed = str(sentinel_at(begun.second))
        node.registry.remove_volume(removed)
        node.copies.forget_volume(removed)
    before = begun.said()
    assert begun.rebuilt() == []
    assert begun.said() == before


def test_a_copy_that_is_found_damaged_after_a_rebuild_has_read_it_is_damaged_afterwards(begun: TwoVolumes) -> None:
    (path, *_) = (file.relative_to(begun.volume) for file in begun.files() if file.is_relative_to(begun.volume))
    flip(begun.volume / path)
    with begun.node() as node:
        node.copies.mark_damaged(str(sentinel_at(begun.volume)), str(path), "as a test says", NOW)
    before = begun.said()
    assert begun.rebuilt() == []
    assert begun.said() == before
    with begun.node() as node:
        assert node.copies.count_damaged() == 1


def test_what_was_acknowledged_once_more_is_known_to_have_been_in_a_new_index(house: TwoVolumes) -> None:
    sent, _ = house.take_in(tiny(1), tiny(2))
    here = instances.c.id == flags.c.instance_row
    noted = select(instances.c.sop_uid, *flags.c["kind", "noted_at"]).join_from(flags, instances, here)
    with house.node() as node, node.index.write() as connection:
        row = select(series.c.study_row, instances.c.id).join_from(instances, series)
        study_row, instance_row = connection.execute(row.where(instances.c.sop_uid == sent.sop_uid)).one()
        told = {"study_row": study_row, "instance_row": instance_row, "detail": "", "noted_at": NOW.isoformat()}
        connection.execute(flags.insert().values(told | {"kind": SENT_AGAIN}))
        before = connection.execute(noted).all()
    assert house.rebuilt() == []
    with house.node() as node, node.index.read() as connection:
        assert connection.execute(noted).all() == before != []


def test_an_object_whose_last_file_is_lost_during_a_rebuild_is_told_and_keeps_its_row(house: TwoVolumes) -> None:
    house.close("second")
    house.take_in(tiny(1), tiny(2), tiny(3))
    lost = min(house.files(), key=lambda path: (path.stat().st_mtime_ns, str(path)))  # it is read first
    plant_rubbish(house)
    before = house.said()
    with house.node() as node:
        findings = broken_off_at_the_first_finding(node)
        lost.unlink()
        path = str(lost.relative_to(house.volume))
        assert [(one.kind, one.path) for one in findings] == [(FindingKind.MISSING, path)]
    assert house.said() == before


def test_a_copy_whose_row_is_gone_when_its_file_is_looked_for_is_not_called_missing(house: TwoVolumes) -> None:
    house.close("second")
    house.take_in(tiny(1), tiny(2))
    lost, purged = (path.relative_to(house.volume) for path in house.files())
    volume_id = sentinel_at(house.volume)
    assert volume_id
    with house.node() as node:
        recorded = [held.path for held in node.holdings.copies_on(volume_id, since=None)]
        lost, purged = sorted((lost, purged), key=lambda path: recorded.index(str(path)))
        (house.volume / lost).unlink()
        findings = reconcile_volumes(node, since=None, repair=False)
        assert (first := next(findings)).kind is FindingKind.MISSING
        with node.index.write() as connection:
            connection.execute(delete_rows(copies).where(copies.c.path == str(purged)))
        (house.volume / purged).unlink()
        assert (first.path, list(findings)) == (str(lost), [])


def test_every_file_that_is_gone_or_cut_short_is_told_from_the_day_of_its_study_on(
    house: TwoVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "_BATCH", 1)
    house.close("second")
    house.take_in(tiny(1), tiny(2), tiny(3))
    cut, *gone = house.files()
    os.truncate(cut, 100)
    for path in gone:
        path.unlink()
    day = date(*map(int, cut.relative_to(house.volume).parts[1:4]))
    with house.node() as node:
        for since, told in ((None, 3), (day, 3), (day + timedelta(days=1), 0)):
            findings = list(reconcile_volumes(node, since=since, repair=False))
            assert [one.kind for one in findings] == [FindingKind.MISSING] * told


def test_an_object_without_row_is_adopted_though_another_volume_is_lost(house: TwoVolumes) -> None:
    (sample,) = house.take_in(tiny(1))
    with house.node() as node, node.index.write() as connection:
        for table in reversed(CONTENT):
            connection.execute(delete_rows(table))
    then = (NOW - SETTLED_AFTER).timestamp() - 1
    os.utime(house.files()[0], (then, then))
    house.second.rename(house.second.with_name("lost"))
    with house.node() as node:
        findings = list(reconcile_volumes(node, since=None, repair=True))
        assert [(one.kind, one.volume) for one in findings] == [
            (FindingKind.ADOPTED, "first"), (FindingKind.NOT_READ, "second"),
        ]  # fmt: skip
        assert print_findings(findings, "", as_json=True) is ExitCode.PARTLY
        assert [one.sop_uid for one in node.copies.of_objects([sample.sop_uid])] == [sample.sop_uid]


def test_a_file_that_waits_for_its_removal_is_not_adopted(house: TwoVolumes) -> None:
    house.close("second")
    house.take_in(tiny(1))
    (path,) = house.files()
    then = (NOW - SETTLED_AFTER).timestamp() - 1
    os.utime(path, (then, then))
    place = str(sentinel_at(house.volume)), str(path.relative_to(house.volume))
    with house.node() as node:
        with node.index.write() as connection:
            enter(connection, node.index, [place], reason="moved", due_at=NOW + timedelta(days=1))
            connection.execute(delete_rows(copies))
        assert list(reconcile_volumes(node, since=None, repair=True)) == []


def test_what_is_leaving_a_volume_for_no_reason_that_is_known_is_adopted(house: TwoVolumes) -> None:
    house.close("second")
    house.take_in(tiny(1))
    before = house.said()
    (path,) = house.files()
    then = (NOW - SETTLED_AFTER).timestamp() - 1
    os.utime(path, (then, then))
    with house.node() as node:
        with node.index.write() as connection:
            connection.execute(delete_rows(copies))
        volume = node.volumes()[0]
        set_leaving(volume, PurePosixPath(path.relative_to(house.volume)))
        assert list(reconcile_volumes(node, since=None, repair=False)) == []
        assert [one.kind for one in reconcile_volumes(node, since=None, repair=True)] == [FindingKind.ADOPTED]
    assert house.said() == before


def test_what_is_adopted_is_owed_to_the_partners_that_get_objects(house: TwoVolumes) -> None:
    (sample,) = house.take_in(tiny(1))
    with house.node() as node:
        for name, aet in (("osaka", "OSAKA"), ("kobe", "")):
            node.partners.add(Partner(name=name, host="-", port=1, fingerprint=name, aet=aet, added_at=NOW))
        with node.index.write() as connection:
            for table in reversed(CONTENT):
                connection.execute(delete_rows(table))
    then = (NOW - SETTLED_AFTER).timestamp() - 1
    for path in house.files():
        os.utime(path, (then, then))
    of_series = (sample.study_uid, sample.series_uid)
    with house.node() as node:
        assert len(list(reconcile_volumes(node, since=None, repair=True))) == 2
        owed = {name: node.outbox.owed_of(name, [of_series]) for name in ("osaka", "kobe")}
    assert owed == {"osaka": {of_series}, "kobe": set()}


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=9), timedelta(days=3_650)])
def test_a_file_that_came_while_the_clock_of_its_volume_was_years_ahead_is_adopted(
    house: TwoVolumes, ahead: timedelta
) -> None:
    house.take_in(tiny(1))
    with house.node() as node, node.index.write() as connection:
        for table in reversed(CONTENT):
            connection.execute(delete_rows(table))
    for path in house.files():
        os.utime(path, (0, time.time() + ahead.total_seconds()))  # NOW may be half an hour ago
    with house.node() as node:
        findings = list(reconcile_volumes(node, since=None, repair=True))
    assert len(findings) == (2 if ahead.days else 0)


@pytest.mark.parametrize("is_other_damaged", [False, True])
def test_the_row_of_a_missing_copy_is_forgotten_if_another_copy_is_good_whatever_is_known_of_its_own(
    house: TwoVolumes, *, is_other_damaged: bool
) -> None:
    house.take_in(tiny(1))
    (missing,) = (house.volume / "v1").rglob("*.dcm")
    missing.unlink()
    path = str(missing.relative_to(house.volume))
    with house.node() as node:
        for root in (house.volume, house.second) if is_other_damaged else (house.volume,):
            node.copies.mark_damaged(str(sentinel_at(root)), path, "its file is gone", NOW)
        node.jobs.drop([job.id for job in node.jobs.listed()])
        before = house.said()
        assert [one.kind for one in reconcile_volumes(node, since=None, repair=False)] == [FindingKind.MISSING]
        assert (house.said(), node.jobs.listed()) == (before, []), "who only looks changes nothing"
        (finding,) = reconcile_volumes(node, since=None, repair=True)
        assert JobKind.SURVEY in {job.kind for job in node.jobs.listed()}, "it may lack copies now"
    assert finding.path == path
    assert finding.kind is (FindingKind.MISSING if is_other_damaged else FindingKind.FORGOTTEN)


def test_an_unfinished_file_that_cannot_be_removed_is_told_and_the_others_go(
    tmp_path: Path, new_upgraded_url: Callable[[], str], forgetful: FaultyVolume
) -> None:
    house = TwoVolumes(tmp_path / "data", new_upgraded_url(), forgetful.path)
    house.take_in(tiny(1))
    (held,) = (forgetful.path / "v1").rglob("*.dcm")
    unfinished = [held.with_name(f".{n}.tmp") for n in range(3)]
    for path in unfinished:
        path.touch()
        os.utime(path, (0, 0))
    forgetful.tell(f"fail EPERM unlink {unfinished[1].name}")
    with house.node() as node:
        findings = list(reconcile_volumes(node, since=None, repair=True))
    kinds = {Path(one.path).name: one.kind for one in findings}
    assert kinds == dict(
        zip((path.name for path in unfinished), (FindingKind.SWEPT, FindingKind.STUCK, FindingKind.SWEPT), strict=True)
    )
    assert print_findings(findings, "all well", as_json=True) is ExitCode.PARTLY


def test_a_volume_that_goes_away_among_unfinished_files_is_told_as_that(
    tmp_path: Path, new_upgraded_url: Callable[[], str], forgetful: FaultyVolume
) -> None:
    house = TwoVolumes(tmp_path / "data", new_upgraded_url(), forgetful.path)
    house.take_in(tiny(1))
    (held,) = (forgetful.path / "v1").rglob("*.dcm")
    for number in range(3):
        unfinished = held.with_name(f".{number}.tmp")
        unfinished.touch()
        os.utime(unfinished, (0, 0))
    with house.node() as node:
        findings = reconcile_volumes(node, since=None, repair=True)
        assert next(findings).kind is FindingKind.SWEPT
        forgetful.tell("eio")
        assert [one.kind for one in findings] == [FindingKind.NOT_READ]
    forgetful.tell("ok")
