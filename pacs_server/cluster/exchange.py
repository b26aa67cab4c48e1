"""Makes the logs of two partners the same: what persons decided about objects, and what admins changed.

A question tells what the asking side knows of each log, and gives what the other lacks as far as it is known; the
answer does the same. So two questions are enough when little happened, and each message stays small when much did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from pacs_server.cluster.link import Link
from pacs_server.cluster.messages import Body, list_of, log_state, told_state
from pacs_server.dicom.operations import Operation, from_text
from pacs_server.errors import ProtocolViolation, Undecodable
from pacs_server.index.operations import Operations
from pacs_server.index.site.changes import Changes
from pacs_server.index.stamped import LogState, Stamp, StampedLog
from pacs_server.storage.operations import keep_everywhere
from pacs_server.storage.volume import Volume

LOG: Final = "log"
PLACES: Final = "places"
# Of 10,000 objects an operation has a megabyte; four fit in a message, and most are of a few objects.
_MAX_BYTES: Final = 2 << 20
_MAX_ENTRIES: Final = 500
_MAX_PLACES: Final = 20_000


class SharedLog(Protocol):
    """A log as the exchange needs it."""

    @property
    def log(self) -> StampedLog:
        """Its entries."""

    def take(self, texts: Sequence[str]) -> None:
        """Take over entries of the partner. Raises: Undecodable; NotEnoughCopies; IndexUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """The operations: each lies on the volumes before it takes effect."""

    operations: Operations
    volumes: Sequence[Volume]
    now: datetime

    @property
    def log(self) -> StampedLog:
        """Its entries."""
        return self.operations.log

    def take(self, texts: Sequence[str]) -> None:
        """Let operations of the partner take effect. What it deleted, and was acknowledged here after that to who sent
        it, is held again. Raises: Undecodable; NotEnoughCopies; IndexUnavailable.
        """
        self.operations.take_over([from_text(text) for text in texts], self._keep, now=self.now)

    def _keep(self, operation: Operation) -> list[str]:
        return [volume.spec.id for volume in keep_everywhere(operation, self.volumes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedChanges:
    """The changes of AE titles and rules, but of those titles that are each site's own; `with_users` also of who logs
    in there, which a partner of a release that does not know that would refuse with all the others. `who` is this node.
    """

    changes: Changes
    own: Collection[str]
    with_users: bool
    now: datetime
    who: str

    @property
    def log(self) -> StampedLog:
        """Its entries."""
        return self.changes.log if self.with_users else self.changes.log_without_users

    def take(self, texts: Sequence[str]) -> None:
        """Take over changes of the partner, after what admins changed here: else an earlier one of the partner would
        undo what is not in the log yet. Raises: Undecodable; IndexUnavailable.
        """
        self.changes.note_own(now=self.now, who=self.who, without=self.own)
        self.changes.take(texts, without=self.own)


def exchange(link: Link, logs: Mapping[str, SharedLog]) -> dict[str, LogState]:
    """Tell each other what the other lacks, until both know the same of each log; the states in which they did.

    Raises: what `Link.ask` raises; ProtocolViolation when it does not come to an end; NotEnoughCopies;
    IndexUnavailable.
    """
    same: dict[str, LogState] = {}
    for name, one in logs.items():
        state = _by_heads(link, name, one)
        if state is None:
            _by_places(link, name, one)
            state = _by_heads(link, name, one)
        if state is None:
            raise ProtocolViolation(f"the {name} of both sides do not become the same")
        same[name] = state
    return same


def _by_heads(link: Link, name: str, one: SharedLog) -> LogState | None:
    """Exchange what is behind the greatest counters; the state in which both know the same, or None if they do not."""
    give: list[str] = []
    ours, theirs = one.log.state(), None
    while True:
        answer = link.ask(LOG, {"log": name, "state": told_state(ours), "give": give})
        told, given = log_state(answer.get("state")), _texts(answer)
        _take(one, given)
        now = one.log.state()
        if told == now:
            return now
        if (now, told) == (ours, theirs):
            return None
        ours, theirs = now, told
        give = _small(one.log.beyond(_heads(told), limit=_MAX_ENTRIES))


def _by_places(link: Link, name: str, one: SharedLog) -> None:
    """Compare every place: where entries became known out of their order, the greatest counters do not tell."""
    after: Stamp = (0, "")
    while True:
        ours = one.log.stamps(after, limit=_MAX_PLACES)
        until = ours[-1] if len(ours) == _MAX_PLACES else None
        asked = {"log": name, "places": ours, "after": after, "until": until, "give": []}
        answer = link.ask(PLACES, asked)
        _take(one, _texts(answer))
        wanted = [_stamp(place) for place in list_of(answer, "wanted")]
        while wanted:
            give = _small(one.log.texts(wanted[:_MAX_ENTRIES]))
            link.ask(LOG, {"log": name, "state": told_state(one.log.state()), "give": give})
            wanted = wanted[max(1, len(give)) :]
        if answer.get("more"):
            continue
        if answer.get("until") is None:
            return
        after = _stamp(answer["until"])


def answer_log(body: Body, logs: Mapping[str, SharedLog]) -> Body:
    """The answer to what `exchange` asks first. Raises: ProtocolViolation; NotEnoughCopies; IndexUnavailable."""
    one = _named(body, logs)
    _take(one, _texts(body))
    state = one.log.state()
    give = _small(one.log.beyond(_heads(log_state(body.get("state"))), limit=_MAX_ENTRIES))
    return {"state": told_state(state), "give": give}


def answer_places(body: Body, logs: Mapping[str, SharedLog]) -> Body:
    """The answer to what it asks where that was not enough. Raises: ProtocolViolation; IndexUnavailable."""
    one = _named(body, logs)
    listed = one.log.stamps(_stamp(body.get("after")), limit=_MAX_PLACES)
    # As far as both have listed all that they know.
    ends = [_stamp(body["until"])] if body.get("until") is not None else []
    until = min([*ends, *(listed[-1:] if len(listed) == _MAX_PLACES else [])], default=None)
    ours, theirs = (
        {place for place in places if until is None or place <= until}
        for places in (listed, map(_stamp, list_of(body, "places")))
    )
    missing = sorted(ours - theirs)
    give = _small(one.log.texts(missing[:_MAX_ENTRIES]))
    return {"give": give, "wanted": sorted(theirs - ours), "more": len(give) < len(missing), "until": until}


def _named(body: Body, logs: Mapping[str, SharedLog]) -> SharedLog:
    one = logs.get(str(body.get("log")))
    if one is None:
        raise ProtocolViolation("a log that this release does not have")
    return one


def _take(one: SharedLog, texts: Sequence[str]) -> None:
    try:
        if texts:
            one.take(texts)
    except Undecodable as error:
        raise ProtocolViolation(str(error)) from error


def _small(texts: Sequence[str]) -> list[str]:
    """As many of them as fit in a message, but one at least."""
    left = _MAX_BYTES
    fitting: list[str] = []
    for text in texts:
        left -= len(text) * (1 if text.isascii() else 6)  # JSON says what is not ASCII in six characters
        if fitting and left < 0:
            break
        fitting.append(text)
    return fitting


def _heads(state: LogState) -> dict[str, int]:
    return {site_id: last for site_id, (_, last, _) in state.items()}


def _texts(body: Body) -> list[str]:
    texts = list_of(body, "give")
    if not all(isinstance(text, str) for text in texts):
        raise ProtocolViolation("an entry of a log is no text")
    return texts


def _stamp(told: Any) -> Stamp:
    if not isinstance(told, list) or len(told) != 2 or type(told[0]) is not int or not isinstance(told[1], str):
        raise ProtocolViolation("a place in a log is no pair of a counter and a site")
    return told[0], told[1]
