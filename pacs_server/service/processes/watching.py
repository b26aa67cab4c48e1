"""The process that watches: it answers monitoring, calls the server's own ports, and tells alarms.

It serves no peer and does no work of the archive, so that it can tell of whoever does when they cannot.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from pacs_server import log
from pacs_server.errors import AlarmNotTold
from pacs_server.index.site.peers import Right
from pacs_server.service.assemble import Node
from pacs_server.service.board import Board
from pacs_server.service.monitoring.alarm_book import AlarmBook, Notice
from pacs_server.service.monitoring.alarms import OF_SITE, alarms_of, unknown_of
from pacs_server.service.monitoring.gatherer import Gatherer
from pacs_server.service.monitoring.gauges import all_metrics
from pacs_server.service.monitoring.habits import HISTORY_HOURS, kept
from pacs_server.service.monitoring.messengers import ways_of
from pacs_server.service.monitoring.observing import Observer
from pacs_server.service.monitoring.readiness import is_alive, reasons_against, role_of
from pacs_server.service.monitoring.self_check import Door
from pacs_server.service.processes.worker import Doors
from pacs_server.service.roll_call import node_name
from pacs_server.settings import Settings
from pacs_server.web.exposition import CONTENT_TYPE, exposition
from pacs_server.web.server import Page, Server

_LOOK_EVERY_S: Final = 1.0
_HOURS_EVERY_S: Final = 900.0
_HOURS_LATE_S: Final = 600.0
_HOUR_S: Final = 3_600
_JSON: Final = "application/json"


def watch(
    settings: Settings, doors: Doors, http: socket.socket | None, board: Board, is_stopped: Callable[[float], bool]
) -> bool:
    """Watch until `is_stopped`, which waits for so many seconds, is true. `http` listens for monitoring, or is None
    where that is off. What cannot be reached is told, and never a reason to end.
    """
    observer = Observer(settings, board, doors_to_check(doors))
    watcher = Watcher(settings, observer)
    if http is not None:
        Server(http, pages(board, observer, watcher)).start()
    observer.start()
    watcher.start()
    while not is_stopped(_LOOK_EVERY_S):
        watcher.judge(datetime.now(UTC))
        if observer.site.problem:  # who calls waits for the database then, which no restart of this server brings back
            board.excuse()
    return True


def doors_to_check(doors: Doors) -> tuple[Door, ...]:
    """The ports that the server listens on."""
    told = (("plain", *doors.plain_address, False), ("TLS", *doors.secured_address, True))
    return tuple(
        Door(name=name, host=host, port=port, is_secured=is_secured)
        for name, host, port, is_secured in told
        if host is not None and port is not None
    )


def pages(board: Board, observer: Observer, watcher: Watcher) -> dict[str, Callable[[], Page]]:
    """What monitoring can ask for. Each page is made of what is known already."""

    def live() -> Page:
        status = HTTPStatus.OK if is_alive(board) else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(status=status, content_type=_JSON, text=json.dumps({"live": is_alive(board)}) + "\n")

    def ready() -> Page:
        reasons = list(reasons_against(board, observer))
        told = {"ready": not reasons, "reasons": reasons, "role": role_of(observer)}
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return Page(status=status, content_type=_JSON, text=json.dumps(told) + "\n")

    def metrics() -> Page:
        text = exposition(all_metrics(board, observer, watcher.book.raised(), datetime.now(UTC)))
        return Page(status=HTTPStatus.OK, content_type=CONTENT_TYPE, text=text)

    return {"/live": live, "/ready": ready, "/metrics": metrics}


class Watcher:
    """Judges what was observed, and tells alarms. Judging belongs to one thread; each way of telling has its own."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings, self._observer = settings, observer
        self._ways = ways_of(settings.alert)
        self.book = AlarmBook(
            settings.data_dir, settings.alert, node=node_name(settings), aet=str(settings.aet), ways=self._ways
        )
        self._hours: dict[str, set[int]] = {}
        self._hours_until: datetime | None = None
        self._habits = Gatherer(
            "habits", self._read_hours, every_s=_HOURS_EVERY_S, late_after_s=_HOURS_LATE_S, is_costly=True
        )

    def start(self) -> None:
        """Begin to tell, and to learn when modalities send."""
        for name, tell in self._ways.items():
            threading.Thread(target=self._deliver, args=(name, tell), name=f"alarms by {name}", daemon=True).start()
        if self._settings.alert.silence:
            self._habits.start()

    def judge(self, now: datetime) -> None:
        """Look which alarms begin, go on and end."""
        observer = self._observer
        self._note_rooms(now)
        site = observer.site.latest
        alarms = list(alarms_of(observer, self._settings, self.book.rooms, self._habits.latest or {}, now))
        self.book.take(
            alarms,
            now,
            unknown=unknown_of(observer),
            elsewhere=OF_SITE if site is not None and not site.does_for_all else (),
        )

    def _note_rooms(self, now: datetime) -> None:
        """Once an hour, note how much room each volume has. What was noted of an hour to come is of a clock that was
        ahead.
        """
        hour, rooms = int(now.timestamp()) // _HOUR_S, self.book.rooms
        volumes = self._observer.volumes.latest or []
        told = {str(one["name"]): one["free_bytes"] for one in volumes if isinstance(one["free_bytes"], int)}
        new = {name: free for name, free in told.items() if not rooms.get(name) or rooms[name][-1][0] != hour}
        if new:
            here = {str(one["name"]) for one in volumes}
            noted = {name: kept(rooms.get(name, []), hour, float(free)) for name, free in new.items()}
            self.book.note_rooms({name: samples for name, samples in (rooms | noted).items() if name in here})

    def _read_hours(self) -> dict[str, set[int]]:
        """When which peer sent, of the last weeks; after the first time only what is new is read, also after the clock
        was put back.
        """
        now = datetime.now(UTC)
        read_until = now - timedelta(hours=1)
        since = min(self._hours_until or now - timedelta(hours=2 * HISTORY_HOURS), read_until)

        def ask(node: Node) -> dict[str, set[str]]:
            sending = {str(peer.aet) for peer in node.registry.peers() if Right.STORE in peer.rights}
            told = node.audit.hours_of_storing(since)
            return {aet: hours for aet, hours in told.items() if aet in sending}

        for aet, hours in self._observer.ask(ask).items():
            self._hours.setdefault(aet, set()).update(
                int(datetime.fromisoformat(f"{hour}:00:00+00:00").timestamp()) // _HOUR_S for hour in hours
            )
        self._hours_until = read_until
        return self._hours

    def _deliver(self, way: str, tell: Callable[[Notice], None]) -> None:
        while True:
            now = datetime.now(UTC)
            if (delivery := self.book.next_due(way, now)) is None:
                time.sleep(_LOOK_EVERY_S)
                continue
            problem = ""
            try:
                tell(delivery.notice)
            except AlarmNotTold as error:
                problem = str(error)
                log.warning("alarm not told", way=way, attempts=delivery.attempts + 1, why=error)
            except Exception as error:  # noqa: BLE001 - the loop of a thread that has to go on
                log.unexpected("alarm not told", error, way=way)
                problem = type(error).__name__
            self.book.settle(delivery, problem, datetime.now(UTC))
