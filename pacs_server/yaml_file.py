"""One YAML file, read once: its nodes for the settings, or plain values that know where in the file they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import yaml

from pacs_server.errors import ConfigError

_MAX_FILE_BYTES: Final = 1 << 20
_TOO_DEEP: Final = "is nested too deeply"
_TOO_MANY: Final = "holds more than 100,000 values, where each alias (*name) counts with all that it stands for"
# More than any list of peers has; half a kilobyte of aliases of aliases may stand for thousands of millions.
_MOST_VALUES: Final = 100_000
_WHOLE: Final = re.compile(r"[-+]?[0-9][0-9_]{0,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One value, and its place for messages: a text, which may be a whole number; a list; or named items in their
    order, where a name that comes twice is there twice. Nothing at all where the file leaves it empty.
    """

    place: str
    text: str | None = None
    number: int | None = None
    listed: tuple[Item, ...] | None = None
    named: tuple[tuple[str, Item], ...] | None = None


def place_in(path: Path, mark: yaml.Mark | None) -> str:
    """How a message names a place in a file."""
    return f"{path} line {mark.line + 1}" if mark is not None else str(path)


def read_mapping(path: Path, *, remedy: str) -> yaml.MappingNode:
    """The top of a file; an empty file is an empty mapping. `remedy` is what to do when there is no such file.

    Raises: ConfigError when it cannot be read, is no YAML, or something else than `name: value` lines.
    """
    node = _read(path, remedy)
    if node is None:
        return yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{place_in(path, node.start_mark)}: the file has to be a list of `name: value` lines")
    return node


def read_items(path: Path, *, remedy: str = "") -> Item:
    """A whole file as values. Names and texts are what stands there, also `no` or `0x10`.

    Raises: ConfigError when it cannot be read, is no YAML, or stands for far more than a person writes.
    """
    node = _read(path, remedy)
    try:
        return Item(place=str(path)) if node is None else _item(path, node, count(1))
    except RecursionError as error:  # an alias within what it stands for
        raise ConfigError(f"{path}: {_TOO_DEEP}") from error


def whole_number(node: yaml.Node) -> int | None:
    """What digits without quotes stand for; None for anything else. A nought before them changes nothing, where YAML
    would count in eights.
    """
    is_whole = isinstance(node, yaml.ScalarNode) and node.style is None and _WHOLE.fullmatch(node.value)
    return int(node.value.replace("_", "")) if is_whole else None


def _read(path: Path, remedy: str) -> yaml.Node | None:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path}: is larger than 1 MiB")
        node: yaml.Node | None = yaml.compose(content.decode("utf-8"), yaml.SafeLoader)
    except OSError as error:
        hint = remedy if isinstance(error, FileNotFoundError) else ""
        if isinstance(error, PermissionError):
            hint = "; run pacs as the user of the server"
        raise ConfigError(f"{path}: cannot be read: {error.strerror}{hint}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: {_TOO_DEEP}") from error
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or "is not YAML"
        raise ConfigError(f"{place_in(path, getattr(error, 'problem_mark', None))}: {reason}") from error
    return node


def _item(path: Path, node: yaml.Node, numbers: Iterator[int]) -> Item:
    if next(numbers) > _MOST_VALUES:
        raise ConfigError(f"{path}: {_TOO_MANY}")
    place = place_in(path, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return Item(
            place=place, named=tuple((str(key.value), _item(path, value, numbers)) for key, value in node.value)
        )
    if isinstance(node, yaml.SequenceNode):
        return Item(place=place, listed=tuple(_item(path, one, numbers) for one in node.value))
    if node.tag == "tag:yaml.org,2002:null":
        return Item(place=place)
    return Item(place=place, text=str(node.value), number=whole_number(node))
