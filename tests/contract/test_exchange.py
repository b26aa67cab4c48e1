"""Two sites on every database that tell each other what they decided and hold, by messages as they go over the link."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import delete
from support.arrivals import arrival
from support.house import House

from pacs_server.archive.operations import learn
from pacs_server.cluster.exchange import (
    LOG,
    PLACES,
    Decisions,
    SharedChanges,
    SharedLog,
    answer_log,
    answer_places,
    exchange,
)
from pacs_server.cluster.link import Link
from pacs_server.cluster.messages import Body, Inbox, Message, encode
from pacs_server.cluster.pair import (
    CONTENT,
    OWE,
    STUDIES,
    SUMS,
    SumsAnswered,
    answer_content,
    answer_studies,
    ask_for,
    beside_others,
    by_series,
    compare,
    content_of,
    differing,
    series_asked_for,
    to_agree_on,
)
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.operations import Content, Operation, OperationKind
from pacs_server.errors import IndexUnavailable, NotEnoughCopies, ProtocolViolation
from pacs_server.index.contents import Contents, Held, StudyContent
from pacs_server.index.engine import Index
from pacs_server.index.fates import holds_of
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.jobs import JobKind
from pacs_server.index.objects import Outcome
from pacs_server.index.recording.instances import Instances
from pacs_server.index.sending.outbox import Outbox
from pacs_server.index.site.changes import PREFERENCE, USER, Changes
from pacs_server.index.site.partners import Partner, Partners
from pacs_server.index.site.registry import Peer, Registry
from pacs_server.index.site.users import User, Users, digest_of
from pacs_server.index.tables import copies, instances
from pacs_server.service.partners import replicator
from pacs_server.settings import StorageLimits
from pacs_server.storage.condition import VolumeSpec
from pacs_server.storage.operations import keep_everywhere
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.volume import Volume

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Site:
    """An index, and a volume for what is decided."""

    def __init__(self, index: Index, folder: Path) -> None:
        self.index = index
        self.instances, self.changes = Instances(index), Changes(index)
        self.contents, self.outbox = Contents(index), Outbox(index)
        self.operations = self.instances.operations
        folder.mkdir()
        spec = VolumeSpec(id=adopt(folder, name=folder.name), name=folder.name, path=folder, tier="hot", domain="a")
        self.volume = Volume(spec, StorageLimits())
        self.volume.check()

    def logs(self, *, with_users: bool = True) -> dict[str, SharedLog]:
        return {
            "operations": Decisions(operations=self.operations, volumes=[self.volume], now=NOW),
            "changes": SharedChanges(changes=self.changes, own=(), with_users=with_users, now=NOW, who="a"),
        }

    def decide(self, kind: OperationKind, study: str = "1.2.3") -> Operation:
        operation = self.operations.draft(kind, study, now=NOW, who="a", reason="b")
        self.operations.record(operation, missed=(), now=NOW)
        return operation


@dataclass
class Between:
    """A link without a network: what is asked goes through the bytes of a message to the other site's answers."""

    other: Site
    with_users: bool = True
    asked: list[str] = field(default_factory=list)
    bytes: int = 0

    def __post_init__(self) -> None:
        self._sums = SumsAnswered(self.other.contents)

    def ask(self, kind: str, body: Body) -> Body:
        self.asked.append(kind)
        handlers: Mapping[str, Callable[[Body], Body]] = {
            LOG: lambda told: answer_log(told, self.other.logs(with_users=self.with_users)),
            PLACES: lambda told: answer_places(told, self.other.logs(with_users=self.with_users)),
            SUMS: self._sums.answer,
            STUDIES: lambda told: answer_studies(told, self.other.contents),
            CONTENT: lambda told: answer_content(told, self.other.contents),
            OWE: self._owe,
        }
        return self._carried(handlers[kind](self._carried(body)))

    def _owe(self, told: Body) -> Body:
        wanted = series_asked_for(told)
        owed = self.other.outbox.owed_of("partner", wanted)
        if told["heals"]:
            self.other.outbox.owe("partner", wanted, NOW)
        return {"owed": sorted(owed)}

    def _carried(self, body: Body) -> Body:
        wire = encode(Message(kind="any", body=body))
        self.bytes += len(wire)
        inbox = Inbox()
        inbox.feed(wire)
        message = inbox.next()
        assert message is not None
        return message.body


def link_to(site: Site) -> Link:
    return cast(Link, Between(site))


@pytest.fixture
def sites(new_upgraded_url: Callable[[], str], tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    with ExitStack() as stack:
        both = []
        for name in ("tokyo", "osaka"):
            url = new_upgraded_url()
            both.append(Site(stack.enter_context(closing(Index.open(url))), tmp_path / name))
        yield both[0], both[1]


def test_two_logs_are_the_same_after_an_exchange_in_whichever_direction(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    decided = [tokyo.decide(OperationKind.HOLD, f"1.2.{number}") for number in range(3)]
    decided += [osaka.decide(OperationKind.HOLD, f"1.3.{number}") for number in range(2)]
    osaka.changes.record(PREFERENCE, "", {"site": "x"}, now=NOW, who="a")
    states = exchange(link_to(osaka), tokyo.logs())
    for name, log in tokyo.logs().items():
        assert states[name] == log.log.state() == osaka.logs()[name].log.state()
    for site in sites:
        assert {one.study_uid for one in holds_of(site.index)} == {one.study_uid for one in decided}
        assert len(list(site.volume.operation_files())) >= 2  # what came from there lies on the volume too
    assert tokyo.changes.latest(PREFERENCE) is not None
    between = Between(osaka)
    exchange(cast(Link, between), tokyo.logs())
    assert between.asked == [LOG, LOG]


def test_what_an_admin_changed_a_moment_ago_is_not_lost_to_what_the_partner_tells(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    old, new = (
        Peer(aet=AeTitle("CT1"), host=host, port=104, rights=frozenset(), sources=())
        for host in ("10.0.0.1", "10.0.0.2")
    )
    for _ in range(3):
        osaka.changes.record(PREFERENCE, "", {"site": "x"}, now=NOW, who="a")
    Registry(tokyo.index).save_peer(old)
    tokyo.changes.note_own(now=NOW, who="a")
    Registry(osaka.index).save_peer(new)  # which is not in its log yet
    exchange(link_to(osaka), tokyo.logs())
    assert Registry(tokyo.index).peers() == Registry(osaka.index).peers() == [new]
    Registry(tokyo.index).remove_peer("CT1")
    osaka.changes.record(PREFERENCE, "", {"site": "y"}, now=NOW, who="a")
    exchange(link_to(osaka), tokyo.logs())
    exchange(link_to(osaka), tokyo.logs())
    assert Registry(osaka.index).peers() == []


def test_a_partner_of_a_release_that_knows_no_persons_is_told_of_all_else_and_of_them_once_it_does(
    sites: tuple[Site, Site],
) -> None:
    tokyo, osaka = sites
    Users(tokyo.index).add(User(name="tanaka", passcode=digest_of("hunter22 long"), peers=(), changed_at=NOW))
    tokyo.changes.note_own(now=NOW, who="a")
    tokyo.changes.record(PREFERENCE, "", {"site": "x"}, now=NOW, who="a")
    former = Between(osaka, with_users=False)
    states = exchange(cast(Link, former), tokyo.logs(with_users=False))
    assert states["changes"] == osaka.changes.log.state() != tokyo.changes.log.state()
    assert osaka.changes.latest(PREFERENCE) is not None
    assert osaka.changes.latest(USER, "tanaka") is None
    exchange(link_to(osaka), tokyo.logs())
    assert Users(osaka.index).all() == Users(tokyo.index).all() != []
    states = exchange(cast(Link, former), tokyo.logs(with_users=False))
    assert states["changes"] != osaka.changes.log.state() == tokyo.changes.log.state()


def test_what_became_known_out_of_its_order_is_found_by_comparing_places(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    decided = [tokyo.decide(OperationKind.HOLD, f"1.2.{number}") for number in range(5)]
    osaka.operations.record(decided[4], missed=(), now=NOW)
    osaka.operations.record(decided[1], missed=(), now=NOW)
    between = Between(osaka)
    exchange(cast(Link, between), tokyo.logs())
    assert PLACES in between.asked
    assert osaka.operations.log.state() == tokyo.operations.log.state()


def test_a_volume_that_is_away_is_owed_what_a_partner_decided(sites: tuple[Site, Site], tmp_path: Path) -> None:
    tokyo, osaka = sites
    away = Volume(VolumeSpec(id="away", name="away", path=tmp_path / "away", tier="hot", domain="b"), StorageLimits())
    decisions = Decisions(operations=tokyo.operations, volumes=[tokyo.volume, away], now=NOW)
    osaka.decide(OperationKind.HOLD)
    exchange(link_to(osaka), {**tokyo.logs(), "operations": decisions})
    assert [one.study_uid for one in holds_of(tokyo.index)] == ["1.2.3"]
    assert JobQueue(tokyo.index).counts() == {(JobKind.OPERATIONS, "waiting"): 1}


@pytest.mark.parametrize("asking", ["who lacks them", "who has them"])
def test_many_operations_go_in_parts(sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch, asking: str) -> None:
    monkeypatch.setattr("pacs_server.cluster.exchange._MAX_ENTRIES", 3)
    monkeypatch.setattr("pacs_server.cluster.exchange._MAX_PLACES", 4)
    tokyo, osaka = sites
    decided = [tokyo.decide(OperationKind.HOLD, f"1.2.{number}") for number in range(11)]
    for one in decided[2::3]:
        osaka.operations.record(one, missed=(), now=NOW)
    osaka.operations.record(decided[-1], missed=(), now=NOW)
    here, there = (osaka, tokyo) if asking == "who lacks them" else (tokyo, osaka)
    exchange(link_to(there), here.logs())
    assert osaka.operations.log.state() == tokyo.operations.log.state()
    assert {one.study_uid for one in holds_of(osaka.index)} == {one.study_uid for one in decided}


@pytest.mark.parametrize("known", [0, 1], ids=["in order", "out of order"])
@pytest.mark.parametrize("asking", ["who lacks them", "who has them"])
def test_operations_that_fill_more_than_a_message_go_in_several(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch, known: int, asking: str
) -> None:
    """A message that is too long is not sent, and two sites of which one has to send it would never agree again."""
    monkeypatch.setattr("pacs_server.cluster.exchange._MAX_BYTES", 1_000)
    monkeypatch.setattr("pacs_server.cluster.messages.MAX_MESSAGE_BYTES", 2_500)
    tokyo, osaka = sites
    decided = [tokyo.decide(OperationKind.HOLD, f"1.2.{number}") for number in range(4)]
    long = tokyo.operations.draft(OperationKind.HOLD, "1.2.4", now=NOW, who="a", reason="b" * 1_200)
    tokyo.operations.record(long, missed=(), now=NOW)
    decided += [long, *(tokyo.decide(OperationKind.HOLD, f"1.2.{number}") for number in range(5, 9))]
    for one in decided[len(decided) - known :]:
        osaka.operations.record(one, missed=(), now=NOW)
    here, there = (osaka, tokyo) if asking == "who lacks them" else (tokyo, osaka)
    exchange(link_to(there), here.logs())
    assert osaka.operations.log.state() == tokyo.operations.log.state()
    assert {one.study_uid for one in holds_of(osaka.index)} == {one.study_uid for one in decided}


def test_reasons_in_japanese_which_are_longer_in_a_message_fill_none_too_full(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs_server.cluster.exchange._MAX_BYTES", 1_000)
    monkeypatch.setattr("pacs_server.cluster.messages.MAX_MESSAGE_BYTES", 2_500)
    tokyo, osaka = sites
    for number in range(6):
        hold = tokyo.operations.draft(OperationKind.HOLD, f"1.2.{number}", now=NOW, who="a", reason="保全" * 120)
        tokyo.operations.record(hold, missed=(), now=NOW)
    exchange(link_to(tokyo), osaka.logs())
    assert osaka.operations.log.state() == tokyo.operations.log.state()


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_what_was_acknowledged_after_a_partner_had_deleted_it_is_held_on_both(
    sites: tuple[Site, Site], is_interrupted: bool
) -> None:
    tokyo, osaka = sites
    Partners(tokyo.index).add(
        Partner(name="osaka", host="-", port=1, fingerprint="f", site_id=osaka.operations.site_id(), added_at=NOW)
    )
    before, after = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    untouched, early, late, handed_on, readmitted, new = arrivals = [arrival() for _ in range(6)]
    osaka.instances.record_in_order(arrivals)
    tokyo.instances.record_in_order(arrivals[:5])
    contents = [Content(sop_uid=one.description.sop_uid, digest=one.digest, role="current") for one in arrivals]

    def decide(site: Site, kind: OperationKind, content: list[Content], *, at: datetime, after: int = 0) -> Operation:
        return site.operations.draft(kind, "1.2.3", content, now=at, who="a", reason="b", after=after)

    tokyo.operations.record(decide(tokyo, OperationKind.DELETE, contents[4:5], at=before), missed=(), now=NOW)
    again = decide(tokyo, OperationKind.READMIT, contents[4:5], at=after)
    sent = replace(readmitted, partners=("osaka",), may_be_deleted=True, readmission=again, received_at=after)
    assert tokyo.instances.record(sent).outcome is Outcome.NEW
    # A process leaves out some numbers before its first.
    deletion = decide(osaka, OperationKind.DELETE, contents, at=NOW, after=50)
    osaka.operations.record(deletion, missed=(), now=NOW)
    for one, at in ((early, before), (late, after), (handed_on, after)):
        is_handed_on = one is handed_on
        again = replace(one, copies=(), is_held=True, partners=("osaka",), received_at=at)
        sent = replace(again, may_be_deleted=not is_handed_on, may_be_in_trash=is_handed_on)
        assert tokyo.instances.record(sent).outcome is Outcome.DUPLICATE
    tokyo.instances.record(replace(new, partners=("osaka",), received_at=after))
    if is_interrupted:  # its file was written, and its rows were not; a command reads the volumes first
        keep_everywhere(deletion, [tokyo.volume])
        learn(tokyo.volume, tokyo.operations, [tokyo.volume], now=NOW)
    for _ in range(2):
        exchange(link_to(osaka), tokyo.logs())
        for site in sites:
            roles = {one.digest: one.role for one in site.contents.of("1.2.3").held}
            found = [one for one in arrivals if roles[one.digest] == "current"]
            assert found == [late, readmitted, new]
    later = after + timedelta(seconds=1)
    osaka.operations.record(decide(osaka, OperationKind.DELETE, contents, at=later), missed=(), now=NOW)
    exchange(link_to(osaka), tokyo.logs())
    assert {one.role for site in sites for one in site.contents.of("1.2.3").held} == {"trash"}
    assert untouched.digest in roles


def test_what_is_current_by_its_order_alone_after_a_deletion_is_compared_with_the_partner(
    sites: tuple[Site, Site],
) -> None:
    names = [f"1.2.3.{number}" for number in (1, 2, 3)]
    first, *left = [arrival("1.2.3.4", series=series, content=series) for series in names]
    untouched = [arrival("1.2.3.5", content=content) for content in ("one", "two")]
    for site, order in zip(sites, (left, left[::-1]), strict=True):
        site.instances.record_in_order([first, *order, *untouched])
        partner = Partner(name="partner", host="-", port=1, fingerprint="f", aet="PARTNER", added_at=NOW)
        Partners(site.index).add(partner)
    content = Content(sop_uid="1.2.3.4", digest=first.digest, role="current")
    one = sites[0].operations.draft(OperationKind.DELETE, "1.2.3", [content], now=NOW, who="a", reason="b")
    sites[0].operations.record(one, missed=(), now=NOW)
    exchange(link_to(sites[1]), sites[0].logs())
    for site, current in zip(sites, left, strict=True):
        of_series = "1.2.3", current.description.series_uid
        assert [one.role for one in site.contents.of(*of_series).held] == ["current"]
        assert site.outbox.owed_of("partner", [("1.2.3", series) for series in names]) == {of_series}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"log": "nobody's", "state": {}, "give": []},
        {"log": "operations", "state": {}, "give": ["no operation"]},
        {"log": "operations", "state": {}, "give": [5]},
        {"log": "operations", "state": {}, "give": {}},
        {"log": "operations", "state": {"a": [1, 2]}, "give": []},
        {"log": "changes", "state": {}, "give": [json.dumps({"format": 1})]},
    ],
)
def test_what_no_partner_says_of_a_log_ends_the_connection(sites: tuple[Site, Site], body: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        answer_log(body, sites[0].logs())
    with pytest.raises(ProtocolViolation):
        answer_places(body | {"places": [["a", "b"]], "after": [0, ""], "until": None}, sites[0].logs())


def test_a_comparison_finds_exactly_what_each_lacks_and_nothing_where_both_hold_the_same(
    sites: tuple[Site, Site],
) -> None:
    tokyo, osaka = sites
    arrivals = [arrival(study=f"1.2.{number % 40}") for number in range(120)]
    for site in sites:
        site.instances.record_in_order(arrivals)
    between = Between(osaka)
    assert compare(cast(Link, between), tokyo.contents).is_equal
    assert between.asked == [SUMS]
    here, there = replace(arrival(study="1.2.5"), received_at=NOW), [arrival(study="1.2.7"), arrival(study="9.9.9")]
    osaka.instances.record(here)
    tokyo.instances.record_in_order(there)
    found = compare(link_to(osaka), tokyo.contents)
    assert [one.digest for one in found.here] == [here.digest]
    assert {one.digest for one in found.there} == {one.digest for one in there}
    assert found.studies == 3
    assert by_series(found.here) == {("1.2.5", "1.2.5.1"): here.received_at}
    assert not found.is_equal


def test_a_row_that_the_partner_lost_behind_its_sums_is_found_where_it_counts_anew(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    lost = arrival(study="1.2.5")
    for site in sites:
        site.instances.record(lost)
    with osaka.index.write() as connection:
        connection.execute(delete(copies))
        connection.execute(delete(instances))
    assert compare(link_to(osaka), tokyo.contents).is_equal
    assert [one.digest for one in compare(link_to(osaka), tokyo.contents, full=True).there] == [lost.digest]


def test_a_partner_that_cannot_count_says_so_and_counts_the_next_time(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away() -> list[str]:
        raise IndexUnavailable("it is away")

    tokyo, osaka = sites
    between = link_to(osaka)
    with monkeypatch.context() as patch:
        patch.setattr(osaka.contents, "recount", is_away)
        with pytest.raises(IndexUnavailable, match="it is away"):
            compare(between, tokyo.contents, full=True)
    assert compare(between, tokyo.contents, full=True).is_equal


def test_what_one_site_purged_is_not_missing_there(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    gone = arrival(study="1.2.5")
    tokyo.instances.record(gone)
    osaka.instances.record(gone)
    contents = [Content(sop_uid=gone.description.sop_uid, digest=gone.digest, role="current")]
    for kind in (OperationKind.DELETE, OperationKind.PURGE):
        one = osaka.operations.draft(kind, "1.2.5", contents, now=NOW, who="a", reason="b")
        osaka.operations.record(one, missed=(), now=NOW)
    found = compare(link_to(osaka), tokyo.contents)
    assert (found.here, found.there, found.studies) == ([], [], 1)


def test_what_is_owed_already_is_on_its_way(sites: tuple[Site, Site]) -> None:
    tokyo, osaka = sites
    one, other = arrival(study="1.2.5"), arrival(study="1.2.6")
    osaka.instances.record_in_order([one, other])
    osaka.outbox.owe("partner", {("1.2.5", "1.2.5.1"): NOW}, NOW)
    found = compare(link_to(osaka), tokyo.contents)
    wanted = by_series(found.here)
    assert ask_for(link_to(osaka), wanted, heals=True) == {("1.2.5", "1.2.5.1")}
    found.leave_out(set(), {("1.2.5", "1.2.5.1")})
    assert (found.on_their_way, [missing.study_uid for missing in found.here]) == (1, ["1.2.6"])
    assert not found.is_equal
    assert osaka.outbox.owed_of("partner", wanted) == wanted.keys()
    behind = osaka.outbox.behind("partner")
    assert (behind.series, behind.oldest_at) == (2, other.received_at)


def test_the_outbox_is_filled_by_the_transaction_that_records_an_object(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pacs_server.index.sending.outbox._LONG_S", 60.0
    )  # a busy machine may take so long to count four
    tokyo, _ = sites
    new = replace(arrival(study="1.2.5"), partners=("osaka", "kyoto"))
    assert not tokyo.outbox.owes("osaka")
    tokyo.instances.record(new)
    for name in ("osaka", "kyoto"):
        assert tokyo.outbox.series_owed(name, limit=10) == [("1.2.5", "1.2.5.1")]
        assert tokyo.outbox.behind(name).objects == 1
    tokyo.instances.record_in_order([replace(arrival(study="1.2.5"), partners=("osaka",)) for _ in range(3)])
    behind = tokyo.outbox.behind("osaka")
    assert (behind.series, behind.objects) == (1, 4)
    (replica,) = tokyo.outbox.replicas("1.2.5", "1.2.5.1", [new.digest])
    assert (replica.item.digest, replica.item.copies, replica.sender) == (new.digest, new.copies, "CT1")


def test_a_study_of_many_objects_is_told_in_parts(sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs_server.cluster.pair._OBJECTS_AT_ONCE", 4)
    monkeypatch.setattr("pacs_server.cluster.pair._STUDIES_AT_ONCE", 2)
    tokyo, osaka = sites
    arrivals = [arrival(study="1.2.5") for _ in range(10)] + [arrival(study=f"1.2.{n}") for n in range(6, 12)]
    osaka.instances.record_in_order(arrivals)
    between = Between(osaka)
    assert content_of(cast(Link, between), "1.2.5") == osaka.contents.of("1.2.5")
    assert between.asked == [CONTENT] * 3
    assert len(compare(link_to(osaka), tokyo.contents).here) == len(arrivals)
    between.asked.clear()
    ours = osaka.contents.of("1.2.5")
    assert content_of(cast(Link, between), "1.2.5", ours=ours) is ours
    assert between.asked == [CONTENT]
    in_another_role = replace(ours, held=(replace(ours.held[0], role="version"), *ours.held[1:]))
    assert content_of(cast(Link, between), "1.2.5", ours=in_another_role) == ours


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (answer_studies, {}),
        (answer_studies, {"buckets": [4096], "after": ""}),
        (answer_studies, {"buckets": [True], "after": ""}),
        (answer_studies, {"buckets": [1], "after": "x" * 200}),
        (answer_content, {"study": "1.2", "series": ""}),
        (answer_content, {"study": 5, "series": "", "after": ["", ""]}),
        (answer_content, {"study": "1.2", "series": "", "after": ["", 1]}),
    ],
)
def test_what_no_partner_asks_ends_the_connection(
    sites: tuple[Site, Site], answer: Callable[[Body, Contents], Body], body: dict[str, Any]
) -> None:
    with pytest.raises(ProtocolViolation):
        answer(body, sites[0].contents)


@pytest.mark.parametrize("rows", [None, [[]], [["1.2", "1.3", "yesterday"]], [["1.2", "1.3", "2026-11-26T00:00:00"]]])
def test_what_no_partner_asks_for_ends_the_connection(rows: Any) -> None:
    with pytest.raises(ProtocolViolation):
        series_asked_for({"series": rows})


def held(digest: str, role: str, minutes: int) -> Held:
    received_at = (NOW + timedelta(minutes=minutes)).isoformat()
    return Held(series_uid="1.2.3.1", sop_uid="1.2.3.1.1", digest=digest, role=role, received_at=received_at)


def content(*objects: Held) -> StudyContent:
    return StudyContent(held=objects, purged=frozenset())


@pytest.mark.parametrize(
    ("ours", "theirs", "first"),
    [
        # Each received one from its own sender and the other from the partner, later.
        ([("a", "current", 0), ("b", "version", 9)], [("b", "current", 2), ("a", "version", 8)], ("a", "current")),
        ([("a", "current", 5), ("b", "version", 9)], [("b", "current", 2), ("a", "version", 8)], ("b", "version")),
        ([("a", "current", 5), ("b", "version", 9)], [("b", "current", 5), ("a", "version", 8)], ("a", "current")),
        # A third content is one of them in another syntax.
        (
            [("a", "current", 0), ("c", "encoding", 1), ("b", "version", 9)],
            [("b", "current", 2), ("a", "version", 8), ("c", "version", 8)],
            ("a", "current"),
        ),
        # One came as an encoding of the third, which is current no more.
        (
            [("b", "current", 0), ("c", "version", 1), ("a", "encoding", 2)],
            [("a", "current", 5), ("c", "encoding", 6), ("b", "version", 9)],
            ("b", "current"),
        ),
        # Both agree; one lacks a content yet; the same values in another syntax; one is in the trash; one lacks a third
        ([("a", "current", 0), ("b", "version", 9)], [("a", "current", 2), ("b", "version", 8)], None),
        ([("a", "current", 0)], [("b", "current", 2), ("a", "version", 8)], None),
        ([("a", "current", 0), ("b", "encoding", 9)], [("b", "current", 2), ("a", "encoding", 8)], None),
        ([("a", "current", 0), ("b", "trash", 9)], [("b", "current", 2), ("a", "version", 8)], None),
        (
            [("a", "current", 0), ("b", "version", 9), ("c", "version", 9)],
            [("b", "current", 2), ("a", "version", 8)],
            None,
        ),
    ],
)
def test_of_contents_that_each_site_took_first_both_choose_the_one_that_came_first(
    ours: list[Any], theirs: list[Any], first: tuple[str, str] | None
) -> None:
    here, there = (content(*(held(*one) for one in side)) for side in (ours, theirs))
    assert to_agree_on(here.held, there.held, {}) == ({"1.2.3.1.1": first} if first else {})
    other = to_agree_on(there.held, here.held, {})
    assert [digest for digest, _ in other.values()] == ([first[0]] if first else [])


def test_what_is_held_beside_what_is_current_in_another_series_is_named_and_what_is_in_the_trash_is_not() -> None:
    roles = {"1.1": ["current", "version"], "1.2": ["version"], "1.3": ["trash"], "1.4": ["trash", "encoding"]}
    objects = [replace(held(role, role, 0), sop_uid=uid) for uid, each in roles.items() for role in each]
    assert beside_others(content(*objects)) == {"1.2", "1.4"}


@pytest.mark.parametrize("roles", [("version", "version"), ("encoding", "version")])
def test_what_was_decided_comes_before_what_was_received_first(roles: tuple[str, str]) -> None:
    ours, theirs = (
        content(held("a", "current", 0), held("b", roles[0], 9)),
        content(held("b", "current", 2), held("a", roles[1], 8)),
    )
    assert differing(ours, theirs) == {"1.2.3.1.1"}
    assert to_agree_on(ours.held, theirs.held, {"1.2.3.1.1": "b"}) == {"1.2.3.1.1": ("b", roles[0])}
    assert to_agree_on(ours.held, ours.held, {"1.2.3.1.1": "b"}) == {}
    assert differing(ours, content(*ours.held[:1])) == set()


def test_a_partner_whose_decisions_no_volume_takes_is_served_again_after_ever_longer(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_nothing(*_: object) -> None:
        raise NotEnoughCopies("no volume takes the record of what is to be done")

    monkeypatch.setattr(replicator, "greeted", lambda *_: nullcontext((None, None)))
    monkeypatch.setattr(replicator, "exchange_over", take_nothing)
    with House(tmp_path / "data", new_upgraded_url()).node() as node:
        peer = Peer(aet=AeTitle("OSAKA"), host="127.0.0.1", port=1, rights=frozenset(), sources=())
        node.registry.save_peer(peer)
        node.partners.add(Partner(name="osaka", host="-", port=1, fingerprint="f", aet="OSAKA", added_at=NOW))
        now = datetime.now(UTC)
        node.jobs.owe(JobKind.REPLICATE, now, series=[("1.2", "1.2.1"), ("1.2", "1.2.2")], target="osaka")
        replicator.Replicator(node)._serve("osaka")
        assert [(one.attempts, one.error[:14]) for one in node.jobs.listed()] == [(1, "no volume take")] * 2
        assert node.jobs.due_targets(JobKind.REPLICATE, now + timedelta(seconds=2)) == {}
