"""Whatever was stored and decided after an index was saved is so when it is set back beside the volumes of today."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from support.house import NOW, House, grow_old, set_back
from support.samples import tiny
from support.server import LONG

from pacs_server.archive.scrub import verify
from pacs_server.dicom.operations import OperationKind
from pacs_server.errors import Refused
from pacs_server.index.queries.trash import Trash
from pacs_server.index.site.retention import Purging, change_retention
from pacs_server.index.tables import instances
from pacs_server.service.assemble import Node
from pacs_server.service.upkeep import decisions
from pacs_server.service.upkeep.reconciling import reconcile_volumes
from pacs_server.service.upkeep.tiers import release_what_is_due

LATER = NOW + timedelta(days=1)
DEEDS = 24
# The last three lost an object, or met an index that took over no decision any more.
SEEDS = (0, 1, 11, 27, 39)
OBJECTS, CONTENTS = range(2), ("first", "second")


class Hospital:
    """One study, of whose few objects each has two contents, and what chance does with them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.house = House(folder / "data", f"sqlite:///{folder}/index.db")
        with self.house.node() as node:
            change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
        often = [self.store] * 4 + [self.delete] * 3 + [self.purge] * 3
        self.deeds: list[Callable[[], None]] = [*often, self.restore, self.hold]

    def some(self) -> dict[str, str]:
        """The keys of one object, or of all."""
        name = self.chance.choice((*OBJECTS, None))
        study = tiny(0).StudyInstanceUID
        return {"StudyInstanceUID": study} if name is None else {"SOPInstanceUID": tiny(name).SOPInstanceUID}

    def store(self) -> None:
        self.house.take_in(tiny(self.chance.choice(OBJECTS), ImageComments=self.chance.choice(CONTENTS)))

    def delete(self) -> None:
        with self.house.node() as node, suppress(Refused):
            list(decisions.delete(node, decisions.to_delete(node, self.some()), "a trial"))

    def restore(self) -> None:
        with self.house.node() as node:
            list(decisions.restore(node, decisions.in_trash(node, self.some()), "a trial"))

    def purge(self) -> None:
        """Its files are removed at once, or are owed that."""
        with self.house.node() as node:
            trashed = decisions.in_trash(node, self.some())
            if self.chance.random() < 0.5:
                list(decisions.purge(node, trashed, "a trial"))
                return
            for one in trashed:
                decisions.decider(node, "a trial").decide(OperationKind.PURGE, one.study_uid, [one.content])

    def hold(self) -> None:
        """Put the study on hold, or end that."""
        study = {"StudyInstanceUID": tiny(0).StudyInstanceUID}
        with self.house.node() as node:
            if not Trash(node.index).found(()) and not Trash(node.index).trashed():
                return
            if held := decisions.on_hold(node, study):
                list(decisions.release(node, held, "a trial"))
            else:
                list(decisions.hold(node, study, "a trial"))


def held(node: Node) -> dict[tuple[str, str], bool]:
    """Whether each content is in the trash."""
    with node.index.read() as connection:
        rows = connection.execute(select(*instances.c["sop_uid", "digest", "role"]))
        return {(row.sop_uid, row.digest): row.role == "trash" for row in rows}


@pytest.mark.parametrize("seed", range(200) if LONG else SEEDS)
def test_an_index_that_is_set_back_holds_what_it_held_once_it_was_compared(tmp_path: Path, seed: int) -> None:
    hospital = Hospital(tmp_path, seed)
    house, chance = hospital.house, hospital.chance
    saved_after = chance.randrange(DEEDS)
    for number in range(DEEDS):
        chance.choice(hospital.deeds)()
        if number == saved_after:
            shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    with house.node() as node:
        assert release_what_is_due(node, "a trial") == []
        before = held(node)
    set_back(tmp_path)
    grow_old(house.volume)
    with house.node() as node:
        if chance.random() < 0.5:
            assert release_what_is_due(node, "a trial") == []
        list(reconcile_volumes(node, since=None, repair=True))
        assert release_what_is_due(node, "a trial") == []
        assert held(node) == before
        (volume,) = node.volumes()
        assert {one.damage for one in verify(volume, node.copies, before=LATER, clock=lambda: LATER)} <= {""}
