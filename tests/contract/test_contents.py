"""What two sites compare: sums that are right after whatever happened to the rows, on every database."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, update
from support.arrivals import arrival

from pacs_server.dicom.operations import Content, OperationKind
from pacs_server.index.contents import BUCKETS, MASK, Contents, bucket_of, number_of
from pacs_server.index.copies import Copies
from pacs_server.index.engine import Index
from pacs_server.index.objects import Arrival
from pacs_server.index.recording.instances import Instances
from pacs_server.index.tables import instances as instance_rows
from pacs_server.index.tables import studies

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def sums_of(contents: Contents) -> dict[int, int]:
    return {bucket: held for bucket, held in enumerate(contents.buckets()) if held}


def expected(*arrivals: Arrival) -> dict[int, int]:
    sums: dict[int, int] = {}
    for one in arrivals:
        bucket = bucket_of(one.description.study_uid)
        sums[bucket] = (sums.get(bucket, 0) + number_of(one.digest)) & MASK
    return sums


def decide(instances: Instances, kind: OperationKind, *objects: Arrival) -> None:
    contents = [Content(sop_uid=one.description.sop_uid, digest=one.digest, role="current") for one in objects]
    study_uid = objects[0].description.study_uid
    operation = instances.operations.draft(kind, study_uid, contents, now=NOW, who="a", reason="b")
    instances.operations.record(operation, missed=(), now=NOW)


def test_the_sums_are_those_of_all_objects_in_whichever_role_and_order(index: Index) -> None:
    instances, contents = Instances(index), Contents(index)
    first, second = arrival(study="1.2.3"), arrival(study="1.2.4")
    other = arrival(first.description.sop_uid, study="1.2.3", content="other")
    twin = arrival(first.description.sop_uid, study="1.2.3")
    instances.record_in_order([first, second])
    instances.record_in_order([twin, other])
    assert sums_of(contents) == expected(other, second, first)
    assert contents.studies(range(BUCKETS), limit=10) == [
        ("1.2.3", expected(first, other)[bucket_of("1.2.3")]),
        ("1.2.4", number_of(second.digest)),
    ]
    assert contents.studies(range(BUCKETS), after="1.2.3", limit=10) == [("1.2.4", number_of(second.digest))]
    held = contents.of("1.2.3").held
    assert {(one.digest, one.role) for one in held} == {(first.digest, "current"), (other.digest, "version")}
    assert contents.of("1.2.3", "9.9").held == ()


def test_what_is_in_the_trash_counts_and_what_was_purged_does_not(index: Index) -> None:
    instances, contents = Instances(index), Contents(index)
    gone, stays = arrival(study="1.2.3"), arrival(study="1.2.3")
    instances.record_in_order([gone, stays])
    decide(instances, OperationKind.DELETE, gone)
    assert sums_of(contents) == expected(gone, stays)
    decide(instances, OperationKind.PURGE, gone)
    assert sums_of(contents) == expected(stays)
    assert contents.of("1.2.3").purged == {(gone.description.sop_uid, gone.digest)}


def test_the_newest_object_is_there_until_it_is_purged_whatever_comes_after_it(index: Index) -> None:
    instances, contents = Instances(index), Contents(index)
    assert contents.newest() == ""
    first, second = arrival(), arrival()
    instances.record(first)
    newest = contents.newest()
    instances.record(second)
    assert contents.newest() != newest
    assert contents.has(newest)
    assert not any(map(contents.has, (newest[:-1], "", "no row", f"{'9' * 30} {first.digest}")))
    for kind in (OperationKind.DELETE, OperationKind.PURGE):
        decide(instances, kind, first)
        assert contents.has(newest) is (kind is OperationKind.DELETE)


def test_an_object_without_a_good_copy_counts_as_not_held_until_it_is_stored_again(index: Index) -> None:
    instances, contents = Instances(index), Contents(index)
    good, bad = arrival(study="1.2.3"), arrival(study="1.2.3")
    instances.record_in_order([good, bad])
    (copy,) = bad.copies
    Copies(index).mark_damaged(copy.volume_id, copy.path, "rotten", NOW)
    assert sums_of(contents) == expected(good)
    assert contents.studies([bucket_of("1.2.3")], limit=1) == [("1.2.3", number_of(good.digest))]
    assert [one.digest for one in contents.of("1.2.3").held] == [good.digest]
    instances.record(bad)
    assert sums_of(contents) == expected(good, bad)


def test_rows_that_were_changed_behind_the_index_are_found_by_counting_again(index: Index) -> None:
    instances, contents = Instances(index), Contents(index)
    arrivals = [arrival(study=f"1.2.{number}") for number in range(1, 5)]
    instances.record_in_order(arrivals)
    assert contents.recount() == []
    with index.write() as connection:
        connection.exec_driver_sql("DELETE FROM copies")
        connection.execute(delete(instance_rows).where(instance_rows.c.digest == arrivals[0].digest))
        connection.execute(update(studies).where(studies.c.study_uid == "1.2.2").values(bucket=0, content_sum=0))
    assert contents.recount() == ["1.2.1", "1.2.2"]
    assert sums_of(contents) == expected(*arrivals[1:])
    assert contents.recount() == []


@pytest.mark.parametrize("many", [300])
def test_sums_of_many_objects_do_not_run_over(index: Index, many: int) -> None:
    instances, contents = Instances(index), Contents(index)
    arrivals = [arrival(study="1.2.3") for _ in range(many)]
    instances.record_in_order(arrivals)
    assert sum(number_of(one.digest) for one in arrivals) > MASK
    assert sums_of(contents) == expected(*arrivals)


def test_two_indexes_that_got_the_same_in_another_order_are_equal(new_upgraded_url: Callable[[], str]) -> None:
    arrivals = [arrival(study=f"1.2.{number % 7}") for number in range(50)]
    told = []
    for order in (arrivals, arrivals[::-1]):
        url = new_upgraded_url()
        with closing(Index.open(url)) as index:
            Instances(index).record_in_order(order)
            told.append(Contents(index).buckets())
    assert told[0] == told[1]
