"""An archive on PostgreSQL: copied there, under load while its database ends and comes back, and after a failover."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from support.kept import assert_kept, assert_no_row_lies
from support.postgres import Cluster
from support.samples import Sample
from support.senders import GIVE_UP_S, Sender, acknowledged_by, objects
from support.server import LONG, Archive, wait_for

from pacs_server.errors import PeerRejected, PeerTimedOut
from pacs_server.index.drivers.absence import OUTLASTED_S

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000 if LONG else 300)]

SENDERS, EACH = 4, 1_500 if LONG else 150
BLOWS = 30 if LONG else 5


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own, because it is ended."""
    with Cluster.new() as running:
        running.execute("CREATE DATABASE pacs")
        yield running


def use(archive: Archive, url: str) -> None:
    """Have an archive use another database from its next start on."""
    archive.pacs("db", "copy", "--to", url)
    settings = yaml.safe_load(archive.config.read_text(encoding="utf-8"))
    archive.config.write_text(yaml.safe_dump(settings | {"database": url}), encoding="utf-8")


def begin(archive: Archive, folder: Path) -> list[Sender]:
    folder.mkdir()
    senders = [Sender(archive, objects(folder, number, EACH)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    return senders


def assert_outlasted(archive: Archive, longest_s: float) -> None:
    """Nobody was refused because the database was away, but where that was for longer than is waited."""
    refused = [line for line in archive.log_text().splitlines() if "not stored" in line or "not accepted" in line]
    assert longest_s > OUTLASTED_S or not refused, refused


def told_by(archive: Archive) -> list[object]:
    return [archive.report(*words) for words in (("find", "instances"), ("ae", "list"), ("policy", "show"))]


def test_an_archive_moves_from_sqlite_to_postgresql_with_what_it_holds(
    new_archive: Callable[..., Archive], cluster: Cluster, tmp_path: Path
) -> None:
    archive, url = new_archive(), cluster.url("pacs")
    archive.add_peer("CT1", 104, host="192.0.2.1")
    archive.start()
    first = objects_sent(archive, tmp_path / "first", 1)
    archive.pacs("db", "copy", "--to", url, expect=14)
    archive.stop()
    before = told_by(archive)
    told = {row["table"]: row["rows"] for row in archive.report("db", "copy", "--to", url)}
    assert (told["instances"], told["copies"], told["peers"]) == (12, 12, 1)
    use(archive, url)  # which compares once more
    assert archive.report("db", "current")["database"].startswith("postgresql")
    assert told_by(archive) == before
    archive.start()
    assert_kept(archive, first + objects_sent(archive, tmp_path / "second", 2))
    assert_no_row_lies(archive)
    archive.pacs("db", "copy", "--to", f"sqlite:///{archive.data}/index.db", expect=14)
    assert archive.stop() == 0
    archive.pacs("db", "copy", "--to", f"sqlite:///{archive.data}/index.db", expect=2)  # which is not empty any more
    archive.pacs("db", "copy", "--to", f"sqlite:///{archive.data}/back.db")


def objects_sent(archive: Archive, folder: Path, number: int) -> list[Sample]:
    folder.mkdir()
    sender = Sender(archive, objects(folder, number, 12))
    sender.run()
    return sender.acknowledged


def test_nothing_acknowledged_is_lost_while_the_database_is_ended_and_started_again(
    new_archive: Callable[..., Archive], cluster: Cluster, tmp_path: Path, evidence: Callable[..., None]
) -> None:
    archive = new_archive()
    use(archive, cluster.url("pacs"))
    archive.start()
    served_by = archive.pid
    senders = begin(archive, tmp_path / "objects")
    chance, longest_s = random.Random(), 0.0
    for blow in range(BLOWS):
        reached = SENDERS * EACH * (blow + 1) // (BLOWS + 1)
        wait_for(
            lambda reached=reached: sum(len(sender.acknowledged) for sender in senders) >= reached,  # type: ignore[misc]
            f"{reached} objects",
            timeout_s=GIVE_UP_S,
        )
        if blow % 2:
            cluster.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'pacs'")
        else:
            ended_at = time.monotonic()
            cluster.stop(chance.choice((signal.SIGINT, signal.SIGQUIT)))
            cluster.start()
            longest_s = max(longest_s, time.monotonic() - ended_at)
    acknowledged = acknowledged_by(senders)
    assert_outlasted(archive, longest_s)
    assert archive.is_running()
    assert archive.pid == served_by
    assert_kept(archive, acknowledged)
    assert_no_row_lies(archive)
    assert archive.stop() == 0
    assert "Traceback" not in archive.log_text(), archive.log_text()[-8_000:]
    evidence(blows=BLOWS, acknowledged=len(acknowledged), lost=0)


def test_a_database_that_hangs_holds_no_sender_for_ever_and_the_archive_goes_on_when_it_answers_again(
    new_archive: Callable[..., Archive], cluster: Cluster, tmp_path: Path
) -> None:
    archive = new_archive()
    use(archive, f"{cluster.url('pacs')}&connect_timeout=2")
    archive.start()
    senders = begin(archive, tmp_path / "objects")
    wait_for(lambda: all(sender.acknowledged for sender in senders), "the first objects", timeout_s=60)
    stopped = [*cluster.backends("pacs")]
    with cluster.frozen():
        for pid in stopped:
            with suppress(ProcessLookupError):  # of a connection that was closed meanwhile
                os.kill(pid, signal.SIGSTOP)
        try:
            told = "not stored" if LONG else "did not answer"  # the one after 25 s, the other as soon as one connects
            wait_for(lambda: told in archive.log_text(), "somebody to be told", timeout_s=90)
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
    acknowledged = acknowledged_by(senders)
    assert_kept(archive, acknowledged)
    assert_no_row_lies(archive)
    assert archive.stop() == 0
    assert "Traceback" not in archive.log_text(), archive.log_text()[-8_000:]


def test_who_calls_while_the_database_is_away_waits_and_is_told_to_come_again_where_it_stays_away(
    new_archive: Callable[..., Archive], cluster: Cluster, tmp_path: Path
) -> None:
    archive = new_archive()
    use(archive, cluster.url("pacs"))
    archive.start()
    (tmp_path / "objects").mkdir()
    sender = Sender(archive, objects(tmp_path / "objects", 1, 1))
    cluster.stop()
    with pytest.raises(PeerTimedOut):
        sender.send_some()  # which waits for its association no longer than 10 s

    def is_told() -> bool:
        try:
            sender.send_some()
        except PeerRejected as error:
            return "temporary congestion" in str(error)
        except PeerTimedOut:
            return False
        return False

    wait_for(is_told, "the answer of who waits no longer")
    assert is_told()
    cluster.start()
    sender.send_some()
    assert_kept(archive, sender.acknowledged)
    assert archive.stop() == 0
    assert "Traceback" not in archive.log_text(), archive.log_text()[-8_000:]


def test_the_archive_follows_a_standby_that_is_promoted(
    new_archive: Callable[..., Archive], cluster: Cluster, tmp_path: Path
) -> None:
    archive = new_archive()
    with cluster.standby() as standby:
        url = f"postgresql://pacs@/pacs?host={cluster.home}&host={standby.home}&target_session_attrs=read-write"
        use(archive, url)
        archive.start()
        senders = begin(archive, tmp_path / "objects")
        wait_for(lambda: all(len(sender.acknowledged) > 10 for sender in senders), "some objects", timeout_s=60)
        ended_at = time.monotonic()
        cluster.stop(signal.SIGQUIT)
        standby.execute("SELECT pg_promote()")
        longest_s = time.monotonic() - ended_at
        acknowledged = acknowledged_by(senders)
        assert_outlasted(archive, longest_s)
        assert_kept(archive, acknowledged)
        cluster.start()  # as its machine does, with nobody there who makes it a standby
        cluster.execute("ALTER SYSTEM RESET synchronous_standby_names")
        cluster.execute("SELECT pg_reload_conf()")
        assert_kept(archive, acknowledged)
        told = [str(row["result"]) for row in archive.report("doctor", expect=12)]
        assert any(f"{cluster.home}:5432 can be written to, but another one was promoted" in one for one in told), told
        assert_no_row_lies(archive)
        assert archive.stop() == 0
        assert "Traceback" not in archive.log_text(), archive.log_text()[-8_000:]
