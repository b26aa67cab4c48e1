"""What small files of the data directory say that are read again by a later process, or by a command. One that was cut,
or changed by hand, says nothing: it ends nobody who reads it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from pacs_server.errors import ConfigError

Noted = TypeVar("Noted")

# What reading values raises that are not what was noted.
NOT_AS_NOTED: Final = (AttributeError, KeyError, TypeError, ValueError)
# A file ends in blanks, so that a full disk has room for more to be noted: what stands there is written over.
_BLOCK_BYTES: Final = 4096
_SPARE_BYTES: Final = 2048


def object_in(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; an empty one when it holds none, or cannot be read."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def note_in(path: Path, facts: Mapping[str, Any]) -> None:
    """Let a file hold this JSON object, whole or not at all. On a full disk it is written over what the file holds, as
    far as there is room. Not flushed: after a power cut it may say nothing.

    Raises: OSError.
    """
    text = json.dumps(facts).encode()
    partial = path.with_suffix(".part")
    try:
        partial.write_bytes(text.ljust(-(-(len(text) + _SPARE_BYTES) // _BLOCK_BYTES) * _BLOCK_BYTES))
        partial.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _has_room(path, text):
            raise
        with path.open("r+b", buffering=0) as file:
            file.write(text.ljust(path.stat().st_size))


def _has_room(path: Path, text: bytes) -> bool:
    return path.exists() and path.stat().st_size >= len(text)


def refuse_closed(path: Path) -> None:
    """Refuse to go on without what a file says where this user alone may not read it. Raises: ConfigError."""
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; run pacs as the user of the server") from error
    except OSError:
        return


def made_of(kind: type[Noted], facts: Any) -> Noted:
    """A dataclass of what was noted of one. Raises: one of NOT_AS_NOTED when it is nothing of the kind."""
    types = get_type_hints(kind)
    return kind(**{name: _value(types[name], told) for name, told in facts.items()})


def moment(told: Any) -> datetime:
    """A moment, with its zone. Raises: TypeError or ValueError for anything else."""
    at = datetime.fromisoformat(told)
    if at.tzinfo is None:
        raise ValueError(f"{told} has no zone")
    return at


def _value(kind: Any, told: Any) -> Any:
    if kind is datetime:
        return moment(told)
    if isinstance(kind, type) and is_dataclass(kind):
        return made_of(kind, told)
    if issubclass(kind, StrEnum) or (kind is float and type(told) is int):
        return kind(told)
    if type(told) is not kind:
        raise TypeError(f"{type(told).__name__} where {kind.__name__} is noted")
    return told
