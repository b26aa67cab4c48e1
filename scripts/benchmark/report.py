"""Prints the table and writes the JSON of a run."""

from __future__ import annotations

import json
import os
import platform
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmark.figures import Figure
from benchmark.processes import first_line

_HEADINGS: Final = ("row", "what", "figure", "floor", "ratio", "also", "goals")


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table that is also aligned for a terminal."""
    return markdown([_HEADINGS, *(_cells(figure) for figure in figures)])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its headings first, with columns as wide as a terminal shows them."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def floors(figures: Sequence[Figure]) -> str:
    """What each row's floor is, one line each."""
    names: dict[str, str] = {}
    for figure in figures:
        if figure.floor_name:
            names.setdefault(figure.row, figure.floor_name.partition("; threads")[0])
    return "\n".join(f"floor of {row}: {name}" for row, name in names.items())


def surroundings(work: Path, *, server: str, seed: int, repeat: int, started: datetime) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "started": started.isoformat(timespec="seconds"),
        "server": server,
        "seed": seed,
        "repeat": repeat,
        "processors": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": first_line("stat", "-f", "-c", "%T", str(work)),
        "dcmtk": first_line("storescu", "--version"),
    }


def write_json(path: Path, told: dict[str, Any]) -> None:
    """Write everything to a file."""
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = figure.ratio
    return (
        figure.row,
        figure.name,
        f"{number(figure.value)} {figure.unit}",
        "" if figure.floor is None else number(figure.floor),
        "" if ratio is None else f"{ratio:.2f}",
        ", ".join(f"{name} {number(value)}" for name, value in figure.extra.items()),
        ", ".join(f"{'✓' if met else '✗'} {goal}" for goal, met in figure.judged()),
    )


def number(value: float) -> str:
    """A figure with as many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
