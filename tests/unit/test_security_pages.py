"""What the pages on security offer as proof can be run: every command that they name is there, with these options."""

import re
import shlex
from pathlib import Path

import click
import pytest

from pacs_server.cli.main import pacs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "SECURITY.md", *(ROOT / "docs" / "operate" / name for name in ("security.md", "security.ja.md"))]


def commands_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^(?:pacs) .*$", "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL)), re.MULTILINE)
    return [line.partition("#")[0].strip() for line in blocks + re.findall(r"`(pacs [^`]+)`", text)]


def problem_of(line: str) -> str:
    """What is wrong with a command line, as far as its words tell."""
    command: click.Command = pacs
    context = click.Context(pacs)
    words = shlex.split(line)[1:]
    while words and isinstance(command, click.Group) and "/" not in words[0]:
        found = command.get_command(context, words[0])
        if found is None:
            return f"{line}: there is no {words[0]}"
        command, words = found, words[1:]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    return next((f"{line}: no option {word}" for word in words if word.startswith("--") and word not in known), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_is_there(page: Path) -> None:
    assert [problem for line in commands_of(page) if (problem := problem_of(line))] == []


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    assert problem_of("pacs audit verify") == ""
    assert problem_of("pacs audit prove") != ""
    assert problem_of("pacs retention show --all") != ""


def test_both_languages_name_the_three_criteria_and_the_same_chapters_and_proofs() -> None:
    english, japanese = (page.read_text(encoding="utf-8") for page in PAGES[1:])
    for criterion in ("真正性", "見読性", "保存性"):
        assert f"| **{criterion}**" in english
        assert f"| **{criterion}**" in japanese
    japan = english.partition("### Japan")[2].partition("### HIPAA")[0]
    chapters = [re.findall(r"^\| (\d+) ", text, re.MULTILINE) for text in (japan, japanese)]
    assert chapters[0] == chapters[1] != []
    assert set(commands_of(PAGES[2])) <= set(commands_of(PAGES[1]))
