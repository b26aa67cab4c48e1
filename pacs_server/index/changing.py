"""Whether a transaction changes anything: what a command did not do is not told as done."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event


class Changes:
    """Whether the statements of a connection, from now on, have changed a row."""

    def __init__(self, connection: Connection) -> None:
        self.are_there = False
        event.listen(connection, "after_cursor_execute", self._look)

    def _look(self, _: Connection, cursor: Any, __: str, ___: Any, context: Any, ____: bool) -> None:
        if context.isinsert or context.isupdate or context.isdelete:
            # -1 where the driver does not tell; one that returns rows tells how many when they were read.
            self.are_there |= cursor.rowcount != 0 or cursor.description is not None
