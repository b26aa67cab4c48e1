"""The command line without an archive: help, exit codes, where the settings are found, arguments that cannot be."""

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from pacs_server import errors
from pacs_server.cli.exits import MEANINGS, ExitCode, exit_code
from pacs_server.cli.invocation import Command, find_settings, key_values
from pacs_server.cli.main import pacs, run
from pacs_server.cli.node import first_steps
from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import ConfigError
from pacs_server.settings import Settings

ROOT = Path(__file__).parents[2]
HEAVY = ("sqlalchemy", "alembic", "pynetdicom", "pydicom", "numpy", "psycopg2")


def command_lines(command: click.Command = pacs, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return [path, *(line for name, sub in below for line in command_lines(sub, (*path, name)))]


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("PACS_CONFIG", "PACS_DATA", "PACS_AET", "PACS_HOST", "PACS_PORT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_help_works_without_an_archive_and_holds_one_example(words, capsys):
    assert run([*words, "-h"]) == 0
    assert capsys.readouterr().out.count("Example:\n  pacs ") == 1


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_the_example_is_of_the_command_itself(words):
    command: click.Command = pacs
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    if isinstance(command, Command):
        assert re.sub(r"^pacs -c \S+ ", "pacs ", command.example).startswith(" ".join(("pacs", *words)))


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_the_example_is_one_line_that_can_be_pasted_however_narrow_the_terminal(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert run([*words, "-h"]) == 0
    below = capsys.readouterr().out.partition("Example:\n")[2]
    assert len(below.splitlines()) == 1
    shlex.split(below)


@pytest.mark.parametrize(
    "words", [("ae", "import"), ("ae", "export"), ("ae", "approve"), ("tls", "init")], ids=" ".join
)
def test_a_command_that_does_what_is_new_without_yes_does_not_promise_only_to_say_it(words, capsys):
    assert run([*words, "-h"]) == 0
    assert "--yes" in (shown := capsys.readouterr().out)
    assert "only say" not in shown


def test_no_line_of_a_list_of_commands_is_cut_off(capsys):
    for words in command_lines():
        run([*words, "-h"])
        commands = capsys.readouterr().out.partition("Commands:\n")[2]
        assert "..." not in commands, commands


def test_help_imports_no_database_and_no_protocol_library():
    script = "\n".join(
        (
            "import sys",
            "from pacs_server.cli.main import run",
            "run(['-h'])",
            f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)",
        )
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == "[]"


def test_who_interrupts_a_command_that_is_being_loaded_sees_no_traceback():
    script = "\n".join(
        (
            "import sys",
            "class Interrupting:",
            "    def find_spec(self, name, *_):",
            "        if name == 'click':",
            "            raise KeyboardInterrupt",
            "sys.meta_path.insert(0, Interrupting())",
            "from pacs_server.__main__ import main",
            "main()",
        )
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_table_of_exit_codes_in_the_documents_is_that_of_the_code():
    text = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| ([^|]+?) \|", text, re.M)}
    assert documented == {code.value: meaning for code, meaning in MEANINGS.items()}


def test_every_error_ends_in_a_code_of_its_own_choice():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PacsError)]
    unexpected = {kind for kind in kinds if exit_code(kind("x")) is ExitCode.UNEXPECTED}
    assert unexpected == {errors.PacsError}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], ExitCode.CONFIGURATION),
        (["-c", "nowhere.yaml", "config", "check"], ExitCode.CONFIGURATION),
        (["config", "check", "-c", "nowhere.yaml"], ExitCode.CONFIGURATION),
        (["no-such-command"], ExitCode.REFUSED),
        (["find", "planets"], ExitCode.REFUSED),
        (["import", "no-such-file"], ExitCode.REFUSED),
        (["export", "PatientID=1"], ExitCode.REFUSED),
        (["init", "--aet", "A;B"], ExitCode.REFUSED),
        (["ae", "add", "SEVENTEEN_LETTERS", "host", "104"], ExitCode.REFUSED),
        (["policy", "set", "--peer", "", "--want", "2"], ExitCode.REFUSED),
        (["reconcile", "--with", "", "--repair"], ExitCode.REFUSED),
        (["send", "retry", "--to", ""], ExitCode.REFUSED),
        (["export", "PatientID=1", "--to", ""], ExitCode.REFUSED),
        (["storage", "add", "nas1", ""], ExitCode.REFUSED),
        (["restore-backup", ".", "--run", ""], ExitCode.REFUSED),
        (["audit", "report", "--patient", ""], ExitCode.REFUSED),
        (["verify", "--rate", "nan"], ExitCode.REFUSED),
        (["commit", "study", "1.2", "--with", "ARCHIVE2", "--wait", "nan"], ExitCode.REFUSED),
        (["failover", "resync", "osaka", "--wait", "inf"], ExitCode.REFUSED),
        (["find", "studies", "--limit", "99999999999999999999"], ExitCode.REFUSED),
        (["jobs", "list", "--limit", "2147483648"], ExitCode.REFUSED),
        (["jobs", "drop", "7", "99999999999999999999"], ExitCode.REFUSED),
        (["find", "studies", "PatientName=\udc8e\udcb1"], ExitCode.REFUSED),
        (["storage", "add", "nas1", "/mnt/\udcff"], ExitCode.REFUSED),
    ],
)
def test_what_is_wrong_has_its_exit_code_and_a_sentence_on_standard_error(words, code, capsys):
    assert run(words) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip()
    assert "Traceback" not in said.err


def test_an_unforeseen_error_ends_with_1_and_its_traceback_on_standard_error(monkeypatch, capsys):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("pacs_server.cli.invocation.find_settings", broken)
    assert run(["config", "check"]) == ExitCode.UNEXPECTED
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" in said.err
    assert "unexpected: ZeroDivisionError" in said.err


def test_files_and_programs_that_the_settings_name_have_to_be_there(tmp_path, capsys):
    file = tmp_path / "pacs.yaml"
    named = {
        "tls": {"ca_file": "ours.crt"},
        "identity": {"jwt": {"key_files": ["issuer.pem"]}},
        "alert": {"command": ["/nonexistent/tell", "--now"]},
        "failover": {"hook": ["true", "x"]},
        "log": {"file": "logs/pacs.log"},
    }
    file.write_text(yaml.safe_dump(named | {"data_dir": str(tmp_path)}), encoding="utf-8")
    assert run(["-c", str(file), "config", "check"]) == ExitCode.CONFIGURATION
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    for name, why in (
        ("log.file", f"{tmp_path}/logs is not there"),
        ("tls.ca_file", f"{tmp_path}/ours.crt is not there"),
        ("identity.jwt.key_files", f"{tmp_path}/issuer.pem is not there"),
        ("alert.command", "/nonexistent/tell is no program that can be run"),
    ):
        assert any(line.endswith(f"{name}: {why}") and f"{file} line " in line for line in told), told
    for one in ("ours.crt", "issuer.pem"):
        (tmp_path / one).touch()
    (tmp_path / "logs").mkdir()
    named["alert"]["command"] = ["true"]
    file.write_text(yaml.safe_dump(named | {"data_dir": str(tmp_path)}), encoding="utf-8")
    assert run(["-c", str(file), "config", "check"]) == ExitCode.DONE


def test_settings_whose_data_directory_is_not_there_are_not_good(tmp_path, capsys):
    file = tmp_path / "pacs.yaml"
    named = {"data_dir": "gone", "tls": {"ca_file": "ours.crt"}}
    file.write_text(yaml.safe_dump(named), encoding="utf-8")
    assert run(["-c", str(file), "config", "check"]) == ExitCode.CONFIGURATION
    assert capsys.readouterr().err == f"pacs: {file} line 1: data_dir: {tmp_path}/gone is not there\n"
    (tmp_path / "gone").touch()
    assert run(["-c", str(file), "config", "check"]) == ExitCode.CONFIGURATION
    (tmp_path / "gone").unlink()
    assert run(["init", "--data", str(tmp_path / "gone")]) == ExitCode.DONE
    file.write_text("data_dir: gone\n", encoding="utf-8")
    assert run(["-c", str(file), "config", "check"]) == ExitCode.DONE


def test_who_serves_where_no_archive_is_is_told_how_to_make_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PACS_DATA", str(tmp_path))
    assert run(["serve"]) == ExitCode.CONFIGURATION
    told = capsys.readouterr().err
    assert f"{tmp_path}/pacs.yaml" in told
    assert told.endswith("no archive is there; name its settings file with -c, or make one with pacs init\n")


def test_what_may_not_be_looked_at_is_a_problem_of_the_settings_beside_others(tmp_path, monkeypatch, capsys):
    file, look = tmp_path / "pacs.yaml", Path.stat

    def closed(path, **given):  # as for another user: root is let in everywhere
        if "closed" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **given)

    monkeypatch.setattr(Path, "stat", closed)
    named = {"tls": {"ca_file": "closed/ours.crt"}, "log": {"file": "closed/logs/pacs.log"}}
    named["identity"] = {"jwt": {"key_files": ["k" * 300, "issuer.pem"]}}
    file.write_text(yaml.safe_dump(named | {"data_dir": str(tmp_path)}), encoding="utf-8")
    assert run(["-c", str(file), "config", "check"]) == ExitCode.CONFIGURATION
    told = capsys.readouterr().err
    for what in ("ours.crt cannot be read: Permission denied; ", "closed/logs cannot be read: Permission denied; "):
        assert f"{what}correct it, or run pacs as the user of the server\n" in told
    assert "kkk cannot be read: File name too long; " in told
    assert "issuer.pem is not there\n" in told


def test_one_mistake_in_a_list_of_addresses_is_one_problem(tmp_path, capsys):
    file = tmp_path / "pacs.yaml"
    mail = {"host": "mail.a.example", "sender": "pacs@a.example", "recipients": ["it@a.example", "nobody"]}
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path), "alert": {"mail": mail}}), encoding="utf-8")
    assert run(["-c", str(file), "config", "check"]) == ExitCode.CONFIGURATION
    (line,) = capsys.readouterr().err.splitlines()
    assert "nobody" in line


def test_settings_are_found_in_the_documented_order(tmp_path):
    environment = {"PACS_CONFIG": "/x/a.yaml", "PACS_DATA": "/y"}
    assert find_settings(Path("given.yaml"), environment) == Path("given.yaml")
    assert find_settings(None, environment) == Path("/x/a.yaml")
    assert find_settings(None, {"PACS_DATA": "/y"}) == Path("/y/pacs.yaml")
    with pytest.raises(ConfigError, match="pacs init"):
        find_settings(None, {})
    (tmp_path / "pacs-data").mkdir()
    (tmp_path / "pacs-data" / "pacs.yaml").touch()
    assert find_settings(None, {}) == Path("pacs-data/pacs.yaml")


def test_who_makes_an_archive_where_no_command_looks_for_it_is_told_how_to_name_it(tmp_path, monkeypatch, capsys):
    assert run(["init", "--data", "my data"]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "export" in line)
    monkeypatch.setenv(*shlex.split(line.partition("export ")[2].partition(", or")[0])[0].split("="))
    assert find_settings(None, os.environ) == tmp_path / "my data" / "pacs.yaml"
    monkeypatch.delenv("PACS_CONFIG")
    assert run(["init"]) == 0
    assert "export" not in capsys.readouterr().err


def test_a_usual_place_that_may_not_be_looked_into_is_named_with_what_to_do(monkeypatch):
    def closed(path, **_):  # as for another user: root is let in everywhere
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied; run pacs as the user of the server"):
        find_settings(None, {})


def test_a_value_may_hold_an_equals_sign_and_be_empty():
    assert key_values(("PatientName=Y=山=や", "StudyDate=")) == {"PatientName": "Y=山=や", "StudyDate": ""}


def test_config_show_tells_the_origin_and_json_is_the_same_list(tmp_path, capsys):
    (tmp_path / "p.yaml").write_text("port: 104\n")
    assert run(["-c", "p.yaml", "config", "show", "--origin"]) == 0
    assert re.search(r"^port +104 +p.yaml line 1$", capsys.readouterr().out, re.M)
    assert run(["--json", "-c", "p.yaml", "config", "show"]) == 0
    assert '{"name": "port", "value": 104}' in capsys.readouterr().out


def test_an_answer_that_nobody_reads_ends_quietly_as_of_other_programs(tmp_path):
    (tmp_path / "p.yaml").write_text("port: 104\n")
    read, written = os.pipe()
    os.close(read)
    for words in (["ae", "--help"], ["--help"], ["-c", str(tmp_path / "p.yaml"), "config", "show", "--json"]):
        command = [sys.executable, "-m", "pacs_server", *words]
        done = subprocess.run(command, stdout=written, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
        assert (done.returncode, done.stderr) == (141, "")
    os.close(written)


def test_a_place_without_a_backup_is_told_to_be_one(tmp_path, capsys):
    assert run(["backup", "list", str(tmp_path)]) == ExitCode.DONE
    assert capsys.readouterr().err == f"{tmp_path} has no backup; is the right directory mounted there?\n"


def test_what_to_try_can_be_pasted_whatever_the_archive_and_its_folder_are_called(tmp_path):
    settings = Settings(aet=AeTitle("MY PACS"), data_dir=tmp_path, database="sqlite:///unused")
    _, *lines = first_steps(settings, Path("/srv/院 内's/pacs.yaml"), ("127.0.0.1", 104), ("", None)).splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    assert all("MY PACS" in line or "/srv/院 内's/pacs.yaml" in line for line in words)


@pytest.mark.parametrize(("host", "called"), [("::1", "::1"), ("192.0.2.1", "192.0.2.1"), ("::", "127.0.0.1")])
def test_what_to_try_registers_the_destination_at_the_address_from_which_it_will_call(tmp_path, host, called):
    settings = Settings(aet=AeTitle("PACS"), data_dir=tmp_path, database="sqlite:///unused")
    told = first_steps(settings, tmp_path / "pacs.yaml", (host, 104), ("", None))
    assert f"ae add MYSTATION {called} 11113 " in told
    assert f"movescu -S -aec PACS {called} 104 " in told


def test_completion_of_the_shell_knows_the_commands(monkeypatch, capsys):
    for name, value in {"_PACS_COMPLETE": "bash_complete", "COMP_WORDS": "pacs jo", "COMP_CWORD": "1"}.items():
        monkeypatch.setenv(name, value)
    assert run([]) == 0
    assert capsys.readouterr().out == "plain,jobs\n"


def test_an_answer_that_finds_no_room_is_told_in_a_line():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "pacs_server", "ae", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ExitCode.UNEXPECTED
    assert done.stderr.startswith("pacs: could not write: No space left on device; make room")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("lost", ["a full disk", "a reader that ended"])
def test_what_cannot_be_said_changes_nothing_in_how_a_command_ends(tmp_path, lost):
    assert run(["init", "--data", "data"]) == 0
    (tmp_path / "notes.txt").write_text("no DICOM")
    read, unread = os.pipe()
    os.close(read)
    out = os.open("/dev/full", os.O_WRONLY) if lost == "a full disk" else unread
    for words, expected in ((["jobs", "list"], ExitCode.DONE), (["import", "notes.txt", "--json"], ExitCode.PARTLY)):
        stdout = out if lost == "a reader that ended" else subprocess.DEVNULL
        command = [sys.executable, "-m", "pacs_server", "-c", "data/pacs.yaml", *words]
        assert subprocess.run(command, stdout=stdout, stderr=out, check=False).returncode == expected, words
    for one in {out, unread}:
        os.close(one)


def test_a_disk_that_is_full_costs_nobody_the_peers_that_were_exported_before(tmp_path, monkeypatch, capsys):
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml"]
    assert run([*pacs_of, "ae", "add", "CT1", "127.0.0.1", "104"]) == 0
    assert run([*pacs_of, "ae", "export", "peers.yaml"]) == 0
    exported = Path("peers.yaml").read_bytes()

    def finds_no_room(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", finds_no_room)
        for words in (["peers.yaml", "--yes"], ["other.yaml"]):
            capsys.readouterr()
            assert run([*pacs_of, "ae", "export", *words]) == ExitCode.REFUSED
            assert f"{words[0]} cannot be written: No space left on device" in capsys.readouterr().err
        assert run(["init", "--data", "second"]) == ExitCode.REFUSED
    assert Path("peers.yaml").read_bytes() == exported
    assert {path.name for path in tmp_path.iterdir()} == {"data", "second", "peers.yaml"}
    assert {path.name for path in Path("second").iterdir()} == {"serve.lock"}
    assert run([*pacs_of, "ae", "export", "misspelt/peers.yaml"]) == ExitCode.REFUSED
    Path("linked.yaml").symlink_to("peers.yaml")
    assert run([*pacs_of, "ae", "export", "linked.yaml", "--yes"]) == 0
    assert Path("linked.yaml").is_symlink(), "what it leads to is written"
    assert run(["init", "--data", "second"]) == 0


@pytest.mark.parametrize("words", [["init", "--data", "here"], ["storage", "add", "second", "here"]], ids=" ".join)
def test_who_works_in_a_folder_that_was_removed_is_told_so(words, tmp_path, monkeypatch, capsys):
    assert run(["init", "--data", "data"]) == 0
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    capsys.readouterr()
    assert run(["-c", f"{tmp_path}/data/pacs.yaml", *words]) == ExitCode.REFUSED
    assert capsys.readouterr().err == "pacs: the working directory was removed: change to one that is there\n"


def test_of_two_who_make_a_folder_an_archive_at_once_one_does_and_the_other_is_told(tmp_path):
    command = [sys.executable, "-m", "pacs_server", "init", "--data", "data"]
    at_once = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = {one.communicate()[1]: one.returncode for one in at_once}
    assert list(told.values()).count(ExitCode.DONE) == 1, told
    for text, code in told.items():
        if code != ExitCode.DONE:
            assert "is already an archive" in text or "another pacs init" in text, text
            assert code in (ExitCode.REFUSED, ExitCode.BUSY)
    assert run(["-c", "data/pacs.yaml", "storage", "list"]) == 0


def test_an_archive_that_its_database_refuses_leaves_no_settings_file_behind(tmp_path, capsys):
    away = "postgresql://pacs@127.0.0.1:1/pacs"
    assert run(["init", "--data", "data", "--database", away]) == ExitCode.UNREACHABLE
    assert list(Path("data").glob("pacs.*")) == []
    assert run(["init", "--data", "data"]) == 0
    assert list(Path("data").glob("*.part")) == []


def test_a_place_that_cannot_be_looked_into_is_refused_by_name(tmp_path, capsys):
    assert run(["init", "--data", "data"]) == 0
    closed = str(tmp_path / ("n" * 300))  # as is a folder without the right to enter it, but for root too
    for words in (
        ["init", "--data", closed],
        ["-c", "data/pacs.yaml", "ae", "export", closed],
        ["-c", "data/pacs.yaml", "tls", "init", "--dir", closed, "--name", "pacs2"],
    ):
        capsys.readouterr()
        assert run(words) == ExitCode.REFUSED
        assert "cannot be written: File name too long" in capsys.readouterr().err
    assert run(["-c", "data/pacs.yaml", "storage", "add", "nas", closed]) == ExitCode.REFUSED
    assert "cannot be used: File name too long" in capsys.readouterr().err
