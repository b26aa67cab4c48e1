"""Statements that PostgreSQL reads and plans once for a connection, and executes many times.

Of its 2.2 ms of processor time for an MR image 1.2 went into plans of eleven look-ups and inserts (pg_stat_statements,
four senders), and more into reading them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

# A plan stays until the statistics of its tables change. A table that grows faster than they are made has been small
# when it was planned, and reading all of a small table is quicker than its index.
_USES: Final = 1_000


class Planned:
    """A statement whose plan is the same whatever its values: a look-up by key, an insert."""

    def __init__(self, sql: str, names: Sequence[str], fixed: Mapping[str, Any]) -> None:
        """`names` are those of the parameters, each `%(name)s` in the SQL; `fixed` are values that stand in it:
        an index of some rows alone is found by them.
        """
        self.sql = sql
        self.names = names
        self.fixed = fixed
        told = ", ".join(f"%({name})s" for name in names)
        self.values = f"({told})" if told else ""


class Plans:
    """What the server of one connection has planned."""

    def __init__(self) -> None:
        self._names: dict[Planned, str] = {}
        self._uses: dict[Planned, int] = {}
        self._made = 0

    def name_of(self, statement: Planned) -> str:
        """The name by which it can be executed; empty when it is to be planned, for the first time or anew."""
        uses = self._uses.get(statement, _USES)
        self._uses[statement] = uses + 1
        return self._names[statement] if uses < _USES else ""

    def new_name(self) -> str:
        """A name that was never used: of what was told in a transaction that failed nobody knows how far it came."""
        self._made += 1
        return f"pacs_{self._made}"

    def forget(self, statement: Planned) -> str:
        """It is about to be planned anew. Answers the name that it had; empty when it had none."""
        self._uses.pop(statement, None)
        return self._names.pop(statement, "")

    def learn(self, names: Mapping[Planned, str]) -> None:
        """The server has planned these, and executed each once."""
        self._names.update(names)
        self._uses.update(dict.fromkeys(names, 1))
