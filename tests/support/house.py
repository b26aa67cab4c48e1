"""A whole archive of one node without a server: its settings, its index in either database, its volume."""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select
from support.samples import Sample, write

from pacs_server.archive.importing import ImportOutcome
from pacs_server.dicom.identity import AeTitle
from pacs_server.index.engine import Index
from pacs_server.index.site_tables import choices, extra_fields, fates, holds, operations, peers
from pacs_server.index.tables import CONTENT, copies
from pacs_server.service.assemble import Node
from pacs_server.service.upkeep.backup import Restore, Verification, run_backup
from pacs_server.service.upkeep.deeds import import_files
from pacs_server.service.upkeep.initialise import initialise
from pacs_server.settings import load
from pacs_server.storage.carrying import Carried

NOW = datetime.now(UTC)
DUMPED = (*CONTENT, peers, operations, fates, holds, choices, extra_fields)
_numbers = count()


def dump(index: Index) -> dict[str, list[Any]]:
    """What an index says, table by table; of copies not on which volume, because that may be another one."""
    with index.read() as connection:
        return {
            table.name: sorted(
                tuple(str(row[column.name]) for column in table.c if table is not copies or column.name == "path")
                for row in connection.execute(select(*table.c)).mappings()
            )
            for table in DUMPED
        }


def flip(path: Path) -> None:
    """Change one bit somewhere in a file."""
    content = bytearray(path.read_bytes())
    content[random.Random(path.name).randrange(len(content) // 2, len(content))] ^= 1
    path.write_bytes(content)


def set_back(folder: Path) -> None:
    """Put the index in a folder back to what it was when it was copied to `snapshot` beside it."""
    for path in folder.glob("index.db*"):
        path.unlink()
    shutil.copy(folder / "snapshot", folder / "index.db")


def grow_old(volume: Path) -> None:
    """Let the files of objects look as if nothing had been written for an hour, so that they count as settled."""
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    for path in volume.rglob("*.dcm"):
        os.utime(path, (an_hour_ago, an_hour_ago))


class House:
    """An archive as `pacs init` makes it, which takes half a second less where the database has the schema already."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.config = initialise(folder, aet=AeTitle("PACS"), host="127.0.0.1", port=0, database=url).settings_path
        self.settings = load(self.config)

    @property
    def volume(self) -> Path:
        return self.folder / "volumes" / "first"

    @contextmanager
    def node(self) -> Iterator[Node]:
        with Node.open(self.settings) as node:
            yield node

    def take_in(self, *datasets: Dataset, syntax: str = ExplicitVRLittleEndian) -> list[Sample]:
        sent = [write(one, self.folder.parent / f"in-{next(_numbers)}.dcm", syntax) for one in datasets]
        with self.node() as node:
            results = list(import_files(node, [sample.path for sample in sent]))
        assert {result.outcome for result in results} <= {ImportOutcome.STORED, ImportOutcome.DUPLICATE}, results
        return sent

    def back_up(self, target: Path, *, objects: bool = True, new: bool = False) -> list[Carried]:
        """One run; each has a second of its own, so that no two have the same name."""
        now = NOW + timedelta(seconds=next(_numbers))
        with self.node() as node:
            return list(run_backup(node, self.config, target, with_objects=objects, is_new=new, now=now))

    def restore(self, source: Path, stamp: str = "") -> list[Carried]:
        with Restore.of(self.settings, source, stamp) as restore:
            return list(restore.do(now=NOW + timedelta(seconds=next(_numbers))))

    def dump(self) -> dict[str, list[Any]]:
        with self.node() as node:
            return dump(node.index)


def damages(target: Path, stamp: str = "") -> dict[str, str]:
    """What `backup verify` finds in a run, by path."""
    return {one.path: one.damage for one in Verification(target, stamp).files() if one.damage}
