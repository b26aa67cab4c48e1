"""Lists of an archive that has nothing to list: a person is told that, a script gets an empty array."""

import json
from pathlib import Path

import pytest

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.japanese.translation import in_japanese
from pacs_server.cli.main import run

LISTS = (
    "ae list", "ae seen", "alert list", "commit list", "conflicts list", "find studies", "hold list",
    "index fields list", "jobs list", "partner list", "route list", "send list", "send list --dead",
    "trash list", "user list",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("archive") / "pacs"
    assert run(["init", "--data", str(data)]) == ExitCode.DONE
    return data / "pacs.yaml"


@pytest.mark.parametrize("words", LISTS)
def test_a_list_of_nothing_says_so(words: str, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-c", str(settings), "--json", *words.split()]) == ExitCode.DONE
    told = capsys.readouterr()
    assert json.loads(told.out) == []
    assert told.err.strip()
    assert in_japanese(told.err.strip()) != told.err.strip()
