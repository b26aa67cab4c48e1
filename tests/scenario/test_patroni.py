"""A real Patroni with a real etcd: what it tells is understood, and what it is asked for, it does."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.kept import assert_kept, assert_no_row_lies
from support.patroni import Members
from support.senders import Sender, objects
from support.server import LONG, Archive, wait_for

from pacs_server.cluster.members import State
from pacs_server.cluster.patroni import Patroni
from pacs_server.cluster.patroni_checks import checks
from pacs_server.errors import Refused

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(900 if LONG else 300)]

EACH = 1_000


@pytest.fixture
def members() -> Iterator[Members]:
    with Members.new() as running:
        yield running


@pytest.mark.skipif(not LONG, reason="takes a minute, of which Patroni waits twenty seconds")
def test_two_nodes_go_on_with_the_member_that_patroni_promotes_and_nothing_is_lost(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evidence: Callable[..., None]
) -> None:
    members.wait_until("the standby to follow", leader="db1")
    monkeypatch.setenv("PGPASSWORD", "secret of the archive")
    url = members.make_database("secret of the archive")
    (tmp_path / "objects").mkdir()
    with ExitStack() as running:
        one, other = (Archive(tmp_path / name, database=url) for name in ("one", "other"))
        for node in (one, other):
            running.callback(node.kill)
            node.start()
        senders = [Sender(one, objects(tmp_path / "objects", number, EACH), others=[other]) for number in range(4)]
        for sender in senders:
            sender.start()
        wait_for(lambda: all(len(sender.acknowledged) > 50 for sender in senders), "some objects", timeout_s=60)
        members.kill("db1")
        for sender in senders:
            sender.join(600)
        acknowledged = [sample for sender in senders for sample in sender.acknowledged]
        assert len(acknowledged) == 4 * EACH
        for node in (one, other):
            assert {sample.sop_uid for sample in acknowledged} <= node.instance_uids()
        assert_kept(one, acknowledged)
        assert_no_row_lies(one)
        assert [node.stop() for node in (one, other)] == [0, 0]
    longest_s = max(sender.longest_s for sender in senders)
    evidence(acknowledged=len(acknowledged), lost=0, longest_answer_s=round(longest_s, 1))


def now() -> datetime:
    return datetime.now(UTC)


def problems(state: State, url: str) -> list[tuple[str, str]]:
    return [problem for _, found in checks(state, url, now()) for problem in found]


def test_a_real_patroni_is_understood_and_does_what_it_is_asked_for(members: Members) -> None:
    patroni = Patroni(members.settings)
    state = members.wait_until("the standby to follow", leader="db1")
    assert problems(state, members.url) == []
    assert [one.version.split(".")[0] for one in state.members] == ["4", "4"]
    assert patroni.plan("db2", now()).refusals == ()
    assert patroni.switch("db2", now()).startswith("Successfully switched over")
    members.wait_until("the former leader to follow", leader="db2")
    with pytest.raises(Refused, match="db2 leads already"):
        patroni.switch("db2", now())
    mark = members.data_of("db1") / "mark"
    mark.touch()
    assert patroni.reinit("db1") == "reinitialize started"
    wait_for(lambda: not mark.exists(), "the copy to be made anew", timeout_s=60)
    assert problems(members.wait_until("it to follow again", leader="db2"), members.url) == []
    members.stop_etcd()
    wait_for(lambda: not patroni.status().is_known_whole, "the members to miss etcd", timeout_s=60)
    with pytest.raises(Refused, match="no member reaches etcd"):
        patroni.switch("db1", now())
