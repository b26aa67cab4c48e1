"""Rows of hostile inputs on the command line and in settings: refused with a reason each, and nothing changed."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.mounts import mount
from support.server import Archive
from support.standing_rules import Watched

USAGE, CONFIGURATION, BUSY = 2, 10, 14

TITLES = {
    "a line end": "A\nB",
    "a tab": "A\tB",
    "an escape": "A\x1b[2J",
    "a semicolon": "A;B",
    "a single quote": "A'B",
    "a double quote": 'A"B',
    "a back quote": "A`B",
    "a backslash": "A\\B",
    "17 characters": "SEVENTEEN_LETTERS",
    "kanji": "病院",
    "nothing": "",
    "spaces": "   ",
}


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    """A directory that the ill-treated archive knows nothing of."""
    return tmp_path.resolve()


def refusal(archive: Archive, *words: str, code: int = USAGE) -> str:
    """Why a command is refused, which is told in one message without control characters."""
    told = archive.pacs(*words, expect=code).stderr
    assert all(line.isprintable() for line in told.split("\n")), told
    assert "Traceback" not in told
    return told


def test_row_77_a_title_that_would_break_other_systems_is_refused(ill_treated: Watched, aside: Path) -> None:
    archive, settings = ill_treated.archive, aside / "pacs.yaml"
    before = archive.report("ae", "list")
    with ill_treated.case("row 77: AE titles", is_audited=False):
        for name, title in TITLES.items():
            told = refusal(archive, "ae", "add", title, "127.0.0.1", "104")
            assert "AE title" in told or "configuration cannot hold" in told, name
        for title in ("A\nB", "A;B"):
            refusal(archive, "init", "--data", str(aside / "new"), "--aet", title)
            settings.write_text(yaml.safe_dump({"data_dir": str(aside), "aet": title}))
            archive.pacs("-c", str(settings), "config", "check", expect=CONFIGURATION)
    assert archive.report("ae", "list") == before
    assert not (aside / "new" / "pacs.yaml").exists()


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _with_a_file(path: Path) -> Path:
    _directory(path).joinpath("something").touch()
    return path


def _link_to(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


PLACES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "the root": (lambda _, __: "/", "root of the file system"),
    "a link": (lambda aside, _: _link_to(aside / "link", _directory(aside / "there")), "symbolic link"),
    "a link on the way": (
        lambda aside, _: _directory(_link_to(aside / "link", _directory(aside / "there")) / "below"),
        "plain absolute path",
    ),
    "inside another volume": (lambda _, volume: volume / "v1", "overlap"),
    "another volume": (lambda _, volume: volume, "overlap"),
    "around another volume": (lambda _, volume: volume.parent, "overlap"),
    "nothing there": (lambda aside, _: aside / "missing", "make or mount it first"),
    "a file": (lambda aside, _: (aside / "file").touch() or aside / "file", "not a directory"),
    "not empty": (lambda aside, _: _with_a_file(aside / "full"), "not empty"),
    "nothing": (lambda _, __: "", "the path is empty"),
    "a NUL": (lambda _, __: "/tmp/a\nb", "not a directory"),
    "a bucket with ..": (lambda _, __: "s3://bucket/../x", "prefix"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_row_77_a_place_that_cannot_be_a_volume_is_refused(ill_treated: Watched, aside: Path, name: str) -> None:
    archive = ill_treated.archive
    make, why = PLACES[name]
    place = str(make(aside, archive.volume))
    with ill_treated.case(f"row 77: {name} as a volume", is_audited=False):
        assert why in refusal(archive, "storage", "add", "new", place)


@pytest.mark.parametrize("volume_name", ["a b", "a\nb", "../x", "", "x" * 65, "a;b", "病院"])
def test_row_77_a_volume_name_that_could_be_something_else_is_refused(
    ill_treated: Watched, aside: Path, volume_name: str
) -> None:
    with ill_treated.case(f"row 77: {volume_name!r} as a name", is_audited=False):
        told = refusal(ill_treated.archive, "storage", "add", volume_name, str(aside))
        assert "no volume name" in told
        assert repr(volume_name[:64]) in told
    assert list(aside.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", 'a\n\x1b[31m"', "", "x" * 33, "病院"])
def test_row_77_a_volume_is_not_renamed_and_a_rule_not_named_so(ill_treated: Watched, name: str) -> None:
    archive = ill_treated.archive
    with ill_treated.case(f"row 77: {name!r} as another name", is_audited=False):
        assert "a name is up to 32 letters" in refusal(archive, "storage", "set", "first", "--rename", name)
        rule = ("tier", "rule", "add", name, "--from", "hot", "--to", "cold", "--older-than", "3")
        assert "a name is up to 32 letters" in refusal(archive, *rule)
        volume = archive.volume.with_name("second")
        for words in (("set", "first"), ("add", "second", str(volume))):
            assert "a name is up to 32 letters" in refusal(archive, "storage", *words, "--domain", name)
    assert [(row["name"], row["domain"]) for row in archive.report("storage", "list")] == [("first", "first")]
    assert archive.report("tier", "rule", "list") == []


def test_row_77_a_directory_of_an_archive_whose_name_is_no_text_is_refused(ill_treated: Watched, aside: Path) -> None:
    with ill_treated.case("row 77: a name of other bytes", is_audited=False):
        assert "is no text" in refusal(ill_treated.archive, "init", "--data", str(aside / "new\udcff"))
    assert list(aside.iterdir()) == []


def test_row_77_a_bare_mount_point_is_not_taken_for_the_volume(ill_treated: Watched, aside: Path) -> None:
    with ill_treated.case("row 77: a bare mount point", is_audited=False):
        assert ".pacs-volume.json" in refusal(ill_treated.archive, "storage", "set", "first", "--path", str(aside))
    assert list(aside.iterdir()) == []


def test_row_77_a_second_server_on_one_directory_is_refused(ill_treated: Watched) -> None:
    with ill_treated.case("row 77: two servers", is_audited=False):
        assert "another server runs on" in refusal(ill_treated.archive, "serve", code=BUSY)
    assert [row["name"] for row in ill_treated.archive.report("storage", "list")] == ["first"], "nothing was added"


def test_row_77_a_volume_that_is_mounted_twice_is_known_already(
    ill_treated: Watched, aside: Path, request: pytest.FixtureRequest
) -> None:
    mount("--bind", ill_treated.archive.volume, aside)
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(aside)], check=True))
    with ill_treated.case("row 77: a volume a second time", is_audited=False):
        told = refusal(ill_treated.archive, "storage", "add", "again", str(aside))
    assert f"known already, as first at {ill_treated.archive.volume}" in told


def test_row_77_the_volume_of_a_server_that_runs_is_not_taken_by_another(ill_treated: Watched, aside: Path) -> None:
    other = Archive(aside / "other")
    with ill_treated.case("row 77: two servers on one volume", is_audited=False):
        told = refusal(other, "storage", "add", "shared", str(ill_treated.archive.volume))
    assert "is held by a server that runs: that of another archive" in told
    assert [row["name"] for row in other.report("storage", "list")] == ["first"]


KEYS: dict[str, dict[str, Any]] = {
    "a key of TLS": {"tls": {"port": 0}},
    "the password of the database": {
        "database": "postgresql://pacs@127.0.0.1:1/pacs", "database_password_file": "tls/node.key"
    },
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_row_77_a_secret_that_everybody_can_read_is_refused(new_archive: Callable[..., Archive], name: str) -> None:
    archive = new_archive(**KEYS[name])
    folder = archive.data / "tls"
    folder.mkdir(exist_ok=True)
    (folder / "node.key").write_text("xyzzy")
    (folder / "node.key").chmod(0o644)
    told = refusal(archive, "serve", code=CONFIGURATION)
    assert "open to every user of this machine: chmod 600" in told
    assert "xyzzy" not in told
