"""What is to be sent: entered once, noted, never forgotten; routes that decide it, by the clock and by what arrived."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, update
from support.arrivals import arrival

from pacs_server.archive.routing import apply_route, explain_route
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.errors import BadQuery, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.jobs import JobKind
from pacs_server.index.objects import Arrival, Outcome
from pacs_server.index.recording.instances import Instances
from pacs_server.index.sending import sendings
from pacs_server.index.sending.backlogs import backlogs, failure
from pacs_server.index.sending.selection import Selection
from pacs_server.index.sending.sendings import Sendings, SendState, Urgency
from pacs_server.index.sending.studies import Studies
from pacs_server.index.site.routes import Route, Routes
from pacs_server.index.tables import instances

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)  # of the arrivals of tests/support
NOW = RECEIVED + timedelta(hours=1)
LEASE = timedelta(minutes=30)
EVERYTHING = Selection()


class Desk:
    """An index, and the parts of it that forwarding uses."""

    def __init__(self, index: Index) -> None:
        self.index, self.instances, self.jobs = index, Instances(index), JobQueue(index)
        self.sendings, self.studies, self.routes = Sendings(index), Studies(index), Routes(index)

    def receive(self, *objects: Arrival, routes: Sequence[str] = (), sender: str = "CT1") -> list[Outcome]:
        return [self.instances.record(replace(one, routes=tuple(routes), sender=sender)).outcome for one in objects]

    def apply(
        self, route: Route, study: str = "1.2.3", series: str = "1.2.3.1", now: datetime = NOW
    ) -> datetime | None:
        if route.name not in self.routes.all():
            self.routes.add(route)
        return self.look(route, study, series, now)

    def look(self, route: Route, study: str, series: str, now: datetime = NOW) -> datetime | None:
        return apply_route(
            route, study, series, sendings=self.sendings, studies=self.studies, vocabulary=STANDARD, now=now
        )

    def waiting(self, destination: str = "B", study: str = "1.2.3", without: Sequence[str] = ()) -> list[str]:
        found = self.sendings.waiting(destination, study, f"{study}.1", without=without, limit=100)
        return [one.sop_uid for one in found]

    def lose(self, sop_uid: str) -> None:
        """As a deletion does."""
        with self.index.write() as connection:
            connection.execute(update(instances).where(instances.c.sop_uid == sop_uid).values(role="trash"))

    def note_all(self, state: SendState, reason: str = "", study: str = "1.2.3") -> None:
        rows = self.sendings.waiting("B", study, f"{study}.1", limit=100)
        self.sendings.note([(row, state, reason) for row in rows], NOW)


@pytest.fixture
def desk(index: Index) -> Desk:
    return Desk(index)


def route(**values: Any) -> Route:
    return Route(**({"name": "all", "to": ("B",), "keys": {}} | values))


def test_an_object_is_owed_once_in_order_and_its_series_gets_a_job(desk: Desk) -> None:
    desk.receive(*(arrival(f"1.9.{n}", instance_number=9 - n) for n in range(3)))
    entered = desk.sendings.owe(EVERYTHING, "B", NOW)
    assert [sop_uid for sop_uid, _ in entered] == ["1.9.2", "1.9.1", "1.9.0"]
    assert desk.sendings.owe(EVERYTHING, "B", NOW) == []
    assert desk.waiting() == ["1.9.2", "1.9.1", "1.9.0"]
    (job,) = desk.jobs.listed()
    assert (job.kind, job.target, job.series_uid) == (JobKind.SEND, "B", "1.2.3.1")
    assert desk.jobs.due_targets(JobKind.SEND, NOW) == {"B": 1}


def test_what_was_sent_is_sent_again_only_if_a_person_wants_it(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"))
    desk.routes.add(route())
    desk.sendings.owe(EVERYTHING, "B", NOW, route="all")
    desk.note_all(SendState.SENT)
    for urgency in (Urgency.ONCE, Urgency.SOONER):
        assert desk.sendings.owe(EVERYTHING, "B", NOW, route="all", urgency=urgency) == []
    assert len(desk.sendings.owe(EVERYTHING, "B", NOW, urgency=Urgency.AGAIN)) == 1
    assert desk.waiting() == ["1.9.1"]


def test_who_sends_a_study_is_told_nothing_of_another_one_with_the_same_uids(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"), arrival("1.9.1", study="1.2.4"))
    for study in ("1.2.3", "1.2.4"):
        entered = desk.sendings.owe(Selection(study_uid=study), "B", NOW)
        assert desk.sendings.progress("B", entered)[SendState.WAITING] == 1
        desk.note_all(SendState.DEAD, "no", study)
    assert desk.sendings.progress("B", entered) == dict.fromkeys(SendState, 0) | {SendState.DEAD: 1}


def test_a_destination_has_another_version_once_it_took_one(desk: Desk) -> None:
    first, second = arrival("1.9.1"), replace(arrival("1.9.1"), digest="e" * 64)
    desk.receive(first)
    desk.sendings.owe(EVERYTHING, "B", NOW)
    desk.receive(second)
    with desk.index.write() as connection:  # as a person decides
        for digest, role in (first.digest, "version"), (second.digest, "current"):
            connection.execute(update(instances).where(instances.c.digest == digest).values(role=role))
    desk.sendings.owe(EVERYTHING, "B", NOW)
    before, later = desk.sendings.waiting("B", "1.2.3", "1.2.3.1", limit=100)
    assert {before.digest, later.digest} == {first.digest, second.digest}
    assert not desk.sendings.has_another_version(later)
    desk.sendings.note([(before, SendState.SENT, "")], NOW)
    assert desk.sendings.has_another_version(later)
    assert not desk.sendings.has_another_version(before)
    assert not desk.sendings.has_another_version(replace(later, destination="C"))


def test_what_failed_comes_last_and_what_is_dead_waits_for_a_person(desk: Desk) -> None:
    desk.receive(*(arrival(f"1.9.{n}", instance_number=n) for n in range(3)))
    desk.sendings.owe(EVERYTHING, "B", NOW)
    first, second, _ = desk.sendings.waiting("B", "1.2.3", "1.2.3.1", limit=100)
    refusal = "the destination answered status A900"
    desk.sendings.note([(first, SendState.WAITING, "busy"), (second, SendState.DEAD, refusal)], NOW)
    assert desk.waiting() == ["1.9.2", "1.9.0"]
    (dead,) = desk.sendings.dead(limit=9)
    assert (dead.sop_uid, dead.reason, dead.attempts) == ("1.9.1", refusal, 1)
    (told,) = backlogs(desk.index)
    assert (told.waiting, told.dead, told.sent, told.waiting_since) == (2, 1, 0, NOW)
    assert desk.sendings.open_counts() == {"waiting": 2, "dead": 1}
    assert desk.sendings.revive("C", NOW) == 0
    assert desk.sendings.revive("B", NOW) == 1
    assert sorted(desk.waiting()) == ["1.9.0", "1.9.1", "1.9.2"]
    assert desk.sendings.forget(destination="B") == 3
    assert backlogs(desk.index) == []


def test_who_stores_waits_for_a_portion_of_what_is_tried_again_or_forgotten_and_not_for_all(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100,000 objects that a viewer refused all were changed at once."""
    monkeypatch.setattr(sendings, "_ROWS_AT_ONCE", 2)
    desk.receive(*(arrival(f"1.9.{n}", instance_number=n) for n in range(5)))
    desk.sendings.owe(EVERYTHING, "B", NOW)
    desk.note_all(SendState.DEAD, "no")
    (job,) = desk.jobs.listed()
    assert desk.jobs.drop([job.id])
    changed: list[int] = []
    transactions: list[list[int]] = []

    def note(_: object, cursor: Any, sql: str, *___: object) -> None:
        if sql.startswith(("UPDATE sendings", "DELETE FROM sendings")):
            changed.append(cursor.rowcount)

    def committed(_: object) -> None:
        if changed:
            transactions.append(changed.copy())
            changed.clear()

    with desk.index.write() as connection:
        event.listen(connection.engine, "after_cursor_execute", note)
        event.listen(connection.engine, "commit", committed)
    assert (desk.sendings.revive("B", NOW), transactions) == (5, [[2], [2], [1]])
    assert desk.jobs.due_targets(JobKind.SEND, NOW) == {"B": 1}
    assert len(desk.waiting()) == 5
    transactions.clear()
    assert (desk.sendings.forget(destination="B"), transactions) == (5, [[2], [2], [1]])
    assert desk.waiting() == []


def test_what_was_gone_is_sent_once_it_is_found_again(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"), arrival("1.9.2"))
    desk.sendings.owe(EVERYTHING, "B", NOW)
    first, second = desk.sendings.waiting("B", "1.2.3", "1.2.3.1", limit=100)
    desk.sendings.note([(first, SendState.GONE, "it was deleted"), (second, SendState.SENT, "")], NOW)
    (job,) = desk.jobs.listed()
    assert desk.jobs.drop([job.id])
    assert (desk.waiting(), desk.sendings.open_counts()) == ([], {"waiting": 0, "dead": 0})
    assert desk.sendings.revive("", NOW) == 0
    assert desk.sendings.take_up(["A", "C"], NOW) == 0
    assert desk.sendings.take_up(["A", "B"], NOW) == 1
    assert desk.waiting() == ["1.9.1"]
    assert desk.jobs.due_targets(JobKind.SEND, NOW) == {"B": 1}


def test_what_was_sent_long_ago_is_counted_by_an_index_alone_and_not_at_all_by_who_waits_for_one_order(
    desk: Desk,
) -> None:
    """Each half second that `pacs send --wait` waited it read all that any destination had ever got."""
    desk.receive(*(arrival(f"1.9.{n}", instance_number=n) for n in range(3)))
    desk.sendings.owe(EVERYTHING, "B", NOW)
    desk.sendings.owe(EVERYTHING, "C", NOW)
    sent, refused, _ = desk.sendings.waiting("B", "1.2.3", "1.2.3.1", limit=9)
    desk.sendings.note([(sent, SendState.SENT, ""), (refused, SendState.DEAD, "no")], NOW)
    job = desk.jobs.claim("one", NOW, lease=LEASE, per_target=1, kinds=[JobKind.SEND], target="C")
    assert job
    desk.jobs.failed(job, "nothing listens", NOW)
    asked: list[tuple[str, Any]] = []
    with desk.index.write() as connection:
        event.listen(
            connection.engine, "before_cursor_execute", lambda _, __, sql, values, *___: asked.append((sql, values))
        )
    (told,) = backlogs(desk.index, "B")
    assert (told.destination, told.sent, told.waiting, told.dead, told.error) == ("B", 1, 1, 1, "no")
    assert [(one.destination, one.sent, one.waiting) for one in backlogs(desk.index)] == [("B", 1, 1), ("C", 0, 3)]
    counting = asked.copy()
    asked.clear()
    assert [failure(desk.index, name) for name in ("A", "B", "C")] == ["", "", "nothing listens"]
    desk.sendings.forget(destination="C")
    assert failure(desk.index, "C") == ""
    if desk.index.database_path is None:
        return  # PostgreSQL chooses its plans by the size of its tables
    with desk.index.read() as connection:
        plans = [
            [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
            for sql, values in (*counting, *asked)
            if sql.startswith("SELECT") and "sendings" in sql
        ]
    steps = [step for plan in plans for step in plan if "sendings" in step]
    assert [step for step in steps if not re.search("COVERING INDEX|ix_sendings_open", step)] == []


def test_what_was_deleted_before_a_route_looked_at_it_is_sent_once_it_is_found_again(desk: Desk) -> None:
    """A route that waits until a study is quiet looks minutes later."""
    desk.receive(arrival("1.9.1"), arrival("1.9.2"), routes=["ct"])
    desk.receive(arrival("1.9.3"), sender="B")
    for number in (1, 2, 3):
        desk.lose(f"1.9.{number}")
    ct = route(name="ct", keys={"Modality": "CT"})
    assert desk.apply(ct) is None
    assert (desk.waiting(), desk.sendings.take_up(["B"], NOW)) == ([], 0)
    with desk.index.write() as connection:
        connection.execute(update(instances).values(role="current"))
    assert desk.sendings.take_up(["B"], NOW) == 2
    assert desk.waiting() == ["1.9.1", "1.9.2"]
    assert desk.jobs.due_targets(JobKind.SEND, NOW) == {"B": 1}
    desk.note_all(SendState.SENT)
    desk.lose("1.9.1")
    assert desk.apply(ct) is None
    assert desk.sendings.take_up(["B"], NOW) == 0


def test_what_is_gone_and_not_found_stays_gone(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"))
    desk.sendings.owe(EVERYTHING, "B", NOW)
    (one,) = desk.sendings.waiting("B", "1.2.3", "1.2.3.1", limit=100)
    desk.sendings.note([(one, SendState.GONE, "it was deleted")], NOW)
    desk.lose("1.9.1")
    assert desk.sendings.take_up(["B"], NOW) == 0
    (told,) = backlogs(desk.index)
    assert (told.waiting, told.dead, told.gone) == (0, 0, 1)
    assert desk.sendings.forget(destination="B") == 1


def test_a_dead_destination_is_tried_once_for_all_that_waits_for_it(desk: Desk) -> None:
    parts = [("1", f"1.{n}") for n in range(3)]
    desk.jobs.owe(JobKind.SEND, NOW, series=parts, target="DEAD")
    desk.jobs.owe(JobKind.SEND, NOW, series=parts, target="FINE")
    now = NOW
    for pause in (5, 10, 20):
        job = desk.jobs.claim("one", now, lease=LEASE, per_target=1, kinds=[JobKind.SEND], target="DEAD")
        assert job
        desk.jobs.failed_for_target(job, "nothing listens", now)
        assert desk.jobs.due_targets(JobKind.SEND, now) == {"FINE": 3}
        now += timedelta(seconds=pause)
    assert desk.jobs.due_targets(JobKind.SEND, now) == {"DEAD": 3, "FINE": 3}
    desk.jobs.owe(JobKind.COPY, now, series=parts)
    taken = desk.jobs.claim("one", now, lease=LEASE, per_target=1, kinds=[JobKind.COPY])
    assert taken
    assert taken.kind is JobKind.COPY


def test_a_route_is_owed_in_the_transaction_that_records_a_new_object_and_by_no_duplicate(desk: Desk) -> None:
    new = arrival("1.9.1")
    assert desk.receive(new, routes=["all", "night"]) == [Outcome.NEW]
    assert [(job.kind, job.target) for job in desk.jobs.listed()] == [(JobKind.ROUTE, "all"), (JobKind.ROUTE, "night")]
    for job in desk.jobs.listed():
        desk.jobs.drop([job.id])
    assert desk.receive(new, routes=["all"]) == [Outcome.DUPLICATE]
    assert desk.receive(arrival("1.9.1", content="other"), routes=["all"]) == [Outcome.VERSION]
    assert desk.jobs.listed() == []


def test_a_route_chooses_by_sender_and_by_attributes_of_every_level(desk: Desk) -> None:
    japanese = {"study_description": "CT 頭部単純"}
    desk.receive(arrival("1.9.1", station_name="CT-ROOM2", **japanese))
    desk.receive(arrival("1.9.2", study="1.2.4", modality="MR"), sender="MR1")
    for keys, fits in (
        ({"Modality": "CT", "StudyDescription": "*頭部*"}, True),
        ({"StationName": "CT-ROOM?"}, True),
        ({"Modality": "MR"}, False),
        ({"PatientID": "P1", "SOPInstanceUID": "1.9.1"}, True),
    ):
        chosen = route(to=(f"TO{len(keys)}{fits}{len(str(keys))}",), keys=keys)
        desk.apply(chosen)
        assert bool(desk.waiting(chosen.to[0])) is fits, keys
    desk.apply(route(to=("C",), senders=("MR1",)), "1.2.4", "1.2.4.1")
    desk.apply(route(to=("C",), senders=("MR1",)))
    assert (desk.waiting("C", "1.2.4"), desk.waiting("C")) == (["1.9.2"], [])


def test_what_came_from_a_destination_is_not_sent_back_to_it(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"), sender="B")
    desk.receive(arrival("1.9.2"), sender="CT1")
    both = route(to=("B", "C"))
    desk.apply(both)
    assert desk.waiting("B") == ["1.9.2"]
    assert desk.waiting("C") == ["1.9.1", "1.9.2"]
    assert both.may_take_from("B")
    assert not route().may_take_from("B")


def test_a_route_waits_until_the_study_is_quiet(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"))
    late = route(quiet_minutes=10)
    quiet_at = RECEIVED + timedelta(minutes=10)
    assert desk.apply(late, now=RECEIVED) == quiet_at
    assert desk.waiting() == []
    assert desk.apply(late, now=quiet_at) is None
    assert desk.waiting() == ["1.9.1"]


def test_a_route_does_not_wait_for_a_time_to_come_at_which_a_study_came_before_the_clock_was_put_back(
    desk: Desk,
) -> None:
    desk.receive(arrival("1.9.1"))
    late = route(quiet_minutes=10)
    assert desk.apply(late, now=RECEIVED - timedelta(minutes=1)) is not None  # of another node
    assert desk.apply(late, now=RECEIVED - timedelta(days=1)) is None
    assert desk.waiting() == ["1.9.1"]


def test_what_waits_for_a_window_waits_no_longer_when_another_route_sends_it_now(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"))
    desk.apply(route(name="night", window="20:00-06:00"))
    assert desk.waiting(without=["night"]) == []
    assert desk.sendings.routes_of("B", "1.2.3", "1.2.3.1") == {"night"}
    desk.apply(route(name="day"))
    assert desk.waiting(without=["night"]) == ["1.9.1"]
    desk.apply(route(name="night", window="20:00-06:00"))
    assert desk.waiting(without=["night"]) == ["1.9.1"], "nor does it wait again"


def test_priors_go_with_the_first_objects_of_a_study_once(desk: Desk) -> None:
    days = {"1.2.1": "20240101", "1.2.2": "20250101", "1.2.6": "20290101"}
    names = {"1.2.2": "MAIDEN^NAME"}  # under the same ID
    desk.receive(
        *(
            arrival(study=study, study_date=day, patient_name=names.get(study, "YAMADA^TARO"))
            for study, day in days.items()
        )
    )
    desk.receive(arrival(study="1.2.5", study_date="20251231", modality="MR"))
    desk.receive(arrival(study="1.2.7", study_date="20251231", patient_id="ANOTHER"))
    desk.receive(arrival("1.9.1", study_date="20260101"))
    reading = route(priors=1, priors_like=("Modality",))
    desk.apply(reading)
    prior = desk.waiting(study="1.2.2")
    assert len(prior) == 1
    assert desk.waiting() == ["1.9.1"]
    assert not any(desk.waiting(study=study) for study in ("1.2.1", "1.2.5", "1.2.6", "1.2.7"))
    desk.note_all(SendState.SENT, study="1.2.2")
    desk.receive(arrival("1.9.2", study_date="20260101"))
    desk.apply(reading)
    assert desk.waiting(study="1.2.2") == [], "the study is not new any more"
    desk.receive(arrival("1.9.3", study="1.2.8", study_date="20260102"))
    desk.apply(route(priors=2, priors_like=("Modality",)), "1.2.8", "1.2.8.1")
    assert desk.waiting(study="1.2.2") == prior, "a later study brings them again"
    with pytest.raises(BadQuery, match="PatientName"):
        desk.studies.earlier("1.2.3", limit=1, alike=["PatientName"])


def test_priors_stay_where_nothing_of_the_new_study_is_sent(desk: Desk) -> None:
    desk.receive(arrival(study="1.2.2", study_date="20250101"), arrival("1.9.1", study_date="20260101"))
    desk.receive(arrival("1.9.2", study="1.2.4", study_date="20260101"), sender="B")
    desk.apply(route(priors=1, keys={"Modality": "XA"}))
    desk.apply(route(priors=1), "1.2.4", "1.2.4.1")
    assert not any(desk.waiting(study=study) for study in ("1.2.2", "1.2.3", "1.2.4"))


def test_a_study_is_sent_before_its_priors(desk: Desk) -> None:
    desk.receive(arrival(study="1.2.2", study_date="20250101"), arrival("1.9.1", study_date="20260101"))
    desk.apply(route(priors=1))
    claimed = [
        desk.jobs.claim("worker", NOW + after, lease=LEASE, per_target=9, kinds=[JobKind.SEND])
        for after in (timedelta(), timedelta(), timedelta(seconds=1))
    ]
    assert [job and job.study_uid for job in claimed] == ["1.2.3", None, "1.2.2"]


def test_studies_without_a_patient_id_are_no_priors_of_each_other(desk: Desk) -> None:
    for study in ("1.2.8", "1.2.9", "1.2.3"):
        desk.receive(arrival(study=study, patient_id=None, study_date="20260101"))
    assert desk.studies.earlier("1.2.3", limit=9) == []
    desk.apply(route(priors=2))
    assert desk.waiting(study="1.2.8") == desk.waiting(study="1.2.9") == []


def test_a_route_says_what_it_would_do_and_why_not(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"), arrival("1.9.2"))
    desk.receive(arrival("1.9.3", modality="CT"), sender="B")
    strict = route(keys={"Modality": "CT", "StudyDescription": "HEAD"}, is_paused=True)

    def told(one: Route) -> tuple[int, int, int, tuple[str, ...]]:
        (answer,) = explain_route(
            one, "1.2.3", sendings=desk.sendings, studies=desk.studies, vocabulary=STANDARD, now=NOW
        )
        return answer.objects, answer.fitting, answer.to_send, answer.why

    assert told(strict) == (3, 0, 0, ("3 do not match StudyDescription=HEAD", "1 came from B itself"))
    assert told(route(senders=("CT1",), is_paused=True)) == (
        3, 2, 2,
        ("1 came from others than CT1", "1 came from B itself", "the route is paused: pacs route resume all"),
    )  # fmt: skip
    desk.apply(route())
    assert told(route()) == (3, 2, 0, ("1 came from B itself", "2 sent, waiting or refused already"))
    assert desk.waiting() == ["1.9.1", "1.9.2"], "nothing more was entered"


def test_a_paused_route_enters_nothing(desk: Desk) -> None:
    desk.receive(arrival("1.9.1"))
    assert desk.apply(route(is_paused=True)) == NOW + timedelta(hours=1)
    assert desk.waiting() == []


def test_routes_are_kept_and_forgotten(desk: Desk) -> None:
    kept = route(
        name="night", senders=("CT1",), keys={"Modality": "CT"}, window="20:00-06:00", priors_like=("Modality",)
    )
    desk.routes.add(kept)
    desk.routes.add(route())
    assert desk.routes.all() == {"all": route(), "night": kept}
    desk.routes.set_paused(kept.name, is_paused=True)
    assert desk.routes.one("night").is_paused
    desk.routes.remove("night")
    with pytest.raises(UnknownName, match="no route night"):
        desk.routes.one("night")


def test_a_route_that_was_removed_while_it_is_applied_enters_nothing_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendings, "_ROWS_AT_ONCE", 1)
    desk.receive(arrival("1.9.1"), arrival("1.9.2"))
    removed, entering = route(), Sendings._entering
    desk.routes.add(removed)

    def enter_after_another(*of: Any) -> Any:
        desk.routes.remove(removed.name)
        assert desk.sendings.forget(route=removed.name) == 0
        return entering(*of)

    monkeypatch.setattr(Sendings, "_entering", enter_after_another)
    desk.look(removed, "1.2.3", "1.2.3.1")
    assert (desk.waiting(), desk.jobs.listed()) == ([], [])
