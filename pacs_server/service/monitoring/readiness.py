"""Whether peers may be sent to this server now, and if not, why: without the name of a patient or of an object."""

from __future__ import annotations

from collections.abc import Iterator

from pacs_server.service.board import Board
from pacs_server.service.monitoring.observing import Observer, Site
from pacs_server.service.partners.role import Role

# The supervisor looks after its processes every second.
_SUPERVISOR_S = 5.0
# What was found longer ago says nothing of now.
_OLD_S = 30.0


def is_alive(board: Board) -> bool:
    """Whether the supervisor turns."""
    return board.supervisor_age_s() < _SUPERVISOR_S


def reasons_against(board: Board, observer: Observer) -> Iterator[str]:
    """Why this server should not be sent to; nothing when it accepts, answers, and could store."""
    if not is_alive(board):
        yield f"the supervisor has not turned for {board.supervisor_age_s():.0f} s"
    if observer.doors.age_s > _OLD_S:
        yield "the ports were not looked at yet" if observer.doors.latest is None else "the self-check hangs"
    for door in observer.doors.latest or ():
        if door.problem:
            yield f"the {door.name} port does not answer a C-ECHO: {door.problem}"
    if problem := observer.index_problem:
        yield f"the index {problem}"
    elif observer.site.age_s > _OLD_S:
        yield "the index was not looked at yet"
    if observer.site.latest is not None:
        yield from _of_site(observer.site.latest)


def _of_site(site: Site) -> Iterator[str]:
    if site.is_draining:
        yield "no new associations are taken: pacs failover demote here --end"
    if not site.takes_stores:
        yield "this site is a standby that takes nothing to store (failover.standby_stores)"
    if site.online < site.degraded:
        yield f"{site.online} volumes can take an object, but the policy wants at least {site.degraded}"


def role_of(observer: Observer) -> str:
    """The role of the site, for a balancer that prefers one."""
    return (observer.site.latest.role if observer.site.latest else Role.ALONE).value
