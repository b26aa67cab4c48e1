"""Attributes that an admin adds while the archive runs: read from what is there, asked for by findscu, removed."""

from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as STUDY_ROOT_FIND
from support.dcmtk import STUDY_ROOT, Station
from support.samples import Sample, tiny, uid, write
from support.second_client import associate, identifier
from support.server import Archive, wait_for

SUCCESS, PENDING, UNSUPPORTED_KEYS = 0x0000, 0xFF00, 0xFF01
CREATOR = "ACME 1.0"


def with_private(number: int, folder: Path, study: str) -> Sample:
    data_set = tiny(number, study=study, SoftwareVersions=["syngo", f"v{number}"])
    data_set.private_block(0x0029, "OTHER", create=True).add_new(0x10, "LO", "other")
    data_set.private_block(0x0029, CREATOR, create=True).add_new(0x10, "LO", f"private {number}")
    return write(data_set, folder / f"{study}-{number}.dcm")


def is_ready(archive: Archive, keyword: str) -> bool:
    return any(
        row["keyword"] == keyword and row["state"] == "ready" for row in archive.report("index", "fields", "list")
    )


def sop_uids(rows) -> list[str]:
    return sorted(str(row.SOPInstanceUID) for row in rows)


def test_a_field_is_read_from_the_files_without_rebuild_or_restart(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    before = with_private(1, tmp_path, "public")
    assert station.store(before.path).status == SUCCESS
    keys = {"StudyInstanceUID": uid("study", "public"), "SoftwareVersions": "v?", "SOPInstanceUID": ""}
    keys["SeriesInstanceUID"] = before.series_uid
    unknown = station.find(STUDY_ROOT, "IMAGE", keys)
    assert (sop_uids(unknown.rows), unknown.rows[0].SoftwareVersions) == ([before.sop_uid], None or "")
    archive.pacs("index", "fields", "add", "SoftwareVersions", "--level", "image")
    archive.pacs("index", "fields", "add", "SoftwareVersions", "--level", "image", expect=2)
    wait_for(lambda: is_ready(archive, "SoftwareVersions"), "the files to be read", timeout_s=90)
    after = with_private(2, tmp_path, "public")
    assert station.store(after.path).status == SUCCESS

    def asked(value: str):
        return station.find(STUDY_ROOT, "IMAGE", keys | {"SoftwareVersions": value}).rows

    wait_for(lambda: sop_uids(asked("v2")) == [after.sop_uid], "the running server to match it")
    assert sop_uids(asked("v?")) == sorted([before.sop_uid, after.sop_uid])
    assert sop_uids(asked("v1")) == [before.sop_uid]
    assert asked("v3") == ()
    assert list(asked("v1")[0].SoftwareVersions) == ["syngo", "v1"]
    told = archive.report("find", "studies", "SoftwareVersions=v1")
    assert [row["uid"] for row in told] == [uid("study", "public")]
    archive.pacs("index", "fields", "remove", "SoftwareVersions", "--yes")
    wait_for(lambda: len(asked("v3")) == 2, "the running server to forget it")
    archive.pacs("find", "studies", "SoftwareVersions=v1", expect=2)


def test_a_private_field_is_asked_for_by_its_creator(archive: Archive, station: Station, tmp_path: Path) -> None:
    samples = [with_private(number, tmp_path, "private") for number in (1, 2)]
    assert station.store(*(sample.path for sample in samples)).status == SUCCESS
    archive.pacs("index", "fields", "add", f"0029xx10:{CREATOR}", "--level", "image", "--vr", "LO")
    wait_for(lambda: is_ready(archive, f"0029xx10:{CREATOR}"), "the files to be read", timeout_s=90)

    def asked(creator: str, value: str) -> list[tuple[int, Dataset]]:
        keys = identifier("IMAGE", StudyInstanceUID=uid("study", "private"), SOPInstanceUID="")
        keys.add_new(0x00290077, "LO", creator)
        keys.add_new(0x00297710, "LO", value)
        with associate(archive, [(STUDY_ROOT_FIND, [ExplicitVRLittleEndian])]) as association:
            return [(one.Status, row) for one, row in association.send_c_find(keys, STUDY_ROOT_FIND) if row]

    wait_for(lambda: len(asked(CREATOR, "*2")) == 1, "the running server to match it")
    ((status, row),) = asked(CREATOR, "*2")
    assert (status, row.SOPInstanceUID) == (PENDING, samples[1].sop_uid)
    assert (row[0x00290077].value, row.private_block(0x0029, CREATOR)[0x10].value) == (CREATOR, "private 2")
    assert [status for status, _ in asked("OTHER", "nothing like it")] == [UNSUPPORTED_KEYS] * 2
    archive.pacs("index", "fields", "remove", f"0029xx10:{CREATOR}", "--yes")


def test_the_reading_goes_on_where_it_was_after_a_kill(new_archive, tmp_path: Path) -> None:
    archive = new_archive()
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(350):
        write(tiny(number, study=number, SoftwareVersions=f"v{number}"), folder / f"{number}.dcm")
    archive.pacs("import", str(folder))
    archive.pacs("index", "fields", "add", "SoftwareVersions", "--level", "study")
    unread = 350
    archive.start()
    while unread == 350:
        (row,) = archive.report("index", "fields", "list")
        unread = row["unread"]
    archive.kill()
    archive.start()
    wait_for(lambda: is_ready(archive, "SoftwareVersions"), "the rest to be read", timeout_s=90)
    for number in (0, 99, 100, 200, 349):
        found = archive.report("find", "studies", f"SoftwareVersions=v{number}")
        assert [one["uid"] for one in found] == [uid("study", number)]
    before = archive.report("find", "studies", "SoftwareVersions=*1*")
    archive.pacs("index", "rebuild")
    assert archive.report("find", "studies", "SoftwareVersions=*1*") == before
