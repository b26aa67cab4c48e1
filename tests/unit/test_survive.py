"""Which losses a site survives: the tables of the failure matrix, and random sites against a count by hand."""

from collections.abc import Collection
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_server.cluster.advice import advise
from pacs_server.cluster.layout import read_layout
from pacs_server.cluster.survive import (
    Aspect,
    Database,
    IndexState,
    Part,
    Placement,
    Server,
    Site,
    Volume,
    copied_on,
    lose,
    survey,
    survived,
)
from pacs_server.errors import Refused
from pacs_server.index.site.registry import Policy

LAYOUTS = Path(__file__).parents[2] / "config" / "layouts"
DATA, RETRIEVING, STORING = Aspect.DATA, Aspect.RETRIEVING, Aspect.STORING


def ends(layout: str, *names: str) -> set[str]:
    """What ends when the parts of these names are lost."""
    site = read_layout(LAYOUTS / f"{layout}.yaml")
    parts = [part for part in site.parts if part.name in names]
    assert len(parts) == len(names)
    return {aspect.value for aspect in lose(site, parts).ends}


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (["nas1"], set()),
        (["nas2"], set()),
        (["nas1", "nas2"], {"data", "retrieving", "storing"}),
        (["main"], {"retrieving", "storing"}),
        (["index"], {"retrieving", "storing"}),
        (["main", "nas1"], {"retrieving", "storing"}),
    ],
)
def test_one_server_with_two_volumes_survives_what_its_failure_matrix_says(lost, expected):
    assert ends("one-server", *lost) == expected


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (["nas1"], set()),
        (["a"], set()),
        (["index-a"], set()),
        (["nas1", "b"], {"retrieving", "storing"}),  # its objects are safe on nas2, which nobody serves
        (["nas1", "nas2"], {"data", "retrieving", "storing"}),
        (["a", "b"], {"retrieving", "storing"}),
    ],
)
def test_two_servers_survive_what_their_failure_matrix_says(lost, expected):
    assert ends("two-servers", *lost) == expected


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (["nas2a"], set()),
        (["nas1a", "nas1b"], set()),  # both of one server: the other one serves, and old studies are on c
        (["a"], set()),
        (["index-a"], set()),
        (["c"], set()),  # of the old studies a has kept a copy
        (["a", "b"], {"retrieving", "storing"}),  # c serves old studies only, and takes no new ones
        (["a", "nas2a", "c"], {"retrieving"}),  # what a had kept of the old studies is safe there
        (["c", "nas1a"], {"data", "retrieving"}),
    ],
)
def test_two_servers_and_an_archive_survive_what_their_failure_matrix_says(lost, expected):
    assert ends("two-servers-and-archive", *lost) == expected


def test_the_hospital_that_wants_to_survive_any_three_of_twelve_learns_what_is_missing():
    site = read_layout(LAYOUTS / "hospital.yaml")
    tried = survey(site, 3)
    assert [(size.parts, size.losses) for size in tried.sizes] == [(0, 1), (1, 12), (2, 66), (3, 220)]
    assert tried.sizes[3].ending == {DATA: 0, RETRIEVING: 10, STORING: 10}
    assert {aspect: tried.survived(aspect) for aspect in Aspect} == {DATA: 3, RETRIEVING: 1, STORING: 1}
    first = tried.first[STORING]
    assert [str(part) for part in first.parts] == ["database db1", "database db2"]
    assert (first.index, first.lost) == (IndexState.TO_BE_MADE_ANEW, ())
    assert [(one.change.partition(",")[0], one.survives) for one in advise(site, tried)] == [
        ("one more database", {RETRIEVING: 2, STORING: 2})
    ]


def test_the_hospital_survives_any_three_with_a_database_in_each_of_its_servers():
    site = read_layout(LAYOUTS / "hospital.yaml")
    databases = tuple(Database(name=f"index-{one.name}", server=one.name) for one in site.servers)
    servers = tuple(replace(one, databases=frozenset({f"index-{one.name}"})) for one in site.servers)
    tried = survey(replace(site, servers=servers, databases=databases), 3)
    assert tried.first == {}


def test_what_was_just_acknowledged_has_the_copies_that_were_waited_for_and_no_more(tmp_path):
    """A layout with `need` below `want` was said to survive what only objects with all of their copies do."""
    text = (LAYOUTS / "hospital.yaml").read_text(encoding="utf-8").replace("need: 4", "need: 2")
    path = tmp_path / "site.yaml"
    path.write_text(text, encoding="utf-8")
    tried = survey(read_layout(path), 3)
    assert tried.survived(DATA) == 1
    assert tried.sizes[2].ending[DATA] == comb(6, 2)


def test_what_comes_lies_on_no_volume_that_takes_nothing_new():
    volumes = tuple(Volume(name=name, domain=name, takes_new=name != "full") for name in ("a", "b", "full"))
    site = Site(servers=(), databases=(), volumes=volumes, policy=Policy(), placements=())
    assert [one.volumes for one in copied_on(site, 2)] == [{"a", "b"}]
    site = replace(site, placements=(Placement(volumes=frozenset({"full"})),))
    assert {one.volumes for one in copied_on(site, 2)} == {frozenset({"full", "a"}), frozenset({"full", "b"})}
    assert copied_on(replace(site, volumes=(), placements=()), 2) == ()


def test_of_a_fault_domain_with_volumes_in_several_servers_each_may_have_the_copy():
    volumes = tuple(Volume(name=name, domain="rack", server=name[0]) for name in ("a1", "a2", "b1"))
    site = Site(servers=(), databases=(), volumes=volumes, policy=Policy(), placements=())
    assert [one.volumes for one in copied_on(site, 2)] == [{"a1"}, {"b1"}]


def test_with_three_copies_the_hospital_loses_data_with_three_storages():
    site = read_layout(LAYOUTS / "hospital.yaml")
    site = replace(site, policy=Policy(want=3, need=2), placements=())
    site = replace(site, placements=copied_on(site, 3))
    tried = survey(site, 3)
    assert tried.survived(DATA) == 2
    assert {part.kind for part in tried.first[DATA].parts} == {"volume"}
    assert tried.sizes[3].ending[DATA] == comb(6, 3)
    assert advise(site, tried)[0].change == "want 4 in place of 3"


names = st.sampled_from(["a", "b", "c"])
volume_names = ["v1", "v2", "v3", "v4"]
sets_of_volumes = st.frozensets(st.sampled_from(volume_names), min_size=1)


@st.composite
def sites(draw: st.DrawFn) -> Site:
    in_servers = st.sampled_from(["", "", "a", "b", "c"])
    volumes = tuple(
        Volume(
            name=name,
            domain=draw(st.sampled_from(["d", "e", name])),
            server=draw(in_servers),
            takes_new=draw(st.booleans()),
        )
        for name in volume_names
    )
    databases = tuple(
        Database(name=name, server=draw(in_servers), domain=draw(st.sampled_from(["", "d", "f"])))
        for name in ("x", "y")
    )
    servers = tuple(
        Server(
            name=name,
            databases=draw(st.frozensets(st.sampled_from(["x", "y"]))),
            volumes=draw(st.frozensets(st.sampled_from(volume_names))),
            takes_new=draw(st.booleans()),
        )
        for name in ("a", "b", "c")
    )
    placements = tuple(
        Placement(volumes=volumes, objects=draw(st.integers(1, 9)))
        for volumes in draw(st.lists(sets_of_volumes, unique=True))
    )
    policy = Policy(want=2, need=2, degraded=draw(st.integers(1, 2)))
    return Site(servers=servers, databases=databases, volumes=volumes, policy=policy, placements=placements)


def by_hand(site: Site, parts: Collection[Part]) -> set[str]:
    """What ends, found out for each object, server and volume by itself."""
    lost = {str(part).partition(" (")[0] for part in parts}
    inside = {name for part in parts for name in part.holds}

    def is_up(one: Volume | Database, kind: str) -> bool:
        return not (f"{kind} {one.name}" in lost or f"server {one.server}" in lost or one.name in inside)

    up = {one.name for one in site.volumes if is_up(one, "volume")}
    indexes = {one.name for one in site.databases if is_up(one, "database")}
    answering = [one for one in site.servers if f"server {one.name}" not in lost and one.databases & indexes]
    ended = set()
    for placement in site.placements:
        if not any(name in up for name in placement.volumes):
            ended |= {"data", "retrieving"}
        if not any(name in up and name in server.volumes for server in answering for name in placement.volumes):
            ended.add("retrieving")
    if not answering:
        ended.add("retrieving")
    writable = [one.name for one in site.volumes if one.takes_new and one.name in up]
    if not any(
        server.takes_new and sum(name in server.volumes for name in writable) >= site.policy.degraded
        for server in answering
    ):
        ended.add("storing")
    return ended


@given(sites(), st.integers(0, 4))
def test_a_survey_finds_what_is_found_by_hand(site, most):
    tried = survey(site, most)
    for size in tried.sizes:
        each = [by_hand(site, parts) for parts in combinations(tried.parts, size.parts)]
        assert size.losses == len(each)
        assert size.ending == {aspect: sum(aspect.value in one for one in each) for aspect in Aspect}
    for aspect in Aspect:
        failing = [size.parts for size in tried.sizes if size.ending[aspect]]
        assert tried.survived(aspect) == (failing[0] - 1 if failing else most)
        if failing:
            assert aspect.value in by_hand(site, tried.first[aspect].parts)
    assert survived(site, most) == {aspect: tried.survived(aspect) for aspect in Aspect}


@given(sites(), st.integers(0, 3))
def test_what_loses_something_loses_no_less_when_more_is_lost(site, number):
    for parts in combinations(site.parts, number):
        for more in site.parts:
            assert lose(site, parts).ends <= lose(site, {*parts, more}).ends


@given(sites())
def test_advice_is_only_given_where_the_model_shows_that_it_helps(site):
    tried = survey(site, 2)
    told = [(aspect, number) for one in advise(site, tried) for aspect, number in one.survives.items()]
    assert len(told) == len({aspect for aspect, _ in told})
    assert all(aspect in tried.first and number > tried.survived(aspect) for aspect, number in told)


def test_the_first_loss_tells_all_that_it_loses():
    site = read_layout(LAYOUTS / "one-server.yaml")
    site = replace(
        site,
        placements=(
            Placement(volumes=frozenset({"nas1"}), objects=7),
            Placement(volumes=frozenset({"nas1", "nas2"}), objects=90),
        ),
    )
    tried = survey(site, 2)
    assert str(tried.first[DATA].parts[0]) == "volume nas1"
    assert sum(one.objects for one in tried.first[DATA].lost) == 7
    assert advise(site, tried)[0].change == "the copies that want 2 asks for, once they are made"
    assert lose(site, [part for part in site.parts if part.kind == "volume"]).lost == site.placements


def test_what_does_not_go_on_now_survives_less_than_no_loss():
    site = read_layout(LAYOUTS / "one-server.yaml")
    site = replace(site, volumes=tuple(replace(one, takes_new=False) for one in site.volumes))
    assert survey(site, 1).survived(STORING) == -1
    assert survived(site, 1)[STORING] == -1


def test_a_fault_domain_is_lost_whole_with_the_database_on_its_disk():
    site = read_layout(LAYOUTS / "one-server.yaml")
    site = replace(
        site,
        databases=(Database(name="index", server="main", domain="disk"),),
        volumes=(Volume(name="v", domain="disk", server="main"), Volume(name="w", domain="disk", server="main")),
        placements=(Placement(volumes=frozenset({"v", "w"}), objects=1),),
    )
    assert [str(part) for part in site.parts] == ["server main", "database index", "domain disk (v, w, index)"]
    assert lose(site, [site.parts[2]]).ends == set(Aspect)
    assert lose(site, [site.parts[1]]).ends == {RETRIEVING, STORING}
    site = replace(site, databases=(Database(name="index", server="main", domain="its own"),))
    assert [str(part) for part in site.parts] == ["server main", "database index", "domain disk (v, w)"]


def test_more_losses_than_can_be_tried_in_seconds_are_refused():
    volumes = tuple(Volume(name=str(number), domain=str(number)) for number in range(110))
    placements = (Placement(volumes=frozenset({"7"})),)
    site = Site(servers=(), databases=(), volumes=volumes, policy=Policy(), placements=placements)
    assert survey(site, 2).sizes[-1].losses == comb(110, 2)
    with pytest.raises(Refused, match=r"110 parts can be lost in .* ways of up to 3"):
        survey(site, 3)
    assert survived(site, 3) == {DATA: 0, RETRIEVING: -1, STORING: -1}, "what has ended needs no more trying"
    everywhere = Placement(volumes=frozenset(one.name for one in volumes))
    with pytest.raises(Refused, match=r"110 parts can be lost in .* ways of up to 3"):
        survived(replace(site, placements=(everywhere,)), 3)
