"""Every loss of one and of two parts made real, and compared with what `pacs doctor --survive` says of it.

Servers are killed and their disks emptied, databases removed; volumes are FUSE file systems in memory whose program is
ended. Not tmpfs: what is unmounted lives on behind the descriptors that a server has open. Layouts of one server; those
of several are in test_survive_pairs.py.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
from support.faulty_volume import mounted
from support.losses import given_back, new_sample, takes, whole_on
from support.samples import Sample
from support.second_client import send
from support.server import Archive

from pacs_server.cluster.survive import Aspect, IndexState, Part, Site, lose
from pacs_server.service.assemble import Node
from pacs_server.service.monitoring.survival import count_copies, standing
from pacs_server.settings import load
from pacs_server.storage.mounts import mount_table

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(900)]

SERVER = "server"
NAS, DISK = "sshfs", "ourfs"  # what the kernel calls fuse.sshfs is outside the server, other kinds are disks of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The volumes of one server, each in a fault domain of its own; none are those of `pacs init`. `closed_once`: the
    volumes of which each was read-only while a few objects came.
    """

    volumes: Mapping[str, str]
    policy: tuple[str, ...] = ()
    closed_once: tuple[str, ...] = ()
    parts: int


LAYOUTS = {
    "one server with its own disk": Layout(volumes={}, parts=3),
    "one server with two NAS": Layout(
        volumes={"nas1": NAS, "nas2": NAS}, policy=("--want", "2", "--need", "2", "--degraded", "1"), parts=4
    ),
    "one server with two NAS and a disk, two copies always": Layout(
        volumes={"nas1": NAS, "nas2": NAS, "disk": DISK},
        policy=("--want", "2", "--need", "2", "--degraded", "2"),
        closed_once=("nas1", "nas2", "disk"),
        parts=5,
    ),
}


class Place:
    """One archive and its volumes as they were, to be put back before each loss."""

    def __init__(self, archive: Archive, folder: Path, layout: Layout) -> None:
        self.archive, self.folder, self.layout = archive, folder, layout
        self.kept = folder / "kept"
        self.samples: list[Sample] = []
        self._mounts: dict[str, ExitStack] = {}

    def path(self, volume: str) -> Path:
        return self.folder / volume if volume in self.layout.volumes else self.archive.volume

    @property
    def paths(self) -> dict[str, Path]:
        return {name: self.path(name) for name in self.layout.volumes or ("first",)}

    def mount(self, name: str) -> None:
        self._mounts[name] = ExitStack()
        if self.path(name).exists():
            self.path(name).rmdir()  # where it was mounted before; nothing was written there meanwhile
        try:
            self._mounts[name].enter_context(mounted(self.path(name), self.layout.volumes[name], hangs=False))
        except OSError as error:
            pytest.skip(str(error))

    def unmount(self, name: str) -> None:
        """Take a volume away for good, with all that is on it."""
        if mounts := self._mounts.pop(name, None):
            mounts.close()

    def fill(self) -> None:
        """Make the archive and store a few objects; keep a copy of everything."""
        archive = self.archive
        for name in self.layout.volumes:
            self.mount(name)
            archive.pacs("storage", "add", name, str(self.path(name)), "--domain", name)
        if self.layout.volumes:
            archive.pacs("storage", "remove", "first", "--yes")
            archive.pacs("policy", "set", *self.layout.policy)
        archive.start()
        for closed in ("", *self.layout.closed_once):
            if closed:
                archive.pacs("storage", "set", closed, "--read-only")
            self.samples += self.store(3)
            if closed:
                archive.pacs("storage", "set", closed, "--writable")
        assert archive.stop() == 0
        self._copy({"data": archive.data} | self.paths, to_kept=True)

    def store(self, number: int) -> list[Sample]:
        """New objects that have to be taken."""
        made = [self.sample() for _ in range(number)]
        assert set(send(self.archive, made).values()) == {0}
        return made

    def sample(self) -> Sample:
        return new_sample(self.folder / "sent")

    def put_back(self) -> None:
        """Everything as it was when the objects had been stored, and the server running."""
        self.archive.kill()
        for name in self.layout.volumes:
            self.unmount(name)
            self.mount(name)
        shutil.rmtree(self.archive.data, ignore_errors=True)
        self._copy({"data": self.archive.data} | self.paths, to_kept=False)
        self.archive.start()

    def _copy(self, folders: Mapping[str, Path], *, to_kept: bool) -> None:
        for name, path in folders.items():
            source, target = (path, self.kept / name) if to_kept else (self.kept / name, path)
            shutil.copytree(source, target, dirs_exist_ok=True)

    def model(self) -> Site:
        with Node.open(load(self.archive.config)) as node:
            return standing(node, count_copies(node), server=SERVER, table=mount_table()).site

    def take_away(self, site: Site, parts: tuple[Part, ...]) -> set[str]:
        """Make a loss real; the volumes that are left."""
        kinds = {(part.kind, part.name) for part in parts}
        held = {name for part in parts for name in part.holds}
        is_dead = any(kind == "server" for kind, _ in kinds)
        gone = {
            one.name
            for one in site.volumes
            if ("volume", one.name) in kinds or one.name in held or (is_dead and one.server)
        }
        for name in gone:
            if name in self.layout.volumes:
                self.unmount(name)
        if is_dead:
            self.archive.kill()
            shutil.rmtree(self.archive.data)
        elif any(kind == "database" for kind, _ in kinds) or "index.db" in held:
            self.archive.kill()
            for path in self.archive.data.glob("index.db*"):
                path.unlink()
            if held:
                shutil.rmtree(self.archive.volume)
            self.archive.pacs("serve", expect=11)
        return {one.name for one in site.volumes} - gone

    def on_volumes(self, names: set[str]) -> set[str]:
        """The objects that are whole in a file on one of these volumes."""
        return set().union(*(whole_on(self.path(name), self.samples) for name in names))

    def made_anew(self, names: set[str]) -> set[str]:
        """What an archive on another machine finds when it adopts these volumes and makes its index from them."""
        folder = self.folder / "another"
        shutil.rmtree(folder, ignore_errors=True)
        another = Archive(folder)
        for name in sorted(names):
            another.pacs("storage", "add", f"old-{name}", str(self.path(name)))
        another.pacs("index", "rebuild")
        return another.instance_uids()

    def close(self) -> None:
        self.archive.kill()
        for name in list(self._mounts):
            self._mounts.pop(name).close()


@pytest.fixture
def place(new_archive: Callable[..., Archive], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(new_archive(), tmp_path, LAYOUTS[request.param])
    yield made
    made.close()


@pytest.mark.parametrize("place", LAYOUTS, indirect=True)
def test_every_loss_of_one_and_of_two_parts_ends_what_the_model_says(
    place: Place, evidence: Callable[..., None]
) -> None:
    place.fill()
    site = place.model()
    told = place.archive.report("doctor", "--survive", "2", expect=12)
    assert [part["name"] for part in told["parts"]][1:] == [part.name for part in site.parts][1:]
    assert len(site.parts) == place.layout.parts
    everything = {sample.sop_uid for sample in place.samples}
    for number in (1, 2):
        ended = dict.fromkeys(Aspect, 0)
        for parts in combinations(site.parts, number):
            place.put_back()
            names = place.take_away(site, parts)
            said, what = lose(site, parts), " and ".join(map(str, parts))
            found = place.on_volumes(names)
            lost = sum(one.objects for one in said.lost)
            assert len(everything) - len(found) == lost, f"objects lost with {what}"
            is_running = place.archive.is_running()
            got = given_back(place.archive, place.samples) if is_running else set()
            stores = is_running and takes(place.archive, place.sample())
            outcome = {Aspect.DATA: found == everything, Aspect.RETRIEVING: got == everything, Aspect.STORING: stores}
            assert {aspect for aspect, goes_on in outcome.items() if not goes_on} == said.ends, f"ended with {what}"
            if said.index is IndexState.SERVED:
                assert got == found, f"what is left after the loss of {what} comes back"
            elif names:
                assert place.made_anew(names) == found, f"the index made anew after the loss of {what}"
            for aspect in said.ends:
                ended[aspect] += 1
        assert told["sizes"][number]["ending"] == ended
    evidence(parts=len(site.parts), losses=sum(size["losses"] for size in told["sizes"]) - 1, survived=told["survived"])
