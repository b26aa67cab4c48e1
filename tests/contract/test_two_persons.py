"""What two persons change of the same thing in the same moment, each another part of it: both hold."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection
from support.postgres import wait_until_waiting

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.vocabulary import field_of
from pacs_server.errors import PacsError, Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.recording.fields import Fields
from pacs_server.index.site.partners import Partner, Partners
from pacs_server.index.site.peers import Peer, Right
from pacs_server.index.site.registry import Policy, Registry, VolumeRow
from pacs_server.index.site.retention import Purging, Retention, change_retention, retention_of
from pacs_server.index.site.routes import Route, Routes
from pacs_server.index.site.tier_rules import TierRule, TierRules
from pacs_server.index.site.users import User, Users

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LONG_S = 60.0
CT1 = Peer(aet=AeTitle("CT1"), host="10.0.0.1", port=104, rights=frozenset(Right), sources=("10.0.0.1",))
NIGHT = Route(name="night", to=("CT1",), keys={})
OSAKA = Partner(name="osaka", host="10.1.0.1", port=11114, fingerprint="AA:01", aet="OSAKA", added_at=NOW)
TANAKA = User(name="tanaka", passcode="a digest", peers=(), changed_at=NOW)
FIRST = VolumeRow(id="a1", name="first", path="/mnt/first", tier="hot", domain="first")
OLD = TierRule(name="old", source="hot", target="cold", older_than_days=365)
FIELD = field_of(row=0, keyword="KVP", tag=0x00180060, creator="", vr="DS", level=Level.SERIES, is_ready=False)

Deed = Callable[[Index], object]


class Case(NamedTuple):
    """What was there, what each of two does with it, what the one who comes later is told, and what is there then."""

    before: Deed
    first: Deed
    second: Deed
    looked_at: Deed
    after: object
    told: type[PacsError] | None = None


CASES = {
    "a peer": Case(
        lambda index: Registry(index).save_peer(CT1),
        lambda index: Registry(index).change_peer("CT1", lambda known: replace(known, port=105)),
        lambda index: Registry(index).change_peer("CT1", lambda known: replace(known, issuer="A")),
        lambda index: Registry(index).peers(),
        [replace(CT1, port=105, issuer="A")],
    ),
    "a peer that is replaced": Case(
        lambda index: Registry(index).save_peer(CT1),
        lambda index: Registry(index).save_peer(replace(CT1, port=105)),
        lambda index: Registry(index).change_peer("CT1", lambda known: replace(known, issuer="A")),
        lambda index: Registry(index).peers(),
        [replace(CT1, port=105, issuer="A")],
    ),
    "a peer that is removed": Case(
        lambda index: Registry(index).save_peer(CT1),
        lambda index: Registry(index).remove_peer("CT1"),
        lambda index: Registry(index).change_peer("CT1", lambda known: replace(known, issuer="A")),
        lambda index: Registry(index).peers(),
        [],
        UnknownName,
    ),
    "a new peer": Case(
        lambda index: None,
        lambda index: Registry(index).add_peer(CT1),
        lambda index: Registry(index).add_peer(replace(CT1, host="10.0.0.2")),
        lambda index: Registry(index).peers(),
        [CT1],
        Refused,
    ),
    "a peer of a file, beside a new one": Case(
        lambda index: None,
        lambda index: Registry(index).add_peer(CT1),
        lambda index: Registry(index).save_peer(replace(CT1, port=105), replaces=False),
        lambda index: Registry(index).peers(),
        [CT1],
    ),
    "the policy": Case(
        lambda index: Registry(index).set_policy(Policy(want=3, need=2)),
        lambda index: Registry(index).change_policy({"need": 3}),
        lambda index: Registry(index).change_policy({"want": 4}),
        lambda index: Registry(index).policies().usual,
        Policy(want=4, need=3),
    ),
    "a policy that a peer has not yet": Case(
        lambda index: None,
        lambda index: Registry(index).change_policy({"want": 3}, aet="CT1"),
        lambda index: Registry(index).change_policy({"want": 3, "need": 2}, aet="CT1"),
        lambda index: Registry(index).policies().of_peers,
        {"CT1": Policy(want=3, need=2)},
    ),
    "retention": Case(
        lambda index: None,
        lambda index: change_retention(index, keep_days=3650),
        lambda index: change_retention(index, purging=Purging.BY_HAND),
        retention_of,
        Retention(purging=Purging.BY_HAND, keep_days=3650),
    ),
    "kinds of jobs": Case(
        lambda index: JobQueue(index).pause_kinds(["copy"]),
        lambda index: JobQueue(index).pause_kinds(["verify"]),
        lambda index: JobQueue(index).resume_kinds(["copy"]),
        lambda index: JobQueue(index).paused_kinds(),
        {"verify"},
    ),
    "a route that is removed": Case(
        lambda index: Routes(index).add(NIGHT),
        lambda index: Routes(index).remove("night"),
        lambda index: Routes(index).set_paused("night", is_paused=True),
        lambda index: Routes(index).all(),
        {},
        UnknownName,
    ),
    "a new route": Case(
        lambda index: None,
        lambda index: Routes(index).add(NIGHT),
        lambda index: Routes(index).add(replace(NIGHT, to=("OTHER",))),
        lambda index: Routes(index).all(),
        {"night": NIGHT},
        Refused,
    ),
    "a partner": Case(
        lambda index: Partners(index).add(OSAKA),
        lambda index: Partners(index).pause("osaka", is_paused=True),
        lambda index: Partners(index).change("osaka", {"port": 11115}),
        lambda index: Partners(index).all(),
        [replace(OSAKA, port=11115, is_paused=True)],
    ),
    "a new partner": Case(
        lambda index: None,
        lambda index: Partners(index).add(OSAKA),
        lambda index: Partners(index).add(replace(OSAKA, name="nara")),
        lambda index: Partners(index).all(),
        [OSAKA],
        Refused,
    ),
    "a user": Case(
        lambda index: Users(index).add(TANAKA),
        lambda index: Users(index).change("tanaka", passcode="another digest"),
        lambda index: Users(index).change("tanaka", peers=("CT1",)),
        lambda index: Users(index).all(),
        [replace(TANAKA, passcode="another digest", peers=("CT1",))],
    ),
    "a new user": Case(
        lambda index: None,
        lambda index: Users(index).add(TANAKA),
        lambda index: Users(index).add(replace(TANAKA, peers=("CT1",))),
        lambda index: Users(index).all(),
        [TANAKA],
        Refused,
    ),
    "a new volume": Case(
        lambda index: None,
        lambda index: Registry(index).add_volume(FIRST),
        lambda index: Registry(index).add_volume(replace(FIRST, id="b2", path="/mnt/other")),
        lambda index: Registry(index).volumes(),
        [FIRST],
        Refused,
    ),
    "the name of a volume": Case(
        lambda index: Registry(index).add_volume(FIRST),
        lambda index: Registry(index).add_volume(replace(FIRST, id="b2", name="other")),
        lambda index: Registry(index).change_volume("a1", {"name": "other"}),
        lambda index: [row.name for row in Registry(index).volumes()],
        ["first", "other"],
        Refused,
    ),
    "a new tier rule": Case(
        lambda index: None,
        lambda index: TierRules(index).add(OLD),
        lambda index: TierRules(index).add(replace(OLD, older_than_days=30)),
        lambda index: TierRules(index).all(),
        [OLD],
        Refused,
    ),
    "a new field": Case(
        lambda index: None,
        lambda index: Fields(index).add(FIELD, NOW),
        lambda index: Fields(index).add(FIELD, NOW),
        lambda index: len(Fields(index).progress()),
        1,
        Refused,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_both_decide_holds_or_the_later_one_is_told_why_not(
    case: Case, kind: str, new_upgraded_url: Callable[[], str], request: pytest.FixtureRequest
) -> None:
    url = new_upgraded_url()
    with closing(Index.open(url)) as earlier, closing(Index.open(url)) as later, ThreadPoolExecutor(2) as persons:
        case.before(earlier)
        has_changed, may_commit, has_begun = Event(), Event(), Event()
        earlier.write = _held_at_the_end(earlier.write, has_changed, may_commit)  # type: ignore[method-assign]
        later.write = _telling(later.write, has_begun)  # type: ignore[method-assign]
        first = persons.submit(case.first, earlier)
        assert has_changed.wait(LONG_S)
        second = persons.submit(case.second, later)
        assert has_begun.wait(LONG_S)
        if kind == "postgresql":
            wait_until_waiting(request.getfixturevalue("cluster"), url)
        may_commit.set()
        first.result(LONG_S)
        if case.told is None:
            second.result(LONG_S)
        else:
            with pytest.raises(case.told):
                second.result(LONG_S)
        assert case.looked_at(later) == case.after


def _held_at_the_end(write: Any, has_changed: Event, may_commit: Event) -> Any:
    @contextmanager
    def held(*told: Any) -> Iterator[Connection]:
        with write(*told) as connection:
            yield connection
            has_changed.set()
            assert may_commit.wait(LONG_S)

    return held


def _telling(write: Any, has_begun: Event) -> Any:
    def begun(*told: Any) -> Any:
        has_begun.set()
        return write(*told)

    return begun
