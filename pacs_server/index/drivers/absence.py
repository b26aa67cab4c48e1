"""A PostgreSQL that is away for a moment, because it restarts or a standby takes its place: who needs it waits. So does
who changes something, for one that answers but takes no changes yet.

Many a modality that is told 0xA700 sends again only when a person tells it to. Who has no connection yet has begun
nothing, so that here it can be waited for whatever is to be done, and nothing comes of it twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg2
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

_Made = TypeVar("_Made")

# Of the peers that wait for an answer many give up after 30 s, and to see that one of two servers is silent takes 4 s.
OUTLASTED_S: Final = 25.0
_TRY_EVERY_S: Final = 0.2


class Absence:
    """Since when a database is away, as far as is known, and how long that is waited for. May be used from any thread.

    The wait ends for all together, so long after the absence began: who comes later is refused at once, until it is
    over.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._waited_s = 0.0
        self._of_signals: int | None = None
        self._trying = threading.Lock()

    def wait(self, seconds: float) -> None:
        """From now on, wait so long; not in the thread that calls this, which hears of signals. 0 ends the waits that
        are under way, too.
        """
        self._waited_s, self._of_signals = seconds, threading.get_ident()

    def began(self, at: float) -> None:
        """It did not answer at a moment of the monotonic clock."""
        if self._since is None:
            self._since = at

    @property
    def is_known(self) -> bool:
        """Whether it was away when it was heard of last."""
        return self._since is not None

    @property
    def is_waited_for(self) -> bool:
        """Whether it is away, and this thread waits for it."""
        since = self._since
        is_patient = since is not None and time.monotonic() - since < self._waited_s
        return is_patient and threading.get_ident() != self._of_signals

    def outlasted(self, connect: Callable[[], _Made]) -> _Made:
        """What `connect` makes, perhaps after a wait. Raises: psycopg2.OperationalError."""
        try:
            if not self.is_waited_for:
                return self._tried(connect)
        except psycopg2.OperationalError:
            if not self.is_waited_for:
                raise
        with self._trying:  # one for all who wait: they hold no place among the connections, and do not come at once
            while True:
                try:
                    return self._tried(connect)
                except psycopg2.OperationalError:
                    if not self.is_waited_for:
                        raise
                time.sleep(_TRY_EVERY_S)

    def _tried(self, connect: Callable[[], _Made]) -> _Made:
        began_at = time.monotonic()
        try:
            made = connect()
        except psycopg2.OperationalError:
            self.began(began_at)
            raise
        self._since = None
        return made


class OutlastingPool(QueuePool):
    """A pool of connections that outlasts a short absence of its database."""

    entrance: Any  # through which its connections are made

    def connect(self) -> PoolProxiedConnection:
        """A connection. Raises: psycopg2.OperationalError."""
        connection: PoolProxiedConnection = self.entrance.absence.outlasted(super().connect)
        return connection

    def recreate(self) -> QueuePool:
        """The one that takes its place, once its connections are given up."""
        pool = super().recreate()
        pool.entrance = self.entrance  # type: ignore[attr-defined]
        return pool
