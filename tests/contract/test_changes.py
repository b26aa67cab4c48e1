"""The log of what admins changed, and what two sites make of each other's, on every database."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import Undecodable
from pacs_server.index.engine import Index
from pacs_server.index.site.changes import PREFERENCE, Changes
from pacs_server.index.site.peers import Peer, Right
from pacs_server.index.site.registry import Registry
from pacs_server.index.site.routes import Route, Routes
from pacs_server.index.site.users import User, Users, digest_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Site:
    def __init__(self, index: Index, name: str) -> None:
        self.registry, self.routes, self.changes = Registry(index), Routes(index), Changes(index)
        self.users = Users(index)
        self.name = name

    def note(self) -> int:
        return self.changes.note_own(now=NOW, who=self.name, without=("TOKYO", "OSAKA"))

    def take_from(self, other: "Site") -> int:
        heads = {site_id: last for site_id, (_, last, _) in self.changes.log.state().items()}
        return self.changes.take(other.changes.log.beyond(heads, limit=1000), without=("TOKYO", "OSAKA"))


def peer(aet: str, *rights: Right) -> Peer:
    return Peer(aet=AeTitle(aet), host="10.0.0.1", port=104, rights=frozenset(rights), sources=("10.0.0.1",))


@pytest.fixture
def sites(new_upgraded_url: Callable[[], str]) -> Iterator[tuple[Site, Site]]:
    with ExitStack() as stack:
        both = []
        for name in ("tokyo", "osaka"):
            url = new_upgraded_url()
            both.append(Site(stack.enter_context(closing(Index.open(url))), name))
        yield both[0], both[1]


def test_what_one_admin_changed_is_so_on_the_other_site_and_stays_so(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    tokyo.registry.save_peer(peer("CT1", Right.STORE))
    tokyo.registry.save_peer(peer("OSAKA", Right.STORE))
    tokyo.routes.add(Route(name="ai", to=("AI",), keys={}))
    revision = osaka.registry.revision()
    assert tokyo.note() == 2
    assert tokyo.note() == 0
    assert osaka.take_from(tokyo) == 2
    assert osaka.take_from(tokyo) == 0
    assert [one.aet for one in osaka.registry.peers()] == ["CT1"]
    assert osaka.routes.one("ai").to == ("AI",)
    assert osaka.registry.revision() > revision
    assert osaka.note() == 0
    assert osaka.changes.log.state() == tokyo.changes.log.state()


def test_of_two_changes_the_later_counts_whichever_comes_first_and_both_are_kept(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    tokyo.registry.save_peer(peer("CT1", Right.STORE))
    tokyo.note()
    osaka.take_from(tokyo)
    tokyo.registry.save_peer(peer("CT1", Right.STORE, Right.FIND))
    tokyo.note()
    osaka.registry.remove_peer("CT1")
    osaka.note()
    osaka.registry.save_peer(peer("CT1", Right.ECHO))
    osaka.note()
    tokyo.take_from(osaka)
    osaka.take_from(tokyo)
    assert tokyo.registry.peers() == osaka.registry.peers() == [peer("CT1", Right.ECHO)]
    assert tokyo.changes.log.state() == osaka.changes.log.state()
    assert len(tokyo.changes.log.beyond({}, limit=10)) == 4


def test_a_change_of_a_release_that_knew_less_of_peers_is_told_as_it_was_and_takes_nothing_away(
    sites: tuple[Site, Site],
) -> None:
    tokyo, osaka = sites
    pinned = replace(peer("CT1", Right.STORE), certificate="ab" * 32)
    plain = peer("CT2", Right.STORE)
    for each in (pinned, plain):
        tokyo.registry.save_peer(each)
    tokyo.note()
    later = ("certificate", "uses_tls", "called", "destinations", "max_associations", "reserved",
             "identity", "as_user", "passcode_file")  # fmt: skip

    def of_earlier_release(text: str, **other: object) -> str:
        told = json.loads(text)
        told["content"] = {name: value for name, value in told["content"].items() if name not in later} | other
        return json.dumps(told | {"counter": told["counter"] + 10})

    first, second = (of_earlier_release(text, host="10.0.0.9") for text in tokyo.changes.log.beyond({}, limit=10))
    assert osaka.changes.take([first, second]) == 2
    assert {one.aet: one.certificate for one in osaka.registry.peers()} == {"CT1": "", "CT2": ""}
    assert osaka.note() == 0, "there is nothing else to tell"
    assert tokyo.changes.take([first, second]) == 2
    assert tokyo.registry.peers() == [replace(one, host="10.0.0.9") for one in (pinned, plain)]
    assert tokyo.note() == 1, "the certificate that the other release did not tell"
    osaka.take_from(tokyo)
    assert (osaka.registry.peers(), tokyo.note(), osaka.note()) == (tokyo.registry.peers(), 0, 0)


def test_a_peer_with_a_right_of_a_later_release_has_those_that_are_known(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    tokyo.registry.save_peer(peer("CT1", Right.STORE))
    tokyo.note()
    (text,) = tokyo.changes.log.beyond({}, limit=10)
    assert osaka.changes.take([text.replace('[\\"store\\"]', '[\\"store\\", \\"print\\"]')]) == 1
    assert osaka.registry.peers() == [peer("CT1", Right.STORE)]
    assert osaka.note() == 0, "what it may there stays in the log"
    for change in ({"port": 105}, {"rights": frozenset({Right.ECHO})}):
        osaka.registry.change_peer("CT1", lambda known, change=change: replace(known, **change))
        osaka.note()
    *_, moved, restricted = osaka.changes.log.beyond({}, limit=10)
    assert '[\\"store\\", \\"print\\"]' in moved
    assert "print" not in restricted


def test_a_preference_is_known_on_both_sides(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    assert tokyo.changes.latest(PREFERENCE) is None
    tokyo.changes.record(PREFERENCE, "", {"site": "abc"}, now=NOW, who="admin")
    osaka.take_from(tokyo)
    known = osaka.changes.latest(PREFERENCE)
    assert known is not None
    assert (known.content, known.who, known.at) == ({"site": "abc"}, "admin", NOW)


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ('"kind": "peer"', '"kind": "volume"'),
        ('"kind": "peer"', '"kind": "entry"'),
        ('"name": "CT1"', '"name": "CT2"'),
        ('"counter": 1', '"counter": -1'),
        ('"format": 1', '"format": 2'),
        ('"port": 104', '"port": [1]'),
        ("{", "["),
    ],
)
def test_what_is_no_change_is_refused_and_nothing_of_it_is_taken(
    sites: tuple[Site, Site], what: str, instead: str
) -> None:
    tokyo, osaka = sites
    tokyo.registry.save_peer(peer("CT1"))
    tokyo.note()
    (text,) = tokyo.changes.log.beyond({}, limit=10)
    assert what in text
    with pytest.raises(Undecodable):
        osaka.changes.take([text, text.replace(what, instead, 1)])
    assert osaka.registry.peers() == []
    assert osaka.changes.log.state() == {}


def test_who_may_log_in_on_one_site_may_on_the_other(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    tanaka = User(name="田中", passcode=digest_of("hunter22 long"), peers=("VIEWER",), changed_at=NOW)
    tokyo.users.add(tanaka)
    assert tokyo.note() == 1
    assert osaka.take_from(tokyo) == 1
    assert osaka.users.all() == [tanaka]
    assert osaka.note() == 0

    changed = replace(tanaka, peers=(), passcode=digest_of("another passcode"))
    osaka.users.change("田中", peers=(), passcode=changed.passcode)
    assert (osaka.note(), tokyo.take_from(osaka)) == (1, 1)
    assert tokyo.users.all() == [changed]
    tokyo.users.remove("田中")
    assert (tokyo.note(), osaka.take_from(tokyo)) == (1, 1)
    assert osaka.users.all() == []
    assert (osaka.note(), tokyo.take_from(osaka)) == (0, 0)


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("scrypt$", "scrypt"), ("$8$", "$x$"), ('"tanaka", "passcode"', '"sato", "passcode"'),
        ('"[]"', '"[1]"'), ('"[]"', '"no list"'), ('"passcode": "', '"passcode": 7, "was": "'),
        ('"changed_at": "', '"changed_at": "x'),
    ],
)  # fmt: skip
def test_what_is_no_person_is_not_taken(sites: tuple[Site, Site], what: str, instead: str) -> None:
    tokyo, osaka = sites
    tokyo.users.add(User(name="tanaka", passcode=digest_of("hunter22 long"), peers=(), changed_at=NOW))
    tokyo.note()
    (text,) = tokyo.changes.log.beyond({}, limit=10)
    assert what in text
    with pytest.raises(Undecodable):
        osaka.changes.take([text.replace(what, instead, 1)])
    assert osaka.users.all() == []


def test_places_are_told_in_order_and_texts_by_place(sites: tuple[Site, Site]) -> None:
    tokyo, _ = sites
    for number in range(5):
        tokyo.changes.record(PREFERENCE, "", {"site": f"s{number}"}, now=NOW, who="admin")
    log = tokyo.changes.log
    stamps = log.stamps((0, ""), limit=3)
    assert [counter for counter, _ in stamps] == [1, 2, 3]
    assert [counter for counter, _ in log.stamps(stamps[-1], limit=3)] == [4, 5]
    assert ['"s1"' in text for text in log.texts(stamps[1:2])] == [True]
