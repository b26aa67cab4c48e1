"""What commands and the audit trail say of what did not happen, or only in part, because of another person."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.samples import Sample, tiny, write

from pacs_server.cli import drain
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.errors import Refused
from pacs_server.index.jobs import JobKind
from pacs_server.index.site.draining import Draining, set_draining
from pacs_server.service.assemble import Node
from pacs_server.service.person import command_of
from pacs_server.service.upkeep import decisions
from pacs_server.settings import load

ARCHIVE = ("-c", "data/pacs.yaml")


@pytest.fixture(autouse=True)
def _archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--data", "data"]) == 0


def pacs(*words: str, expect: int = 0) -> None:
    assert run([*ARCHIVE, *words]) == expect


@pytest.fixture
def trail(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """What the audit trail has of a kind of event."""

    def rows(event: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        pacs("audit", "report", "--event", event, "--json")
        told: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return told

    return rows


@pytest.fixture
def two_studies(tmp_path: Path) -> list[Sample]:
    samples = [write(tiny(n, study=f"P{n}", PatientID=f"P{n}"), tmp_path / f"{n}.dcm") for n in (1, 2)]
    pacs("import", *(str(sample.path) for sample in samples))
    pacs("retention", "set", "--purge", "by-hand", "--grace-days", "0")
    return samples


@pytest.mark.parametrize(("kept", "done", "code"), [("P1", 1, ExitCode.PARTLY), ("P*", 0, ExitCode.PARTLY)])
@pytest.mark.parametrize("deed", ["delete", "purge"])
def test_what_is_put_on_hold_before_it_is_decided_is_not_said_to_be_gone(
    deed: str, kept: str, done: int, code: int, two_studies, trail, monkeypatch, capsys
) -> None:
    if deed != "delete":
        pacs("delete", "PatientID=P*", "--reason", "wrong", "--yes")
    decider = decisions.decider

    def decide_after_another(*of: Any) -> Any:
        monkeypatch.setattr(decisions, "decider", decider)
        pacs("hold", "add", f"PatientID={kept}", "--reason", "court case")
        return decider(*of)

    monkeypatch.setattr(decisions, "decider", decide_after_another)
    pacs(deed, "PatientID=P*", "--reason", "over", "--yes", expect=code)
    assert f": {done}; the other {2 - done} stay as they are" in capsys.readouterr().err
    told = {row["study_uid"]: (row["outcome"], row["count"]) for row in trail(deed)}
    refused, carried_out = ("refused", 0), ("done", 1)
    assert [told[sample.study_uid] for sample in two_studies] == [refused, carried_out if done else refused]


@pytest.mark.parametrize(
    ("meanwhile", "outcome", "code"),
    [(("hold", "add", "PatientID=P1", "--reason", "x"), "done", 0), (("purge", "--yes"), "refused", ExitCode.PARTLY)],
)
def test_what_another_person_brings_back_is_back_and_what_he_destroys_is_not(
    meanwhile: tuple[str, ...], outcome: str, code: int, two_studies, trail, monkeypatch
) -> None:
    pacs("delete", "PatientID=P1", "--reason", "wrong", "--yes")
    decider = decisions.decider

    def decide_after_another(*of: Any) -> Any:
        monkeypatch.setattr(decisions, "decider", decider)
        pacs(*meanwhile)
        return decider(*of)

    monkeypatch.setattr(decisions, "decider", decide_after_another)
    pacs("restore", "PatientID=P1", "--reason", "right", "--yes", expect=code)
    assert [row["outcome"] for row in trail("restore")] == [outcome]


def commands(trail: Callable[..., list[dict[str, Any]]], begins: str) -> list[tuple[str, str]]:
    """How the commands that begin so ended, and what is told besides their words."""
    words = f"pacs {' '.join(ARCHIVE)} {begins}"
    told = [row for row in trail("command") if row["detail"].startswith(words)]
    return [(row["outcome"], row["detail"].removeprefix(words)) for row in told]


def test_a_job_that_is_under_way_is_not_told_as_dropped(trail, capsys) -> None:
    with Node.open(load(Path("data/pacs.yaml"), {})) as node:
        for kind in (JobKind.SURVEY, JobKind.COPY):
            node.jobs.owe(kind, datetime.now(UTC))
        taken = node.jobs.claim("w", datetime.now(UTC), lease=timedelta(hours=1), per_target=1, kinds=[JobKind.COPY])
        (waiting,) = (job for job in node.jobs.listed() if job.kind is JobKind.SURVEY)
    assert taken is not None
    for deed in ("drop", "pause"):
        pacs("jobs", deed, str(taken.id), *(["--yes"] if deed == "drop" else []), expect=ExitCode.PARTLY)
    assert commands(trail, "jobs") == []
    pacs("jobs", "drop", str(taken.id), str(waiting.id), "--yes", expect=ExitCode.PARTLY)
    assert "forgot 1 of 2 jobs" in capsys.readouterr().err
    assert commands(trail, f"jobs drop {taken.id} {waiting.id} --yes") == [("partly", ": 1 of 2 jobs")]


def test_what_is_so_already_is_not_told_as_done_once_more(trail) -> None:
    now = datetime.now(UTC)
    for _ in range(2):
        with Node.open(load(Path("data/pacs.yaml"), {}), command_of([*ARCHIVE, "demote"], now)) as node:
            set_draining(node.index, Draining(since=now, who="tanaka"))
    assert commands(trail, "demote") == [("done", "")]


def test_a_command_that_fails_behind_its_first_change_is_told_as_failed_too(trail) -> None:
    pacs("jobs", "pause", "99", expect=ExitCode.REFUSED)
    assert commands(trail, "jobs") == []
    pacs("jobs", "pause", "--kind", "verify", "99", expect=ExitCode.REFUSED)
    done, (outcome, why) = commands(trail, "jobs pause --kind verify 99")
    assert (done, outcome, why.startswith(": there is no job 99;")) == (("done", ""), "failed", True)


@pytest.fixture
def refused_late(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a volume get its only copy of something at the last moment before it is removed."""
    Path("other").mkdir()
    pacs("storage", "add", "other", "other")
    pacs("storage", "set", "other", "--read-only")
    look, looks = drain._only_copies, iter([False, True])

    def remove(*meanwhile: str) -> None:
        def look_again(*of: Any, **how: Any) -> int:
            if not next(looks):
                return look(*of, **how)
            if meanwhile:
                pacs(*meanwhile)
            raise Refused("1 objects have no good copy but on other")

        monkeypatch.setattr(drain, "_only_copies", look_again)
        pacs("storage", "remove", "other", "--yes", expect=ExitCode.REFUSED)

    return remove


def test_a_volume_whose_removal_is_refused_late_is_not_told_as_removed(refused_late, trail) -> None:
    refused_late()
    partly, refused = commands(trail, "storage remove other --yes")
    assert (partly, refused[0]) == (("partly", ": begun"), "refused")


def test_a_volume_that_is_removed_is_told_as_begun_and_as_done(trail) -> None:
    Path("other").mkdir()
    pacs("storage", "add", "other", "other")
    pacs("storage", "remove", "other", "--yes")
    assert commands(trail, "storage remove other --yes") == [("partly", ": begun"), ("done", "")]


@pytest.mark.parametrize(
    ("meanwhile", "mode"), [((), "read-only"), (("storage", "set", "other", "--writable"), "normal")]
)
def test_a_volume_that_stays_after_all_is_what_it_was_or_was_made_meanwhile(
    meanwhile: tuple[str, ...], mode: str, refused_late, capsys
) -> None:
    refused_late(*meanwhile)
    capsys.readouterr()
    pacs("storage", "show", "other", "--json")
    assert json.loads(capsys.readouterr().out)["mode"] == mode
