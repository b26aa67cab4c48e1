"""How help is laid out: lines that end where a person would end them, in Japanese too, within any terminal."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from typing import Final

import click

from pacs_server.cli.output import in_their_language
from pacs_server.cli.width import display_width, lines_within

_MARGIN: Final = 2
_NARROWEST: Final = 30
_WIDEST_TERM: Final = 30
_LEAST_ROOM: Final = 26
_GAP: Final = "  "
# What the library tells of an option behind its text.
_EXTRAS: Final = re.compile(r"  \[([^\[\]]+)\]$")
# Values to choose from, each with the stroke behind it.
_CHOICE: Final = re.compile(r"[^|]+\|?")


class Formatter(click.HelpFormatter):
    """Help as the library writes it, with its own words in the person's language, and lines measured in columns: it
    counts letters, of which the Japanese ones take two, and ends a line at a space, which Japanese does not have.
    """

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = min(shutil.get_terminal_size().columns, max_width or 80)
        super().__init__(indent_increment, width or max(columns - _MARGIN, _NARROWEST), max_width)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the line that begins with "Usage:"."""
        begin = in_their_language("Usage: ") if prefix is None else prefix
        indent = display_width(begin)
        first, *others = lines_within(f"{prog} {args}", self.width - indent)
        self.write("\n".join((begin + first, *(" " * indent + line for line in others))) + "\n")

    def write_heading(self, heading: str) -> None:
        """Write the heading of a section."""
        super().write_heading(in_their_language(heading))

    def write_text(self, text: str) -> None:
        """Write paragraphs, which stand apart by an empty line."""
        indent = " " * self.current_indent
        paragraphs = [lines_within(one, self.width - self.current_indent) for one in text.split("\n\n")]
        self.write("\n\n".join("\n".join(indent + line for line in lines) for lines in paragraphs) + "\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = _WIDEST_TERM, col_spacing: int = 2) -> None:
        """Write terms and what they mean beside each other; below a term that is too long for its column, and below all
        of them where too little room would be left beside.
        """
        rows = list(rows)
        widest = min(max(display_width(term) for term, _ in rows), col_max)
        if self.width - self.current_indent - widest - col_spacing < _LEAST_ROOM:
            widest = self.indent_increment
        start = self.current_indent + widest + col_spacing
        for term, meaning in rows:
            lines = _meaning(meaning, self.width - start)
            room = widest - display_width(term)
            beside = f"{'':{room + col_spacing}}{lines.pop(0)}" if room >= 0 else ""
            for line in _term(term, self.width - self.current_indent):
                self.write(f"{'':{self.current_indent}}{line}{beside}".rstrip() + "\n")
            self.write("".join(f"{'':{start}}{line}\n" for line in lines))


def _term(told: str, columns: int) -> list[str]:
    """The lines of a term: values to choose from that take more than one go on below the first of them."""
    lines, below = [""], " " * (told.find("[") + 1)
    for piece in _CHOICE.findall(told):
        if lines[-1].strip() and display_width(lines[-1] + piece) > columns:
            lines.append(below)
        lines[-1] += piece
    return lines


def _meaning(told: str, columns: int) -> list[str]:
    """The lines that tell what an option means; then in one piece whether it is required, its default and its range."""
    extras = _EXTRAS.search(told)
    lines = lines_within(told[: extras.start()] if extras else told, columns)
    if extras:
        piece = f"[{'; '.join(map(in_their_language, extras[1].split('; ')))}]"
        is_beside = display_width(f"{lines[-1]}{_GAP}{piece}") <= columns
        lines[-1:] = [f"{lines[-1]}{_GAP}{piece}"] if is_beside else [lines[-1], *lines_within(piece, columns)]
    return lines


class Context(click.Context):
    """The context of a command whose help is laid out so."""

    formatter_class = Formatter
