"""What commands and the audit trail say of what did not happen, or only in part, because of another person."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.samples import Sample, tiny, write

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.service.upkeep import decisions

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
@pytest.mark.parametrize("deed", ["delete", "purge", "restore"])
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
