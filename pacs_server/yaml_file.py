"""One YAML file, read once: its nodes for the settings, or plain values that know where in the file they stand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from pacs_server.errors import ConfigError

_MAX_FILE_BYTES: Final = 1 << 20


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


def read_mapping(path: Path, *, remedy: str = "") -> yaml.MappingNode:
    """The top of a file; an empty file is an empty mapping. `remedy` is what to do when there is no such file.

    Raises: ConfigError when it cannot be read, is no YAML, or something else than `name: value` lines.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode("utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        hint = remedy if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: cannot be read: {error.strerror}{hint}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or "is not YAML"
        raise ConfigError(f"{place_in(path, getattr(error, 'problem_mark', None))}: {reason}") from error
    if node is None:
        return yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{place_in(path, node.start_mark)}: the file has to be a list of `name: value` lines")
    return node


def read_items(path: Path, *, remedy: str = "") -> Item:
    """A whole file as values. Names and texts are what stands there, also `no` or `0x10`.

    Raises: ConfigError.
    """
    return _item(path, read_mapping(path, remedy=remedy))


def _item(path: Path, node: yaml.Node) -> Item:
    place = place_in(path, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return Item(place=place, named=tuple((str(key.value), _item(path, value)) for key, value in node.value))
    if isinstance(node, yaml.SequenceNode):
        return Item(place=place, listed=tuple(_item(path, one) for one in node.value))
    text = str(node.value)
    if node.tag == "tag:yaml.org,2002:null":
        return Item(place=place)
    is_whole = node.tag == "tag:yaml.org,2002:int" and text.isascii() and text.isdigit()
    return Item(place=place, text=text, number=int(text) if is_whole else None)
