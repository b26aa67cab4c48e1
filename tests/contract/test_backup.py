"""Backups of either database, with real files: consistent, incremental, whole or told not to be, and the way back."""

import errno
import json
import os
import shutil
import sqlite3
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, insert, select, text
from support.arrivals import arrival
from support.faulty_volume import FaultyVolume, mounted
from support.house import NOW, House, damages, dump, flip, grow_old
from support.samples import data_set_of, tiny
from support.server import wait_for

from pacs_server.archive import retire
from pacs_server.archive.releasing import release_due
from pacs_server.archive.retire import Decider
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.operations import OperationKind
from pacs_server.errors import (
    Busy,
    CopyUnreadable,
    NotEnoughCopies,
    Refused,
    SchemaMismatch,
    UnknownName,
    VolumeAway,
    VolumeUnavailable,
)
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance import snapshot
from pacs_server.index.maintenance.schema import migrate, open_current
from pacs_server.index.maintenance.snapshot import copy_rows, row_counts, sqlite_url, take_snapshot
from pacs_server.index.queries.trash import Trash
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site.peers import Peer
from pacs_server.index.site.registry import Policy, VolumeRow
from pacs_server.index.site_tables import site
from pacs_server.index.tables import instances
from pacs_server.service.locks import backup_lock, instance_lock
from pacs_server.service.upkeep import backup
from pacs_server.service.upkeep.backup import Restore, Verification, backups_in, run_backup
from pacs_server.service.upkeep.checkpoints import DailyCheckpoint
from pacs_server.service.upkeep.deeds import import_files, verify_volumes
from pacs_server.service.upkeep.reconciling import reconcile_volumes
from pacs_server.storage import threads
from pacs_server.storage.backup import BackupDirectory, Summary, part
from pacs_server.storage.carrying import Result
from pacs_server.storage.condition import Status
from pacs_server.storage.sentinel import adopt, place_at, sentinel_at

Urls = Callable[[], str]


@pytest.fixture
def house(new_upgraded_url: Urls, tmp_path: Path) -> House:
    return House(tmp_path / "data", new_upgraded_url())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def fill(house: House) -> None:
    """Two studies, an object in two versions, one in the trash, one purged, a hold, a peer with a policy."""
    names = {"PatientName": "Yamada^Taro=山田^太郎", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]}
    house.take_in(*(tiny(n, study=n % 2, **names) for n in range(8)), tiny(0, study=0, ImageComments="other content"))
    with house.node() as node:
        decider = decider_of(node)
        trash = Trash(node.index)
        held = {one.content.sop_uid: one for one in trash.found([])}
        list(retire.delete([held[tiny(n, study=n % 2).SOPInstanceUID] for n in (2, 4)], decider))
        gone = [one for one in trash.trashed() if one.content.sop_uid == tiny(4, study=0).SOPInstanceUID]
        decider.decide(OperationKind.PURGE, gone[0].study_uid, [gone[0].content])
        decider.decide(OperationKind.HOLD, tiny(1, study=1).StudyInstanceUID)
        node.registry.set_policy(Policy(want=2), aet="CT1")


def decider_of(node) -> Decider:
    operations = node.instances.operations
    return Decider(who="admin", reason="because", now=NOW, operations=operations, volumes=node.volumes())


def files_below(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# --- The snapshot ------------------------------------------------------------------------------------------------


def test_a_reader_of_one_moment_does_not_see_what_is_committed_meanwhile(index: Index) -> None:
    counted = select(text("count(*)")).select_from(site)
    with index.read_at_one_moment() as connection:
        before = connection.execute(counted).scalar_one()
        with index.write() as other:
            other.execute(insert(site).values(name="new", value="1"))
        assert connection.execute(counted).scalar_one() == before
    with index.read() as connection:
        assert connection.execute(counted).scalar_one() == before + 1


def test_a_snapshot_holds_every_row_in_one_file(house: House, tmp_path: Path) -> None:
    fill(house)
    path = tmp_path / "snapshot.db"
    with house.node() as node:
        take_snapshot(node.index, path)
        take_snapshot(node.index, path)  # one that was left is replaced
        expected = dump(node.index)
    assert [file.name for file in tmp_path.glob("snapshot.db*")] == ["snapshot.db"]
    with closing(open_current(sqlite_url(path))) as copy:
        assert dump(copy) == expected
        assert row_counts(copy)["instances"] == 8


def test_a_snapshot_of_postgresql_is_that_of_one_moment(
    upgraded_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Table] = []

    def copy(source: Connection, target: Connection, table: Table) -> None:
        copied.append(table)
        copy_rows(source, target, table)
        Instances(index).record(arrival(study=str(len(copied))))

    with closing(open_current(upgraded_postgres_url)) as index:
        Instances(index).record(arrival(study="first"))
        expected = row_counts(index)
        monkeypatch.setattr(snapshot, "copy_rows", copy)
        take_snapshot(index, tmp_path / "snapshot.db")
        assert row_counts(index)["studies"] == len(copied) + 1
    with closing(open_current(sqlite_url(tmp_path / "snapshot.db"))) as taken:
        assert row_counts(taken) == expected


# --- Backing up --------------------------------------------------------------------------------------------------


def test_a_run_with_objects_holds_all_of_them_the_operations_and_a_list_that_a_person_can_use(
    house: House, target: Path
) -> None:
    fill(house)
    results = house.back_up(target)
    assert Counter(one.result for one in results) == {Result.COPIED: 8}
    assert files_below(target / "v1").items() <= files_below(house.volume / "v1").items()
    with house.node() as node:
        operations = node.instances.operations.stamps()
        objects = {row.sop_uid for row in rows_of(node.index)}
    assert len(list((target / "v1" / "ops").rglob("*.json"))) == len(operations) == 3
    (run,) = (target / "runs").iterdir()
    listed = [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines()]
    assert {one["sop_uid"] for one in listed} == objects
    assert all((target / one["path"]).stat().st_size == one["size_bytes"] for one in listed)
    assert (run / "pacs.yaml").read_bytes() == house.config.read_bytes()
    assert not list(house.folder.glob("backup-snapshot*"))


def rows_of(index: Index):
    with index.read() as connection:
        return connection.execute(select(instances.c.sop_uid, instances.c.digest)).all()


def test_certificates_and_keys_are_in_a_backup_for_their_owner_alone_and_come_back_where_they_are_missing(
    house: House, target: Path
) -> None:
    fill(house)
    tls = house.folder / "tls"
    tls.mkdir()
    files = {"node.crt": b"c1", "node.key": b"k1", "ca.crt": b"c2", "ca.key": b"k2"}
    for name, content in files.items():
        (tls / name).write_bytes(content)
    house.back_up(target)
    (run,) = (target / "runs").iterdir()
    assert {path.name: path.read_bytes() for path in (run / "tls").iterdir()} == files
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (run / "tls", *(run / "tls").iterdir())]
    assert modes == [0o700, 0o600, 0o600, 0o600, 0o600]
    assert damages(target) == {}
    (tls / "node.crt").write_bytes(b"a newer one")
    for name in ("node.key", "ca.crt", "ca.key"):
        (tls / name).unlink()
    with Restore.of(house.settings, target, "") as restore:
        list(restore.do(now=NOW))
        assert restore.remarks == [f"put back: {tls / name}" for name in ("node.key", "ca.crt", "ca.key")]
    assert {path.name: path.read_bytes() for path in tls.iterdir()} == files | {"node.crt": b"a newer one"}
    assert {name: stat.S_IMODE((tls / name).stat().st_mode) for name in ("node.key", "ca.key")} == {
        "node.key": 0o600,
        "ca.key": 0o600,
    }


def test_a_key_that_is_damaged_in_a_backup_is_not_put_back_and_keeps_no_object_from_coming_back(
    house: House, target: Path
) -> None:
    fill(house)
    (house.folder / "tls").mkdir()
    (house.folder / "tls" / "node.key").write_bytes(b"a long enough key")
    house.back_up(target)
    (path,) = (target / "runs").rglob("node.key")
    flip(path)
    assert list(damages(target)) == [str(path.relative_to(target))]
    shutil.rmtree(house.folder / "tls")
    with Restore.of(house.settings, target, "") as restore:
        assert {one.result for one in restore.do(now=NOW)} == {Result.PRESENT}
        (remark,) = restore.remarks
    assert "is not what was backed up; use another run" in remark
    assert not (house.folder / "tls" / "node.key").exists()


def test_the_next_run_copies_what_is_new_and_removes_nothing(house: House, target: Path) -> None:
    house.take_in(*(tiny(n) for n in range(3)))
    house.back_up(target)
    before = files_below(target)
    with house.node() as node:
        list(retire.delete(Trash(node.index).found([])[:1], decider_of(node)))
    house.take_in(tiny(7))
    assert Counter(one.result for one in house.back_up(target)) == {Result.PRESENT: 3, Result.COPIED: 1}
    assert before.items() <= files_below(target).items()
    assert house.back_up(target, objects=False) == []
    assert [summary is not None for _, summary, _ in backups_in(target)] == [True] * 3


def test_a_copy_that_is_damaged_is_not_what_is_backed_up(house: House, target: Path, tmp_path: Path) -> None:
    first, second = house.take_in(tiny(1), tiny(2))
    paths = {path.name.rpartition("-")[0]: path for path in house.volume.rglob("*.dcm")}
    flip(paths[first.sop_uid])
    results = {one.sop_uid: one for one in house.back_up(target)}
    assert results[first.sop_uid].result is Result.MISSING
    assert "is not what was received" in results[first.sop_uid].detail
    assert results[second.sop_uid].result is Result.COPIED
    assert len(list((target / "v1").rglob("*.dcm"))) == 1
    ((_, summary, _),) = backups_in(target)
    assert summary is not None
    assert summary.missing_count == 1
    assert list(damages(target)) == [results[first.sop_uid].path]


def test_what_was_destroyed_since_the_snapshot_is_not_missing(house: House, target: Path) -> None:
    house.take_in(*(tiny(n) for n in range(3)))
    with house.node() as node:
        running = run_backup(node, house.config, target, with_objects=True, is_new=False, now=NOW)
        assert next(running).result is Result.COPIED
        held = Trash(node.index).found([])[1]
        decider = decider_of(node)
        for kind in (OperationKind.DELETE, OperationKind.PURGE):
            decider.decide(kind, held.study_uid, [held.content])
        (path,) = house.volume.rglob(f"{held.content.sop_uid}-*")
        path.unlink()
        assert [one.result for one in running] == [Result.REMOVED, Result.COPIED]


def test_a_place_that_held_a_backup_and_does_not_now_is_taken_for_one_that_is_not_mounted(
    house: House, target: Path
) -> None:
    house.back_up(target)
    target.rename(target.with_name("another"))
    with pytest.raises(Refused, match="is it mounted"):
        house.back_up(target)
    target.mkdir()
    with pytest.raises(Refused, match="is it mounted"):
        house.back_up(target)
    assert list(target.iterdir()) == []
    house.back_up(target, new=True)
    assert damages(target) == {}


def test_a_place_may_have_a_name_that_is_no_text(house: House, tmp_path: Path) -> None:
    house.take_in(tiny(1))
    place = tmp_path / "backups-\udc8e\udcb1"
    house.back_up(place)
    assert damages(place) == {}
    place.rename(tmp_path / "another")
    with pytest.raises(Refused, match="is it mounted"):
        house.back_up(place)


def test_a_directory_of_volumes_or_of_other_files_is_no_place_for_backups(house: House, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="volumes must not overlap"):
        house.back_up(house.volume / "backups")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(Refused, match="not empty"):
        house.back_up(tmp_path / "full")


def test_only_one_backup_runs_at_a_time(house: House, target: Path) -> None:
    with backup_lock(house.folder), pytest.raises(Busy, match="another backup"):
        house.back_up(target)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Path]:
    try:
        with mounted(tmp_path / "failing") as volume:
            (tmp_path / "failing" / "pacs").mkdir()
            yield volume.path
    except OSError as error:
        pytest.skip(str(error))


def test_a_directory_that_fails_ends_the_run_which_says_so_and_the_next_goes_on(house: House, failing: Path) -> None:
    target = failing / "pacs"
    house.take_in(*(tiny(n) for n in range(4)))
    with house.node() as node:
        running = run_backup(node, house.config, target, with_objects=True, is_new=False, now=NOW)
        assert [next(running).result for _ in range(2)] == [Result.COPIED] * 2
        (failing / ".control").write_bytes(b"eio")
        with pytest.raises(VolumeUnavailable, match="Input/output error"):
            list(running)
        (failing / ".control").write_bytes(b"ok")
    assert [summary for _, summary, _ in backups_in(target)] == [None]
    with pytest.raises(UnknownName, match="no complete backup"):
        Verification(target, "")
    results = Counter(one.result for one in house.back_up(target))
    assert results == {Result.PRESENT: 2, Result.COPIED: 2}
    assert damages(target) == {}


def test_a_directory_that_has_no_room_left_is_told_and_gets_the_rest_once_it_has(house: House, tmp_path: Path) -> None:
    target = tmp_path / "small"
    target.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", target], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here; it takes root")
    try:
        house.take_in(*(tiny(n, EncapsulatedDocument=bytes(400_000)) for n in range(6)))
        with pytest.raises(NotEnoughCopies, match=r"No space left|full"):
            house.back_up(target)
        subprocess.run(["mount", "-o", "remount,size=64m", target], check=True)
        results = Counter(one.result for one in house.back_up(target))
        assert results[Result.PRESENT] + results[Result.COPIED] == 6
        assert damages(target) == {}
    finally:
        subprocess.run(["umount", "-l", target], check=True)


def test_a_directory_that_is_not_there_is_told(house: House, tmp_path: Path) -> None:
    with pytest.raises(VolumeUnavailable, match="No such file or directory; is it mounted"):
        Verification(tmp_path / "nowhere", "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownName, match="no complete backup"):
        house.restore(tmp_path / "empty")


# --- Verifying ---------------------------------------------------------------------------------------------------


def test_a_backup_says_that_it_was_never_verified_until_it_was(house: House, target: Path) -> None:
    fill(house)
    house.back_up(target)
    assert [summary.verified_at for _, summary, _ in backups_in(target) if summary] == [None]
    assert damages(target) == {}
    assert all(summary.verified_at for _, summary, _ in backups_in(target) if summary)


def test_a_run_that_was_taken_by_a_clock_in_the_future_is_not_the_newest(house: House, target: Path) -> None:
    def run_at(now: datetime) -> None:
        with house.node() as node:
            list(run_backup(node, house.config, target, with_objects=True, is_new=False, now=now))

    house.take_in(tiny(1))
    run_at(NOW + timedelta(days=3_650))
    assert Verification(target, "").summary.counts["instances"] == 1, "where there is no other it is taken"
    house.take_in(tiny(2))
    run_at(NOW)
    assert Verification(target, "").summary.counts["instances"] == 2
    run_at(NOW - timedelta(days=1))
    assert Verification(target, "").summary.taken_at == NOW


@pytest.mark.parametrize("name", ["index.db", "pacs.yaml", "manifest.jsonl"])
def test_a_flipped_bit_in_a_part_of_a_run_is_found(house: House, target: Path, name: str) -> None:
    house.take_in(tiny(1))
    house.back_up(target)
    (run,) = (target / "runs").iterdir()
    assert damages(target) == {}
    flip(run / name)
    assert list(damages(target)) == [f"runs/{run.name}/{name}"]
    ((_, summary, _),) = backups_in(target)
    assert summary is not None
    assert summary.verified_at is None
    (run / name).unlink()
    assert list(damages(target)) == [f"runs/{run.name}/{name}"]


def destroyed(content: bytearray) -> bytes:
    """With pages that a database has to have."""
    content[4096 * 3 : 4096 * 20] = bytes(4096 * 17)
    return bytes(content)


def contradicting_itself(content: bytearray) -> bytes:
    """With a UID in a table that is another one in its index, which nobody notices who only opens it."""
    uid = str(tiny(0).SOPInstanceUID).encode()
    return bytes(content.replace(uid, b"3" + uid[1:], 1))


def of_another_schema(content: bytearray) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(content)
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
        return connection.serialize()


@pytest.mark.parametrize(
    ("harm", "told"),
    [(destroyed, "it "), (contradicting_itself, "it is damaged: "), (of_another_schema, "its schema is 0001, not ")],
)
def test_an_index_that_was_whole_when_it_was_written_but_damaged_inside_is_found(
    house: House, target: Path, harm: Callable[[bytearray], bytes], told: str
) -> None:
    house.take_in(*(tiny(n) for n in range(9)))
    house.back_up(target)
    directory = BackupDirectory(target, house.settings.storage)
    (stamp,) = directory.stamps()
    summary = directory.summary(stamp)
    assert summary is not None
    content = bytearray((target / part(stamp, "index.db")).read_bytes())
    digest = directory.put(part(stamp, "index.db"), [harm(content)])
    directory.put(
        part(stamp, "backup.json"), [replace(summary, digests=summary.digests | {"index.db": digest}).to_json()]
    )
    ((path, damage),) = damages(target).items()
    assert (path, damage[: len(told)]) == (f"runs/{stamp}/index.db", told)


@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
def test_a_damaged_object_is_found_and_the_next_run_replaces_it(house: House, target: Path, harm: str) -> None:
    house.take_in(*(tiny(n, ImageComments="x" * 500) for n in range(3)))
    house.back_up(target)
    path = sorted((target / "v1").rglob("*.dcm"))[1]
    whole = path.read_bytes()
    {"flipped": flip, "truncated": lambda one: one.write_bytes(whole[:-9]), "deleted": Path.unlink}[harm](path)
    assert list(damages(target)) == [str(path.relative_to(target))]
    damaged = path.read_bytes() if path.exists() else None
    assert Counter(one.result for one in house.back_up(target)) == {Result.PRESENT: 2, Result.COPIED: 1}
    assert path.read_bytes() == whole
    aside = [file.read_bytes() for file in (target / "quarantine").rglob("*.dcm")]
    assert aside == ([damaged] if harm == "flipped" else [])
    assert damages(target) == {}


@pytest.mark.parametrize(("good", "bad"), [("\n}", ""), ("index.db", "indez.db"), ("instances", "instancew")])
def test_a_summary_that_is_damaged_is_told(house: House, target: Path, good: str, bad: str) -> None:
    house.back_up(target)
    (run,) = (target / "runs").iterdir()
    told = (run / "backup.json").read_text()
    (run / "backup.json").write_text(told.replace(good, bad))
    ((stamp, summary, problem),) = backups_in(target)
    assert (stamp, summary) == (run.name, None)
    assert "backup.json cannot be read" in problem
    house.back_up(target)  # it does not disturb the next


def test_a_copy_that_lost_its_sentinel_and_cannot_be_written_is_verified_and_restored(
    house: House, target: Path, tmp_path: Path
) -> None:
    house.take_in(*(tiny(n) for n in range(2)))
    house.back_up(target)
    copy = tmp_path / "offline"
    shutil.copytree(target, copy, ignore=shutil.ignore_patterns(".*"))
    assert damages(copy) == {}
    before = house.dump()
    shutil.rmtree(house.volume / "v1")
    assert Counter(one.result for one in house.restore(copy)) == {Result.COPIED: 2}
    assert house.dump() == before


# --- Restoring ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["from it into SQLite", "from SQLite into it", "from it into another"])
def test_everything_destroyed_comes_back_into_either_database(
    new_upgraded_url: Urls, tmp_path: Path, target: Path, direction: str
) -> None:
    sqlite = sqlite_url(tmp_path / "other.db")
    first = House(tmp_path / "data", sqlite if direction == "from SQLite into it" else new_upgraded_url())
    fill(first)
    before, files = first.dump(), files_below(first.volume / "v1")
    first.back_up(target)
    shutil.rmtree(first.folder)
    if direction == "from it into SQLite":
        (tmp_path / "other.db").unlink(missing_ok=True)
    second = House(tmp_path / "data", sqlite if direction == "from it into SQLite" else new_upgraded_url())
    with Restore.of(second.settings, target, "") as restore:
        assert restore.plan.lacking == 8
        assert restore.plan.summary.verified_at is None
    assert Counter(one.result for one in second.restore(target)) == {Result.COPIED: 8}
    assert second.dump() == before
    restored = files_below(second.volume / "v1")
    assert restored.items() <= files.items()
    assert sum(name.endswith(".dcm") for name in restored) == 8
    with second.node() as node:
        owed = {(job.kind, job.target) for job in node.jobs.listed()}
        assert owed >= {(JobKind.SURVEY, ""), *((JobKind.OPERATIONS, one.spec.id) for one in node.volumes())}
        assert node.policies().of("CT1") == Policy(want=2)
        with node.index.read() as connection:
            names = set(connection.execute(select(site.c.name)).scalars())
        assert not names & {"site id", "restoring"}
    second.take_in(tiny("new"), tiny("newer"))  # ids go on where they were
    with second.node() as node:
        decider_of(node).decide(OperationKind.HOLD, tiny("new").StudyInstanceUID)


def test_an_index_that_was_destroyed_comes_back_and_the_volumes_stay_as_they_are(
    house: House, target: Path, tmp_path: Path
) -> None:
    fill(house)
    house.back_up(target, objects=False)
    before, files = house.dump(), files_below(house.volume)
    with house.node() as node:
        kept = node.index.database_path
        node.registry.save_peer(later_peer())
    if kept is not None:
        kept.write_bytes(b"this was a database" * 1000)
    results = house.restore(target)
    assert Counter(one.result for one in results) == {Result.PRESENT: 8}
    assert (house.dump(), files_below(house.volume)) == (before, files)
    if kept is not None:
        (former,) = tmp_path.glob(f"{kept.name}.before-restore-*Z")
        assert former.read_bytes().startswith(b"this was a database")
        assert not list(tmp_path.glob(f"{kept.name}.restoring*"))


def later_peer() -> Peer:
    return Peer(aet=AeTitle("LATER"), host=None, port=None, rights=frozenset(), sources=())


def test_a_log_that_the_former_index_left_is_not_taken_for_one_of_the_restored(tmp_path: Path, target: Path) -> None:
    house = House(tmp_path / "data", sqlite_url(tmp_path / "index.db"))
    house.take_in(tiny(1))
    house.back_up(target)
    before = house.dump()
    log = tmp_path / "index.db-wal"
    with house.node() as node:
        node.registry.save_peer(later_peer())
        left = log.read_bytes()
    log.write_bytes(left)
    (tmp_path / "index.db").unlink()
    house.restore(target)
    assert house.dump() == before


def test_an_object_that_nobody_has_is_told_and_its_row_stays(house: House, target: Path) -> None:
    samples = house.take_in(*(tiny(n) for n in range(3)))
    house.back_up(target)
    for place in (house.volume, target):
        (path,) = place.rglob(f"{samples[1].sop_uid}-*")
        path.unlink()
    (path,) = house.volume.rglob(f"{samples[2].sop_uid}-*")
    path.unlink()
    before = house.dump()
    results = {one.sop_uid: one.result for one in house.restore(target)}
    assert [results[sample.sop_uid] for sample in samples] == [Result.PRESENT, Result.MISSING, Result.COPIED]
    assert house.dump() == before
    assert data_set_of(path) == samples[2].data_set


def test_a_damaged_object_of_the_backup_is_not_brought_back(house: House, target: Path) -> None:
    (sample,) = house.take_in(tiny(1))
    house.back_up(target)
    (path,) = house.volume.rglob("*.dcm")
    path.unlink()
    flip(next((target / "v1").rglob("*.dcm")))
    (told,) = house.restore(target)
    assert told.result is Result.MISSING
    assert not list(house.volume.rglob("*.dcm")), "nor anything unfinished of it"
    assert sample.sop_uid == told.sop_uid


def damaged_after_its_backup(house: House, target: Path) -> tuple[Path, bytes]:
    """The only copy of an object, which is known to be damaged and is whole in the backup; and what it was."""
    house.take_in(tiny(1))
    house.back_up(target)
    (path,) = house.volume.rglob("*.dcm")
    whole = path.read_bytes()
    flip(path)
    with house.node() as node:
        assert [one.result for one in verify_volumes(node, (), bytes_per_s=None)] == ["damaged"]
    return path, whole


def test_the_only_copy_that_was_damaged_is_brought_back_from_its_file_in_the_backup(house: House, target: Path) -> None:
    path, whole = damaged_after_its_backup(house, target)
    with house.node() as node:
        list(import_files(node, [target / path.relative_to(house.volume)]))
        assert next(iter(verify_volumes(node, (), bytes_per_s=None))).result == "good"
    assert path.read_bytes() == whole


def test_a_copy_that_was_known_to_be_damaged_is_brought_back_by_a_restore(house: House, target: Path) -> None:
    path, whole = damaged_after_its_backup(house, target)
    house.back_up(target)
    assert [one.result for one in house.restore(target)] == [Result.COPIED]
    assert path.read_bytes() == whole
    with house.node() as node:
        assert node.copies.count_damaged() == 0


def test_an_empty_directory_in_the_place_of_a_volume_becomes_one_and_gets_its_objects(
    house: House, target: Path
) -> None:
    house.take_in(tiny(1))
    house.back_up(target)
    shutil.rmtree(house.volume)
    house.volume.mkdir()
    assert [one.result for one in house.restore(target)] == [Result.COPIED]
    with house.node() as node:
        (volume,) = node.volumes()
        assert (volume.spec.id, volume.check().status) == (sentinel_at(house.volume), Status.ONLINE)
        assert [one.result for one in verify_volumes(node, (), bytes_per_s=None)] == ["good"]


def test_without_any_volume_everything_is_told_to_be_lacking_and_nothing_is_restored(
    house: House, target: Path, tmp_path: Path
) -> None:
    house.take_in(tiny(1))
    house.back_up(target)
    house.take_in(tiny(2))
    before = house.dump()
    house.volume.rename(tmp_path / "unmounted")
    with Restore.of(house.settings, target, "") as restore:
        assert restore.plan.lacking == 1
        with pytest.raises(Refused, match="no volume of the backup is there"):
            list(restore.do(now=NOW))
    (tmp_path / "unmounted").rename(house.volume)
    assert house.dump() == before


def test_a_restore_that_was_broken_off_goes_on_and_keeps_what_arrived_meanwhile(house: House, target: Path) -> None:
    house.take_in(*(tiny(n) for n in range(5)))
    house.back_up(target)
    before = house.dump()
    shutil.rmtree(house.volume / "v1")
    with Restore.of(house.settings, target, "") as restore:
        running = restore.do(now=NOW)
        assert [next(running).result for _ in range(2)] == [Result.COPIED] * 2
        running.close()
    house.take_in(tiny("meanwhile"))
    with Restore.of(house.settings, target, "") as restore:
        assert restore.plan.goes_on
        results = Counter(one.result for one in restore.do(now=NOW))
    assert results == {Result.PRESENT: 2, Result.COPIED: 3}
    after = house.dump()
    assert set(before["instances"]) < set(after["instances"])
    assert len(after["instances"]) == 6
    with Restore.of(house.settings, target, "") as restore:
        assert not restore.plan.goes_on


@pytest.mark.parametrize("step", ["install", "put_key_aside"])
def test_no_checkpoint_is_signed_with_the_former_key_after_a_restore_that_was_killed(
    house: House, target: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with house.node() as node:
        DailyCheckpoint(node).look(NOW)
    house.back_up(target)
    with house.node() as node:
        DailyCheckpoint(node).look(NOW + timedelta(days=2))
    with monkeypatch.context() as patched:
        patched.setattr(backup, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            house.restore(target)
    house.restore(target)
    with house.node() as node:
        DailyCheckpoint(node).look(NOW + timedelta(days=3))
        on_volume = [volume.checkpoint_files() for volume in node.volumes()]
        assert len(list(chain(*on_volume))) == 3  # that of the backup, the next, and the first of another key


def test_a_directory_that_does_not_answer_is_not_taken_for_another_disk_nor_waited_for_for_ever(
    house: House, forgetful: FaultyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.take_in(tiny(1))
    house.back_up(forgetful.path)
    monkeypatch.setattr(threads, "_ANSWER_S", 0.2)
    forgetful.tell("hang 3")
    with pytest.raises(VolumeAway, match=f"^{forgetful.path}: it does not answer"):
        house.back_up(forgetful.path)
    forgetful.tell("ok")
    wait_for(lambda: place_at(forgetful.path).volume_id, "it to answer")


def test_without_doing_it_nothing_is_changed(house: House, target: Path, tmp_path: Path) -> None:
    fill(house)
    house.back_up(target)
    house.take_in(tiny("later"))
    before, files = house.dump(), files_below(house.volume)
    with Restore.of(house.settings, target, "") as restore:
        assert [plan.becomes.value for plan in restore.plan.volumes] == ["kept"]
    assert (house.dump(), files_below(house.volume)) == (before, files)
    assert not list(tmp_path.rglob("*restoring*"))


def test_nothing_is_restored_under_a_server(house: House, target: Path) -> None:
    house.back_up(target)
    with instance_lock(house.folder), pytest.raises(Busy), Restore.of(house.settings, target, ""):
        pytest.fail("a restore began beside a server")


def test_an_index_that_is_not_what_was_backed_up_is_not_restored(house: House, target: Path) -> None:
    house.take_in(tiny(1))
    house.back_up(target)
    before = house.dump()
    (run,) = (target / "runs").iterdir()
    flip(run / "index.db")
    with pytest.raises(CopyUnreadable, match="use another run"):
        house.restore(target)
    assert house.dump() == before


def rewritten(target: Path, house: House, **values: object) -> None:
    directory = BackupDirectory(target, house.settings.storage)
    (stamp,) = directory.stamps()
    summary = directory.summary(stamp)
    assert isinstance(summary, Summary)
    directory.put(part(stamp, "backup.json"), [replace(summary, **values).to_json()])


def test_an_index_for_which_there_is_no_room_is_not_restored(
    house: House, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.take_in(tiny(1))
    house.back_up(target)
    before = house.dump()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(BackupDirectory, "fetch", full)
    with pytest.raises(Refused, match="No space left on device; make room there"):
        house.restore(target)
    assert house.dump() == before


def test_a_backup_of_a_newer_release_is_refused(house: House, target: Path) -> None:
    house.back_up(target)
    rewritten(target, house, schema="9999_from_the_future")
    with pytest.raises(SchemaMismatch, match="newer release"):
        house.restore(target)


def test_a_backup_of_an_older_release_is_brought_to_the_schema_of_this_one(
    house: House, target: Path, tmp_path: Path
) -> None:
    house.back_up(target)
    directory = BackupDirectory(target, house.settings.storage)
    (stamp,) = directory.stamps()
    old = tmp_path / "old.db"
    with closing(Index.open(sqlite_url(old))) as index, index.write() as connection:
        migrate(connection, "0006_pre_jobs")
        connection.execute(text('INSERT INTO site VALUES (\'policy\', \'{"want": 3, "need": 2, "degraded": 1}\')'))
        connection.execute(
            text("INSERT INTO volumes (id, name, path, tier, domain) VALUES ('old', 'first', :path, 'warm', 'x')"),
            {"path": str(house.volume)},
        )
    digest = directory.put(part(stamp, "index.db"), [old.read_bytes()])
    summary = directory.summary(stamp)
    assert summary is not None
    rewritten(target, house, schema="0006_pre_jobs", digests=summary.digests | {"index.db": digest})
    assert damages(target).keys() == set()
    house.restore(target)
    with house.node() as node:
        assert node.policies().usual == Policy(want=3, need=2, degraded=1)
        (volume,) = node.volumes()
        assert (volume.spec.tier, volume.spec.id != "old") == ("warm", True)


def test_a_manifest_cannot_name_files_outside_of_its_directory(house: House, target: Path) -> None:
    house.take_in(tiny(1))
    house.back_up(target)
    directory = BackupDirectory(target, house.settings.storage)
    (stamp,) = directory.stamps()
    for path in ("v1/../../secret", "/etc/passwd", "runs/x"):
        line = json.dumps({"sop_uid": "1.2", "digest": "0" * 64, "size_bytes": 1, "path": path})
        directory.put(part(stamp, "manifest.jsonl"), [f"{line}\n".encode()])
        with pytest.raises(Exception, match="names no file of an object"):
            list(directory.listed(stamp))


def decide_on_first(house: House, *kinds: OperationKind) -> None:
    """Decisions about the first object that is found, or else is in the trash."""
    with house.node() as node:
        held = (Trash(node.index).found([]) or Trash(node.index).trashed())[0]
        for kind in kinds:
            decider_of(node).decide(kind, held.study_uid, [held.content])


def test_what_was_destroyed_after_the_backup_does_not_come_back(house: House, target: Path) -> None:
    samples = house.take_in(*(tiny(n) for n in range(2)))
    house.back_up(target)
    decide_on_first(house, OperationKind.DELETE, OperationKind.PURGE)
    (gone,) = house.volume.rglob(f"{samples[0].sop_uid}-*")
    gone.unlink()
    assert [(one.sop_uid, one.result) for one in house.restore(target)] == [(samples[1].sop_uid, Result.PRESENT)]
    assert not gone.exists()


def test_what_a_later_run_that_was_broken_off_knows_of_decisions_holds_after_a_restore_of_the_newest(
    house: House, target: Path
) -> None:
    samples = house.take_in(*(tiny(n) for n in range(2)))
    house.back_up(target)
    (complete,) = (one.name for one in (target / "runs").iterdir())
    decide_on_first(house, OperationKind.DELETE)
    with house.node() as node:
        (one,) = [volume for volume in node.volumes() if list(volume.operation_files())]
        for _, path in one.operation_files():  # as far as a run comes before it carries objects
            kept = target / path
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(one.spec.path / path, kept)
    shutil.rmtree(house.folder)
    for stamp, found in ((complete, {one.sop_uid for one in samples}), ("", {samples[1].sop_uid})):
        anew = House(target.parent / f"anew{stamp}", f"sqlite:///{target.parent}/anew{stamp}.db")
        with Restore.of(anew.settings, target, stamp) as restore:
            assert {row.result for row in restore.do(now=NOW)} == {Result.COPIED}
        with anew.node() as node:
            assert {row.content.sop_uid for row in Trash(node.index).found([])} == found
    with Restore.of(anew.settings, target, "") as again:
        assert (again.plan.lacking, again.plan.is_estimate) == (2, True)


def test_a_file_that_was_to_be_removed_and_was_received_again_after_the_backup_is_not_removed(
    house: House, target: Path
) -> None:
    (sample,) = house.take_in(tiny(1))
    decide_on_first(house, OperationKind.DELETE, OperationKind.PURGE)
    house.back_up(target)
    house.take_in(tiny(1))
    (path,) = house.volume.rglob(f"{sample.sop_uid}-*")
    house.restore(target)
    with house.node() as node:
        (volume,) = node.volumes()
        assert (
            list(
                release_due(
                    volume, node.releases, node.holdings, node.copies, node.placement(), now=NOW + timedelta(days=99)
                )
            )
            == []
        )
        assert path.exists()
        grow_old(house.volume)
        assert [one.kind.value for one in reconcile_volumes(node, since=None, repair=True)] == ["adopted"]


def test_an_object_that_was_moved_to_another_volume_after_the_backup_is_found_there(
    house: House, target: Path, tmp_path: Path
) -> None:
    (sample,) = house.take_in(tiny(1))
    cold = tmp_path / "cold"
    cold.mkdir()
    with house.node() as node:
        node.registry.add_volume(
            VolumeRow(id=adopt(cold, name="cold"), name="cold", path=str(cold), tier="cold", domain="cold")
        )
    house.back_up(target, objects=False)
    (house.volume / "v1").rename(cold / "v1")
    (told,) = house.restore(target)
    assert (told.sop_uid, told.result) == (sample.sop_uid, Result.PRESENT)
    with house.node() as node:
        volumes = {volume.spec.id: volume.spec.name for volume in node.volumes()}
        (held,) = node.copies.of_objects([sample.sop_uid])
    assert "cold" in {volumes[copy.volume_id] for copy in held.copies}


def test_what_arrived_after_the_backup_is_found_on_the_volume_again(house: House, target: Path) -> None:
    house.take_in(*(tiny(n) for n in range(3)))
    house.back_up(target)
    house.take_in(tiny("after"))
    before = house.dump()
    house.restore(target)
    assert len(house.dump()["instances"]) == 3
    grow_old(house.volume)
    with house.node() as node:
        assert [one.kind.value for one in reconcile_volumes(node, since=None, repair=True)] == ["adopted"]
    after = house.dump()
    names = ("sop_uid", "digest")
    columns = [[column.name for column in instances.c].index(name) for name in names]
    assert {tuple(row[c] for c in columns) for row in after["instances"]} == {
        tuple(row[c] for c in columns) for row in before["instances"]
    }
