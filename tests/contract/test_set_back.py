"""A site that is put back to an older state, as by a snapshot of its machine, and goes on from there."""

import shutil
from pathlib import Path

import pytest
from support.house import NOW, House

from pacs_server.dicom.operations import OperationKind
from pacs_server.index.site.changes import PREFERENCE
from pacs_server.service import assemble


def test_what_a_site_decides_after_it_was_set_back_has_no_number_that_its_partners_know_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    leaps = iter([30, 300, 4, 40])
    monkeypatch.setattr(assemble.secrets, "randbelow", lambda _: next(leaps))

    def decide() -> tuple[tuple[int, ...], int]:
        with house.node() as node:
            operations = node.instances.operations
            drafted = [operations.draft(OperationKind.HOLD, "1.2", now=NOW, who="a", reason="b") for _ in range(2)]
            node.changes.record(PREFERENCE, "", {"site": "abc"}, now=NOW, who="a")
            latest = node.changes.latest(PREFERENCE)
            assert latest
            return tuple(one.counter for one in drafted), latest.counter

    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    before = decide()
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    shutil.copy(tmp_path / "snapshot", tmp_path / "index.db")
    after = decide()
    assert (before, after) == (((31, 32), 301), ((5, 6), 41))
