"""What is exported is what was received, from whichever copy still is that."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.fileset import is_conformant_file_id
from sqlalchemy import delete
from support.house import NOW, House, flip
from support.samples import Sample, data_set_of, tiny

from pacs_server.archive.exporting import ExportResult
from pacs_server.errors import Refused
from pacs_server.index.copies import Copy
from pacs_server.index.jobs import JobKind
from pacs_server.index.site.registry import Policy, VolumeRow
from pacs_server.index.tables import copies
from pacs_server.service.assemble import Node
from pacs_server.service.upkeep.deeds import export_files
from pacs_server.storage.sentinel import adopt


@pytest.fixture
def house(tmp_path: Path, new_upgraded_url: Callable[[], str]) -> House:
    """An archive with two volumes, and a copy of everything on each."""
    house = House(tmp_path / "data", new_upgraded_url())
    second = tmp_path / "second"
    second.mkdir()
    with house.node() as node:
        id_ = adopt(second, name="second")
        node.registry.add_volume(VolumeRow(id=id_, name="second", path=str(second), tier="hot", domain="second"))
        node.registry.set_policy(Policy(want=2, need=2, degraded=1))
    return house


def files(house: House, sample: Sample) -> list[Path]:
    return sorted(house.folder.parent.rglob(f"v1/*/*/*/*/*/{sample.sop_uid}-*.dcm"))


def exported(house: House, sample: Sample, target: Path) -> ExportResult:
    with house.node() as node:
        (result,) = export_files(node, {"SOPInstanceUID": sample.sop_uid}, target)
    return result


def forget(node: Node, copy: Copy) -> None:
    with node.index.write() as connection:
        connection.execute(delete(copies).where(copies.c.volume_id == copy.volume_id, copies.c.path == copy.path))


def test_an_object_is_exported_from_the_other_copy_when_the_best_is_damaged_which_is_then_owed_a_look(
    house: House, tmp_path: Path
) -> None:
    (sample,) = house.take_in(tiny(1))
    paths = files(house, sample)
    whole = paths[0].read_bytes()
    with house.node() as node:
        (held,) = node.copies.of_objects([sample.sop_uid])
        best = node.placement().read_order(held.copies)[0]
        (volume,) = [one for one in node.volumes() if one.spec.id == best.volume_id]
    flip(Path(str(volume.spec.path)) / best.path)
    result = exported(house, sample, tmp_path / "out")
    assert result.problem == ""
    assert result.path is not None
    assert result.path.read_bytes() == whole
    with house.node() as node:
        assert node.copies.count_damaged() == 1
        assert node.jobs.has(JobKind.VERIFY)


def test_an_object_is_exported_as_it_was_written_also_when_each_copy_is_damaged_before_its_data_set(
    house: House, tmp_path: Path
) -> None:
    (sample,) = house.take_in(tiny(1))
    whole = files(house, sample)[0].read_bytes()
    for path in files(house, sample):
        damaged = bytearray(whole)
        damaged[whole.index(sample.sop_uid.encode()) + 10] ^= 1
        path.write_bytes(damaged)
    result = exported(house, sample, tmp_path / "out")
    assert result.path is not None
    assert result.path.read_bytes() == whole
    house.take_in(tiny(1))  # sent again
    assert {path.read_bytes() for path in files(house, sample)} == {whole}


def test_a_full_disk_leaves_no_part_of_a_file(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample,) = house.take_in(tiny(1))

    def fails(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pacs_server.archive.exporting.os.fsync", fails)
    result = exported(house, sample, tmp_path / "out")
    assert result.path is None
    assert "No space left on device" in result.problem
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert exported(house, sample, tmp_path / "out").problem == ""


def test_an_object_of_which_no_copy_is_whole_is_not_exported_and_leaves_nothing_behind(
    house: House, tmp_path: Path
) -> None:
    (sample,) = house.take_in(tiny(1))
    for path in files(house, sample):
        flip(path)
    result = exported(house, sample, tmp_path / "out")
    assert "is not what was received" in result.problem
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_object_that_moved_to_another_volume_after_it_was_looked_up_is_exported_from_there(
    house: House, tmp_path: Path
) -> None:
    (sample,) = house.take_in(tiny(1))
    paths = files(house, sample)
    with house.node() as node:
        (held,) = node.copies.of_objects([sample.sop_uid])
        first, second = held.copies
        forget(node, second)
        results = export_files(node, {"SOPInstanceUID": sample.sop_uid}, tmp_path / "out")
        placement, find = node.placement, node.search.deliverables

        def moved_meanwhile(*given: object) -> object:
            node.search.deliverables = find  # type: ignore[method-assign]
            found = find(*given)  # type: ignore[arg-type]
            node.copies.add(held, second, NOW)
            forget(node, first)
            (volume,) = [one for one in placement().volumes if one.spec.id == first.volume_id]
            (Path(str(volume.spec.path)) / first.path).unlink()
            return found

        node.search.deliverables = moved_meanwhile  # type: ignore[assignment, method-assign]
        (result,) = results
    assert result.problem == ""
    assert len([path for path in paths if path.exists()]) == 1


def test_a_medium_has_a_directory_that_leads_to_every_object_and_is_never_written_over(
    house: House, tmp_path: Path
) -> None:
    samples = house.take_in(tiny(1), tiny(2), tiny(3, series="other"), tiny(4, study="other"))
    medium = tmp_path / "usb"
    with house.node() as node:
        results = list(export_files(node, {"PatientID": "T-1"}, medium, as_medium=True))
        assert not any(result.problem for result in results)
        records = [one for one in dcmread(medium / "DICOMDIR").DirectoryRecordSequence if "ReferencedFileID" in one]
        assert {one.ReferencedSOPInstanceUIDInFile for one in records} == {sample.sop_uid for sample in samples}
        files = [Path(*one.ReferencedFileID) for one in records]
        assert sorted(data_set_of(medium / path) for path in files) == sorted(one.data_set for one in samples)
        assert all(is_conformant_file_id(path) for path in files)
        for keys in ({"PatientID": "T-1"}, {"PatientID": "nobody"}):
            with pytest.raises(Refused, match="is there already"):
                list(export_files(node, keys, medium, as_medium=True))
        assert list(export_files(node, {"PatientID": "nobody"}, tmp_path / "none", as_medium=True)) == []
    assert list((tmp_path / "none").iterdir()) == []


def test_a_medium_that_is_full_is_told_with_what_is_not_on_it_and_has_no_directory_that_is_cut(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.take_in(tiny(1))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with house.node() as node:
        monkeypatch.setattr(os, "fsync", full)
        results = list(export_files(node, {"PatientID": "T-1"}, tmp_path / "usb", as_medium=True))
    problems = [result.problem for result in results]
    assert [("IM000001" in one, "DICOMDIR" in one, "No space left" in one) for one in problems] == [
        (True, False, True),
        (False, True, True),
    ]
    assert [path for path in (tmp_path / "usb").rglob("*") if path.is_file()] == []
