"""What `pacs` makes holds data of patients: other users of the machine get nothing of it, whatever the shell grants."""

import json
import os
from pathlib import Path, PurePosixPath
from shutil import rmtree
from stat import S_IMODE
from tempfile import TemporaryDirectory

import pytest
from support.server import run_pacs

from pacs_server.cli.exits import ExitCode
from pacs_server.index.maintenance.copying import prepare
from pacs_server.service.locks import backup_lock
from pacs_server.storage.atomic import NewFile
from pacs_server.storage.descriptors import Descriptor
from pacs_server.storage.tree import OPEN_DIRECTORY, Tree


def pacs(*words: str, umask: int) -> None:
    run_pacs(words, umask=umask)


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o022, 0o750, 0o640), (0o002, 0o770, 0o660)])
def test_a_new_archive_is_closed_to_others_and_open_to_its_group_as_before(
    tmp_path: Path, umask: int, folder: int, file: int
) -> None:
    data = tmp_path / "data"
    pacs("init", "--data", str(data), "--port", "0", umask=umask)
    pacs("-c", str(data / "pacs.yaml"), "ae", "add", "CT1", "ct1", "104", umask=umask)
    modes = {path.relative_to(tmp_path).as_posix(): S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {name for name, mode in modes.items() if mode & 0o007} == set()
    assert {modes[name] for name in ("data", "data/volumes", "data/volumes/first")} == {folder}
    assert (modes["data/pacs.yaml"], modes["data/index.db"]) == (file, 0o640)


def test_what_the_owner_keeps_from_the_group_is_kept_from_it(tmp_path: Path) -> None:
    pacs("init", "--data", str(tmp_path / "data"), "--port", "0", umask=0o077)
    assert {S_IMODE(path.stat().st_mode) & 0o077 for path in tmp_path.rglob("*")} == {0}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes files for others")
def test_what_root_stores_belongs_to_the_owner_of_the_volume(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    tree = Tree(Descriptor(os.open(tmp_path, OPEN_DIRECTORY)))
    with NewFile(tree, PurePosixPath("v1", "2026")) as file:
        file.write((b"an object",))
        file.finish("one.dcm")
    made = [path.stat() for path in tmp_path.rglob("*")]
    assert [(one.st_uid, one.st_gid) for one in made] == [(4711, 4712)] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes files for others")
def test_what_root_makes_in_a_data_directory_belongs_to_the_owner_of_that(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    os.chown(data, 4711, 4712)
    pacs("init", "--data", str(data), "--port", "0", umask=0o022)
    pacs("-c", str(data / "pacs.yaml"), "tls", "init", "--name", "pacs1", umask=0o022)
    pacs("-c", str(data / "pacs.yaml"), "tier", "run", "--yes", umask=0o022)
    pacs("-c", str(data / "pacs.yaml"), "backup", "run", "--to", str(backup), umask=0o022)
    rmtree(data / "tls")
    pacs("-c", str(data / "pacs.yaml"), "restore-backup", str(backup), "--yes", umask=0o022)
    made = {path.relative_to(data).as_posix(): path.stat() for path in data.rglob("*")}
    assert made.keys() >= {"pacs.yaml", "index.db", "backup.lock", "tier.lock", "serve.lock", "tls/ca.key", "volumes"}
    assert {name for name, one in made.items() if (one.st_uid, one.st_gid) != (4711, 4712)} == set()


def test_a_look_at_an_archive_whose_index_is_lost_makes_none(tmp_path: Path) -> None:
    data = tmp_path / "data"
    pacs("init", "--data", str(data), "--port", "0", umask=0o022)
    for lost in data.glob("index.db*"):
        lost.unlink()
    for words in (["status"], ["doctor"], ["serve"], ["db", "current"], ["db", "check"], ["db", "upgrade"]):
        run_pacs(["-c", str(data / "pacs.yaml"), *words], expect=ExitCode.SCHEMA)
        assert (words, list(data.glob("index.db*"))) == (words, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes files for others")
def test_an_index_that_root_begins_anew_belongs_to_the_owner_of_the_data_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 4711, 4712)
    pacs("init", "--data", str(data), "--port", "0", umask=0o022)
    for lost in data.glob("index.db*"):
        lost.unlink()
    pacs("-c", str(data / "pacs.yaml"), "db", "upgrade", "--new", umask=0o022)
    made = {path.name: path.stat() for path in data.glob("index.db*")}
    assert "index.db" in made
    assert {name for name, one in made.items() if (one.st_uid, one.st_gid) != (4711, 4712)} == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes files for others")
def test_a_database_that_root_copies_into_a_file_belongs_to_the_owner_of_its_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    prepare("postgresql://pacs@db1/pacs", f"sqlite:///{tmp_path}/back.db").close()
    made = (tmp_path / "back.db").stat()
    assert (made.st_uid, made.st_gid) == (4711, 4712)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes files for others")
def test_root_adds_no_volume_that_the_user_of_the_server_could_not_use() -> None:
    with TemporaryDirectory() as folder:  # which that user reaches, unlike what pytest makes
        Path(folder).chmod(0o755)
        data, nas = Path(folder, "data"), Path(folder, "nas")
        data.mkdir()
        nas.mkdir()
        os.chown(data, 4711, 4712)
        pacs("init", "--data", str(data), "--port", "0", umask=0o022)
        words = ["-c", str(data / "pacs.yaml"), "storage", "add", "nas", str(nas)]
        told = run_pacs(words, expect=ExitCode.REFUSED)
        assert told.stderr == (
            f"pacs: {nas} cannot be used by 4711, the user of the server, to whom {data} belongs: "
            f"chown -R 4711: {nas}\n"
        )
        os.chown(nas, 4711, 4712)
        pacs(*words, umask=0o022)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can read what the server cannot")
def test_the_doctor_of_root_tells_what_the_user_of_the_server_cannot_read() -> None:
    with TemporaryDirectory() as folder:  # which that user reaches, unlike what pytest makes
        Path(folder).chmod(0o755)
        data, passcode = Path(folder, "data"), Path(folder, "passcode")
        data.mkdir()
        os.chown(data, 4711, 4712)
        passcode.write_text("secret")
        passcode.chmod(0o600)
        pacs("init", "--data", str(data), "--port", "0", umask=0o022)
        pacs("-c", str(data / "pacs.yaml"), "tls", "init", umask=0o022)
        words = ["pacs2", "10.0.0.2", "11112", "--tls", "--as-user", "pacs", "--passcode-file", str(passcode)]
        pacs("-c", str(data / "pacs.yaml"), "ae", "add", *words, umask=0o022)
        os.chown(data / "tls" / "node.key", 0, 0)
        with (data / "pacs.yaml").open("a") as settings:
            settings.write("identity: {jwt: {issuer: https://idp, key_files: [issuer.json]}}\n")
        told = run_pacs(["--json", "-c", str(data / "pacs.yaml"), "doctor"], expect=ExitCode.DAMAGE).stdout
        found = [(row["check"], row["result"]) for row in json.loads(told) if row["check"] in ("settings", "sends")]
        at = f"{data}/pacs.yaml line {len((data / 'pacs.yaml').read_text().splitlines())}"
        assert found == [
            ("settings", f"{at}: identity.jwt.key_files: {data}/issuer.json is not there"),
            ("settings", f"{data}/tls/node.key cannot be read by 4711, the user of the server"),
            ("sends", f"{passcode} cannot be read by 4711, the user of the server"),
        ]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes files for others")
def test_root_gives_nobody_what_was_there_before(tmp_path: Path) -> None:
    shadow, data = tmp_path / "shadow", tmp_path / "data"
    shadow.touch()
    data.mkdir()
    os.chown(data, 4711, 4712)
    (data / "backup.lock").symlink_to(shadow)
    with backup_lock(data):
        pass
    assert (shadow.stat().st_uid, shadow.stat().st_gid) == (0, 0)
