"""The pages of help: whole, and within the terminal, also in a language without spaces whose letters are two wide."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from pacs_server.cli.japanese.help import HELP
from pacs_server.cli.main import pacs
from pacs_server.cli.width import display_width, lines_within
from pacs_server.dicom.audit import EventKind


def pages_of_help(columns: int, language: str) -> list[str]:
    script = (
        "import sys\n"
        "from pacs_server.cli.main import run\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    run([*line.split(), '-h'])\n"
        "    print('\f', end='')\n"
    )
    paths = list(command_lines(pacs))
    environment = os.environ | {"LC_ALL": language, "PYTHONUTF8": "1", "COLUMNS": str(columns)}
    done = subprocess.run(
        [sys.executable, "-c", script], input="\n".join(paths), env=environment, capture_output=True, text=True,
        encoding="utf-8", check=True,
    )  # fmt: skip
    pages = done.stdout.split("\f")[:-1]
    assert len(pages) == len(paths)
    return pages


def each_command(command: click.Command) -> Iterator[click.Command]:
    yield command
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from each_command(below)


def command_lines(command: click.Command, words: str = "") -> Iterator[str]:
    yield words
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from command_lines(below, f"{words} {name}")


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_japanese_help_is_whole_and_ends_its_lines_within_the_terminal_and_where_japanese_may(columns: int) -> None:
    for command, page in zip(each_command(pacs), pages_of_help(columns, "ja_JP.UTF-8"), strict=True):
        told = [command.help, *(one.help for one in command.params if isinstance(one, click.Option))]
        japanese = [HELP[" ".join(text.split())] for text in told if text]
        assert [text for text in japanese if "".join(text.split()) not in "".join(page.split())] == []
        *lines, example = page.rstrip().splitlines()
        assert example.startswith("  pacs "), "it is one line, to be pasted"
        for line in lines:
            is_one_word = line.isascii() and " " not in line.strip()
            assert display_width(line) <= columns or is_one_word, line
            assert not re.match(r" *[、。，．・）」』ー]", line), line
            assert not re.search(r"[（「『(]$", line), line


def test_the_words_of_the_library_on_a_page_of_help_are_japanese_too() -> None:
    pages = dict(zip(command_lines(pacs), pages_of_help(80, "ja_JP.UTF-8"), strict=True))
    for word in (
        "使い方: pacs init",
        "オプション:\n",
        "例:\n  pacs init",
        "[初期値: PACS]",
        "[初期値: 11112; 0<=x<=65535]",
    ):
        assert word in pages[" init"]
    assert "コマンド:\n" in pages[" storage"]


def test_values_to_choose_from_are_all_there_in_lines_of_the_terminal() -> None:
    for columns in (80, 40):
        (page,) = (one for one in pages_of_help(columns, "C.UTF-8") if "audit report [OPTIONS]" in one)
        told = page.partition("--event")[2].partition("]")[0]
        assert "".join(told.split()) == f"[{'|'.join(kind.value for kind in EventKind)}"
        assert max(map(len, f"  --event{told}]".splitlines())) <= columns


def test_no_word_of_english_help_is_broken_at_its_hyphen() -> None:
    for page in pages_of_help(80, "C.UTF-8"):
        assert not re.search(r"[a-z]-$", page, re.MULTILINE), page


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("一つ目、二つ目。", 6, ["一つ", "目、二", "つ目。"]),
        ("ボリューム", 6, ["ボ", "リュー", "ム"]),
        ("画像(検査)と「患者」", 10, ["画像(検査)", "と「患者」"]),
        ("撮影の「検査」", 8, ["撮影の", "「検査」"]),
        ("PATH は /mnt/nas1 です。", 12, ["PATH は", "/mnt/nas1 で", "す。"]),
        ("read no faster than this", 10, ["read no", "faster", "than this"]),
        ("s3://BUCKET/PREFIX へ", 8, ["s3://BUCKET/PREFIX", "へ"]),
        ("", 8, [""]),
    ],
)
def test_a_line_ends_where_it_may(text: str, columns: int, lines: list[str]) -> None:
    assert lines_within(text, columns) == lines
