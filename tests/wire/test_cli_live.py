"""The command line against an archive that runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.dcmtk import Receiver, Station
from support.samples import data_set_of, tiny, uid, write
from support.server import Archive, files_below, wait_for

SUCCESS = 0x0000


def test_status_tells_of_the_running_server_and_of_what_is_held(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    sample = write(tiny(1, study="status"), tmp_path / "one.dcm")
    assert station.store(sample.path).status == SUCCESS
    told = wait_for(lambda: archive.report("status"), "a report")
    assert told["server"]["port"] == archive.port
    assert told["holdings"]["instances"] >= 1
    assert [volume["state"] for volume in told["volumes"]] == ["online"]
    noted = wait_for(
        lambda: archive.report("status")["survival"], "the losses that are survived to be noted", timeout_s=90
    )
    assert (noted["data"], noted["retrieving"], noted["storing"]) == (0, 0, 0)


def test_nothing_that_a_server_makes_is_for_other_users(archive: Archive, station: Station, tmp_path: Path) -> None:
    assert station.store(write(tiny(1, study="closed"), tmp_path / "one.dcm").path).status == SUCCESS
    wait_for(lambda: archive.report("status")["holdings"]["instances"], "the object to be counted")
    modes = {path.relative_to(archive.data).as_posix(): path.stat().st_mode for path in files_below(archive.data)}
    assert {"index.db", "index.db-wal", "index.db-shm", "index.db.lock"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o007} == {}


def test_a_study_is_shown_with_its_series_objects_and_copies(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    sample = write(
        tiny(1, study="shown", PatientID="SHOWN", PatientName="山田^太郎", SpecificCharacterSet="ISO_IR 192"),
        tmp_path / "one.dcm",
    )
    assert station.store(sample.path).status == SUCCESS
    view = archive.report("show", "study", sample.study_uid)
    (part,) = view["series"]
    (held,) = part["objects"]
    assert (view["patient"]["patient_name"], held["uid"], held["role"]) == ("山田^太郎", sample.sop_uid, "current")
    (copy,) = held["copies"]
    assert data_set_of(archive.volume / copy["path"]) == sample.data_set
    assert "山田 太郎" in archive.pacs("show", "study", sample.study_uid).stdout
    archive.pacs("show", "study", "9.9.9", expect=2)


def test_import_takes_files_in_and_export_gives_them_back(archive: Archive, tmp_path: Path) -> None:
    samples = [write(tiny(n, study="imported", PatientID="IMP"), tmp_path / "in" / f"{n}.dcm") for n in range(3)]
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    results = archive.report("import", str(tmp_path / "in"), expect=3)
    assert sorted(result["outcome"] for result in results) == ["refused", "stored", "stored", "stored"]
    again = archive.report("import", str(samples[0].path))
    assert [result["outcome"] for result in again] == ["already held"]
    archive.pacs("export", "PatientID=IMP", "--to", str(tmp_path / "out"))
    exported = {path.stem: path for path in (tmp_path / "out").rglob("*.dcm")}
    for sample in samples:
        assert data_set_of(exported[sample.sop_uid]) == sample.data_set


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_an_import_goes_on_to_its_end_when_nobody_reads_what_it_tells(
    archive: Archive, tmp_path: Path, words: Sequence[str]
) -> None:
    samples = [write(tiny((n, words), study="unread"), tmp_path / f"last {n}.dcm") for n in range(3)]
    for n in range(600):  # more than a table waits for
        (tmp_path / f"{n}.txt").touch()
    read, written = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pacs_server", "-c", str(archive.config), "import", str(tmp_path), *words]
    done = subprocess.run(command, stdout=written, stderr=subprocess.PIPE, text=True, check=False)
    os.close(written)
    assert (done.returncode, done.stderr) == (3, "3 stored, 0 already held, 0 skipped, 600 refused\n")
    assert {sample.sop_uid for sample in samples} <= archive.instance_uids()


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_backup_is_read_to_its_end_when_nobody_reads_what_is_told_of_it(
    archive: Archive, tmp_path: Path, words: Sequence[str]
) -> None:
    write(tiny(words, study="backed up"), tmp_path / "in" / "one.dcm")
    archive.pacs("import", str(tmp_path / "in"))
    target = tmp_path / "backup"
    archive.pacs("backup", "run", "--to", str(target), "--objects")
    for one in (harmed := sorted(target.rglob("*.dcm"))):
        one.write_bytes(b"damaged")
    read, written = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pacs_server", "backup", "verify", str(target), *words]
    done = subprocess.run(command, stdout=written, stderr=subprocess.PIPE, text=True, check=False)
    os.close(written)
    assert (done.returncode, done.stderr.endswith(f" is damaged: {len(harmed)} files\n")) == (12, True), done.stderr
    (run,) = archive.report("backup", "list", str(target))
    assert run["state"] == f"{len(harmed)} files damaged"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_works_with_standard_streams_that_are_closed(archive: Archive, tmp_path: Path, closed: str) -> None:
    sample = write(tiny(closed, study="closed"), tmp_path / "one.dcm")
    command = [sys.executable, "-m", "pacs_server", "-c", str(archive.config), "import", str(tmp_path)]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], check=False)
    assert done.returncode == 0
    assert sample.sop_uid in archive.instance_uids()


def test_reconcile_adopts_litter_and_names_what_is_missing(archive: Archive, station: Station, tmp_path: Path) -> None:
    samples = [write(tiny(n, study="litter"), tmp_path / f"{n}.dcm") for n in range(2)]
    assert station.store(*(sample.path for sample in samples)).status == SUCCESS
    first, second = (path for path in archive.files() if path.name.startswith(tuple(s.sop_uid for s in samples)))
    first.unlink()
    findings = archive.report("reconcile", expect=12)
    assert [(one["kind"], one["path"]) for one in findings] == [
        ("row without file", str(first.relative_to(archive.volume)))
    ]
    shutil.copy(second, second.with_name("9.9.9-0123456789abcdef.dcm"))
    stray = second.with_name("9.9.9-0123456789abcdef.dcm")
    then = time.time() - 3600
    os.utime(stray, (then, then))
    kinds = {one["kind"] for one in archive.report("reconcile", "--repair", expect=12)}
    assert kinds == {"row without file", "file that is no object of ours"}
    stray.unlink()
    unfinished = second.with_name(".0123456789abcdef.tmp")
    unfinished.write_bytes(b"half")
    assert all(one["path"] != str(unfinished) for one in archive.report("reconcile", "--repair", expect=12))
    os.utime(unfinished, (then, then))
    kinds = {one["kind"] for one in archive.report("reconcile", expect=12)}
    assert "unfinished file that nobody writes to" in kinds
    archive.report("reconcile", "--repair", expect=12)
    assert not unfinished.exists()
    lost = next(sample for sample in samples if first.name.startswith(sample.sop_uid))
    assert station.store(lost.path).status == SUCCESS
    assert archive.report("reconcile") == []


def test_the_index_is_rebuilt_from_the_files_while_the_server_runs(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    samples = [write(tiny(n, study="rebuilt", Modality="CT"), tmp_path / f"{n}.dcm") for n in range(3)]
    assert station.store(*(sample.path for sample in samples)).status == SUCCESS
    before = archive.report("find", "instances")
    study = archive.report("find", "studies", f"StudyInstanceUID={uid('study', 'rebuilt')}")
    archive.pacs("index", "rebuild")
    assert sorted(row["uid"] for row in archive.report("find", "instances")) == sorted(row["uid"] for row in before)
    assert archive.report("find", "studies", f"StudyInstanceUID={uid('study', 'rebuilt')}") == study
    assert station.store(write(tiny(9, study="rebuilt"), tmp_path / "9.dcm").path).status == SUCCESS
    assert archive.report("reconcile") == []


def test_a_volume_that_is_added_is_used_without_a_restart(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    archive.pacs("storage", "add", "second", str(tmp_path / "second"), "--tier", "cold")
    listed = archive.report("storage", "list")
    assert {volume["name"]: volume["state"] for volume in listed} == {"first": "online", "second": "online"}


def test_who_adds_volumes_of_other_fault_domains_is_told_how_many_there_are(archive: Archive, tmp_path: Path) -> None:
    for number, name in ((2, "room2"), (3, "room3")):
        (tmp_path / name).mkdir()
        told = archive.pacs("storage", "add", name, str(tmp_path / name), "--domain", name).stderr
        assert f"{number} fault domains now: pacs policy set --want 2 " in told


def test_a_volume_that_is_being_emptied_counts_as_absent_where_copies_are_advised(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()

    def added(name: str) -> str:
        (tmp_path / name).mkdir()
        return archive.pacs("storage", "add", name, str(tmp_path / name), "--domain", name).stderr

    added("old")
    archive.pacs("storage", "drain", "old", "--yes")
    assert "2 fault domains now" in added("new")
    assert "volumes in 2 fault domains only" in archive.pacs("policy", "set", "--want", "3").stderr


def test_a_volume_that_is_as_it_was_asked_for_is_no_mistake(archive: Archive) -> None:
    assert archive.pacs("storage", "set", "first", "--writable").stderr == "first is so already; nothing was changed\n"
    assert "nothing to change was given" in archive.pacs("storage", "set", "first", expect=2).stderr


def test_peers_are_listed_changed_and_removed(archive: Archive) -> None:
    archive.pacs("ae", "add", "VIEWER", "192.0.2.9", "104", "--allow", "echo,find")
    archive.pacs("ae", "add", "VIEWER", "192.0.2.9", "104", expect=2)
    archive.pacs("ae", "set", "VIEWER", "--allow", "store")
    shown = archive.report("ae", "show", "VIEWER")
    assert shown["aet"] == "VIEWER"
    archive.pacs("ae", "remove", "VIEWER", "--yes")
    assert "VIEWER" not in [peer["aet"] for peer in archive.report("ae", "list")]
    archive.pacs("ae", "remove", "VIEWER", "--yes", expect=2)


def test_a_server_whose_database_is_gone_says_so_instead_of_beginning_with_an_empty_one(
    new_archive: Callable[..., Archive],
) -> None:
    archive = new_archive()
    for file in archive.data.glob("index.db*"):
        file.unlink()
    done = archive.pacs("serve", expect=11)
    assert "is gone or empty" in done.stderr
    assert archive.volume.is_dir()
    archive.pacs("db", "upgrade", "--new")
    archive.pacs("storage", "add", "first", str(archive.volume))
    files_do_not_say = "no peer is registered, because files do not say who may call, nor the policy and the routes"
    assert files_do_not_say in archive.pacs("index", "rebuild").stderr
    archive.pacs("ae", "add", "CT1", "ct1", "104")
    assert files_do_not_say not in archive.pacs("index", "rebuild").stderr
    archive.start()
    assert archive.stop() == 0


def test_a_second_server_on_the_same_data_is_refused(archive: Archive) -> None:
    assert archive.pacs("serve", expect=14).stdout == ""


def test_a_copy_of_a_data_directory_does_not_serve_the_volumes_of_the_original_beside_it(
    archive: Archive, tmp_path: Path
) -> None:
    copied = shutil.copytree(archive.data, tmp_path / "copied")
    command = ["-c", str(copied / "pacs.yaml")]
    refused = archive.pacs("serve", *command, expect=14)
    assert f"volume first lies in {archive.data}, whose server runs" in refused.stderr
    archive.pacs("storage", "set", "first", "--path", str(copied / "volumes" / "first"), *command)
    serving = archive.begin("serve", *command)
    wait_for(lambda: archive.pacs("status", *command, expect=(0, 13)).returncode == 0, "the copy to serve")
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(60) == 0


def test_what_to_try_is_told_once_the_server_listens_with_the_port_that_it_has(
    archive: Archive, new_archive: Callable[..., Archive]
) -> None:
    other = new_archive()
    other.start()
    assert f"  echoscu -aec PACS 127.0.0.1 {other.port}\n" in other.log_text()
    assert other.stop() == 0
    other.config.write_text(other.config.read_text(encoding="utf-8").replace("port: 0", f"port: {archive.port}"))
    refused = other.pacs("serve", expect=10)
    assert "cannot listen on" in refused.stderr
    assert refused.stdout == ""


def test_a_peer_is_tested_leg_by_leg(
    archive: Archive, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = receive("TESTED", "+xa")
    archive.add_peer("TESTED", receiver.port)
    archive.pacs("ae", "test", "TESTED")
    archive.add_peer("GONE", 1)
    archive.pacs("ae", "test", "GONE", expect=13)
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    heading, tcp, association, *_ = archive.pacs("ae", "test", "TESTED").stdout.splitlines()
    assert heading.split() == ["段階", "結果", "対処"]
    assert (tcp.split(), association.split()) == (["TCP", "正常"], ["アソシエーション", "正常"])
    told = archive.pacs("ae", "test", "GONE", expect=13).stdout
    assert "失敗  GONE (127.0.0.1:1) は接続を拒否しました。" in told
    assert "アドレスが 127.0.0.1:1 で正しいこと" in told
    assert archive.report("ae", "test", "TESTED")[1] == {"leg": "association", "result": "ok", "remedy": ""}


def test_a_list_of_nothing_says_so(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "new")
    for words in (
        "ae list", "ae seen", "jobs list", "trash list", "hold list", "conflicts list", "commit list",
        "index fields list", "partner list", "route list", "user list", "alert list",
    ):  # fmt: skip
        told = archive.pacs(*words.split())
        assert (told.stdout, bool(told.stderr.strip())) == ("", True), words
        assert json.loads(archive.pacs(*words.split(), "--json").stdout) == [], words
