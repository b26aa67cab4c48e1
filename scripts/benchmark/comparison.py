"""The same work by several servers in one run: medians, how many times better the archive is, goals, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from benchmark.durability import Durability
from benchmark.figures import Figure
from benchmark.report import markdown, number

ARCHIVE: Final = "archive"

# How many times better the archive has to be, by row, figure and peer; "" stands for any. From the project's plan.
_GOALS: Final[Mapping[tuple[str, str, str], float]] = {
    ("store-ct", "1 sender", "orthanc"): 3,
    ("store-ct", "4 senders", "orthanc"): 3,
    ("store-ct", "8 senders", "orthanc"): 2,
    ("store-ct", "1 sender", "dcmqrscp"): 1,
    ("store-ct", "4 senders", "dcmqrscp"): 1,
    ("store-ct", "8 senders", "dcmqrscp"): 1,
    ("store-mr", "1 sender, as shipped", ""): 10,
    ("move", "", ""): 1,
    ("get", "", ""): 1,
    ("find", "", ""): 1,
}


class Missing(NamedTuple):
    """Instead of a figure: what stands in its cell of the table, and why."""

    cell: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of each server, medians of all rounds, and why a server has none."""

    row: str
    name: str
    figures: Mapping[str, Figure]
    missing: Mapping[str, Missing]
    ours: str = ARCHIVE

    def times(self, server: str) -> float | None:
        """How many times better the archive is than this server; None when one of them has no figure."""
        if self.ours not in self.figures or server not in self.figures:
            return None
        return self.figures[self.ours].against(self.figures[server].value)

    def judged(self) -> list[tuple[str, bool]]:
        """Each goal, and whether it is met; none for a server without a figure."""
        return [
            (f"≥ {bound:g} × {server}", times >= bound)
            for server in self.figures
            if server != self.ours
            and (bound := _goal(self.row, self.name, server)) is not None
            and (times := self.times(server)) is not None
        ]

    def remarks(self) -> dict[str, str]:
        """By server: why a figure is missing, or that it answered something else than the archive did."""
        told = {
            server: f"not in every round: {missing.why}" if server in self.figures else missing.why
            for server, missing in self.missing.items()
        }
        if (figure_of_ours := self.figures.get(self.ours)) is not None and "answers" in figure_of_ours.extra:
            expected = figure_of_ours.extra["answers"]
            for server, figure in self.figures.items():
                if (answers := figure.extra["answers"]) != expected:
                    told[server] = f"{answers:,.0f} answers, the archive {expected:,.0f}"
        return told

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {
            "row": self.row,
            "name": self.name,
            "servers": {
                server: figure.to_json() | {"times": self.times(server)} for server, figure in self.figures.items()
            },
            "remarks": self.remarks(),
            "goals": [{"goal": goal, "met": met} for goal, met in self.judged()],
        }


def table(comparisons: Sequence[Comparison], durabilities: Mapping[str, Durability]) -> str:
    """Rates and durations of all servers side by side, behind each peer's how many times better the archive is."""
    rows = [
        ("row", "what", *durabilities, "goals"),
        ("", "success means", *(durability.means for durability in durabilities.values()), ""),
    ]
    for comparison in comparisons:
        goals = ", ".join(f"{'✓' if met else '✗'} {goal}" for goal, met in comparison.judged())
        rows.append((comparison.row, comparison.name, *(_cell(comparison, server) for server in durabilities), goals))
    return markdown(rows)


def cpu_table(comparisons: Sequence[Comparison], servers: Sequence[str]) -> str:
    """Processor time of each server's process tree."""
    rows: list[tuple[str, ...]] = [("row", "what: CPU ms each", *servers)]
    for comparison in comparisons:
        spent = {server: figure.extra.get("CPU ms") for server, figure in comparison.figures.items()}
        cells = [number(value) if (value := spent.get(server)) is not None else "–" for server in servers]
        rows.append((comparison.row, comparison.name, *cells))
    return markdown(rows)


def remarks(comparisons: Sequence[Comparison]) -> str:
    """What the table does not say of a server, a line for each reason with all the figures that it is about."""
    told: dict[tuple[str, str, str], list[str]] = {}
    for comparison in comparisons:
        for server, reason in comparison.remarks().items():
            told.setdefault((server, comparison.row, reason), []).append(comparison.name)
    return "\n".join(
        f"{server}, {row}" + (f" ({'; '.join(names)})" if any(names) else "") + f": {reason}"
        for (server, row, reason), names in told.items()
    )


def flushes(durabilities: Mapping[str, Durability]) -> str:
    """What each server flushes for an object, one line each."""
    lines = []
    for server, durability in durabilities.items():
        told = ", ".join(f"{name} {number(times)}" for name, times in durability.flushes.items())
        lines.append(f"flushes of {server} for each object: {told or 'not counted here'}")
    return "\n".join(lines)


def _goal(row: str, name: str, server: str) -> float | None:
    for key in ((row, name, server), (row, name, ""), (row, "", "")):
        if (bound := _GOALS.get(key)) is not None:
            return bound
    return None


def _cell(comparison: Comparison, server: str) -> str:
    figure = comparison.figures.get(server)
    if figure is None:
        return comparison.missing.get(server, Missing("–", "")).cell
    told = f"{number(figure.value)} {figure.unit}" if server == comparison.ours else number(figure.value)
    times = None if server == comparison.ours else comparison.times(server)
    return told if times is None else f"{told} ({number(times)} ×)"
