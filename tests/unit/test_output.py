"""Tables, JSON and names as they are printed."""

import io
import json

import pytest

from pacs_server.cli import output
from pacs_server.cli.find import readable_name
from pacs_server.cli.output import (
    as_json_text,
    escape_what_cannot_be_shown,
    print_facts,
    print_rows,
    printable,
    readable_size,
    table,
)
from pacs_server.cli.width import display_width
from pacs_server.errors import VolumeUnavailable


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("山田", 4), ("ﾔﾏﾀﾞ", 4), ("ヤマダ", 6), ("が", 2), ("か\u3099", 2), ("𠮷", 2), ("\u3000", 2), ("", 0)],
)
def test_the_width_of_a_text_is_its_columns_on_a_terminal(text, columns):
    assert display_width(text) == columns


def test_columns_stay_aligned_with_full_width_characters():
    lines = list(table(["NAME", "ID"], [["山田 太郎", "1"], ["Smith", "22"], ["ﾔﾏﾀﾞ", "333"]]))
    starts = {
        display_width(line[: line.index(cell)]) for line, cell in zip(lines, ["ID", "1", "22", "333"], strict=True)
    }
    assert starts == {display_width("山田 太郎") + 2}


def test_columns_of_numbers_are_right_aligned():
    assert list(table(["N", "WORD"], [[1, "a"], [100, "b"]])) == ["  N  WORD", "  1  a", "100  b"]


def test_what_came_before_a_fault_is_shown():
    def rows():
        yield ("one", "adopted")
        raise VolumeUnavailable("away")

    lines = table(["FILE", "FINDING"], rows())
    assert [next(lines), next(lines)] == ["FILE  FINDING", "one   adopted"]
    with pytest.raises(VolumeUnavailable):
        next(lines)


def test_a_long_table_streams_its_rows():
    taken = []

    def rows():
        for number in range(10_000):
            taken.append(number)
            yield [number]

    lines = table(["N"], rows())
    next(lines)
    assert len(taken) < 1_000
    assert sum(1 for _ in lines) == 10_000


def test_what_a_peer_wrote_cannot_move_the_cursor():
    assert printable("a\x1b[2Jb\nc\u202ed") == r"a\x1b[2Jb\nc\u202ed"
    assert printable("山田\u3000太郎") == "山田\u3000太郎"


def test_json_is_an_array_of_whole_objects(capsys):
    print_rows([{"uid": "1.2", "name": "山田"}, {"uid": "1.3", "name": None}], {"uid": "UID"}, as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"uid": "1.2", "name": "山田"}, {"uid": "1.3", "name": None}]
    assert print_rows([], {"uid": "UID"}, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_what_others_may_have_written_at_length_is_cut_in_a_table_and_whole_in_json(capsys):
    rows = [{"id": "A" * 4000, "uid": "1." * 80, "n": 7}, {"id": "山" * 120, "uid": None, "n": 12}]
    headings = {"id": "ID", "uid": "UID", "n": "N"}
    print_rows(rows, headings, as_json=False, long=("id", "n"))
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.split() == ["A" * 119 + "…", "1." * 80, "7"]
    assert second.split() == ["山" * 120, "12"]
    print_rows(rows, headings, as_json=True, long=("id", "n"))
    assert json.loads(capsys.readouterr().out) == rows


def test_json_is_whole_also_when_the_rows_end_in_an_error(capsys):
    def rows():
        yield {"uid": "1.2"}
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        print_rows(rows(), {"uid": "UID"}, as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"uid": "1.2"}]


def test_a_table_is_in_the_language_of_the_person_but_for_its_data_and_json(capsys, monkeypatch):
    rows = [{"name": "online", "state": "online", "reason": "an admin set it so", "is_draining": True}]
    headings = {"name": "VOLUME", "state": "STATE", "reason": "WHY", "is_draining": "DRAINING"}
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    print_rows(rows, headings, as_json=False, said=("state", "reason"))
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert told == [
        ["ボリューム", "状態", "理由", "受付停止"],
        ["online", "オンライン", "管理者がそう設定しました", "はい"],
    ]
    print_facts(rows[0], as_json=False, said=("state",))
    assert capsys.readouterr().out.split() == [
        *("名前", "online", "状態", "オンライン", "理由", "an", "admin", "set", "it", "so", "is_draining", "はい"),
    ]  # fmt: skip
    print_rows(rows, headings, as_json=True, said=("state", "reason"))
    assert json.loads(capsys.readouterr().out) == rows
    monkeypatch.setenv("LC_ALL", "C")
    print_rows(rows, headings, as_json=False, said=("state", "reason"))
    assert capsys.readouterr().out.split() == [
        *("VOLUME", "STATE", "WHY", "DRAINING", "online", "online", "an", "admin", "set", "it", "so", "yes")
    ]


def test_data_is_printed_without_asking_for_the_language_of_each_cell(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(output, "is_wanted", lambda _: bool(asked.append(1)))
    rows = [{"uid": "1.2.3", "size": number, "state": None, "result": "good"} for number in range(1_000)]
    headings = {"uid": "UID", "size": "SIZE", "state": "STATE"}
    assert print_rows(rows, headings, as_json=False, said=("state",)) == 1_000
    assert len(asked) <= len(headings)
    assert print_rows(rows, headings | {"result": "RESULT"}, as_json=False, said=("result",)) == 1_000
    assert len(asked) >= 1_000


def test_facts_leave_out_what_is_empty(capsys):
    print_facts({"aet": "CT1", "issuer": "", "allow": ["echo", "store"], "port": None}, as_json=False)
    assert capsys.readouterr().out == "aet    CT1\nallow  echo, store\n"


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田 太郎 (Yamada Tarou, やまだ たろう)"),
        ("Smith^John^^Dr", "Smith John Dr"),
        ("=山田^太郎", "山田 太郎"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ==", "ﾔﾏﾀﾞ ﾀﾛｳ"),
        ("", ""),
        ("^^^", ""),
    ],
)
def test_a_name_is_printed_as_a_person_reads_it(stored, shown):
    assert readable_name(stored) == shown


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB")])
def test_sizes_are_printed_in_binary_units(size, shown):
    assert readable_size(size) == shown


@pytest.mark.parametrize("text", ["\x9b2J", "\u202egpj.exe", "a\u2028b", "\x7f", "\x1b[2J", "\U000e0001"])
def test_json_can_change_no_terminal_and_reads_back_the_same(text):
    printed = as_json_text({"name": f"山田\u3000{text}"})
    assert printed.replace("\u3000", "").isprintable()
    assert "山田" in printed
    assert json.loads(printed) == {"name": f"山田\u3000{text}"}


@pytest.mark.parametrize("encoding", ["euc_jp", "iso8859-1", "utf-8"])
def test_a_name_that_the_locale_cannot_write_ends_no_command(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    escape_what_cannot_be_shown()
    print_rows([{"name": "髙橋^𠮷郎"}], {"name": "NAME"}, as_json=False)
    text = written.getvalue()
    assert (b"\\u9ad9" in text) is (encoding != "utf-8")
    print_rows([{"name": "髙橋^𠮷郎"}], {"name": "NAME"}, as_json=True)
    assert json.loads(written.getvalue().removeprefix(text)) == [{"name": "髙橋^𠮷郎"}]
