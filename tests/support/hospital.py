"""The site of config/layouts/hospital.yaml as processes: two databases, four servers of one archive, six storages, any
of which can be lost and put back.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml
from support.faulty_volume import FaultyVolume, mounted
from support.losses import new_sample, whole_on
from support.postgres import Cluster
from support.samples import Sample
from support.senders import calling, send_one
from support.server import Archive, wait_for

from pacs_server.cluster.layout import read_layout
from pacs_server.cluster.survive import Part, Placement, Site
from pacs_server.errors import PacsError

LAYOUT = Path(__file__).parents[2] / "config" / "layouts" / "hospital.yaml"


class Hospital:
    """Every server uses both databases, of which one follows the other, and every storage."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder = folder
        self.samples: list[Sample] = []
        given = yaml.safe_load(LAYOUT.read_text(encoding="utf-8"))
        self.databases = {name: Cluster() for name in given["databases"]}
        for database in self.databases.values():
            running.callback(database.remove)
        self.primary, standby = self.databases
        self.databases[self.primary].make()
        self.databases[self.primary].execute("CREATE DATABASE pacs")
        self.databases[standby].follow(self.databases[self.primary])
        hosts = "&".join(f"host={one.home}" for one in self.databases.values())
        url = f"postgresql://pacs@/pacs?{hosts}&target_session_attrs=read-write"
        self.servers = {
            name: Archive(folder / name, database=url, settings={"workers": 1}) for name in given["servers"]
        }
        self.storages = {name: self._mount(folder / name, running) for name in given["volumes"]}
        for name, storage in self.storages.items():
            self.one.pacs("storage", "add", name, str(storage.path), "--domain", name)
        self.one.pacs("storage", "remove", "first", "--yes")
        policy = given["policy"].items()
        self.one.pacs("policy", "set", *(word for name, value in policy for word in (f"--{name}", str(value))))
        for server in self.servers.values():
            running.callback(server.kill)
            server.start()

    def _mount(self, path: Path, running: ExitStack) -> FaultyVolume:
        try:
            return running.enter_context(mounted(path, hangs=False))
        except OSError as error:
            pytest.skip(str(error))

    @property
    def one(self) -> Archive:
        """Any of its servers, where it does not matter which."""
        return next(iter(self.servers.values()))

    def fill(self) -> None:
        """Objects of which some lie on each of the storages."""
        server = next(iter(self.servers))
        for closed in ((), ("storage1", "storage2"), ("storage3", "storage4")):
            for name in closed:
                self.one.pacs("storage", "set", name, "--read-only")
            wait_for(lambda closed=closed: self.stores(server) and not self._lies_on(closed), f"{closed} to be closed")
            assert self.stores(server)
            for name in closed:
                self.one.pacs("storage", "set", name, "--writable")
        assert all(self.lying(self.storages, self.samples).values())

    def _lies_on(self, storages: Collection[str]) -> bool:
        """Whether the latest object is on one of these storages."""
        return any(self.lying(storages, self.samples[-1:]).values())

    def stores(self, server: str) -> bool:
        """Whether a server takes a new object."""
        sample = new_sample(self.folder / "sent")
        try:
            association = calling(self.servers[server])
            try:
                status = send_one(association, sample)
            finally:
                association.close()
        except PacsError:
            return False
        if status == 0:
            self.samples.append(sample)
        return status == 0

    def site(self, samples: Sequence[Sample]) -> Site:
        """The model of the layout, with these objects as they really lie."""
        counted: dict[frozenset[str], int] = {}
        lying = self.lying(self.storages, samples)
        for sample in samples:
            storages = frozenset(name for name, there in lying.items() if sample.sop_uid in there)
            counted[storages] = counted.get(storages, 0) + 1
        placements = tuple(Placement(volumes=storages, objects=number) for storages, number in counted.items())
        return replace(read_layout(LAYOUT), placements=placements)

    def lying(self, storages: Collection[str], samples: Sequence[Sample]) -> dict[str, set[str]]:
        """Those of these objects that are whole on each of these storages."""
        return {name: whole_on(self.storages[name].path, samples) for name in storages}

    def lose(self, parts: Sequence[Part]) -> None:
        """Make a loss real, all of it at once; then a person promotes the database that is left."""
        names = {part.name for part in parts}
        for name in names & self.storages.keys():
            self.storages[name].tell("eio")
        for name in names & self.databases.keys():
            self.databases[name].kill()
        for name in names & self.servers.keys():
            self.servers[name].kill()
        if len(left := self.databases.keys() - names) == 1:
            (kept,) = left
            if kept != self.primary:
                self.databases[kept].execute("SELECT pg_promote()")
                self.primary = kept
            self.databases[kept].go_on_alone()

    def put_back(self, parts: Sequence[Part]) -> None:
        """What was lost is there again, empty where it was a database that another one took the place of."""
        names = {part.name for part in parts}
        for name in names & self.storages.keys():
            self.storages[name].tell("ok")
        lost = sorted(names & self.databases.keys(), key=lambda name: name != self.primary)
        is_without = len(lost) == len(self.databases)
        for name in lost if is_without else ():
            self.databases[name].start()  # before the servers, which do not begin without one
        begin = [self.servers[name].start for name in names & self.servers.keys()]
        if lost and not is_without:
            begin.append(partial(self.databases[lost[0]].follow, self.databases[self.primary]))
        with ThreadPoolExecutor() as starting:
            for begun in [starting.submit(one) for one in begin]:
                begun.result()

    def become_whole(self, timeout_s: float = 180.0) -> None:
        """Wait until every server sees all of the site, and nothing is owed any more."""

        def is_whole() -> bool:
            told = self.one.report("status")
            storages = {volume["state"] for volume in told["volumes"]}
            servers = {node["state"] for node in told["nodes"]}
            return (storages, servers, told["backlog"]["lacking_copies"]) == ({"online"}, {"serving"}, 0)

        wait_for(is_whole, "the hospital to be whole again", timeout_s=timeout_s, every_s=0.2)
