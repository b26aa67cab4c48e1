"""How results are printed: tables aligned also with full-width characters, or JSON. Talk goes to standard error."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Final

import click

from pacs_server.cli.japanese.translation import in_japanese, is_wanted, label_in_japanese
from pacs_server.cli.width import display_width
from pacs_server.errors import PacsError

IDEOGRAPHIC_SPACE: Final = "\u3000"

_GAP: Final = "  "
# A table takes its column widths from this many rows and then streams, so that a million answers need no memory.
_MEASURED_ROWS: Final = 500
_MOST_SHOWN: Final = 120
_CHECK_HEADINGS: Final = {"check": "CHECK", "result": "RESULT", "remedy": "REMEDY"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def printable(value: object) -> str:
    """A value as one line in which nothing can move the cursor or change the terminal: peers choose these texts."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(printable(item) for item in value)
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == IDEOGRAPHIC_SPACE else repr(character)[1:-1]
        for character in text
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a table; columns that hold only numbers are right-aligned. Where `rows` ends with a fault, what came
    before is there: it was done, or found.
    """
    remaining, first = iter(rows), list[Sequence[object]]()
    fault: PacsError | None = None
    try:
        first.extend(islice(remaining, _MEASURED_ROWS))
    except PacsError as error:
        fault = error
    if first:
        numeric = [all(isinstance(row[index], int) for row in first) for index in range(len(headings))]
        cells = [[printable(value) for value in row] for row in first]
        widths = [max(map(display_width, column)) for column in zip(headings, *cells, strict=True)]
        streamed = ([printable(value) for value in row] for row in remaining)
        for row in chain([list(headings)], cells, streamed):
            yield _GAP.join(map(_padded, row, widths, numeric)).rstrip()
    if fault is not None:
        raise fault


def _padded(text: str, width: int, right: bool = False) -> str:
    padding = " " * (width - display_width(text))
    return padding + text if right else text + padding


def readable_size(size_bytes: int) -> str:
    """A number of bytes as a person reads it."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return ""


def readable_room(size_bytes: int | None) -> str:
    """The room on a volume as a person reads it."""
    return "not told" if size_bytes is None else readable_size(size_bytes)


def print_rows(
    rows: Iterable[Mapping[str, object]],
    headings: Mapping[str, str],
    *,
    as_json: bool,
    said: Collection[str] = (),
    long: Collection[str] = (),
    is_work: bool = False,
) -> int:
    """Print a list: as JSON an array of whole objects, else a table of the named keys. Returns how many there were.

    The headings are in the person's language, and so is what stands under the keys of `said`: those are words of ours,
    everything else is data. What is under the keys that may be `long` is cut in a table: one long cell would make the
    lines of all rows as long. Where each row `is_work` that is done, it goes on to the end when nobody reads any more.

    Raises: BrokenPipeError when nobody reads what is no work.
    """
    counted = _Counted(rows)
    if as_json:
        _print_json_array(counted, is_work=is_work)
    else:
        lines = (
            [_cell(row.get(key), is_said=key in said, may_be_long=key in long) for key in headings] for row in counted
        )
        for line in table([label_in_their_language(one, key) for key, one in headings.items()], lines):
            _print(line, is_work=is_work)
    return counted.count


def _print(text: str, *, is_work: bool, ends_line: bool = True) -> None:
    try:
        click.echo(text, nl=ends_line)
    except BrokenPipeError:
        if not is_work:
            raise
        leave_unread()


def open_closed_streams() -> None:
    """Let a standard stream that was closed (`>&-`) lead to nowhere, as `>/dev/null` does. Python has none there; the
    next file or socket would have its number, and get what a program prints that is started here.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is that of the stream
            os.set_inheritable(opened, True)
            setattr(sys, name, os.fdopen(opened, mode, encoding="utf-8"))


def escape_what_cannot_be_shown() -> None:
    """Let characters that the locale does not have, as EUC-JP the 髙 of many names, be shown by their numbers, as on
    standard error: a name must not end a command in the middle of its work.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and not _takes_all_characters():
        sys.stdout.reconfigure(errors="backslashreplace")


def _takes_all_characters() -> bool:
    return codecs.lookup(sys.stdout.encoding).name == "utf-8"


def leave_unread() -> None:
    """Let go to nowhere what is printed from now on, and what Python still has to write of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _cell(value: object, *, is_said: bool, may_be_long: bool) -> object:
    shown = _shown(value, is_said)
    if not may_be_long or isinstance(shown, int):
        return shown
    text = printable(shown)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _shown(value: object, is_said: bool) -> object:
    """A value of a table: what is `said` is in the person's language, and so is a yes or no."""
    has_words = isinstance(value, bool) or (is_said and isinstance(value, (str, list)))
    if not has_words or not is_wanted(os.environ):
        return value  # data, as most cells are: the environment is asked for the others alone
    if isinstance(value, list):
        return [_shown(one, is_said) for one in value]
    return in_japanese(value if isinstance(value, str) else printable(value))


def print_checks(rows: Iterable[Mapping[str, object]], *, as_json: bool) -> None:
    """Print what checks found, each with its `check`, its `result` and the `remedy`, in words of ours."""
    print_rows(rows, _CHECK_HEADINGS, as_json=as_json, said=_CHECK_HEADINGS)


def print_facts(facts: Mapping[str, object], *, as_json: bool, said: Collection[str] = ()) -> None:
    """Print one object: as JSON, else one `name  value` line for each of its facts that is not empty. Names, and the
    values of those in `said`, are in the person's language.
    """
    if as_json:
        click.echo(as_json_text(facts))
        return
    shown = [
        (label_in_their_language(name), _shown(value, name in said))
        for name, value in facts.items()
        if value not in (None, "", [], {})
    ]
    width = max((display_width(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{_padded(name, width)}{_GAP}{printable(value)}")


def as_json_text(value: object) -> str:
    """JSON in which text in any script stays readable, unless standard output is not UTF-8, and nothing can change the
    terminal; dates, paths and sets become text and lists.
    """
    text = json.dumps(value, ensure_ascii=not _takes_all_characters(), default=_jsonable)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == IDEOGRAPHIC_SPACE else json.dumps(character)[1:-1]
        for character in text
    )


def _jsonable(value: object) -> object:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def _print_json_array(rows: Iterable[Mapping[str, object]], *, is_work: bool) -> None:
    opening = "[\n"
    try:
        for row in rows:
            _print(f"{opening}{as_json_text(row)}", is_work=is_work, ends_line=False)
            opening = ",\n"
    finally:  # what was printed is one JSON value, also when the rows end in an error
        _print("[]" if opening == "[\n" else "\n]", is_work=is_work)


class _Counted:
    def __init__(self, rows: Iterable[Mapping[str, object]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        for row in self._rows:
            self.count += 1
            yield row


def label_in_their_language(text: str, key: str = "") -> str:
    """The heading of the column of a key, or the name of a fact, in the language of the person."""
    return label_in_japanese(text, key) if is_wanted(os.environ) else text


def listed(texts: Iterable[str], joint: str = ", ") -> str:
    """Texts that are in the person's language already, as one; `joint` is that of English ones."""
    return ("、" if is_wanted(os.environ) else joint).join(texts)


def counted(number: object, what: str) -> str:
    """So many of something, in the person's language: in Japanese the number stands behind."""
    return f"{in_japanese(what)} {number}" if is_wanted(os.environ) else f"{number} {what}"


def in_their_language(text: str) -> str:
    """A message in the language of the person."""
    return in_japanese(text) if is_wanted(os.environ) else text


def talk(text: str) -> None:
    """Say something to the person, in their language, without disturbing the data on standard output."""
    _say(f"{in_their_language(text)}\n")


def _say(text: str) -> None:
    """Write to standard error. A terminal that went away, a reader that ended or a full disk changes nothing in what a
    command does, nor in the code with which it ends.
    """
    with suppress(OSError):
        click.echo(text, err=True, nl=False)


class Progress:
    """One line on a terminal that is written over as work goes on; nothing at all in a pipe."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replace the line, in the person's language."""
        if self._shown:
            _say(f"\r\033[K{printable(in_their_language(text))}")

    def clear(self) -> None:
        """Take the line away, before something lasting is printed."""
        if self._shown:
            _say("\r\033[K")
