"""What several do to one index at the very same moment."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, select, update
from support.arrivals import arrival
from support.crowd import CONTENTS, Told, crowd
from support.empty_index import copy_empty_index
from support.held_model import STUDIES
from support.house import House
from support.postgres import Cluster, wait_until_waiting
from support.samples import data_set_of

from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.describe import patient_identity
from pacs_server.dicom.operations import Content, Operation, OperationKind
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.index.database_url import parse_url
from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.maintenance.checking import damage
from pacs_server.index.objects import Arrival
from pacs_server.index.operations import Operations
from pacs_server.index.queries.view import conflicts_view
from pacs_server.index.recording.group import record
from pacs_server.index.recording.instances import Instances
from pacs_server.index.recording.statements import RecordingStatements
from pacs_server.index.retiring import recount
from pacs_server.index.shared_uids import SharedUids, _unflagged
from pacs_server.index.site.registry import Policy, VolumeRow
from pacs_server.index.site.retention import Purging, change_retention
from pacs_server.index.site_tables import jobs
from pacs_server.index.tables import copies, flags, instances, patients, series, studies
from pacs_server.service.assemble import Node
from pacs_server.service.runner import _KEEPING, Runner
from pacs_server.service.upkeep import rebuilding
from pacs_server.service.upkeep.reconciling import reconcile_volumes
from pacs_server.storage.sentinel import adopt

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=1)
# When a decision took effect that nobody was told of.
AT_ANY_MOMENT = Told(began=0.0, ended=float("inf"))
NEVER = Told(began=0.0, ended=0.0)
BURST_S = 60.0 if os.environ.get("PACS_TEST_LONG") else 3.0


@pytest.fixture
def url(upgraded_postgres_url: str) -> str:
    """A database with the schema of this release."""
    return upgraded_postgres_url


@pytest.fixture
def objects(url: str) -> Iterator[Instances]:
    with closing(Index.open(url)) as index:
        yield Instances(index)


@contextmanager
def recording(url: str, one: Arrival) -> Iterator[None]:
    """Another process, which records an object and commits that at the end."""
    with closing(Index.open(url)) as index, index.write_cursor() as cursor:
        record(RecordingStatements(index), cursor, [one])
        cursor.flush()
        yield


def deletion(operations: Operations, one: Arrival) -> Operation:
    uid, study = one.description.sop_uid, one.description.study_uid
    content = Content(sop_uid=uid, digest=one.digest, role="current")
    return operations.draft(OperationKind.DELETE, study, [content], now=NOW, who="w", reason="r")


def test_a_patient_is_counted_with_what_comes_under_another_id_while_his_other_study_is_deleted(
    cluster: Cluster, url: str, objects: Instances
) -> None:
    deleted = arrival(study="1.2", patient_id="A")
    for one in (arrival(study="1.1", patient_id="A"), deleted):
        objects.record(one)
    operation = deletion(objects.operations, deleted)
    with ThreadPoolExecutor(1) as other:
        with recording(url, arrival(study="1.1", patient_id="B")):
            deleting = other.submit(objects.operations.record, operation, missed=[], now=NOW)
            wait_until_waiting(cluster, url)
        deleting.result()
    counts = select(*patients.c["patient_id", "study_count", "instance_count"])
    with closing(Index.open(url)) as index, index.read() as connection:
        assert connection.execute(counts).all() == [("A", 1, 2)]


def test_who_decides_about_a_study_that_becomes_that_of_another_patient_waits_in_no_circle(
    cluster: Cluster, url: str, objects: Instances
) -> None:
    one = arrival(study="1.1", patient_id="A")
    for each in (one, arrival(study="1.2", patient_id="B")):
        objects.record(each)
    operation = deletion(objects.operations, one)
    becomes_that_of_b = update(studies).where(studies.c.study_uid == "1.1").values(patient_row=2)
    engine = create_engine(parse_url(url))
    with ThreadPoolExecutor(2) as others, engine.connect() as describing, engine.connect() as another:
        describing.execute(KEEP_OTHERS_OUT, {"names": ["study 1.1"]})
        another.execute(KEEP_OTHERS_OUT, {"names": [f"patient {patient_identity('B', None, '1.1')}"]})
        deciding = others.submit(objects.operations.take_over, [operation], lambda _: [], now=NOW)
        wait_until_waiting(cluster, url)
        behind = others.submit(another.execute, KEEP_OTHERS_OUT, {"names": ["study 1.1"]})
        wait_until_waiting(cluster, url, 2)
        describing.execute(becomes_that_of_b)
        describing.commit()
        behind.result()
        another.rollback()
        deciding.result()
    engine.dispose()
    with closing(Index.open(url)) as index, index.read() as connection:
        assert connection.execute(select(instances.c.role).order_by(instances.c.id)).scalars().all() == [
            "trash",
            "current",
        ]


@contextmanager
def recorded_meanwhile(url: str, *others: Arrival) -> Iterator[SharedUids]:
    """Records two studies, or more, with an object under one UID, of which none sees another; at the end they are."""
    with closing(Index.open(url)) as index:
        shared = SharedUids(index)
        with ExitStack() as uncommitted:
            for one in (arrival("1.9", study="1.1", patient_id="1"), *others):
                uncommitted.enter_context(recording(url, one))
            assert shared.look(NOW) == 0
        yield shared


def uid_flags(url: str) -> list[tuple[str, str]]:
    with closing(Index.open(url)) as index:
        return sorted((one["uid"], one["detail"]) for one in conflicts_view(index) if one["kind"] == "conflict-uid")


def test_of_two_studies_that_come_with_one_uid_at_the_very_same_moment_a_person_is_told_soon(url: str) -> None:
    with recorded_meanwhile(url, arrival("1.9", study="1.2", patient_id="2")) as shared:
        assert uid_flags(url) == []
        assert shared.look(NOW) == 1
        assert uid_flags(url) == [("1.2", "1.1")]
        assert shared.look(NOW) == 0


def test_of_many_studies_that_come_with_one_uid_at_the_very_same_moment_each_names_few(url: str) -> None:
    others = [arrival("1.9", study=f"1.{n}", patient_id=str(n)) for n in range(2, 7)]
    with recorded_meanwhile(url, *others) as shared:
        with closing(Index.open(url)) as index, index.read() as connection:
            pairs = _unflagged(connection, ["1.9"])  # of thousands all of them would be millions
        assert len(pairs) == 1 + 2 + 3 + 3 + 3
        assert shared.look(NOW) == len(pairs)
        assert shared.look(NOW) == 0


def test_what_was_recorded_long_ago_is_looked_at_at_first_and_once_a_day(url: str, objects: Instances) -> None:
    with recorded_meanwhile(url, arrival("1.9", study="1.2", patient_id="2")) as shared:
        for number in range(10):
            objects.record(arrival(f"1.8.{number}"))
            shared.look(NOW)
        assert uid_flags(url) == [("1.2", "1.1")]
        with closing(Index.open(url)) as index, index.write() as connection:
            connection.execute(delete(flags))
        assert shared.look(NOW + timedelta(hours=1)) == 0
        assert shared.look(NOW + timedelta(days=1)) == 1


class Site:
    """An archive that a crowd was at, and what its processes were told."""

    def __init__(self, node: Node, told: list[Told]) -> None:
        self.node = node
        self._stored: dict[tuple[str, str, str], list[Told]] = {}
        for one in told:
            if one.stored:
                self._stored.setdefault(one.stored, []).append(one)
        self._decided = {one.decided: one for one in told if one.decided}

    def settle(self) -> None:
        """Do what is owed until nothing is."""
        files = [path for volume in self.node.volumes() for path in Path(volume.spec.path, "v1").rglob("*.dcm")]
        for path in files:  # who was killed has left some that have no row
            os.utime(path, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
        list(reconcile_volumes(self.node, since=None, repair=True))
        SharedUids(self.node.index).look(NOW)
        runner = Runner(self.node)
        for _ in range(50):
            with self.node.index.write() as connection:
                waiting = {"state": "waiting", "due_at": LONG_AGO.isoformat(), "lease_until": ""}
                if not connection.execute(update(jobs).values(waiting)).rowcount:
                    return
            while runner._do_job(_KEEPING):
                pass
        pytest.fail(f"it does not end: {self.node.jobs.listed()}")

    def check(self) -> None:
        """All is as somebody was told."""
        self._check_decisions()
        self._check_copies()
        self._check_counts()
        shown: dict[str, list[str]] = {}
        for study, sop, _ in self._with_role("current"):
            shown.setdefault(sop, []).append(study)
        assert all(len(set(found)) == len(found) for found in shown.values()), "two are current in a study"
        pairs = {frozenset(pair) for found in shown.values() for pair in combinations(found, 2)}
        listed = [one for one in conflicts_view(self.node.index) if one["kind"] == "conflict-uid"]
        assert {frozenset((one["uid"], one["detail"])) for one in listed} == pairs
        assert list(damage(self.node.index)) == []

    def found(self) -> dict[Level, list[tuple[object, ...]]]:
        """What is answered about everything."""
        keywords = {
            Level.PATIENT: ("PatientID", "PatientName", "NumberOfPatientRelatedInstances"),
            Level.STUDY: ("StudyInstanceUID", "PatientName", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"),
            Level.IMAGE: ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
        }
        return {
            level: sorted(self.node.search.find(query_from_keywords(level, {}), [BY_KEYWORD[name] for name in names]))
            for level, names in keywords.items()
        }

    def _rows(self) -> dict[tuple[str, str, str], str]:
        named = select(studies.c.study_uid, *instances.c["sop_uid", "digest", "role"])
        with self.node.index.read() as connection:
            rows = connection.execute(named.join_from(instances, series).join(studies)).all()
        return {(study, sop, digest): role for study, sop, digest, role in rows}

    def _with_role(self, role: str) -> list[tuple[str, str, str]]:
        return [name for name, its in self._rows().items() if its == role]

    def _check_decisions(self) -> None:
        known = self.node.instances.operations
        assert self._decided.keys() <= known.stamps()
        last: dict[tuple[str, ...], Told] = {}
        for one in (one for study in STUDIES for one in known.of_study(study)):
            told = self._decided.get(one.stamp, AT_ANY_MOMENT)
            names = [(one.study_uid, str(each.sop_uid), each.digest) for each in one.objects]
            for name in [*names, *([(one.study_uid,)] if one.kind is OperationKind.HOLD else [])]:
                last[one.kind, *name] = max(told, last.get((one.kind, *name), NEVER), key=lambda one: one.ended)
        rows = self._rows()
        assert rows.keys() <= CONTENTS.keys()
        shown = {(study, sop) for study, sop, _ in self._with_role("current")}
        for name, stored in self._stored.items():
            deleted, purged = (last.get((kind, *name), NEVER) for kind in (OperationKind.DELETE, OperationKind.PURGE))
            again = [last.get((kind, *name), NEVER) for kind in (OperationKind.RESTORE, OperationKind.READMIT)]
            back = [*stored, *again, last.get((OperationKind.HOLD, name[0]), NEVER)]
            sent, role = max(one.began for one in stored), rows.get(name)
            if role is None:
                assert purged.ended > sent, f"{name} was lost"
            elif role == "trash":
                assert deleted.ended > sent, f"{name} was deleted by nobody"
            else:
                assert deleted.began < max(one.ended for one in back), f"{name} was deleted"
                assert name[:2] in shown, f"{name} is not found"

    def _check_copies(self) -> None:
        paths = {volume.spec.id: Path(volume.spec.path) for volume in self.node.volumes()}
        placed = select(studies.c.study_uid, *instances.c["sop_uid", "digest"], *copies.c["volume_id", "path"])
        placed = placed.select_from(copies).join(instances).join(series).join(studies)
        with self.node.index.read() as connection:
            rows = connection.execute(placed).all()
        assert Counter(tuple(row)[:3] for row in rows) == dict.fromkeys(self._rows(), len(paths))
        files = {path for root in paths.values() for path in (root / "v1").rglob("*.dcm")}
        assert {paths[row.volume_id] / row.path for row in rows} == files
        for row in rows:
            assert data_set_of(paths[row.volume_id] / row.path) == CONTENTS[tuple(row)[:3]].data_set

    def _check_counts(self) -> None:
        tables = patients, studies, series
        told = []
        with self.node.index.write() as connection:
            for is_counted_anew in (False, True):
                for row in connection.execute(select(studies.c.id)).scalars().all() if is_counted_anew else ():
                    recount(connection, row)
                told.append([sorted(map(str, connection.execute(select(*table.c)).all())) for table in tables])
        assert told[0] == told[1]


def test_whatever_several_processes_do_at_once_each_finds_what_it_was_told(
    new_upgraded_url: Callable[[], str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To make an empty index of all revisions takes most of a rebuild of so few objects.
    monkeypatch.setattr(rebuilding, "upgrade", lambda url: copy_empty_index(Path(url.removeprefix("sqlite:///"))))
    url = new_upgraded_url()
    houses = [House(tmp_path / name, url) for name in (("one", "two") if kind == "postgresql" else ("one",))]
    with houses[0].node() as node:
        second = tmp_path / "second"
        second.mkdir()
        node.registry.add_volume(
            VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
        )
        node.registry.set_policy(Policy(want=2))
        change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
    told = crowd([house.config for house in houses], tmp_path, processes=3, seconds=BURST_S, seed=1)
    assert any(one.stored for one in told)
    with houses[0].node() as node:
        site = Site(node, told)
        site.settle()
        site.check()
        found = site.found()
        assert list(rebuilding.rebuild_index(node)) == []
        site.settle()
        site.check()
        assert site.found() == found
