"""Every loss of one and of two parts made real for the layouts of several servers in config/layouts, and compared with
what the model says of them: two servers with a NAS each, partners, and two with two NAS each and an archive server to
which old studies are moved.

Servers are killed, databases taken out of their places, and volumes are FUSE file systems of which every call fails.
Then the loss is undone, and the next one is made with the same archives. Of the 55 losses of two of the eleven parts of
the larger layout, every sixth is made in an ordinary run, all of them by ./scripts/test --long.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import pytest
from support.faulty_volume import FaultyVolume, mounted
from support.losses import given_back, new_sample, takes, whole_on
from support.pair import SETTINGS, Pair, Wire
from support.samples import Sample
from support.second_client import send
from support.server import LONG, Archive, wait_for

from pacs_server.cluster.layout import read_layout
from pacs_server.cluster.survive import Aspect, Part, Placement, Site, lose

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_800 if LONG else 600)]

LAYOUTS = Path(__file__).parents[2] / "config" / "layouts"
TODAY, LONG_AGO = f"{datetime.now(UTC):%Y%m%d}", "20200102"
MOVED_S = 120.0


@dataclass(slots=True, kw_only=True)
class Place:
    """A server of the layout and its volumes."""

    archive: Archive
    folder: Path
    volumes: dict[str, FaultyVolume] = field(default_factory=dict)

    def start_with(self, mounts: ExitStack, **tiers: str) -> None:
        """Run with volumes in place of that of `pacs init`, each in a fault domain of its own."""
        self.archive.kill()
        for name, tier in tiers.items():
            path = self.folder / name
            try:
                self.volumes[name] = mounts.enter_context(mounted(path, hangs=False))
            except OSError as error:
                pytest.skip(str(error))
            self.archive.pacs("storage", "add", name, str(path), "--tier", tier, "--domain", name)
        self.archive.pacs("storage", "remove", "first", "--yes")
        self.archive.start()

    def lose_index(self) -> None:
        self.archive.kill()
        self._move_index(self.archive.data, self.folder / "index-aside")
        self.archive.pacs("serve", expect=11)

    def put_back(self) -> None:
        """As it was before any loss, and running."""
        self.archive.kill()
        for volume in self.volumes.values():
            volume.tell("ok")
        self._move_index(self.folder / "index-aside", self.archive.data)
        self.archive.start()

    def _move_index(self, source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for path in source.glob("index.db*"):
            path.rename(target / path.name)


class Layout:
    """The servers of a layout at work, with objects that lie as it says. `a` and `b` are partners."""

    def __init__(self, name: str, folder: Path, mounts: ExitStack) -> None:
        self.path, self.folder, self.mounts = LAYOUTS / f"{name}.yaml", folder, mounts
        self.pair = Pair(folder, settings={**SETTINGS, "storage": {"release_delay_s": 0.0}})
        mounts.callback(self.pair.close)
        self.places = {
            name: Place(archive=archive, folder=folder / archive.aet)
            for name, archive in zip("ab", self.pair.both, strict=True)
        }
        self.samples: list[Sample] = []
        self.lying: Mapping[str, set[str]] = {}

    def add_peer(self, here: Place, there: Place) -> None:
        """Let one place know the other at an address that stays, whatever port it listens on after a start."""
        wire = Wire(lambda: there.archive.port)
        self.mounts.callback(wire.close)
        here.archive.add_peer(there.archive.aet, wire.port)

    def store(self, study: str, *, date: str) -> list[Sample]:
        """A few objects of a study that `a` has to take."""
        made = [new_sample(self.folder / "sent", study=study, StudyDate=date) for _ in range(2)]
        assert set(send(self.places["a"].archive, made).values()) == {0}
        self.samples += made
        return made

    def move(self, place: Place, samples: Sequence[Sample], *, leaving: set[str]) -> None:
        """Have a place move old objects to the archive server; `leaving` are the volumes that keep them."""
        uids = {sample.sop_uid for sample in samples}
        place.archive.pacs("tier", "run", "--yes")
        wait_for(
            lambda: {name for name, there in self.on_volumes(place.volumes).items() if uids & there} == leaving,
            "the old study to be moved",
            timeout_s=MOVED_S,
            every_s=0.2,
        )

    def site(self) -> Site:
        """The model of the layout, with the objects as they really lie; that is as the layout says."""
        site = read_layout(self.path)
        self.lying = self.on_volumes({one.name for one in site.volumes})
        counted: dict[frozenset[str], int] = {}
        for sample in self.samples:
            volumes = frozenset(name for name, there in self.lying.items() if sample.sop_uid in there)
            counted[volumes] = counted.get(volumes, 0) + 1
        assert counted.keys() == {one.volumes for one in site.placements}
        placements = tuple(Placement(volumes=volumes, objects=number) for volumes, number in counted.items())
        return replace(site, placements=placements)

    def on_volumes(self, names: Collection[str]) -> dict[str, set[str]]:
        """The objects that are whole on each of these volumes."""
        volumes = {name: one.path for place in self.places.values() for name, one in place.volumes.items()}
        return {name: whole_on(volumes[name], self.samples) for name in names}

    def take_away(self, site: Site, parts: Sequence[Part]) -> tuple[set[str], set[str]]:
        """Make a loss real; the volumes that are left, and the servers that serve."""
        lost = {(part.kind, part.name) for part in parts}
        dead = {name for kind, name in lost if kind == "server"}
        gone = {one.name for one in site.volumes if ("volume", one.name) in lost or one.server in dead}
        blind = {one.server for one in site.databases if ("database", one.name) in lost} - dead
        for place in self.places.values():
            for name in gone & place.volumes.keys():
                place.volumes[name].tell("eio")
        for name in dead:
            self.places[name].archive.kill()
        for name in blind:
            self.places[name].lose_index()
        return {one.name for one in site.volumes} - gone, self.places.keys() - dead - blind

    def undo(self, site: Site, parts: Sequence[Part]) -> None:
        """Put back what these parts are, or are of, so that nothing there remembers the loss."""
        names = {part.name for part in parts}
        for name, place in self.places.items():
            databases = {one.name for one in site.databases if one.server == name}
            if names & {name, *databases, *place.volumes}:
                place.put_back()

    def got(self, serving: Collection[str]) -> set[str]:
        """The objects that some server gives back: the archive server first, so that nobody fetches from it, and has
        copies then that the model does not know of.
        """
        got: set[str] = set()
        for name in sorted(serving, key="cab".index):
            if missing := [sample for sample in self.samples if sample.sop_uid not in got]:
                got |= given_back(self.places[name].archive, missing)
        return got

    def stores(self, servers: Collection[str]) -> bool:
        """Whether one of these servers takes a new object."""
        new = new_sample(self.folder / "new", study="new", StudyDate=TODAY)
        return any(takes(self.places[name].archive, new) for name in servers)


def fill_two(layout: Layout) -> None:
    """Two servers, each with a NAS; what one gets the other has too."""
    layout.places["a"].start_with(layout.mounts, nas1="hot")
    layout.places["b"].start_with(layout.mounts, nas2="hot")
    layout.store("recent", date=TODAY)
    layout.pair.become_equal()


def fill_two_and_archive(layout: Layout) -> None:
    """Two servers, each with two NAS. Of the old study both have moved to the archive server what they have on tier
    hot; a recent one was sent there too.
    """
    a, b = layout.places.values()
    a.start_with(layout.mounts, nas1a="cold", nas1b="hot")
    b.start_with(layout.mounts, nas2a="hot", nas2b="hot")
    for place in (a, b):
        place.archive.pacs("policy", "set", "--want", "2", "--need", "2", "--degraded", "1")
    settings = {"check_called": False, "storage": {"commitment_wait_s": 0.0}}
    folder = layout.folder / "ARCHIVE"
    layout.places["c"] = c = Place(archive=Archive(folder, aet="ARCHIVE", settings=settings), folder=folder)
    layout.mounts.callback(c.archive.kill)
    c.start_with(layout.mounts, disk="hot")
    for here, there in ((a, c), (c, a), (c, b)):
        layout.add_peer(here, there)
    rule = ("--from", "hot", "--to-archive", "ARCHIVE", "--older-than", "30", "--not-read-for", "0")
    a.archive.pacs("tier", "rule", "add", "old", *rule)  # partners tell each other peers and rules
    wait_for(lambda: b.archive.report("tier", "rule", "list"), "the partner to know the rule", timeout_s=MOVED_S)
    layout.store("recent", date=TODAY)
    sent_too = layout.store("sent too", date=TODAY)
    old = layout.store("old", date=LONG_AGO)
    layout.pair.become_equal()
    a.archive.pacs("send", "study", sent_too[0].study_uid, "--to", "ARCHIVE", "--wait")
    layout.move(a, old, leaving={"nas1a"})
    layout.move(b, old, leaving=set())


@pytest.fixture
def new_layout(tmp_path: Path) -> Iterator[Callable[[str], Layout]]:
    with ExitStack() as mounts:
        yield lambda name: Layout(name, tmp_path, mounts)


def lost_one_by_one(layout: Layout, evidence: Callable[..., None], *, every: int = 1) -> Site:
    """Make every loss of one part real and every so many-th of two, and compare each with the model."""
    site = layout.site()
    told = layout.places["a"].archive.report("doctor", "--survive", "2", "--layout", str(layout.path), expect=12)
    assert [part["name"] for part in told["parts"]] == [part.name for part in site.parts]
    everything = {sample.sop_uid for sample in layout.samples}
    made = 0
    for number, step in ((1, 1), (2, every)):
        ended = dict.fromkeys(Aspect, 0)
        for parts in list(combinations(site.parts, number))[::step]:
            volumes, serving = layout.take_away(site, parts)
            said, what = lose(site, parts), " and ".join(map(str, parts))
            there = layout.on_volumes(volumes)
            assert there == {name: layout.lying[name] for name in volumes}, f"what lies where without {what}"
            found = set().union(*there.values())
            assert len(everything - found) == sum(one.objects for one in said.lost), f"objects lost with {what}"
            outcome = {
                Aspect.DATA: found == everything,
                Aspect.RETRIEVING: layout.got(serving) == everything,
                Aspect.STORING: layout.stores(serving & {one.name for one in site.servers if one.takes_new}),
            }
            assert {aspect for aspect, goes_on in outcome.items() if not goes_on} == said.ends, f"ended with {what}"
            for aspect in said.ends:
                ended[aspect] += 1
            layout.undo(site, parts)
            made += 1
        assert step > 1 or told["sizes"][number]["ending"] == ended
    evidence(parts=len(site.parts), losses=made, survived=told["survived"])
    return site


def test_two_servers_that_are_partners_end_what_the_model_says_with_every_loss_of_one_and_of_two_parts(
    new_layout: Callable[[str], Layout], evidence: Callable[..., None]
) -> None:
    layout = new_layout("two-servers")
    fill_two(layout)
    lost_one_by_one(layout, evidence)


def test_two_servers_and_an_archive_server_end_what_the_model_says_with_losses_of_one_and_of_two_parts(
    new_layout: Callable[[str], Layout], evidence: Callable[..., None]
) -> None:
    layout = new_layout("two-servers-and-archive")
    fill_two_and_archive(layout)
    site = lost_one_by_one(layout, evidence, every=1 if LONG else 6)
    layout.take_away(site, [part for part in site.parts if part.name == "a"])
    alone = given_back(layout.places["b"].archive, layout.samples)
    assert alone == {sample.sop_uid for sample in layout.samples}, "the other one fetches what it does not keep itself"
