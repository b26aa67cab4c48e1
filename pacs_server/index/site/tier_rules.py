"""What the site decided about tiers: the rules by which series move, the window in which, and how fast moves were."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.site.windows import Window
from pacs_server.index.site_entries import forget, put, value_of, value_to_change, values_below

_RULE: Final = "tier rule:"
_WINDOW: Final = "tier window"
_RATE: Final = "tier rate"
# What counts are the moves of about the last hour of moving; older ones fade.
_REMEMBERED_S: Final = 3600.0
_IDLE_DAYS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """Which series move from one tier to another, or to an archive server, whose AE title is `archive` then and
    `target` empty: all that are asked for has to hold. One that `makes_room` moves only as much as brings the source
    volumes down to their low-water marks, longest not read first.

    Raises: Refused when it asks for nothing, moves from a tier to itself, or nowhere, or to two places; an archive
    server makes no room at once, because what it is sent stays until it has committed to it.
    """

    name: str
    source: str
    target: str
    older_than_days: int | None = None
    not_read_for_days: int | None = None
    modalities: tuple[str, ...] = ()
    makes_room: bool = False
    archive: str = ""

    def __post_init__(self) -> None:
        if bool(self.target) is bool(self.archive):
            raise Refused(f"rule {self.name} needs one place to move to: --to TIER or --to-archive AET")
        if self.archive and self.makes_room:
            raise Refused(f"rule {self.name} cannot make room by sending to {self.archive}: that takes too long")
        if self.source == self.target:
            raise Refused(f"rule {self.name} would move from {self.source} to {self.target}: name two tiers")
        asked = (self.older_than_days, self.not_read_for_days)
        if all(days is None for days in asked) and not self.modalities and not self.makes_room:
            raise Refused(
                f"rule {self.name} would move everything at once: give it --older-than, --not-read-for, --modality or "
                "--make-room"
            )

    @property
    def idle_days(self) -> int:
        """What was read within so many days does not go to an archive server, so that what was fetched back is not sent
        away under the eyes of who reads it.
        """
        return _IDLE_DAYS if self.not_read_for_days is None else self.not_read_for_days


class TierRules:
    """May be used from any thread; every look-up sees the latest committed state."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def all(self) -> list[TierRule]:
        """The rules in the order of their names. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            told = [json.loads(value) for value in values_below(connection, _RULE).values()]
        return [TierRule(**(one | {"modalities": tuple(one["modalities"])})) for one in told]

    def one(self, name: str) -> TierRule:
        """The rule of that name. Raises: UnknownName; IndexUnavailable."""
        found = next((rule for rule in self.all() if rule.name == name), None)
        if found is None:
            raise _unknown(name)
        return found

    def add(self, rule: TierRule) -> None:
        """Add a rule. Raises: Refused when its name is taken; IndexUnavailable."""
        with self._index.write() as connection:
            if value_to_change(connection, _RULE + rule.name):
                raise Refused(f"a rule {rule.name} exists already; pacs tier rule remove {rule.name} removes it")
            put(connection, _RULE + rule.name, json.dumps(asdict(rule)))

    def remove(self, name: str) -> None:
        """Remove a rule. Raises: UnknownName; IndexUnavailable."""
        with self._index.write() as connection:
            if not forget(connection, _RULE + name):
                raise _unknown(name)

    def window(self) -> Window | None:
        """When the server moves by itself; None when it does not. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            found = value_of(connection, _WINDOW)
        return Window.of(found) if found else None

    def set_window(self, window: Window | None) -> None:
        """Decide when the server moves by itself. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            if window is None:
                forget(connection, _WINDOW)
            else:
                put(connection, _WINDOW, str(window))

    def bytes_per_s(self) -> float | None:
        """How fast recent moves were; None before there was one. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            found = value_of(connection, _RATE)
        told = json.loads(found) if found else {}
        return told["size_bytes"] / told["duration_s"] if told else None

    def note_moved(self, size_bytes: int, duration_s: float) -> None:
        """Remember how long a move took: from the first reading until the index knows it. Raises: IndexUnavailable."""
        if not size_bytes or duration_s <= 0:
            return
        with self._index.write() as connection:
            found = value_to_change(connection, _RATE)
            told = json.loads(found) if found else {"size_bytes": 0, "duration_s": 0.0}
            fading = min(1.0, _REMEMBERED_S / (told["duration_s"] + duration_s))
            now = {
                "size_bytes": told["size_bytes"] * fading + size_bytes,
                "duration_s": told["duration_s"] * fading + duration_s,
            }
            put(connection, _RATE, json.dumps(now))


def _unknown(name: str) -> UnknownName:
    return UnknownName(f"no tier rule has the name {name}; pacs tier rule list shows those there are")
