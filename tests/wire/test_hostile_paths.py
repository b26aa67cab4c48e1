"""Rows of hostile inputs that want to be a path, and of volumes that are tampered with or fail."""

import ctypes
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.raw_objects import EXPLICIT, IMPLICIT, element, held, identified, storing
from support.samples import uid
from support.server import children, wait_for
from support.standing_rules import SETTLE_S, Watched

from pacs_server.dicom.identity import ObjectHasher, Uid
from pacs_server.storage.layout import object_path

SUCCESS, INVALID_SOP_INSTANCE, MISMATCH, OUT_OF_RESOURCES = 0x0000, 0x0117, 0xA900, 0xA700
SENTINEL = ".pacs-volume.json"
AT_FDCWD, RENAME_EXCHANGE = -100, 2
GOOD_STUDY = element(0x00080052, "", "STUDY ") + element(0x0020000D, "", uid("study", "good"))

PATHS = [
    "../x",
    "/abs/x",
    "..\\x",
    "C:\\x",
    "CON",
    "NUL",
    "1.2\0/../3",
    "-rf",
    "%2e%2e",
    ".",
    "..",
    "~root",
    "a\nb",
    "",
]


def test_row_61_a_sop_instance_uid_that_is_a_path_is_refused(ill_treated: Watched) -> None:
    with ill_treated.case("row 61: SOP Instance UIDs") as case, storing(case, IMPLICIT) as association:
        told = {path: association.store(identified("x", sop=path, implicit=True), path).status for path in PATHS}
        inside = {path: association.store(identified("x", sop=path, implicit=True), "1.2.3").status for path in PATHS}
    assert told == dict.fromkeys(PATHS, INVALID_SOP_INSTANCE)
    assert inside == dict.fromkeys(PATHS, INVALID_SOP_INSTANCE)


@pytest.mark.parametrize("level", ["study", "series"])
def test_row_61_a_study_or_series_uid_that_is_a_path_is_hashed_in_it(ill_treated: Watched, level: str) -> None:
    names = {path: f"row 61: {level} {number}" for number, path in enumerate(PATHS)}
    with (
        ill_treated.case(f"row 61: {level} UIDs", stored=len(PATHS) - 1) as case,
        storing(case, IMPLICIT) as association,
    ):
        for path, name in names.items():
            data_set = identified(name, **{level: path}, implicit=True)
            assert association.store(data_set, uid(name)).status == (SUCCESS if path else MISMATCH), path
    files = {file.name.partition("-")[0]: file for file in ill_treated.archive.files()}
    for path, name in names.items():
        if path:
            *_, study, series, _ = files[uid(name)].parts
            assert {"study": study, "series": series}[level].startswith("h-")
            assert f"malformed-uid:{level.capitalize()}InstanceUID" in held(ill_treated.archive, uid(name))["flags"]


def place_of(archive_volume: Path, name: str, data_set: bytes) -> Path:
    """Where an object will lie that is stored today."""
    hasher = ObjectHasher(EXPLICIT)
    hasher.update(data_set)
    today = datetime.now(UTC).date()
    return archive_volume / object_path(today, uid("study", name), uid("series", name), Uid(uid(name)), hasher.digest())


PLANTS: dict[str, Callable[[Path, Path], object]] = {
    "row 62: a link to a file at the target": lambda place, victim: _at(place).symlink_to(victim / "file"),
    "row 62: a link to nothing at the target": lambda place, victim: _at(place).symlink_to(victim / "nothing"),
    "row 62: a FIFO at the target": lambda place, _: os.mkfifo(_at(place)),
    "row 62: a directory at the target": lambda place, _: _at(place).mkdir(),
    "row 62: a link in place of the series": lambda place, victim: _at(place.parent).symlink_to(victim),
    "row 62: a link in place of the study": lambda place, victim: _at(place.parent.parent).symlink_to(victim),
    "row 62: a file in place of the study": lambda place, _: _at(place.parent.parent).touch(),
}


def _at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("name", PLANTS)
def test_what_was_planted_is_not_followed_and_a_person_is_told(ill_treated: Watched, tmp_path: Path, name: str) -> None:
    data_set = identified(name, before=element(0x00100020, "LO", "P"))
    place = place_of(ill_treated.archive.volume, name, data_set)
    (tmp_path / "file").write_bytes(b"untouched")
    PLANTS[name](place, tmp_path)
    begin = len(ill_treated.archive.log_text())
    with ill_treated.case(name) as case, storing(case) as association:
        answered = association.store(data_set, uid(name))
        assert answered.status == OUT_OF_RESOURCES, answered
    assert {path.name for path in tmp_path.iterdir()} == {"file"}
    assert (tmp_path / "file").read_bytes() == b"untouched"
    (line,) = [line for line in ill_treated.archive.log_text()[begin:].split("\n") if "not stored" in line]
    assert "WARNING" in line
    assert "volume first" in line
    _take_away(place)
    with ill_treated.case(f"{name}, taken away", stored=1) as case, storing(case) as association:
        assert association.store(data_set, uid(name)).status == SUCCESS


def _take_away(place: Path) -> None:
    """What was planted at a place, or in place of a directory above it."""
    for path in (place.parent.parent, place.parent, place):
        if path.is_symlink() or path == place or not path.is_dir():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            return


def assert_offline_until(
    ill_treated: Watched, name: str, spoil: Callable[[], object], bring_back: Callable[[], object], *, why: str
) -> None:
    """Meanwhile nothing is stored, and what is held is still asked for."""
    archive, before = ill_treated.archive, ill_treated.archive.log_text()
    changed = " volume name=first status="
    processes = len(children(archive.pid))

    def told(status: str) -> list[str]:
        """The lines of all processes, once each has seen it; one that has just begun may see it first of all."""
        lines = archive.log_text()[len(before) :].split("\n")
        found = [line for line in lines if f"{changed}{status}" in line]
        return found if len(found) >= processes else []

    spoil()
    try:
        lines = wait_for(lambda: told("offline"), "the server to see what was done", timeout_s=SETTLE_S)
        assert all(" WARNING " in line and why in line for line in lines), lines
        with ill_treated.case(name) as case, storing(case, EXPLICIT) as association:
            answered = association.store(identified(name), uid(name))
            assert answered.status == OUT_OF_RESOURCES, answered
            status, rows = association.find(GOOD_STUDY)
            assert (status, len(rows)) == (SUCCESS, 1)
    finally:
        bring_back()
    wait_for(lambda: told("online"), "the volume to come back", timeout_s=SETTLE_S)
    with ill_treated.case(f"{name}, brought back", stored=1) as case, storing(case) as association:
        assert association.store(identified(name), uid(name)).status == SUCCESS


def test_row_62_a_root_that_becomes_a_link_is_not_followed(ill_treated: Watched) -> None:
    root = ill_treated.archive.volume
    real = root.with_name("moved")
    assert_offline_until(
        ill_treated,
        "row 62: a link in place of the root",
        lambda: (real.symlink_to(real), exchange(root, real)),
        lambda: (root.unlink(), real.rename(root)),
        why="symbolic",
    )


def exchange(one: Path, other: Path) -> None:
    """Let two files change their names at once: no process finds either of them missing in between, which is another
    fault.
    """
    done = ctypes.CDLL(None, use_errno=True).renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE)
    assert done == 0, os.strerror(ctypes.get_errno())


def replace_at_once(path: Path, text: str) -> None:
    """No process finds the file empty in between, which is another fault."""
    other = path.with_suffix(".other")
    other.write_text(text)
    other.replace(path)


def there(marker: Path) -> Path:
    return marker.with_name("there")


MARKERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "row 65: no marker": (Path.unlink, "mount or name the right one"),
    "row 65: another volume's marker": (
        lambda path: replace_at_once(path, json.dumps({"id": "f" * 32})), "another volume is mounted there"
    ),
    "row 65: a marker that is no JSON": (lambda path: path.write_bytes(b"\xff\0{"), "is damaged"),
    "row 65: a marker that nests": (lambda path: path.write_bytes(b"[" * 4_000), "is damaged"),
    "row 65: a marker of 5 GB": (lambda path: os.truncate(path, 5 << 30), "is damaged"),
    "row 65: a directory for a marker": (
        lambda path: (there(path).mkdir(), exchange(path, there(path))), "cannot be read"
    ),
    "row 65: a link for a marker": (
        lambda path: (there(path).symlink_to("there"), exchange(path, there(path))), "cannot be read"
    ),
    "row 65: a marker that everybody may write": (lambda path: path.chmod(0o666), "every user"),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKERS)
def test_a_volume_without_its_own_marker_is_offline_until_that_is_back(ill_treated: Watched, name: str) -> None:
    spoil, why = MARKERS[name]
    marker = ill_treated.archive.volume / SENTINEL
    content = marker.read_bytes()

    def bring_back() -> None:
        there(marker).unlink(missing_ok=True)
        marker.rmdir() if marker.is_dir() else marker.unlink(missing_ok=True)
        marker.touch(mode=0o640)
        marker.write_bytes(content)

    assert_offline_until(ill_treated, name, lambda: spoil(marker), bring_back, why=why)
