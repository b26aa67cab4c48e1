"""What is left of a failover, in a small file of the data directory: a command that was killed goes on with that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pacs_server.cluster.failover import Unfinished, unfinished_of
from pacs_server.errors import ConfigError
from pacs_server.service.assemble import Node
from pacs_server.service.noted import NOT_AS_NOTED
from pacs_server.whole_file import flush_folder, write_whole

_FILE: Final = "failover.json"


def unfinished(node: Node) -> Unfinished | None:
    """The failover that was begun here and not ended. Raises: ConfigError when what was noted cannot be read."""
    path = _path(node)
    try:
        return unfinished_of(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, RecursionError, *NOT_AS_NOTED) as error:
        raise ConfigError(
            f"{path}, which says what is left of a failover, cannot be read ({error}): remove it, and look at pacs "
            "failover status on both sites"
        ) from error


def note(node: Node, noted: Unfinished) -> None:
    """Note what is left, flushed when this returns, so that no power cut lets it be forgotten.

    Raises: ConfigError when the data directory cannot be written.
    """
    path = _path(node)
    with _written(path):
        write_whole(path, json.dumps(noted.facts()).encode(), 0o666)
        flush_folder(path.parent)


def forget(node: Node) -> None:
    """Note that it was ended, or given up. Raises: ConfigError when the data directory cannot be written."""
    path = _path(node)
    with _written(path):
        path.unlink(missing_ok=True)
        flush_folder(path.parent)


def _path(node: Node) -> Path:
    return node.settings.data_dir / _FILE


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; then give the same command again") from error
