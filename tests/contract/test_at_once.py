"""What several do to one index at the very same moment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, delete, select, update
from support.arrivals import arrival
from support.postgres import Cluster
from support.server import wait_for

from pacs_server.dicom.describe import patient_identity
from pacs_server.dicom.operations import Content, Operation, OperationKind
from pacs_server.index.engine import KEEP_OTHERS_OUT, Index, parse_url
from pacs_server.index.objects import Arrival
from pacs_server.index.operations import Operations
from pacs_server.index.queries.view import conflicts_view
from pacs_server.index.recording.group import record
from pacs_server.index.recording.instances import Instances
from pacs_server.index.recording.statements import RecordingStatements
from pacs_server.index.shared_uids import SharedUids
from pacs_server.index.tables import flags, instances, patients, studies

NOW = datetime.now(UTC)


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


def wait_until_waiting(cluster: Cluster, url: str, number: int = 1) -> None:
    """Return when so many statements wait for a lock."""
    name = url.partition("?")[0].rpartition("/")[2]
    waits = f"SELECT count(*) >= {number} FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{name}'"
    wait_for(lambda: cluster.execute(waits), "statements that wait")


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
        deciding = others.submit(objects.operations.take_over, operation, lambda _: [], now=NOW)
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
        assert shared.look(NOW) == 1 + 2 + 3 + 3 + 3
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
