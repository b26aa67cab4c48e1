"""Storage Commitment while requester, server and volumes come and go: one report, and never a wrong yes."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from support.console import Console, named
from support.samples import CT, Sample, tiny, write
from support.second_client import send
from support.server import Archive, wait_for

from pacs_server.index.engine import Index
from pacs_server.index.site_tables import commitments, jobs

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_200)]

MISSING, LIMITED, UNREADABLE = (CT, "1.2.3.4.5.6.7"), 0x0213, 0x0110
TRANSACTION = "1.2.3.99"
SOON_S = 240.0


def state(archive: Archive) -> str:
    found = [row["state"] for row in archive.report("commit", "list")]
    return str(found[0]) if found else ""


def stored(archive: Archive, folder: Path, number: int) -> list[Sample]:
    samples = [write(tiny(n, study="commitment"), folder / f"{n}.dcm") for n in range(number)]
    assert set(send(archive, samples, aet="CONSOLE2").values()) == {0x0000}
    return samples


def test_a_requester_that_is_offline_for_a_while_gets_exactly_one_report_of_exactly_the_missing_object(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive, console = new_archive(), Console()
    archive.start()
    archive.add_peer(console.aet, console.port)
    samples = stored(archive, tmp_path, 10)
    assert console.ask(archive, TRANSACTION, [*named(samples), MISSING]) == 0x0000
    wait_for(lambda: "nothing listens" in told(archive), "the first attempt to fail", timeout_s=SOON_S)
    archive.kill()
    failed = failures(archive)
    archive.start()
    wait_for(lambda: failures(archive) > failed, "an attempt of the new server to fail", timeout_s=SOON_S)
    assert state(archive) == "decided"
    with console.listening():
        archive.pacs("jobs", "retry", "--all")
        report = console.first_report(TRANSACTION)
        wait_for(lambda: state(archive) == "reported", "the transaction to be over", timeout_s=SOON_S)
        archive.kill()
        archive.start()
        assert console.ask(archive, "1.2.3.100", [MISSING]) == 0x0000
        console.first_report("1.2.3.100")  # reported after the other one would have been
        wait_for(lambda: archive.report("jobs", "list") == [], "nothing to be owed any more", timeout_s=SOON_S)
    assert (report.event_type, report.failed) == (2, {MISSING[1]: 0x0112})
    assert set(report.committed) == {one.sop_uid for one in samples}
    assert len(console.of(TRANSACTION)) == 1


def told(archive: Archive) -> str:
    return "".join(row["error"] for row in archive.report("jobs", "list"))


def failures(archive: Archive) -> int:
    """How many attempts to report have failed so far."""
    return sum("nothing listens" in line for line in archive.log_text().splitlines())


@pytest.mark.parametrize("ahead", [timedelta(), timedelta(days=300)])
def test_what_was_killed_right_after_its_answer_is_reported_nevertheless(
    new_archive: Callable[..., Archive], tmp_path: Path, ahead: timedelta
) -> None:
    """Also where the clock ran ahead then, and was put right."""
    archive, console = new_archive(), Console()
    archive.start()
    archive.add_peer(console.aet, console.port)
    samples = stored(archive, tmp_path, 3)
    archive.pacs("jobs", "pause", "--kind", "commit")
    assert console.ask(archive, TRANSACTION, named(samples)) == 0x0000
    archive.kill()
    archive.pacs("jobs", "resume", "--kind", "commit")
    then = (datetime.now(UTC) + ahead).isoformat()
    with closing(Index.open(f"sqlite:///{archive.data / 'index.db'}")) as index, index.write() as connection:
        connection.execute(update(commitments).values(asked_at=then))
        connection.execute(update(jobs).values(due_at=then))
    with console.listening():
        archive.start()
        assert len(console.first_report(TRANSACTION).committed) == 3


def test_what_was_deleted_before_the_requester_came_back_is_not_vouched_for(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive, console = new_archive(), Console()
    archive.start()
    archive.add_peer(console.aet, console.port)
    samples = stored(archive, tmp_path, 3)
    assert console.ask(archive, TRANSACTION, named(samples)) == 0x0000
    wait_for(lambda: "nothing listens" in told(archive), "the first attempt to fail", timeout_s=SOON_S)
    assert state(archive) == "decided"
    archive.pacs("jobs", "pause", "--kind", "commit")
    wait_for(
        lambda: all(row["state"] != "running" for row in archive.report("jobs", "list")), "no attempt", timeout_s=SOON_S
    )
    archive.pacs("delete", f"SOPInstanceUID={samples[0].sop_uid}", "--reason", "a test", "--yes")
    with console.listening():
        archive.pacs("jobs", "resume", "--kind", "commit")
        archive.pacs("jobs", "retry", "--all")
        report = console.first_report(TRANSACTION)
    assert report.failed == {samples[0].sop_uid: 0x0112}
    assert len(report.committed) == 2


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_volume_that_is_away_is_waited_for_and_then_it_is_a_no(
    new_archive: Callable[..., Archive], tmp_path: Path, *, comes_back: bool
) -> None:
    archive = new_archive(storage={"commitment_wait_s": 300.0 if comes_back else 1.0})
    second = tmp_path / "second"
    second.mkdir()
    archive.pacs("storage", "add", "second", str(second), "--domain", "second")
    archive.pacs("policy", "set", "--want", "2", "--need", "2", "--degraded", "1")
    archive.start()
    samples = stored(archive, tmp_path, 3)
    away = second.rename(tmp_path / "away")
    wait_for(lambda: "name=second status=offline" in archive.log_text(), "the server to see it away", timeout_s=SOON_S)
    with Console().listening() as console:
        archive.add_peer(console.aet, console.port)
        assert console.ask(archive, TRANSACTION, named(samples)) == 0x0000
        if comes_back:
            wait_for(lambda: "fewer copies than wanted" in told(archive), "the wait to be told", timeout_s=SOON_S)
            assert console.reports == []
            away.rename(second)
        report = console.first_report(TRANSACTION)
    wanted = {} if comes_back else {one.sop_uid: LIMITED for one in samples}
    assert report.failed == wanted
    assert len(report.committed) == (3 if comes_back else 0)


def test_a_copy_that_rotted_on_the_disk_is_never_vouched_for(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    archive.start()
    samples = stored(archive, tmp_path, 3)
    rotten = next(path for path in archive.files() if path.name.startswith(samples[1].sop_uid))
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"!")
    with Console().listening() as console:
        archive.add_peer(console.aet, console.port)
        assert console.ask(archive, TRANSACTION, named(samples)) == 0x0000
        report = console.first_report(TRANSACTION)
    assert report.failed == {samples[1].sop_uid: UNREADABLE}
    assert len(report.committed) == 2
