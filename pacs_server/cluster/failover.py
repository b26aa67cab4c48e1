"""A failover between two partners as values: how the two sites are, what has to hold, what is done in which order.

Nothing here is exclusive: both sites take objects all the time, and what each has is a union. So a failover moves what
is preferred, an address or a name, and shows that the other site works; it can be broken off and repeated anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pacs_server.cluster.messages import Body, moment_of
from pacs_server.errors import PacsError, PeerUnreachable, ProtocolViolation, Refused, StillBusy

# Clocks order nothing; but what was taken when is told by them, and TLS certificates have dates.
MAX_CLOCK_OFFSET_S: Final = 60.0

# What the two sites ask each other for a failover, over the partner link.
STANDING: Final = "standing"
DRAIN: Final = "drain"
HURRY: Final = "hurry"
FORGET_TRIAL: Final = "forget trial"


class Step(StrEnum):
    """What a failover does."""

    DRAIN = "drain"  # the source takes no new associations
    HAND_OVER = "hand over"  # those that are open end, and the target gets what it lacks
    PREFER = "prefer"  # both sites know that the target is the preferred one
    HOOK = "hook"  # the program of the settings moves an address, or whatever it does
    TRY_OUT = "try out"  # the target stores, finds and gives back an object
    RESUME = "resume"  # the source takes associations again


PLANNED: Final = tuple(Step)
WITHOUT_SOURCE: Final = (Step.PREFER, Step.HOOK, Step.TRY_OUT)
# When one of these fails, the others are done all the same: nobody is served better without them.
GO_ON_WITHOUT: Final = frozenset({Step.HOOK, Step.TRY_OUT, Step.RESUME})


class Reason(StrEnum):
    """Why a failover is refused."""

    NOT_HERE = "not between this site and a partner"
    UNFINISHED = "another failover is unfinished"
    TARGET_AWAY = "target away"
    TARGET_PAUSED = "partner paused"
    TARGET_DRAINING = "target draining"
    TARGET_OLDER = "target of an older release"
    TOO_FEW_VOLUMES = "too few volumes"
    NO_DESTINATION = "no AE title"
    SOURCE_AWAY = "source away"
    SOURCE_ANSWERS = "source answers"
    STILL_BUSY = "source still busy"


_TEXTS: Final[Mapping[Reason, str]] = {
    Reason.NOT_HERE: "the failover would be between {source} and {target}: give the command on one of the two",
    Reason.UNFINISHED: "a failover to {other} is unfinished: pacs failover to {other} goes on with it, "
    "pacs failover abandon gives it up",
    Reason.TARGET_AWAY: "{target} does not answer ({detail}): start it, or mend the network; pacs partner show"
    " says more",
    Reason.TARGET_PAUSED: "nothing is exchanged with {partner} for the time being: pacs partner resume {partner}",
    Reason.TARGET_DRAINING: "{target} takes no associations: pacs failover demote {target} --end, then again",
    Reason.TARGET_OLDER: "{target} has schema {detail}: install the same release on both sites first",
    Reason.TOO_FEW_VOLUMES: "{target} has {detail} for a new object: bring its volumes back (pacs storage list there)",
    Reason.NO_DESTINATION: "no registered peer is known as {target}, so that it cannot be tried out: "
    "pacs ae add AET HOST PORT, then pacs partner set {target} --aet AET",
    Reason.SOURCE_AWAY: "{source} does not answer ({detail}), so that it cannot hand over what {target} lacks: mend "
    "that, or, if it is lost, pacs failover to {target} --source-lost",
    Reason.SOURCE_ANSWERS: "{source} answers, so it is not lost: leave out --source-lost, or stop its server first",
    Reason.STILL_BUSY: "{source} {detail}; nothing was moved, and it {then}. {remedy}",
}
# The others end as refused.
_ENDS: Final[Mapping[Reason, type[PacsError]]] = {
    Reason.TARGET_AWAY: PeerUnreachable,
    Reason.SOURCE_AWAY: PeerUnreachable,
    Reason.STILL_BUSY: StillBusy,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason why nothing is done, as a sentence with what to do."""

    reason: Reason
    text: str

    def error(self) -> PacsError:
        """It as an error, whose class decides the exit code."""
        return _ENDS.get(self.reason, Refused)(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a site stands, as it says itself at one moment. It owes the site that asks `owed_objects` in `owed_series`,
    the oldest since `owed_since`; `associations` are those of others than partners; `homes` are the volumes that could
    take an object, of which `need` are awaited, and `degraded` are enough while there are no more.
    """

    site_id: str
    schema: str
    version: str
    preferred: str
    is_serving: bool
    is_draining: bool
    associations: int
    homes: int
    need: int
    degraded: int
    owed_objects: int
    owed_series: int
    owed_since: datetime | None

    @property
    def has_handed_over(self) -> bool:
        """Whether nobody uses it any more and the other site has all."""
        return not self.associations and not self.owed_series

    @property
    def left(self) -> str:
        """What it has not handed over."""
        return (
            f"has {self.associations} associations open, and owes {self.owed_objects} objects of "
            f"{self.owed_series} series"
        )

    def body(self) -> Body:
        """As it is said."""
        since = self.owed_since.isoformat() if self.owed_since else None
        return {name: getattr(self, name) for name in _TOLD} | {"owed_since": since}


_TOLD: Final[Mapping[str, type]] = {
    **dict.fromkeys(("site_id", "schema", "version", "preferred"), str),
    **dict.fromkeys(("is_serving", "is_draining"), bool),
    **dict.fromkeys(("associations", "homes", "need", "degraded", "owed_objects", "owed_series"), int),
}


def standing_of(body: Body) -> Standing:
    """What was said. Raises: ProtocolViolation."""
    told = {name: body.get(name) for name in _TOLD}
    if "degraded" not in body:  # a partner of an older release
        told["degraded"] = told["need"]
    since = body.get("owed_since")
    owed_since = None if since is None else moment_of(since)
    if any(type(told[name]) is not kind for name, kind in _TOLD.items()):
        raise ProtocolViolation("a partner does not say how it stands")
    return Standing(owed_since=owed_since, **told)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A site as the one that plans sees it. `standing` is None when it did not answer, and `problem` says why.
    `has_destination`: whether it is known where its DICOM port is. `clock_ahead_s` is to the planning site's clock.
    """

    name: str
    site_id: str
    standing: Standing | None
    problem: str = ""
    is_paused: bool = False
    has_destination: bool = True
    clock_ahead_s: float = 0.0

    @property
    def serves(self) -> bool:
        """Whether its server answers."""
        return self.standing is not None and self.standing.is_serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A failover that was begun and not ended: what is left of it, and why the last attempt left that."""

    target: str
    source: str
    is_source_lost: bool
    left: tuple[Step, ...]
    begun_at: datetime
    who: str
    problems: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {
            "target": self.target,
            "source": self.source,
            "is_source_lost": self.is_source_lost,
            "left": [step.value for step in self.left],
            "begun_at": self.begun_at.isoformat(),
            "who": self.who,
            "problems": list(self.problems),
        }


def unfinished_of(facts: Mapping[str, Any]) -> Unfinished:
    """What was noted. Raises: ValueError, KeyError or TypeError when it is nothing of the kind."""
    return Unfinished(
        target=str(facts["target"]),
        source=str(facts["source"]),
        is_source_lost=bool(facts["is_source_lost"]),
        left=tuple(Step(step) for step in facts["left"]),
        begun_at=datetime.fromisoformat(facts["begun_at"]),
        who=str(facts["who"]),
        problems=tuple(map(str, facts["problems"])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a failover would do, what was looked at, what speaks against it, and what a person should know. There is
    nothing to do when it `is_done`.
    """

    target: str
    source: str
    is_source_lost: bool
    steps: tuple[Step, ...]
    checks: Mapping[str, str]
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the target is the preferred site already, and nothing is left."""
        return not self.steps and not self.refusals


def plan_failover(
    target: View, source: View, *, is_source_lost: bool, preferred: str, unfinished: Unfinished | None
) -> Plan:
    """Decide what is to be done so that the target is the preferred site."""
    if unfinished is not None and _goes_on(unfinished, target, source, is_lost=is_source_lost, preferred=preferred):
        steps = unfinished.left
        if is_source_lost:
            steps = tuple(step for step in steps if step in WITHOUT_SOURCE)
        is_source_lost = is_source_lost or unfinished.is_source_lost
    elif preferred == target.site_id and unfinished is None:
        steps = ()
    else:
        steps = WITHOUT_SOURCE if is_source_lost else PLANNED
    reasons = _reasons(target, source, steps, is_source_lost=is_source_lost)
    if unfinished is not None and unfinished.target != target.name:
        reasons = [(Reason.UNFINISHED, ""), *reasons]
    names = {
        "target": target.name,
        "source": source.name,
        "other": unfinished.target if unfinished else "",
        "partner": source.name if source.is_paused else target.name,
    }
    return Plan(
        target=target.name,
        source=source.name,
        is_source_lost=is_source_lost,
        steps=steps,
        checks=_checks(target, source),
        refusals=tuple(refusal(reason, detail=detail, **names) for reason, detail in reasons),
        warnings=tuple(_warnings(target, source, is_source_lost=is_source_lost)) if steps else (),
    )


def _goes_on(unfinished: Unfinished, target: View, source: View, *, is_lost: bool, preferred: str) -> bool:
    """Whether what was broken off is to be ended. Else it begins anew: another site was preferred since, or a source
    that was lost came back before the target was preferred, so that it can hand over.
    """
    if unfinished.target != target.name:
        return False
    if Step.PREFER not in unfinished.left:
        return preferred == target.site_id
    return is_lost or not unfinished.is_source_lost or not source.serves


def _checks(target: View, source: View) -> dict[str, str]:
    """What both sites were found to be."""
    checks = {f"{one.name} answers": "yes" if one.serves else f"no: {one.problem}" for one in (target, source)}
    if (there := target.standing) is not None:
        checks |= {
            f"{target.name} takes objects": f"on {there.homes} volumes, needs {there.need}",
            f"{target.name} has schema": there.schema,
        }
    if (standing := source.standing) is not None:
        checks |= {f"{source.name} has schema": standing.schema, source.name: standing.left}
    ahead_s = target.clock_ahead_s or source.clock_ahead_s
    return checks | {"clocks differ by": f"{abs(ahead_s):.1f} s"}


def refusal(reason: Reason, **names: str) -> Refusal:
    """A refusal in words."""
    return Refusal(reason=reason, text=_TEXTS[reason].format(**names))


def _reasons(target: View, source: View, steps: Sequence[Step], *, is_source_lost: bool) -> list[tuple[Reason, str]]:
    if not steps:
        return []
    reasons: list[tuple[Reason, str]] = []
    if target.is_paused or (source.is_paused and not is_source_lost):
        reasons.append((Reason.TARGET_PAUSED, ""))
    elif target.standing is None or not target.standing.is_serving:
        reasons.append((Reason.TARGET_AWAY, target.problem))
    else:
        reasons += _unfit(target.standing, source.standing, is_source_lost=is_source_lost)
    if not target.has_destination:
        reasons.append((Reason.NO_DESTINATION, ""))
    if is_source_lost and source.serves and Step.PREFER in steps:
        reasons.append((Reason.SOURCE_ANSWERS, ""))
    # The last step is tried in any case; where the source is away, it stays for the next attempt.
    needs_source = not is_source_lost and set(steps) & {Step.DRAIN, Step.HAND_OVER}
    if needs_source and not source.serves and not source.is_paused:
        reasons.append((Reason.SOURCE_AWAY, source.problem))
    return reasons


def _unfit(target: Standing, source: Standing | None, *, is_source_lost: bool) -> list[tuple[Reason, str]]:
    """What of the target itself speaks against it. Where the source is lost, what it takes at all has to do."""
    reasons: list[tuple[Reason, str]] = []
    if target.is_draining:
        reasons.append((Reason.TARGET_DRAINING, ""))
    needed = target.degraded if is_source_lost else target.need
    if target.homes < needed:
        reasons.append((Reason.TOO_FEW_VOLUMES, f"{target.homes} volumes and needs {needed}"))
    if source is not None and target.schema < source.schema:
        reasons.append((Reason.TARGET_OLDER, f"{target.schema}, older than {source.schema}"))
    return reasons


def _warnings(target: View, source: View, *, is_source_lost: bool) -> list[str]:
    told = []
    if is_source_lost and (there := target.standing) is not None and there.homes < there.need:
        told.append(
            f"{target.name} has {there.homes} volumes for a new object and needs {there.need}: what it takes has fewer "
            "copies until its volumes are back"
        )
    offset_s = abs(target.clock_ahead_s or source.clock_ahead_s)  # that of this site is 0
    if offset_s > MAX_CLOCK_OFFSET_S:
        told.append(f"the clocks of the two sites differ by {offset_s:.0f} s: times that they tell are not comparable")
    versions = {one.standing.version for one in (target, source) if one.standing}
    if len(versions) > 1:
        told.append(f"the two sites run different releases: {' and '.join(sorted(versions))}")
    return told
