"""A real Patroni with a real etcd: what it tells is understood, and what it is asked for, it does."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from support.patroni import Members
from support.server import wait_for

from pacs_server.cluster.members import State
from pacs_server.cluster.patroni import Patroni
from pacs_server.cluster.patroni_checks import checks
from pacs_server.errors import Refused

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]


@pytest.fixture
def members() -> Iterator[Members]:
    with Members.new() as running:
        yield running


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
