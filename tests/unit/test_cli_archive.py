"""What commands say of an archive whose server does not run: before they change something, and of what they found."""

import json
from pathlib import Path

import pytest
from support.samples import tiny, write

from pacs_server.cli import storage
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.errors import IndexUnreachable
from pacs_server.index.engine import Index
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.operations import Operations


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_an_examination_that_changes_nothing_is_no_change_by_a_person(tmp_path, capsys):
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml"]
    assert run([*pacs_of, "doctor"]) == ExitCode.DAMAGE  # no server runs
    assert "writing        good" in capsys.readouterr().out
    assert run([*pacs_of, "audit", "report", "--json"]) == 0
    told = [(row["event"], row["detail"]) for row in json.loads(capsys.readouterr().out)]
    assert told == [("command", "pacs init --data data"), ("audit", "pacs -c data/pacs.yaml audit report --json")]


def test_who_empties_the_volume_without_which_nothing_can_be_stored_is_told_so_first(tmp_path, capsys):
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml", "storage"]
    capsys.readouterr()
    assert run([*pacs_of, "drain", "first"]) == 0
    why = "whatever is sent here is refused (0xA700): 0 other fault domains take new objects, and 1 are needed"
    assert why in capsys.readouterr().err
    Path("other").mkdir()
    assert run([*pacs_of, "add", "other", "other", "--domain", "b"]) == 0
    capsys.readouterr()
    assert run([*pacs_of, "drain", "first", "--yes"]) == 0
    assert "refused" not in capsys.readouterr().err
    assert run([*pacs_of, "drain", "other"]) == 0
    assert why in capsys.readouterr().err


@pytest.fixture
def moved_while(tmp_path, monkeypatch):
    """Give a volume the place to which it was moved, while somebody else does something with it."""
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml", "storage"]
    Path("other").mkdir()
    assert run([*pacs_of, "add", "other", "other"]) == 0
    look = storage._check_sentinel

    def move(*others):
        def look_slowly(row):
            assert run([*pacs_of, *others]) == 0
            look(row)

        monkeypatch.setattr(storage, "_check_sentinel", look_slowly)
        Path("data/volumes/first").rename("moved")
        return run([*pacs_of, "set", "first", "--path", str(tmp_path / "moved")])

    return move


def test_a_volume_that_was_removed_while_its_new_place_was_looked_at_is_not_said_to_be_changed(moved_while, capsys):
    assert moved_while("remove", "first", "--lost", "--yes") == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "the volume was removed meanwhile; pacs storage list" in told
    assert "changed volume" not in told


def test_what_another_person_changes_of_a_volume_while_its_new_place_is_looked_at_holds(moved_while, tmp_path, capsys):
    pacs_of = ["-c", "data/pacs.yaml", "storage"]
    assert moved_while("drain", "first", "--yes") == 0
    capsys.readouterr()
    assert run([*pacs_of, "show", "first", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], told["mode"]) == (str(tmp_path / "moved"), "draining")


@pytest.fixture
def with_another(monkeypatch):
    """Give a command, and another one before the first writes anything: both have read what there is by then."""
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml"]
    assert run([*pacs_of, "ae", "add", "CT1", "192.0.2.1", "104"]) == 0
    assert run([*pacs_of, "policy", "set", "--want", "3", "--need", "2"]) == 0
    write = Index.write

    def give(ours, theirs, *, expect=0):
        others = iter([theirs])

        def write_after_another(index, *told):
            for other in others:
                assert run([*pacs_of, *other]) == 0
            return write(index, *told)

        monkeypatch.setattr(Index, "write", write_after_another)
        assert run([*pacs_of, *ours]) == expect

    return give


@pytest.mark.parametrize(
    ("command", "ours", "theirs", "show", "expected"),
    [
        ("ae set CT1", "--issuer A", "--port 105", "ae show CT1", {"issuer": "A", "port": 105}),
        ("policy set", "--want 4", "--need 3", "policy show", {"want": 4, "need": 3}),
        ("retention set", "--grace-days 9", "--keep-days 99", "retention show", {"grace_days": 9, "keep_days": 99}),
    ],
)
def test_what_another_person_sets_in_the_same_moment_holds(with_another, capsys, command, ours, theirs, show, expected):
    with_another([*command.split(), *ours.split()], [*command.split(), *theirs.split()])
    capsys.readouterr()
    assert run(["-c", "data/pacs.yaml", *show.split(), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (found,) = told if isinstance(told, list) else [told]
    assert expected.items() <= found.items()


@pytest.mark.parametrize("title", ["CT1", "CT2"])
def test_a_peer_that_another_person_enters_while_a_file_is_read_waits_for_a_decision(with_another, capsys, title):
    in_file = {"aet": title, "host": "192.0.2.9", "port": 104}
    Path("peers.yaml").write_text(json.dumps([in_file, in_file | {"aet": "CT3"}]))
    theirs = ["ae", "add", "CT2", "192.0.2.2", "104"] if title == "CT2" else ["ae", "set", "CT1", "--issuer", "A"]
    with_another(["ae", "import", "peers.yaml"], theirs, expect=ExitCode.PARTLY)
    told = capsys.readouterr().err
    assert f"would change {title}: host 192.0.2." in told
    assert "registered CT3\n" in told
    assert ("issuer A -> -" in told) == (title == "CT1")


def test_kinds_of_jobs_that_two_persons_pause_in_the_same_moment_both_wait(with_another, capsys):
    with_another(["jobs", "pause", "--kind", "verify"], ["jobs", "pause", "--kind", "send"])
    capsys.readouterr()
    assert run(["-c", "data/pacs.yaml", "jobs", "list"]) == 0
    assert "nothing is begun of: send, verify;" in capsys.readouterr().err


def test_what_names_a_peer_that_is_forgotten_is_told(capsys):
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml"]
    for aet in ("CT1", "CT2"):
        assert run([*pacs_of, "ae", "add", aet, "192.0.2.1", "104"]) == 0
    assert run([*pacs_of, "policy", "set", "--peer", "CT1", "--want", "2"]) == 0
    assert run([*pacs_of, "route", "add", "night", "--from", "CT1", "--to", "CT2"]) == 0
    capsys.readouterr()
    for words in (["CT1"], ["CT1", "--yes"]):
        assert run([*pacs_of, "ae", "remove", *words]) == 0
        assert capsys.readouterr().err.endswith("has part in it: policy set --peer CT1, route night\n")
    assert run([*pacs_of, "route", "remove", "night", "--yes"]) == 0
    capsys.readouterr()
    assert run([*pacs_of, "ae", "remove", "CT2", "--yes"]) == 0
    assert capsys.readouterr().err == "forgot CT2\n"


def test_jobs_are_retried_all_or_by_their_numbers(capsys):
    assert run(["init", "--data", "data"]) == 0
    assert run(["-c", "data/pacs.yaml", "jobs", "retry", "--all", "17"]) == ExitCode.REFUSED
    assert "--all is every job: give it without numbers" in capsys.readouterr().err


def test_a_volume_that_is_named_twice_is_read_once_and_what_lists_tell_is_told_to_the_second(capsys):
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml"]
    write(tiny(1), Path("in"))
    assert run([*pacs_of, "import", "in"]) == 0
    capsys.readouterr()
    assert run([*pacs_of, "verify", "--volume", "first", "--volume", "first"]) == 0
    assert capsys.readouterr().err == "1 good\n"
    assert run([*pacs_of, "delete", "PatientID=T-1", "--reason", "why", "--yes"]) == 0
    capsys.readouterr()
    assert run([*pacs_of, "trash", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert run([*pacs_of, "hold", "add", f"StudyInstanceUID={told[0]['uid']}", "--reason", "why"]) == 0
    capsys.readouterr()
    assert run([*pacs_of, "hold", "list", "--json"]) == 0
    told += json.loads(capsys.readouterr().out)
    assert [len(one["at"]) for one in told] == [len("2026-11-30T12:00:00+00:00")] * 2


def test_what_was_decided_before_the_index_went_away_is_told(monkeypatch, capsys):
    assert run(["init", "--data", "data"]) == 0
    for study in ("first", "second"):
        write(tiny(study, study=study), Path(f"{study}.dcm"))
    assert run(["-c", "data/pacs.yaml", "import", "first.dcm", "second.dcm"]) == 0
    record, decided = Operations.record, []

    def going_away(self, operation, **how):
        if decided:
            raise IndexUnreachable("it went away")
        decided.append(operation)
        return record(self, operation, **how)

    monkeypatch.setattr(Operations, "record", going_away)
    capsys.readouterr()
    code = run(["-c", "data/pacs.yaml", "delete", "PatientID=T-*", "--reason", "why", "--yes"])
    told = capsys.readouterr().err
    assert code == ExitCode.UNREACHABLE
    assert "go to the trash: 1, before it went no further\npacs: it went away: the decision about study" in told


def test_a_volume_is_said_to_be_added_although_the_index_goes_away_behind_that(monkeypatch, capsys):
    def away(*_, **__):
        raise IndexUnreachable("it went away")

    assert run(["init", "--data", "data"]) == 0
    Path("second").mkdir()
    monkeypatch.setattr(JobQueue, "owe", away)
    capsys.readouterr()
    assert run(["-c", "data/pacs.yaml", "storage", "add", "second", "second"]) == ExitCode.UNREACHABLE
    told = capsys.readouterr().err
    assert "added volume second" in told
    assert told.endswith("pacs: it went away\n")


def test_a_backup_that_was_found_damaged_is_not_told_to_have_never_been_verified(tmp_path, capsys):
    assert run(["init", "--data", "data"]) == 0
    pacs_of = ["-c", "data/pacs.yaml"]
    write(tiny("one"), tmp_path / "one.dcm")
    assert run([*pacs_of, "import", "one.dcm"]) == 0
    assert run([*pacs_of, "backup", "run", "--to", "kept", "--objects"]) == 0

    def told_of() -> str:
        capsys.readouterr()
        assert run([*pacs_of, "restore-backup", "kept"]) == 0
        return capsys.readouterr().err

    assert " was never verified; " in told_of()
    (held,) = Path("kept").rglob("*.dcm")
    whole = held.read_bytes()
    held.write_bytes(whole[:-1])
    assert run(["backup", "verify", "kept"]) == ExitCode.DAMAGE
    assert " was found damaged: 1 files; " in (told := told_of())
    assert "never verified" not in told
    assert run(["backup", "list", "kept"]) == 0
    assert "never" not in capsys.readouterr().out
    held.write_bytes(whole)
    assert run(["backup", "verify", "kept"]) == 0
    told = told_of()
    assert "found damaged" not in told
    assert "never verified" not in told
