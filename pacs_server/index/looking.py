"""What only reads, or changes nothing the second time, is asked for once more where the database ended its connection,
or gave it up for something else, as a standby does for what it has to replay: nothing can come of it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice
from typing import ParamSpec, TypeVar

from pacs_server.errors import IndexConflict, IndexCutOff

_Asked = ParamSpec("_Asked")
_Told = TypeVar("_Told")


def looking(look: Callable[_Asked, _Told]) -> Callable[_Asked, _Told]:
    """A function that only reads, or changes nothing the second time."""

    @wraps(look)
    def looked(*arguments: _Asked.args, **named: _Asked.kwargs) -> _Told:
        try:
            return look(*arguments, **named)
        except (IndexCutOff, IndexConflict):
            return look(*arguments, **named)

    return looked


def in_parts(begin: Callable[[], Iterator[_Told]]) -> Iterator[_Told]:
    """The parts of an answer. After the first of them nothing is asked again: the next ones may be others by then."""

    @looking
    def begun() -> tuple[list[_Told], Iterator[_Told]]:
        parts = begin()
        return list(islice(parts, 1)), parts

    first, others = begun()
    yield from first
    yield from others
