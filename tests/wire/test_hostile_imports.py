"""Rows of hostile inputs among files that are imported: preambles, directories of media, archives, links and names."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from support.raw_objects import BIG_ENDIAN, EXPLICIT, IMPLICIT, SEQUENCE_END, UNDEFINED, element, identified
from support.samples import CT, data_set_of, part10, tiny, uid, write
from support.standing_rules import Watched

DIRECTORY = "1.2.840.10008.1.3.10"


def imported(ill_treated: Watched, name: str, folder: Path, *, stored: int) -> dict[str, tuple[str, str]]:
    """What an import says of each file, by its path below the folder."""
    with ill_treated.case(name, stored=stored, is_audited=False):
        rows: list[dict[str, Any]] = ill_treated.archive.report("import", str(folder), expect=(0, 3))
    return {os.path.relpath(row["path"], folder): (row["outcome"], row["reason"]) for row in rows}


PREAMBLES = {
    "a program of Windows": b"MZ\x90\0\3\0\0\0",
    "a program of Linux": b"\x7fELF\2\1\1\0",
    "a script": b"#!/bin/sh\nrm -rf /\n",
    "PHP": b"<?php system($_GET[0]); ?>",
    "HTML": b"<html><script>alert(1)</script>",
    "a TIFF": b"II*\0\x08\0\0\0",
}


def test_row_56_a_preamble_is_left_out_and_told_of(ill_treated: Watched, tmp_path: Path) -> None:
    samples = {name: write(tiny(name, study="preambles"), tmp_path / f"{name}.dcm") for name in PREAMBLES}
    for name, sample in samples.items():
        sample.path.write_bytes(PREAMBLES[name].ljust(128, b"\0") + sample.path.read_bytes()[128:])
    padding = element(0xFFFCFFFC, "OB", _zip_of(tmp_path))
    polyglot = tmp_path / "a ZIP at the end.dcm"
    polyglot.write_bytes(part10(identified("ZIP") + padding, sop_class=CT, sop_uid=uid("ZIP")))
    found = imported(ill_treated, "row 56: preambles", tmp_path, stored=len(PREAMBLES) + 1)
    remark = "its preamble was not empty and was left out"
    assert found == {f"{name}.dcm": ("stored", remark) for name in PREAMBLES} | {polyglot.name: ("stored", "")}
    kept = {path.name.split("-")[0]: path for path in ill_treated.archive.files()}
    for sample in samples.values():
        assert kept[sample.sop_uid].read_bytes()[:132] == bytes(128) + b"DICM"
        assert data_set_of(kept[sample.sop_uid]) == sample.data_set
    assert kept[uid("ZIP")].read_bytes()[:132] == bytes(128) + b"DICM"
    told = ill_treated.archive.pacs("import", str(tmp_path)).stdout
    assert told.count(remark) == len(PREAMBLES), "a person is told too"


def _zip_of(folder: Path) -> bytes:
    path = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../../../evil.dcm", "evil")
    return path.read_bytes()


def test_a_file_without_a_preamble_has_none_that_could_be_left_out(ill_treated: Watched, tmp_path: Path) -> None:
    sample = write(tiny("bare", study="preambles"), tmp_path / "bare.dcm")
    sample.path.write_bytes(sample.path.read_bytes()[132:])
    found = imported(ill_treated, "row 56: no preamble", tmp_path, stored=1)
    assert found == {"bare.dcm": ("stored", "")}


REFERENCES = {
    "row 66: parents": ["..", "secret.dcm"],
    "row 66: an absolute path": ["/", "etc", "passwd"],
    "row 66: eight levels": [*"ABCDEFGH", "secret.dcm"],
    "row 66: a link": ["LINK", "secret.dcm"],
    "row 66: nothing there": ["MISSING"],
    "row 66: itself": ["DICOMDIR"],
}


@pytest.mark.parametrize("name", REFERENCES)
def test_what_a_directory_of_media_refers_to_is_not_looked_for(ill_treated: Watched, tmp_path: Path, name: str) -> None:
    media = tmp_path / "media"
    secret = write(tiny(name, study="secret"), tmp_path / "secret.dcm")
    taken = write(tiny(f"{name} taken", study="secret"), media / "IMAGE")
    (media / "LINK").symlink_to(tmp_path)
    (media / "FILELINK").symlink_to(secret.path)
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", REFERENCES[name]
    directory = tiny("directory", sop_class=DIRECTORY, DirectoryRecordSequence=[record])
    write(directory, media / "DICOMDIR")
    assert imported(ill_treated, name, media, stored=1) == {
        "DICOMDIR": ("skipped", "a DICOMDIR, not an object"),
        "FILELINK": ("skipped", "not a regular file"),
        "IMAGE": ("stored", ""),
        "LINK": ("skipped", "not a regular file"),
    }
    assert {secret.sop_uid, taken.sop_uid} & ill_treated.archive.instance_uids() == {taken.sop_uid}


def test_a_link_that_a_person_names_is_followed_and_none_below_it(ill_treated: Watched, tmp_path: Path) -> None:
    one, other = (write(tiny(n, study="links"), tmp_path / "there" / f"{n}.dcm") for n in ("named", "other"))
    (tmp_path / "there" / "below").symlink_to(one.path)
    (tmp_path / "folder").symlink_to(tmp_path / "there")
    (tmp_path / "file").symlink_to(one.path)
    with ill_treated.case("links that were named", stored=2, is_audited=False):
        rows = ill_treated.archive.report("import", str(tmp_path / "file"), str(tmp_path / "folder"))
    assert [(os.path.relpath(row["path"], tmp_path), row["outcome"]) for row in rows] == [
        ("file", "stored"),
        ("folder/below", "skipped"),
        ("folder/named.dcm", "already held"),
        ("folder/other.dcm", "stored"),
    ]
    assert {one.sop_uid, other.sop_uid} <= ill_treated.archive.instance_uids()


def test_what_cannot_be_looked_into_is_told_of_and_all_else_is_taken(ill_treated: Watched, tmp_path: Path) -> None:
    write(tiny("beside", study="deep"), tmp_path / "z.dcm")
    deepest = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1 + os.pathconf(tmp_path, "PC_PATH_MAX") // 200):
        os.close(os.open("f" * 200, os.O_CREAT, dir_fd=deepest))
        os.mkdir("d" * 200, dir_fd=deepest)
        above, deepest = deepest, os.open("d" * 200, os.O_RDONLY, dir_fd=deepest)
        os.close(above)
    os.close(deepest)
    found = imported(ill_treated, "a folder that is too deep", tmp_path, stored=1)
    assert found["z.dcm"] == ("stored", "")
    reasons = [reason for outcome, reason in found.values() if outcome == "refused"]
    assert reasons.count("cannot be read: File name too long") == 2, "the last file and folder with such a path"


def test_row_66_a_zip_file_is_refused_by_name_whatever_it_says_of_itself(ill_treated: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "zips"
    folder.mkdir()
    plain = _zip_of(tmp_path)
    forged = plain.replace((4).to_bytes(4, "little"), (0xFFFFFFFF).to_bytes(4, "little"))
    assert forged != plain
    (folder / "traversal.zip").write_bytes(plain)
    (folder / "forged sizes.zip").write_bytes(forged)
    (folder / "named like an image.dcm").write_bytes(plain)
    found = imported(ill_treated, "row 66: ZIP files", folder, stored=0)
    assert len(found) == 3
    assert set(found.values()) == {("refused", "a ZIP file: unpack it, and import that")}
    assert not list(tmp_path.rglob("evil.dcm"))


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        (IMPLICIT, "Implicit VR Little Endian"),
        (EXPLICIT, "Explicit VR Little Endian"),
        (BIG_ENDIAN, "Explicit VR Big Endian"),
    ],
)
def test_a_data_set_without_file_meta_information_is_read_as_it_begins(
    ill_treated: Watched, tmp_path: Path, syntax: str, name: str
) -> None:
    sample = write(tiny(1, study=f"bare {name}"), tmp_path / "written.dcm", syntax)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.v2").write_bytes(sample.data_set)
    found = imported(ill_treated, f"bare, {name}", tmp_path / "in", stored=1)
    remark = f"no file meta information tells its transfer syntax: it was read as {name}"
    assert found == {"1.v2": ("stored", remark)}
    (kept,) = (path for path in ill_treated.archive.files() if path.name.startswith(f"{sample.sop_uid}-"))
    assert data_set_of(kept) == sample.data_set
    assert pydicom.dcmread(kept).file_meta.TransferSyntaxUID == syntax


def test_a_data_set_alone_is_refused_when_it_is_cut_or_compressed(ill_treated: Watched, tmp_path: Path) -> None:
    pixels = element(0xFFFEE000, "", b"") + element(0xFFFEE000, "", b"\xff\xd8\xff\xd9") + SEQUENCE_END
    (tmp_path / "compressed").write_bytes(identified("7", after=element(0x7FE00010, "OB", pixels, UNDEFINED)))
    (tmp_path / "cut").write_bytes(identified("8", after=element(0x7FE00010, "OW", bytes(8), 10)))
    found = imported(ill_treated, "bare and bad", tmp_path, stored=0)
    assert found["compressed"] == ("refused", "its pixel data are compressed, and no file meta information says how")
    assert found["cut"][0] == "refused"
    assert "truncated" in found["cut"][1]


def test_the_data_set_is_believed_where_file_meta_information_names_another_instance(
    ill_treated: Watched, tmp_path: Path
) -> None:
    (tmp_path / "other uid").write_bytes(part10(identified("9"), sop_class=CT, sop_uid=uid("other")))
    found = imported(ill_treated, "another UID in file meta information", tmp_path, stored=1)
    remark = "its file meta information names another SOP class or instance than its data set, which was believed"
    assert found == {"other uid": ("stored", remark)}
    assert uid("9") in ill_treated.archive.instance_uids()
    assert uid("other") not in ill_treated.archive.instance_uids()


def test_row_66_what_is_no_file_and_what_is_none_of_dicom_is_told_of_one_by_one(
    ill_treated: Watched, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("not DICOM\n")
    (tmp_path / "meta only").write_bytes(part10(b"", sop_class=CT, sop_uid="1.2.3"))
    (tmp_path / "other syntax").write_bytes(
        part10(identified("one"), sop_class=CT, sop_uid=uid("one"), transfer_syntax=IMPLICIT)
    )
    (tmp_path / "no uid").write_bytes(part10(identified("x", sop="../x"), sop_class=CT, sop_uid="../x"))
    (tmp_path / os.fsdecode(b"\xff\x1b[2J\nERROR")).write_text("a name that is no text")
    found = imported(ill_treated, "row 66: other files", tmp_path, stored=0)
    assert found.pop("fifo") == ("skipped", "not a regular file")
    assert len(found) == 6
    assert {outcome for outcome, _ in found.values()} == {"refused"}
    assert "Explicit VR" in found["other syntax"][1]
    printed = ill_treated.archive.pacs("import", str(tmp_path), expect=3).stdout
    assert all(line.isprintable() for line in printed.split("\n"))
    assert "\\x1b[2J\\nERROR" in printed
