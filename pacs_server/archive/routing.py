"""Looks which objects of a series a route forwards, enters them for its destinations, and says why others are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.vocabulary import Vocabulary
from pacs_server.index.sending.selection import Selection
from pacs_server.index.sending.sendings import Sendings, Urgency
from pacs_server.index.sending.studies import Studies
from pacs_server.index.site.routes import Route

# A route that is paused is looked at again so rarely because resuming it wakes what waits for it.
_LOOK_AGAIN: Final = timedelta(hours=1)
# The study itself is sent before its priors.
_AFTER_ITS_STUDY: Final = timedelta(seconds=1)


def apply_route(
    route: Route,
    study_uid: str,
    series_uid: str,
    *,
    sendings: Sendings,
    studies: Studies,
    vocabulary: Vocabulary,
    now: datetime,
) -> datetime | None:
    """Enter what a route forwards of a series, and answer when to look again, None for never.

    Not entered is what came from the destination, and what was entered or sent before. With the first objects of a
    study go its priors, whether they were sent before or not: a viewer may have removed them since.

    Raises: BadQuery when a key is on a field that was removed or is still being read; IndexUnavailable.
    """
    if route.is_paused:
        return now + _LOOK_AGAIN
    if (quiet_at := _quiet_at(route, study_uid, studies, now)) > now:
        return quiet_at
    meant = selection(route, vocabulary, study_uid=study_uid, series_uid=series_uid)
    urgency = Urgency.ONCE if route.window else Urgency.SOONER
    for destination in route.to:
        # Before its own objects: were it killed in between, the study would not be new any more.
        if route.priors and sendings.is_new(study_uid, destination) and sendings.count(meant, not_from=destination):
            for prior in studies.earlier(study_uid, limit=route.priors, alike=route.priors_like):
                sendings.owe(
                    Selection(study_uid=prior), destination, now,
                    route=route.name, urgency=Urgency.AGAIN, after=_AFTER_ITS_STUDY,
                )  # fmt: skip
        sendings.owe(meant, destination, now, route=route.name, urgency=urgency)
    return None


def selection(route: Route, vocabulary: Vocabulary, *, study_uid: str = "", series_uid: str = "") -> Selection:
    """The objects that fit a route. Raises: BadQuery when a key is not one that can be asked for now."""
    predicates = query_from_keywords(Level.IMAGE, route.keys, vocabulary).predicates
    return Selection(predicates=predicates, study_uid=study_uid, series_uid=series_uid, senders=route.senders)


def _quiet_at(route: Route, study_uid: str, studies: Studies, now: datetime) -> datetime:
    """When nothing will have come for as long as the route waits. For what came at a time that is further away than
    that it waits no more: the clock was put back since.
    """
    quiet = timedelta(minutes=route.quiet_minutes)
    last = studies.last_received_at(study_uid)
    return now if last is None or last - now > quiet else last + quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What a route would do with one study for one destination: so many of its `objects` fit, and `to_send` of these
    are not sent yet; why others are not, and what is waited for, one sentence each.
    """

    study_uid: str
    destination: str
    objects: int
    fitting: int
    to_send: int
    why: tuple[str, ...]


def explain_route(
    route: Route, study_uid: str, *, sendings: Sendings, studies: Studies, vocabulary: Vocabulary, now: datetime
) -> Iterator[Explained]:
    """What a route would do with a study at this moment, for each destination. Nothing is entered.

    Raises: BadQuery; IndexUnavailable.
    """
    objects = sendings.count(Selection(study_uid=study_uid))
    meant = selection(route, vocabulary, study_uid=study_uid)
    for destination in route.to:
        fitting = sendings.count(meant, not_from=destination)
        to_send = sendings.count(meant, not_from=destination, not_sent=True)
        why = list(_unfulfilled(route, study_uid, objects, sendings, vocabulary))
        if own := objects - sendings.count(Selection(study_uid=study_uid), not_from=destination):
            why.append(f"{own} came from {destination} itself")
        if sent := fitting - to_send:
            why.append(f"{sent} sent, waiting or refused already")
        if to_send:
            why += _waited_for(route, study_uid, studies, now)
        yield Explained(
            study_uid=study_uid, destination=destination, objects=objects, fitting=fitting, to_send=to_send,
            why=tuple(why),
        )  # fmt: skip


def _unfulfilled(
    route: Route, study_uid: str, objects: int, sendings: Sendings, vocabulary: Vocabulary
) -> Iterator[str]:
    if others := objects - sendings.count(Selection(study_uid=study_uid, senders=route.senders)):
        yield f"{others} came from others than {', '.join(route.senders)}"
    for keyword, value in route.keys.items():
        predicates = query_from_keywords(Level.IMAGE, {keyword: value}, vocabulary).predicates
        if others := objects - sendings.count(Selection(study_uid=study_uid, predicates=predicates)):
            yield f"{others} do not match {keyword}={value}"


def _waited_for(route: Route, study_uid: str, studies: Studies, now: datetime) -> Iterator[str]:
    if (quiet_at := _quiet_at(route, study_uid, studies, now)) > now:
        yield f"the study is quiet at {_local(quiet_at)}"
    opens_at = route.opens_at(now)
    if opens_at is None:
        yield f"the route is paused: pacs route resume {route.name}"
    elif opens_at > now:
        yield f"its window opens at {_local(opens_at)}"


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
