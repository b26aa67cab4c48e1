"""Several writers, and a database that goes away, hangs or compares otherwise: what PostgreSQL has and SQLite has not.

Where both databases promise the same, both are asked.
"""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, text, update
from sqlalchemy.event import listen
from support.arrivals import arrival
from support.postgres import Cluster, memory
from support.racing import race
from support.server import wait_for

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.commitment import Reference, Report, Request
from pacs_server.dicom.operations import Content, Fate, OperationKind
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import ConfigError, IndexLocked, IndexUnavailable, IndexUnreachable
from pacs_server.index.database_url import parse_url
from pacs_server.index.drivers import entrance, postgresql, watch
from pacs_server.index.drivers.absence import OUTLASTED_S
from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.maintenance.checking import hindrances, left_behind, write_nothing, write_once
from pacs_server.index.maintenance.holdings import replace_content
from pacs_server.index.maintenance.schema import open_current, upgrade
from pacs_server.index.objects import Outcome
from pacs_server.index.operations import Operations
from pacs_server.index.queries.search import Search
from pacs_server.index.recording.instances import Instances
from pacs_server.index.sending.commitments import Commitments
from pacs_server.index.site.partners import Partner, Partners
from pacs_server.index.site.registry import Registry, VolumeRow
from pacs_server.index.site_tables import partners, site
from pacs_server.index.tables import copies, instances, patients, studies

PROCESSES, ROUNDS = 4, 15
# Where one is to be ended while it waits, at any moment of that.
PATIENTLY = "&options=-c lock_timeout=10000"


@pytest.fixture
def url(upgraded_postgres_url: str) -> str:
    """A database with the schema of this release."""
    return upgraded_postgres_url


@contextmanager
def opened(url: str) -> Iterator[Instances]:
    with closing(Index.open(url)) as index:
        yield Instances(index)


def test_a_connection_that_is_in_use_when_the_index_is_closed_is_closed_when_it_is_given_back(url: str) -> None:
    index = Index.open(url)
    with index.read() as connection:
        in_use = connection.connection.dbapi_connection
        index.close()
        assert connection.execute(text("SELECT 1")).scalar() == 1
    assert in_use.closed


@pytest.mark.parametrize(("of_database", "of_session"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")])
def test_commits_are_flushed_whatever_the_database_says_and_what_is_stronger_stays(
    url: str, of_database: str, of_session: str
) -> None:
    with closing(Index.open(url)) as index, index.write() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar()
        connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = {of_database}'))
    with closing(Index.open(url)) as index:
        for session in (index.read(), index.write()):
            with session as connection:
                assert connection.execute(text("SHOW synchronous_commit")).scalar() == of_session


def test_a_session_is_told_its_limits_by_a_statement_and_those_of_the_url_stay(url: str) -> None:
    """PgBouncer lets no options of a session pass."""
    told = text("SELECT source, setting FROM pg_settings WHERE name = 'lock_timeout'")
    with closing(Index.open(url)) as index, index.read() as connection:
        assert connection.execute(told).one() == ("session", "10000")
    with closing(Index.open(f"{url}&options=-c lock_timeout=300")) as index, index.read() as connection:
        assert connection.execute(told).one() == ("client", "300")


def test_every_letter_is_taken_and_nobody_sees_an_old_state_whatever_is_usual_for_a_database(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SJIS")
    cluster.execute(f"ALTER DATABASE {database_of(url)} SET default_transaction_isolation TO serializable")
    with closing(Index.open(url)) as index, index.read() as connection:
        assert connection.execute(text("SELECT '김'")).scalar() == "김"
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"


def test_a_group_of_objects_takes_as_many_round_trips_as_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    asking = watch.WatchedConnection.asking

    def counted(connection: watch.WatchedConnection, within_s: float | None = None) -> Any:
        asked.append(connection)
        return asking(connection, within_s)

    with opened(url) as objects:
        objects.record(arrival())
        monkeypatch.setattr(watch.WatchedConnection, "asking", counted)
        objects.record(arrival())
        for_one = len(asked)
        assert {one.outcome for one in objects.record_in_order([arrival() for _ in range(50)])} == {Outcome.NEW}
    assert len(asked) - for_one <= for_one


class Doing(threading.Thread):
    """Something that is done beside the test; its error is kept."""

    def __init__(self, deed: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._deed = deed
        self.result: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._deed()
        except Exception as error:  # noqa: BLE001 - told to the test's own thread
            self.error = error

    def outcome(self) -> Any:
        self.join(60)
        assert not self.is_alive(), "it waits for ever"
        if self.error is not None:
            raise self.error
        return self.result


@contextmanager
def holding_the_study(url: str, study: str = "1.2.3") -> Iterator[None]:
    """Another session that records in a study and does not come to an end."""
    engine = create_engine(parse_url(url))
    with engine.connect() as connection, connection.begin():
        connection.execute(KEEP_OTHERS_OUT, {"names": [f"study {study}"]})
        yield
    engine.dispose()


def waiting_backend(cluster: Cluster, url: str) -> int:
    """The process of the server that waits for a lock, or for a standby, in a database."""
    waits = (
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type IN ('Lock', 'IPC') AND state = 'active'"
        f" AND datname = '{database_of(url)}'"
    )
    pid: int = wait_for(lambda: cluster.execute(waits), "a statement that waits")
    return pid


def end_what_waits(cluster: Cluster, url: str) -> None:
    """End the connection of whoever waits in a database."""
    pid = waiting_backend(cluster, url)
    cluster.execute(f"SELECT pg_terminate_backend({pid})")
    wait_for(lambda: pid not in cluster.backends(database_of(url)), "it to have ended")


def database_of(url: str) -> str:
    return url.rpartition("/")[2] if "?" not in url else url.partition("?")[0].rpartition("/")[2]


def test_processes_that_meet_at_new_patients_studies_and_objects_all_record_them(
    new_upgraded_url: Callable[[], str],
) -> None:
    url = new_upgraded_url()
    told = race(url, PROCESSES, ROUNDS)
    for number in range(ROUNDS):
        same, elsewhere, other = (Counter(one[3 * number + n] for one in told) for n in range(3))
        assert same == {str(Outcome.NEW): 1, str(Outcome.DUPLICATE): PROCESSES - 1}
        assert elsewhere == {str(Outcome.NEW): PROCESSES}, "each in a study of its own"
        assert other == {str(Outcome.NEW): 1, str(Outcome.VERSION): PROCESSES - 1}
    with closing(Index.open(url)) as index, index.read() as connection:
        counted = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (patients, instances, copies)
        }
        assert counted == {
            "patients": ROUNDS,
            "instances": ROUNDS * (1 + 2 * PROCESSES),
            "copies": 3 * ROUNDS * PROCESSES,
        }
        current = select(func.count()).where(instances.c.role == "current")
        rolled_up = select(func.sum(studies.c.instance_count))
        assert (
            connection.execute(current).scalar() == connection.execute(rolled_up).scalar() == (2 + PROCESSES) * ROUNDS
        )


def test_no_number_of_an_operation_is_given_twice_and_no_change_of_the_site_goes_uncounted(
    index: Index, new_url: Callable[[], str]
) -> None:
    registries = [Registry(index) for _ in range(6)]
    registries[0].add_volume(VolumeRow(id="v", name="v", path="/v", tier="hot", domain="v"))
    before = registries[0].revision()
    drawn: list[int] = []

    def decide(number: int) -> None:
        for n in range(5):
            drafted = Operations(index).draft(OperationKind.HOLD, "1.2.3", now=datetime.now(UTC), who="x", reason="y")
            drawn.append(drafted.counter)
            name = f"v{number}-{n}"
            registries[number].add_volume(VolumeRow(id=name, name=name, path=f"/{name}", tier="hot", domain="v"))

    for each in [Doing(lambda number=number: decide(number)) for number in range(6)]:  # type: ignore[misc]
        each.outcome()
    assert sorted(drawn) == list(range(1, 31))
    assert registries[0].revision() == before + 30


def test_what_is_recorded_while_the_content_is_exchanged_is_not_lost(
    index: Index, new_upgraded_url: Callable[[], str]
) -> None:
    objects = Instances(index)
    objects.record(arrival("1.2.3.1"))
    url = new_upgraded_url()
    arriving: list[Doing] = []

    def catch_up(_volume: str, _path: str) -> None:
        arriving.append(Doing(lambda: objects.record(arrival("1.2.3.2"))))
        arriving[0].join(1)  # it waits until the exchange is over, or would be lost

    with closing(Index.open(url)) as beside:
        replace_content(index, beside, catch_up, datetime.now(UTC))
    assert arriving[0].outcome().outcome is Outcome.NEW
    assert len(objects.known("1.2.3.2", "1.2.3").objects) == 1


def test_connections_that_were_ended_while_nobody_used_them_are_not_noticed(cluster: Cluster, url: str) -> None:
    with opened(url) as objects:
        objects.record(arrival("1.2.3.1"))
        ended = cluster.execute(
            f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database_of(url)}'"
        )
        assert ended >= 1
        wait_for(lambda: cluster.backends(database_of(url)) == [], "them to have ended")
        assert objects.record(arrival("1.2.3.2")).outcome is Outcome.NEW
        assert len(objects.known("1.2.3.1", "1.2.3").objects) == 1


def test_what_a_connection_that_ends_had_begun_is_done_once_on_another_one(cluster: Cluster, url: str) -> None:
    with opened(url + PATIENTLY) as objects:
        objects.record(arrival("1.2.3.1"))  # so that a connection waits for work that ends with the other one
        with holding_the_study(url):
            doing = Doing(lambda: objects.record(arrival("1.2.3.2")))
            end_what_waits(cluster, url)
            waiting_backend(cluster, url)
        assert doing.outcome().outcome is Outcome.NEW
        assert len(objects.known("1.2.3.2", "1.2.3").objects) == 1
        told = "SELECT count(*) FROM audit WHERE study_uid = '1.2.3'"
        assert cluster.execute(told, database_of(url)) == 2


def test_a_connection_that_ends_before_the_commit_leaves_nothing(cluster: Cluster, url: str) -> None:
    with opened(url + PATIENTLY) as objects:
        with holding_the_study(url):
            doing = Doing(lambda: objects.record(arrival("1.2.3.1")))
            end_what_waits(cluster, url)
            end_what_waits(cluster, url)  # it was tried again, once
            with pytest.raises(IndexUnreachable):
                doing.outcome()
        assert objects.known("1.2.3.1", "1.2.3").objects == ()
        assert objects.record(arrival("1.2.3.1")).outcome is Outcome.NEW


@pytest.mark.parametrize("look", ["known", "find", "give", "count"])
def test_a_look_whose_connection_ends_is_taken_on_another_one(cluster: Cluster, url: str, look: str) -> None:
    with closing(Index.open(url + PATIENTLY)) as index:
        objects, search = Instances(index), Search(index)
        objects.record(arrival("1.2.3.1"))
        looks: dict[str, Callable[[], Any]] = {
            "known": lambda: len(objects.known("1.2.3.1", "1.2.3").objects),
            "find": lambda: len(list(search.find(query_from_keywords(Level.IMAGE, {}), ()))),
            "give": lambda: len(search.deliverables(RetrieveRequest(level=Level.STUDY, study_uids=("1.2.3",)))),
            "count": lambda: search.counts()["studies"],
        }
        locking = create_engine(parse_url(url))
        with locking.begin() as other:
            other.execute(text("LOCK TABLE studies IN ACCESS EXCLUSIVE MODE"))
            doing = Doing(looks[look])
            end_what_waits(cluster, url)
            waiting_backend(cluster, url)
        locking.dispose()
        assert doing.outcome() == 1


@pytest.mark.parametrize("state", ["40001", "40P01", "26000"])
def test_a_look_that_the_server_gives_up_for_something_else_is_taken_once_more(url: str, state: str) -> None:
    """As a standby does for what it has to replay."""
    gives_up_once = (
        "CREATE SEQUENCE looks",
        "CREATE FUNCTION look() RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF nextval('looks') = 1 THEN"
        f" RAISE EXCEPTION 'conflict with recovery' USING ERRCODE = '{state}'; END IF; RETURN 7; END $$",
    )
    with closing(Index.open(url)) as index:
        with index.write() as connection:
            for one in gives_up_once:
                connection.execute(text(one))
        assert index.rows("SELECT look()", ()) == [(7,)]


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_commitment_whose_connection_ends_is_taken_in_on_another_one(
    cluster: Cluster, url: str, *, is_asked: bool
) -> None:
    """What a peer asks, and what one reports to us: it may not come again with either."""
    now, reference = datetime.now(UTC), Reference("1.2", "1.2.3.1")
    asked = Request(transaction_uid="1.2.3", references=(reference,))
    told = Report(transaction_uid="1.2.3", committed=(reference,), failed=())
    with closing(Index.open(url + PATIENTLY)) as index:
        known = Commitments(index)
        known.ask("NAS", asked, now)
        locking = create_engine(parse_url(url))
        with locking.begin() as other:
            other.execute(text("LOCK TABLE commitments IN ACCESS EXCLUSIVE MODE"))
            doing = Doing(lambda: known.take_in("CT1", asked, now) if is_asked else known.answer("NAS", told, now))
            end_what_waits(cluster, url)
            waiting_backend(cluster, url)
        locking.dispose()
        assert doing.outcome() is True
        assert [one.asked for one in known.due("CT1")] == [1] * is_asked


def test_the_connections_beside_one_that_was_ended_in_its_use_are_given_up(cluster: Cluster, url: str) -> None:
    """They are about to be ended as well, perhaps; whoever is tried once more would meet that."""
    with closing(Index.open(url + PATIENTLY)) as index:
        with index.read() as one, index.read() as other:
            beside = {connection.execute(text("SELECT pg_backend_pid()")).scalar() for connection in (one, other)}
        with holding_the_study(url):
            doing = Doing(lambda: Instances(index).record(arrival("1.2.3.1")))
            end_what_waits(cluster, url)
            assert waiting_backend(cluster, url) not in beside
        assert len(beside) == 2
        assert doing.outcome().outcome is Outcome.NEW


def test_a_commit_whose_outcome_is_not_known_is_a_success_once_a_later_one_is_on_the_standby(
    cluster: Cluster, url: str
) -> None:
    """The server has committed and waits for a standby as the connection is ended: the rows are there, on it alone."""
    cluster.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    with opened(url) as objects:
        try:
            cluster.execute("SELECT pg_reload_conf()")
            wait_for(lambda: cluster.execute("SHOW synchronous_standby_names") == "nobody", "the setting")
            cluster.execute("CHECKPOINT")  # by the process that tells all others to wait, which knows by then
            doing = Doing(lambda: objects.record(arrival("1.2.3.1", volume="a")))
            end_what_waits(cluster, url)
            waiting_backend(cluster, url)
            assert [one.digest for one in objects.known("1.2.3.1", "1.2.3").objects]
            assert doing.is_alive()
        finally:
            cluster.execute("ALTER SYSTEM RESET synchronous_standby_names")
            cluster.execute("SELECT pg_reload_conf()")
        assert doing.outcome().outcome is Outcome.DUPLICATE
        told = "SELECT string_agg(detail, ',' ORDER BY number) FROM audit WHERE study_uid = '1.2.3'"
        assert cluster.execute(told, database_of(url)) == ",held before"
        assert objects.record(arrival("1.2.3.1", volume="b")).outcome is Outcome.DUPLICATE
        (held,) = objects.known("1.2.3.1", "1.2.3").objects
        assert [copy.volume_id for copy in held.copies] == ["a", "b"]


def test_a_commit_whose_outcome_is_not_known_is_no_success_while_no_standby_is_there(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url) as objects:
        with standby_away(cluster, monkeypatch), monkeypatch.context() as patch:
            patch.setattr(watch, "ANSWER_S", 5.0)
            doing = Doing(lambda: objects.record(arrival("1.2.3.1")))
            end_what_waits(cluster, url)
            with pytest.raises(IndexUnreachable, match="did not answer"):
                doing.outcome()
        assert objects.record(arrival("1.2.3.1")).outcome is Outcome.DUPLICATE


@contextmanager
def standby_away(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A commit waits for a synchronous standby that there is none of, and counts at once as one that waits long."""
    monkeypatch.setattr(postgresql, "_LONG_WAIT_S", 0)
    cluster.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        cluster.execute("SELECT pg_reload_conf()")
        wait_for(lambda: cluster.execute("SHOW synchronous_standby_names") == "nobody", "the setting")
        cluster.execute("CHECKPOINT")  # by the process that tells all others to wait, which knows by then
        yield
    finally:
        cluster.execute("ALTER SYSTEM RESET synchronous_standby_names")
        cluster.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("tried", [write_nothing, write_once])
def test_commits_that_wait_for_a_standby_are_told_of_as_such(
    cluster: Cluster, url: str, tried: Callable[[Index], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url) as objects, closing(Index.open(url)) as index:
        with standby_away(cluster, monkeypatch):
            doing = Doing(lambda: objects.record(arrival("1.2.3.1")))
            waiting_backend(cluster, url)
            with pytest.raises(IndexUnavailable, match="1 commits wait for a synchronous standby") as raised:
                tried(index)
            assert "synchronous_standby_names" in raised.value.remedy
        assert doing.outcome().outcome is Outcome.NEW


def test_who_tries_to_write_first_after_the_standby_went_away_is_told_of_it(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a promotion: no commit waits yet but its own, which is given up."""
    with closing(Index.open(url)) as index, standby_away(cluster, monkeypatch):
        monkeypatch.setattr(watch, "ANSWER_S", 1.0)
        with pytest.raises(IndexUnavailable, match="1 commits wait for a synchronous standby"):
            write_once(index)


def test_behind_a_commit_that_was_given_up_nobody_waits_for_the_standby(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would keep a connection until the standby is back."""
    with opened(url) as objects, closing(Index.open(url)) as index:
        records = (lambda: objects.record(arrival("1.2.3.1")), lambda: write_something(index))
        objects.record(arrival("1.2.4.1", study="1.2.4"))
        write_something(index)
        with standby_away(cluster, monkeypatch):
            with monkeypatch.context() as patch:
                patch.setattr(watch, "ANSWER_S", 1.0)
                for record in records:
                    with pytest.raises(IndexUnreachable, match="did not answer"):
                        record()
            for record in records:
                with pytest.raises(IndexUnreachable, match="2 commits wait for a synchronous standby"):
                    record()
            assert objects.known("1.2.3.1", "1.2.3").objects == ()
        wait_for(lambda: objects.known("1.2.3.1", "1.2.3").objects, "the first commit")
        assert objects.record(arrival("1.2.3.2")).outcome is Outcome.NEW


def test_who_begins_while_commits_wait_for_the_standby_is_told_so_at_once(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command, or a node that is started: it would add a commit that waits, and say that the server is away."""
    with opened(url) as objects, standby_away(cluster, monkeypatch):
        Doing(lambda: objects.record(arrival("1.2.3.1")))
        waiting_backend(cluster, url)
        with opened(url) as others, closing(Index.open(url)) as index:
            for record in (lambda: others.record(arrival("1.2.4.1", study="1.2.4")), lambda: write_something(index)):
                with pytest.raises(IndexUnreachable, match="1 commits wait for a synchronous standby"):
                    record()


def write_something(index: Index) -> None:
    with index.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))


def test_nobody_waits_for_ever_for_a_server_that_is_stopped(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url + PATIENTLY) as objects:
        with holding_the_study(url), ExitStack() as at_end:
            with monkeypatch.context() as patch:
                patch.setattr(watch, "ANSWER_S", 5.0)
                doing = Doing(lambda: objects.record(arrival("1.2.3.1")))
                pid = waiting_backend(cluster, url)
                os.kill(pid, signal.SIGSTOP)
                at_end.callback(os.kill, pid, signal.SIGCONT)
                with pytest.raises(IndexUnreachable, match="did not answer within 5 s"):
                    doing.outcome()
            assert objects.record(arrival("1.2.4.1", study="1.2.4")).outcome is Outcome.NEW
        wait_for(lambda: objects.record(arrival("1.2.3.1")).outcome is Outcome.NEW, "the lock of the stopped one")


def test_a_connection_that_was_forgotten_while_it_lay_idle_is_given_up_sooner(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[str] = []
    with closing(Index.open(url)) as index, ExitStack() as at_end:
        listen(index.engine, "invalidate", lambda _connection, _record, why: given_up.append(str(why)))
        with index.read():
            pass
        (pid,) = cluster.backends(database_of(url))
        os.kill(pid, signal.SIGSTOP)
        at_end.callback(os.kill, pid, signal.SIGCONT)
        monkeypatch.setattr(watch, "ANSWERED_LATELY_S", 0.0)
        monkeypatch.setattr(watch, "PING_S", 1.0)
        monkeypatch.setattr(watch, "ANSWER_S", 5.0)
        with index.read():
            pass
    assert given_up == ["the server did not answer within 1 s"]


def test_a_lock_that_somebody_keeps_is_waited_for_no_longer_than_the_limit(url: str) -> None:
    with opened(f"{url}&options=-c lock_timeout=300") as objects, holding_the_study(url):
        with pytest.raises(IndexUnavailable, match="lock timeout"):
            objects.record(arrival("1.2.3.1"))
        assert objects.record(arrival("1.2.4.1", study="1.2.4")).outcome is Outcome.NEW


def test_a_lock_on_one_study_keeps_no_others_waiting_and_is_waited_for(cluster: Cluster, url: str) -> None:
    """By a person in psql, a node that stands still, or a deletion of much: with its group, or after it."""
    with opened(url) as objects:
        with holding_the_study(url):
            locked_out = [Doing(lambda: objects.record(arrival("1.2.3.1")))]
            waiting_backend(cluster, url)
            locked_out.append(Doing(lambda: objects.record(arrival("1.2.3.2"))))
            for number in range(3):
                assert objects.record(arrival(f"1.2.4.{number}", study="1.2.4")).outcome is Outcome.NEW
            assert all(one.is_alive() for one in locked_out), "the others had to wait for the end of its patience"
        assert [one.outcome().outcome for one in locked_out] == [Outcome.NEW] * 2


def test_a_decision_about_one_study_waits_for_no_other_that_has_its_uids(url: str) -> None:
    with opened(f"{url}&options=-c lock_timeout=300") as objects:
        for study in ("1.2.3", "1.2.4"):
            recorded = arrival("1.9.1", study=study, patient_id=study)
            objects.record(recorded)
        content = Content(sop_uid="1.9.1", digest=recorded.digest, role="current")
        with holding_the_study(url):
            for kind in (OperationKind.DELETE, OperationKind.RESTORE):
                now = datetime.now(UTC)
                decided = objects.operations.draft(kind, "1.2.4", [content], now=now, who="a", reason="b")
                objects.operations.record(decided, missed=(), now=now)
        assert objects.operations.fates("1.9.1") == {recorded.digest: Fate.KEPT}


@pytest.mark.parametrize("locked", ["UPDATE studies SET study_description = 'x'", "SELECT * FROM series FOR UPDATE"])
def test_rows_that_a_person_keeps_locked_are_told_of_and_keep_no_other_study_waiting(
    cluster: Cluster, url: str, locked: str
) -> None:
    person = create_engine(parse_url(url))
    with opened(url) as objects:
        objects.record(arrival("1.2.3.1"))
        with person.connect() as session, session.begin():
            session.execute(text(locked))
            locked_out = Doing(lambda: objects.record(arrival("1.2.3.2")))
            waiting_backend(cluster, url)
            assert objects.record(arrival("1.2.4.1", study="1.2.4", patient_id="P2")).outcome is Outcome.NEW
            assert locked_out.is_alive(), "the other had to wait for the end of its patience"
            with pytest.raises(IndexLocked, match=r"lock timeout.*pg_terminate_backend"):
                locked_out.outcome()
        assert objects.record(arrival("1.2.3.2")).outcome is Outcome.NEW
    person.dispose()


def test_what_was_seen_of_a_partner_does_not_undo_what_a_person_changes_meanwhile(cluster: Cluster, url: str) -> None:
    osaka = Partner(name="osaka", host="h", port=1, fingerprint="AA:01", added_at=datetime.now(UTC))
    with closing(Index.open(url)) as index:
        known = Partners(index)
        known.add(osaka)
        with index.write() as connection:
            connection.execute(update(partners).values(is_paused=1, acknowledged=7))
            doing = Doing(lambda: known.note_seen(osaka, certificate="PEM", site_id="a1"))
            waiting_backend(cluster, url)
        doing.outcome()
        assert known.one("osaka") == replace(osaka, certificate="PEM", site_id="a1", is_paused=True, acknowledged=7)


@pytest.mark.parametrize("state", ["53100", "53200", "58030"])
def test_a_server_that_takes_nothing_is_there_all_the_same(url: str, state: str) -> None:
    """A full disk has to be told of; an index that is away is another matter."""
    with closing(Index.open(url)) as index, pytest.raises(IndexUnavailable) as raised, index.write() as connection:
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{state}'; END $$"))
    assert type(raised.value) is IndexUnavailable


def test_what_is_written_to_try_it_is_gone_again_however_often_that_is(url: str) -> None:
    with closing(Index.open(url)) as index:
        for _ in range(2):
            write_once(index)
            with index.read() as connection:
                assert connection.execute(select(site.c.name).where(func.length(site.c.value) > 1_000)).all() == []


@pytest.mark.parametrize("tried", [write_nothing, write_once])
def test_a_locked_table_is_noticed_before_an_object_is_refused(url: str, tried: Callable[[Index], None]) -> None:
    locking = create_engine(parse_url(url))
    with closing(Index.open(f"{url}&options=-c lock_timeout=300")) as index:
        tried(index)
        with locking.begin() as other:
            other.execute(text("LOCK TABLE series IN SHARE MODE"))
            with pytest.raises(IndexUnavailable, match="lock timeout"):
                tried(index)
        tried(index)
    locking.dispose()


@pytest.mark.parametrize("tried", [write_nothing, write_once])
def test_a_server_that_takes_no_changes_is_noticed_before_an_object_is_refused(
    url: str, tried: Callable[[Index], None]
) -> None:
    with closing(Index.open(f"{url}&options=-c default_transaction_read_only=on")) as index:
        with pytest.raises(IndexUnreachable, match="in a read-only transaction") as raised:
            tried(index)
        assert raised.value.remedy.startswith("name every server in the URL, and target_session_attrs=read-write")


def test_rights_that_are_missing_are_noticed_before_an_object_is_refused(url: str) -> None:
    ruling = create_engine(parse_url(url))
    with ruling.begin() as other:
        other.execute(text("CREATE ROLE storing"))
        other.execute(text("GRANT USAGE ON SCHEMA public TO storing"))
        other.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO storing"))
    with closing(Index.open(f"{url}&options=-c role=storing")) as index:
        with pytest.raises(IndexUnavailable, match="permission denied for table") as raised:
            write_nothing(index)
        assert "or GRANT it what is missing" in raised.value.remedy
    with ruling.begin() as other:
        other.execute(text("DROP OWNED BY storing"))
        other.execute(text("DROP ROLE storing"))
    ruling.dispose()


def test_a_group_whose_connection_is_lost_fails_as_a_whole_and_twice(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were each of its objects tried by itself, the last would wait for hours."""
    with opened(url + PATIENTLY) as objects:
        group = [arrival(f"1.2.3.{n}") for n in range(50)]
        with holding_the_study(url):
            doing = Doing(lambda: objects.record_in_order(group))
            waiting_backend(cluster, url)
            monkeypatch.setattr(Instances, "_commit_alone", pytest.fail)
            end_what_waits(cluster, url)
            end_what_waits(cluster, url)
            with pytest.raises(IndexUnreachable):
                doing.outcome()
        assert [one.outcome for one in objects.record_in_order(group)] == [Outcome.NEW] * 50


def test_a_queue_does_not_wait_one_after_the_other_for_a_server_that_takes_no_connections(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "_SHUT_S", 15.0)
    with closing(Index.open(f"{url}&connect_timeout=2")) as index:
        with cluster.frozen():
            with pytest.raises(IndexUnreachable, match="timeout expired"):
                index.rows("SELECT 1", ())
            for _ in range(100):
                with pytest.raises(IndexUnreachable, match="a moment ago"):
                    index.rows("SELECT 1", ())

        def answers() -> bool:
            try:
                return index.rows("SELECT 1", ()) == [(1,)]
            except IndexUnreachable:
                return False

        wait_for(answers, "the way to be open again", timeout_s=60)


def test_a_server_that_is_started_again_is_waited_for_by_whoever_reads_and_writes() -> None:
    with Cluster.new(memory()) as running:
        running.execute("CREATE DATABASE pacs")
        url = running.url("pacs")
        upgrade(url)
        with closing(Index.open(url)) as index:
            objects, search = Instances(index), Search(index)
            objects.record(arrival("1.2.3.1"))
            index.outlast()
            running.stop()
            doing = [
                Doing(lambda: objects.record(arrival("1.2.3.2")).outcome),
                Doing(lambda: len(objects.known("1.2.3.1", "1.2.3").objects)),
                Doing(lambda: len(list(search.find(query_from_keywords(Level.STUDY, {}), ())))),
                Doing(lambda: write_something(index)),
            ]
            with pytest.raises(IndexUnreachable):
                objects.known("1.2.3.1", "1.2.3")  # by the thread that hears of signals
            running.start()
            assert [one.outcome() for one in doing] == [Outcome.NEW, 1, 1, None]


@pytest.mark.parametrize("wanted", ["", "&target_session_attrs=read-write"])
@pytest.mark.parametrize("is_cut_off", [True, False])
def test_a_server_that_takes_no_changes_yet_is_waited_for_by_whoever_changes_something(
    cluster: Cluster, url: str, wanted: str, *, is_cut_off: bool
) -> None:
    """As a standby does that was reached before it is promoted; whoever only reads is answered meanwhile, unless the
    URL wants a server that takes changes.
    """
    name = database_of(url)
    refuse, take = (f"ALTER DATABASE {name} {what} default_transaction_read_only" for what in ("SET", "RESET"))
    with closing(Index.open(url + wanted)) as index:
        objects = Instances(index)
        objects.record(arrival("1.2.3.1"))
        index.outlast()
        doing = []
        if is_cut_off:
            with holding_the_study(url):
                doing += [Doing(lambda: objects.record(arrival("1.2.3.2")).outcome)]
                waiting_backend(cluster, url)
                cluster.execute(f"{refuse} = on")
                end_what_waits(cluster, url)
        else:
            cluster.execute(f"{refuse} = on")
            index.rows("SELECT set_config('default_transaction_read_only', 'on', false)", ())  # as where it is reloaded
            doing += [Doing(lambda: objects.record(arrival("1.2.3.2")).outcome)]
        wait_for(lambda: index.engine.pool.entrance.refusal.is_known, "it to be told that no changes are taken")
        assert doing[0].is_alive(), doing[0].error or doing[0].result
        if not wanted:
            assert len(Doing(lambda: objects.known("1.2.3.1", "1.2.3").objects).outcome()) == 1
        doing += [Doing(lambda: write_something(index))]
        cluster.execute(take)
        assert [one.outcome() for one in doing] == [Outcome.NEW, None]


@pytest.mark.parametrize("records", [True, False])
def test_a_commit_whose_wait_for_the_standby_was_cancelled_is_no_success(
    cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch, *, records: bool
) -> None:
    """To PostgreSQL it is one, with a warning."""
    with opened(url) as objects, closing(Index.open(url)) as index:
        with standby_away(cluster, monkeypatch):
            doing = Doing(lambda: objects.record(arrival("1.2.3.1")) if records else write_something(index))

            def is_cancelled() -> bool:
                """An object is recorded once more, as if it had been sent again, and waits again."""
                waits = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                cluster.execute(f"SELECT count(pg_cancel_backend(pid)) {waits}")
                return not doing.is_alive()

            wait_for(is_cancelled, "the commit to be told of")
            told = "somebody cancelled the wait of a commit .* start that standby"
            with pytest.raises(IndexUnreachable, match=told):
                doing.outcome()
        assert objects.record(arrival("1.2.3.1")).outcome is (Outcome.DUPLICATE if records else Outcome.NEW)


@pytest.mark.parametrize(
    "made_with",
    [
        "LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'SQL_ASCII' LOCALE 'C'",
        "LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C.UTF-8'",  # what createdb makes where that is a cluster's own
    ],
)
def test_a_database_whose_texts_would_compare_otherwise_is_refused_with_the_way_to_make_one(
    cluster: Cluster, made_with: str
) -> None:
    name = f"unfit_{abs(hash(made_with))}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE template0 {made_with}")
    with pytest.raises(ConfigError, match=r"createdb -T template0 -E UTF8 .*--locale=C\.UTF-8 NAME") as refused:
        upgrade(cluster.url(name))
    assert (
        (" of ICU;" in str(refused.value)) is ("--locale-provider=libc" in str(refused.value)) is ("icu" in made_with)
    )
    assert cluster.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'patients'", name) == 0


def test_a_database_that_shows_no_schema_is_not_taken_for_an_empty_one(cluster: Cluster, url: str) -> None:
    cluster.execute(f"ALTER DATABASE {database_of(url)} SET search_path = nosuch")
    with pytest.raises(ConfigError, match=r"search_path is nosuch, .* RESET search_path"):
        open_current(url)


def test_a_database_ordered_by_bytes_with_a_ctype_of_a_language_will_do(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE fit TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'")
    upgrade(cluster.url("fit"))


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://pacs@127.0.0.1:1,localhost:1/{name}?host={home}:5432",
        "postgresql://pacs@/{name}?host=/nowhere:1&host={home}:5432",
    ],
    ids=["as libpq writes it", "as parameters"],
)
def test_a_url_of_several_hosts_finds_the_one_that_answers(cluster: Cluster, url: str, form: str) -> None:
    several = form.format(name=database_of(url), home=cluster.home)
    with opened(f"{several}&target_session_attrs=read-write") as objects:
        assert objects.record(arrival("1.2.3.1")).outcome is Outcome.NEW


def test_a_host_that_takes_connections_and_ends_them_is_passed_over(cluster: Cluster, url: str, tmp_path: Path) -> None:
    def accept() -> None:
        with suppress(OSError):
            while True:
                listening.accept()[0].close()

    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / ".s.PGSQL.5432"))
        listening.listen()
        threading.Thread(target=accept, daemon=True).start()
        several = f"postgresql://pacs@/{database_of(url)}?host={tmp_path}&host={cluster.home}"
        with opened(several) as objects:
            assert objects.record(arrival("1.2.3.1")).outcome is Outcome.NEW
        listening.shutdown(socket.SHUT_RDWR)


def test_several_hosts_keep_the_user_the_password_and_what_else_the_url_says() -> None:
    parsed = parse_url("postgresql://pacs:p%40s@db1:5432,db2:5433/x?target_session_attrs=read-write&sslmode=require")
    (_, arguments) = parsed.get_dialect()().create_connect_args(parsed)
    assert arguments == {
        "user": "pacs", "password": "p@s", "dbname": "x", "host": "db1,db2", "port": "5432,5433",
        "target_session_attrs": "read-write", "sslmode": "require",
    }  # fmt: skip
    with pytest.raises(ConfigError):
        parse_url("postgresql://pacs@db1:port/x")


def test_a_server_that_was_made_read_only_is_left_for_the_one_that_can_be_written(cluster: Cluster, url: str) -> None:
    name = database_of(url)
    with opened(f"{url}&target_session_attrs=read-write") as objects:
        objects.record(arrival("1.2.3.1"))
        cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with opened(url) as going_on, pytest.raises(IndexUnreachable, match="read-only"):
            going_on.record(arrival("1.2.3.2"))  # as sessions do whose server is demoted
        cluster.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert objects.record(arrival("1.2.3.2")).outcome is Outcome.NEW


def test_a_former_primary_that_came_back_is_passed_over_for_the_one_that_was_promoted() -> None:
    served_by = "SHOW unix_socket_directories"
    with Cluster.new() as former, former.standby() as promoted:
        promoted.execute("SELECT pg_promote()")
        url = f"postgresql://pacs@/postgres?host={former.home}&host={promoted.home}&target_session_attrs=read-write"
        with closing(Index.open(url)) as index:
            assert index.rows(served_by, ()) == [(str(promoted.home),)]
            (told,) = left_behind(index)
            assert f"the server at {former.home}:5432 can be written to" in told
            promoted.stop()
            with pytest.raises(IndexUnreachable, match="promoted in its place") as refused:
                index.rows(served_by, ())
            assert "pg_rewind" in refused.value.remedy


def test_who_stood_still_with_the_former_primary_follows_the_one_that_was_promoted_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entrance, "_LOOK_EVERY_S", 0.0)
    served_by = "SHOW unix_socket_directories"
    with Cluster.new() as former, former.standby() as promoted:
        url = f"postgresql://pacs@/postgres?host={former.home}&host={promoted.home}&target_session_attrs=read-write"
        with closing(Index.open(url)) as index:
            assert index.rows(served_by, ()) == [(str(former.home),)]
            promoted.execute("SELECT pg_promote()")
            wait_for(lambda: index.rows(served_by, ()) == [(str(promoted.home),)], "the promoted one to be used")


def test_who_was_cut_off_while_another_one_was_promoted_does_not_go_back_to_the_former_primary() -> None:
    served_by = "SHOW unix_socket_directories"
    with Cluster.new() as former, former.standby() as promoted:
        url = f"postgresql://pacs@/postgres?host={former.home}&host={promoted.home}&target_session_attrs=read-write"
        with closing(Index.open(url)) as index:
            assert index.rows(served_by, ()) == [(str(former.home),)]
            former.kill()
            promoted.execute("SELECT pg_promote()")
            former.start()
            assert index.rows(served_by, ()) == [(str(promoted.home),)]


def test_a_standby_that_was_taken_while_the_primary_was_away_is_left_when_that_is_back() -> None:
    """Where the URL says no target_session_attrs; else no standby lets in."""
    served_by = "SHOW unix_socket_directories"
    with Cluster.new(memory()) as primary, primary.copied("-R") as standby:
        primary.execute("CREATE DATABASE pacs")
        upgrade(primary.url("pacs"))
        wait_for(lambda: "pacs" in standby.execute("SELECT string_agg(datname, ' ') FROM pg_database"), "its database")
        with closing(Index.open(f"postgresql://pacs@/pacs?host={primary.home}&host={standby.home}")) as index:
            write_something(index)
            primary.stop()
            assert index.rows(served_by, ()) == [(str(standby.home),)]
            with pytest.raises(IndexUnreachable, match="read-only"):
                write_something(index)
            primary.start()
            write_something(index)
            assert index.rows(served_by, ()) == [(str(primary.home),)]


def address_of(server: Cluster, at: Path) -> None:
    """Have an address lead to a server, as a proxy in front of several does."""
    at.mkdir(exist_ok=True)
    (at / "next").symlink_to(server.home / ".s.PGSQL.5432")
    (at / "next").rename(at / ".s.PGSQL.5432")


def test_a_former_primary_is_left_when_its_address_leads_to_the_promoted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by = "SHOW unix_socket_directories"
    with Cluster.new() as former, former.standby() as promoted:
        address_of(former, tmp_path / "address")
        url = f"postgresql://pacs@/postgres?host={tmp_path}/address"
        with closing(Index.open(url)) as connecting, closing(Index.open(url)) as idle:
            assert connecting.rows(served_by, ()) == idle.rows(served_by, ()) == [(str(former.home),)]
            promoted.execute("SELECT pg_promote()")
            address_of(promoted, tmp_path / "address")
            with connecting.read(), connecting.read() as another:
                assert another.exec_driver_sql(served_by).scalar() == str(promoted.home)
            with connecting.read() as one, connecting.read() as other:
                assert {each.exec_driver_sql(served_by).scalar() for each in (one, other)} == {str(promoted.home)}
            monkeypatch.setattr(entrance, "_LOOK_EVERY_S", 0.0)
            wait_for(lambda: idle.rows(served_by, ()) == [(str(promoted.home),)], "the promoted one to be used")


def test_a_copy_that_was_never_made_a_standby_is_named_and_a_second_address_of_one_server_is_not(
    tmp_path: Path,
) -> None:
    with Cluster.new() as used, used.copied() as copy:
        address_of(used, tmp_path / "address")
        url = f"postgresql://pacs@/postgres?host={used.home}&host={tmp_path}/address&host={copy.home}"
        with closing(Index.open(f"{url}&target_session_attrs=read-write")) as index:
            assert left_behind(index) == (
                f"the server at {copy.home}:5432 is a copy of the one at {used.home}:5432, "
                "and can be written to: it was never made a standby",
            )
            assert list(hindrances(index).values()) == ["", "", None], "the address that leads to the same one serves"


def test_what_keeps_a_second_server_from_taking_over_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "_FOLLOWS_WITHIN_S", 0.5)
    with Cluster.new() as used, used.standby() as second:
        url = f"postgresql://pacs@/postgres?host={used.home}&host={second.home}&target_session_attrs=read-write"
        hosts = [f"{used.home}:5432", f"{second.home}:5432"]
        with closing(Index.open(url)) as index:
            assert list(hindrances(index).values()) == ["", ""]
            used.go_on_alone()
            second.execute("ALTER SYSTEM SET primary_conninfo = ''")
            second.execute("SELECT pg_reload_conf()")
            wait_for(
                lambda: not second.execute("SELECT count(*) FROM pg_stat_wal_receiver"), "the standby to stay behind"
            )
            used.execute("CREATE TABLE new ()")
            assert list(hindrances(index).values()) == [
                "",
                f"the standby at {hosts[1]} does not follow: it lacks what was written 0.5 s ago",
            ]
            second.stop()
            first, why = hindrances(index).values()
            assert first == ""
            assert why is not None
            assert why.startswith(f"the database server at {hosts[1]} could not take over: ")
    with Cluster.new() as used, used.copied() as copy:
        url = f"postgresql://pacs@/postgres?host={used.home}&host={copy.home}&target_session_attrs=read-write"
        with closing(Index.open(url)) as index:
            assert list(hindrances(index).values()) == ["", None], "left_behind tells of it"


def test_who_was_left_without_an_answer_waits_less_for_a_connection(url: str) -> None:
    waits_s = lambda one: one.info.dsn_parameters["connect_timeout"]  # noqa: E731
    with closing(Index.open(url)) as index:
        with closing(index.engine.raw_connection()) as connection:
            usual, asked = waits_s(connection.dbapi_connection), connection.dbapi_connection
        asked.cut()
        with closing(index.engine.raw_connection()) as connection:
            assert (usual, waits_s(connection.dbapi_connection)) == ("10", "2")


def test_a_server_that_is_slow_to_let_in_is_reached_once_nobody_waits_for_it_any_more(url: str) -> None:
    with closing(Index.open(url)) as index:
        index.outlast()
        index.engine.pool.entrance.absence.began(time.monotonic() - 2 * OUTLASTED_S)
        with closing(index.engine.raw_connection()) as connection:
            assert connection.dbapi_connection.info.dsn_parameters["connect_timeout"] == "10"


def test_a_query_that_takes_too_long_is_ended_and_one_that_may_is_not(url: str) -> None:
    with closing(Index.open(f"{url}&options=-c statement_timeout=2000")) as index:
        with pytest.raises(IndexUnavailable, match="statement timeout"), index.read() as connection:
            connection.execute(text("SELECT pg_sleep(20)"))
        with index.read_at_one_moment() as connection:
            connection.execute(text("SELECT pg_sleep(2.5)"))
        with index.write_alone() as connection:
            connection.execute(text("SELECT pg_sleep(2.5)"))
