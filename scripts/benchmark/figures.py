"""What a row yields: a figure with its floor, what it cost the server, and the goals it has to meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound on one measure of a figure: "value", "ratio" (to the floor) or one of its extra measures."""

    measure: str
    at_least: float | None = None
    at_most: float | None = None

    def met(self, measures: dict[str, float]) -> bool:
        """Whether the figure keeps within the bound; a measure that is missing does not."""
        value = measures.get(self.measure)
        if value is None:
            return False
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{self.measure} {sign} {bound:,g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure. `value` and `floor` are in `unit`; `ratio` is the share of what the machine allows.

    For rates (`.../s`) the ratio is value / floor; for durations and sizes it is floor / value, so 1 is always best.
    `extra` holds further measures, each with its unit in its name, like "CPU ms" (server CPU for each object).
    """

    row: str
    name: str
    value: float
    unit: str
    floor: float | None = None
    floor_name: str = ""
    extra: dict[str, float] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The figure against its floor, between 0 and about 1; None without a floor."""
        return self.against(self.floor) if self.floor else None

    def against(self, other: float) -> float | None:
        """How many times better this figure is than another value in its unit; None when either is nothing."""
        if not other or not self.value:
            return None
        return self.value / other if self.unit.endswith("/s") else other / self.value

    def measures(self) -> dict[str, float]:
        """Everything a goal can speak of."""
        ratio = self.ratio
        return {"value": self.value} | ({} if ratio is None else {"ratio": ratio}) | self.extra

    def judged(self) -> list[tuple[Goal, bool]]:
        """Each goal, and whether it is met."""
        measures = self.measures()
        return [(goal, goal.met(measures)) for goal in self.goals]

    def to_json(self) -> dict[str, Any]:
        """Plain values of the figure, for a file."""
        values = asdict(self)
        values["ratio"] = self.ratio
        values["goals"] = [{"goal": str(goal), "met": met} for goal, met in self.judged()]
        return values


def medians(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """One list of figures from several runs of the same rows: the median of each value, floor and extra measure."""
    by_name: dict[tuple[str, str], list[Figure]] = {}
    for run in runs:
        for figure in run:
            by_name.setdefault((figure.row, figure.name), []).append(figure)
    return [_median(same) for same in by_name.values()]


def _median(same: Sequence[Figure]) -> Figure:
    floors = [figure.floor for figure in same if figure.floor is not None]
    extra = {key: median(figure.extra[key] for figure in same) for key in same[0].extra}
    return replace(
        same[0],
        value=median(figure.value for figure in same),
        floor=median(floors) if floors else None,
        extra=extra,
    )
