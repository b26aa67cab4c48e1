"""A site that is put back to an older state, as by a snapshot of its machine, and goes on from there."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete as delete_rows
from sqlalchemy import update
from support.house import NOW, House, grow_old, set_back
from support.samples import tiny

from pacs_server.archive.adopting import FindingKind
from pacs_server.cli.doctor_checks import _durability
from pacs_server.dicom.operations import OperationKind
from pacs_server.index.promotion import compared, unknown_study
from pacs_server.index.site.changes import PREFERENCE
from pacs_server.index.site.registry import Policy, VolumeRow
from pacs_server.index.site.retention import Purging, change_retention
from pacs_server.index.tables import copies, studies
from pacs_server.service import assemble
from pacs_server.service.monitoring.observing import holdings_of
from pacs_server.service.upkeep import reconciling
from pacs_server.service.upkeep.decisions import decider, delete, in_trash, purge, to_delete
from pacs_server.service.upkeep.rebuilding import rebuild_index
from pacs_server.service.upkeep.reconciling import note_unknown, reconcile_volumes
from pacs_server.service.upkeep.tiers import release_what_is_due
from pacs_server.storage.sentinel import adopt


def test_what_a_site_decides_after_it_was_set_back_has_no_number_that_its_partners_know_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    leaps = iter([30, 300, 4, 40])
    monkeypatch.setattr(assemble.secrets, "randbelow", lambda _: next(leaps))

    def decide() -> tuple[tuple[int, ...], int]:
        with house.node() as node:
            operations = node.instances.operations
            drafted = [operations.draft(OperationKind.HOLD, "1.2", now=NOW, who="a", reason="b") for _ in range(2)]
            node.changes.record(PREFERENCE, "", {"site": "abc"}, now=NOW, who="a")
            latest = node.changes.latest(PREFERENCE)
            assert latest
            return tuple(one.counter for one in drafted), latest.counter

    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    before = decide()
    set_back(tmp_path)
    after = decide()
    assert (before, after) == (((31, 32), 301), ((5, 6), 41))


def test_an_index_that_was_set_back_beside_newer_volumes_is_told_until_all_was_taken_in(tmp_path: Path) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    house.take_in(tiny(1))
    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    house.take_in(tiny(2, study=2), tiny(3, study=3))
    grow_old(house.volume)
    assert told(house) is None, "all of it is known"
    set_back(tmp_path)
    noticed = told(house)
    assert noticed is not None
    assert list((house.volume / noticed).rglob("*.dcm"))
    with house.node() as node:
        noted = unknown_study(node.index)
        assert noted is not None
        list(reconcile_volumes(node, since=None, repair=True))
        assert unknown_study(node.index) == noted, "files that came right before it may not have been taken in"
        compared(node.index, noted.noted_at)
    assert told(house) is None


def test_only_a_comparison_of_everything_that_takes_in_what_it_finds_ends_what_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "SETTLED_AFTER", timedelta(0))
    house = without_its_only_copy(tmp_path)
    with house.node() as node:
        for since, repair in ((None, False), (NOW.date(), True)):
            list(reconcile_volumes(node, since=since, repair=repair))
            assert unknown_study(node.index) is not None
        house.volume.rename(tmp_path / "away")
        list(reconcile_volumes(node, since=None, repair=True))
        assert unknown_study(node.index) is not None
        (tmp_path / "away").rename(house.volume)
        list(reconcile_volumes(node, since=None, repair=True))
        assert unknown_study(node.index) is None


def test_an_index_that_is_made_anew_from_the_files_lacks_nothing_of_what_was_told(tmp_path: Path) -> None:
    house = without_its_only_copy(tmp_path)
    with house.node() as node:
        assert list(rebuild_index(node)) == []
        assert unknown_study(node.index) is None
    assert told(house) is None


def test_a_study_of_a_day_to_come_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    """It came while a clock was wrong, and is the newest for years."""
    house = without_its_only_copy(tmp_path)
    with house.node() as node:
        compared(node.index, NOW + timedelta(days=1))
        with node.index.write() as connection:
            connection.execute(update(studies).values(day="2999-01-01"))
    assert told(house) is not None


def test_what_was_purged_after_the_state_to_which_a_site_was_set_back_is_not_taken_in_again(tmp_path: Path) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    purged, kept = house.take_in(tiny(1), tiny(2))
    (stayed,) = house.volume.rglob(f"{purged.sop_uid}-*.dcm")
    content = stayed.read_bytes()
    with house.node() as node:
        change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
        list(delete(node, to_delete(node, {"SOPInstanceUID": purged.sop_uid}), "a test"))
        list(purge(node, in_trash(node, {}), "a test"))
    stayed.write_bytes(content)
    grow_old(house.volume)
    set_back(tmp_path)
    with house.node() as node:
        found = {
            Path(one.path).name.partition("-")[0]: one.kind for one in reconcile_volumes(node, since=None, repair=True)
        }
    assert found == {purged.sop_uid: FindingKind.REMOVED, kept.sop_uid: FindingKind.ADOPTED}


def test_a_file_that_was_owed_its_removal_when_the_index_was_saved_stays_if_it_came_again_since(tmp_path: Path) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    again, _ = house.take_in(tiny(1), tiny(2))
    with house.node() as node:
        (held, other) = to_delete(node, {"StudyInstanceUID": again.study_uid})
        for kind in (OperationKind.DELETE, OperationKind.PURGE):
            decider(node, "a test").decide(kind, held.study_uid, [held.content, other.content])
    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    house.take_in(tiny(1))
    set_back(tmp_path)
    with house.node() as node:
        assert release_what_is_due(node, "a test") == []
        assert node.releases.waiting() == []
    (stays,) = house.volume.rglob("*.dcm")
    assert stays.name.startswith(f"{again.sop_uid}-")
    grow_old(house.volume)
    with house.node() as node:
        assert [one.kind for one in reconcile_volumes(node, since=None, repair=True)] == [FindingKind.ADOPTED]


def test_neither_what_is_on_its_way_nor_what_was_purged_is_taken_for_what_the_index_does_not_know(
    tmp_path: Path,
) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    sample, _ = house.take_in(tiny(1, study="purged"), tiny(2))
    (purged,) = house.volume.rglob(f"{sample.sop_uid}-*.dcm")
    content = purged.read_bytes()
    with house.node() as node:
        list(delete(node, to_delete(node, {"StudyInstanceUID": sample.study_uid}), "a test"))
        change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
        list(purge(node, in_trash(node, {}), "a test"))
    assert not purged.exists()
    purged.parent.mkdir(parents=True, exist_ok=True)
    purged.write_bytes(content)  # as on a volume that was away
    grow_old(house.volume)
    assert told(house) is None
    (held,) = set(house.volume.rglob("*.dcm")) - {purged}
    with house.node() as node, node.index.write() as connection:
        connection.execute(delete_rows(copies))
    os.utime(held)
    assert told(house) is None, "it is on its way"
    grow_old(house.volume)
    assert told(house) is not None


def test_a_study_of_which_the_index_has_an_object_on_another_volume_is_known(tmp_path: Path) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    second = tmp_path / "second"
    second.mkdir()
    with house.node() as node:
        row = VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
        node.registry.add_volume(row)
        node.registry.set_policy(Policy(want=2, need=2, degraded=2))
    house.take_in(tiny(1))
    grow_old(house.volume)
    with house.node() as node, node.index.write() as connection:
        connection.execute(delete_rows(copies).where(copies.c.volume_id != row.id))
    assert told(house) is None
    with house.node() as node, node.index.write() as connection:
        connection.execute(delete_rows(copies))
    assert told(house) is not None


def without_its_only_copy(folder: Path) -> House:
    """A site whose index is told to have been set back: it does not know the copy that its volume has."""
    house = House(folder / "data", f"sqlite:///{folder}/index.db")
    house.take_in(tiny(1))
    grow_old(house.volume)
    with house.node() as node, node.index.write() as connection:
        connection.execute(delete_rows(copies))
    assert told(house) is not None
    return house


def told(house: House) -> str | None:
    """The folder that the alarm and pacs doctor know of, after a look."""
    with house.node() as node:
        for volume in node.volumes():
            note_unknown(node, volume)
        noted = unknown_study(node.index)
        assert holdings_of(node).unknown == noted
        assert bool(noted) == any("does not know" in problem for problem, _ in _durability(node))
        return noted.folder if noted else None
