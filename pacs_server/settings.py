"""The settings of one node: frozen values from one YAML file. Site state that changes while it runs is in the index.

All problems of a file are found in one reading, each with its line; nothing is guessed and no key is ignored.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints
from urllib.parse import quote, urlsplit

import yaml

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import ConfigError
from pacs_server.yaml_file import place_in, read_mapping

Number = TypeVar("Number", int, float)

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
ENVIRONMENT: Final = {"aet": "PACS_AET", "host": "PACS_HOST", "port": "PACS_PORT"}
DEFAULT: Final = "default"

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_CHARSET_TERM = re.compile(
    r"ISO(_IR| 2022 IR) (6|13|100|101|109|110|126|127|138|144|148|166|203)"
    r"|ISO 2022 IR (58|87|149|159)|ISO_IR 192|GB18030|GBK"
)
_SCHEMES: Final = ("sqlite", "postgresql", "postgresql+psycopg2")
_NULL_TAG: Final = "tag:yaml.org,2002:null"
_INT_TAG: Final = "tag:yaml.org,2002:int"
_TEXT_TAG: Final = "tag:yaml.org,2002:str"


def site_aet(text: str) -> AeTitle:
    """An AE title that an administrator may give: the standard's form without what breaks shells and tables.

    Raises: ValueError with the reason.
    """
    if found := sorted(set(text) & set(";\"'`")):
        raise ValueError(f"'{text[:64]}' has {' '.join(found)} in it, which other systems' configuration cannot hold")
    return AeTitle(text)


def host_name(text: str) -> str:
    """An IP address or a host name.

    Raises: ValueError with the reason.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not _HOST_NAME.fullmatch(text) or len(text) > 253 or re.fullmatch(r"[0-9.]+", text):
            raise ValueError(f"'{text[:80]}' is neither an IP address nor a host name") from None
    return text


def charset_term(text: str) -> str:
    """A value of (0008,0005): one term, or several joined by a backslash of which the first may be empty; or nothing.

    Raises: ValueError with the reason. Source: PS3.3 tables C.12-2 to C.12-5.
    """
    first, *others = text.split("\\")
    for term in (*((first,) if first else ()), *others):
        if not _CHARSET_TERM.fullmatch(term):
            raise ValueError(f"'{term[:80]}' is not a defined term of Specific Character Set, like ISO_IR 192")
    return text


def _log_level(text: str) -> str:
    if text not in LOG_LEVELS:
        raise ValueError(f"is one of {', '.join(LOG_LEVELS)}, not '{text[:80]}'")
    return text


def _database_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES:
        raise ValueError("is a URL that begins with sqlite:/// or postgresql://")
    if parts.password is not None:
        raise ValueError("holds a password; put it in a file and name that file (database_password_file in pacs.yaml)")
    if parts.scheme == "sqlite" and (parts.netloc or not parts.path.strip("/")):
        raise ValueError("needs a file: sqlite:///index.db in data_dir, or sqlite:////an/absolute/path")
    return text


def within(default: Number, low: Number, high: Number) -> Number:
    """A number setting with the least and the greatest value it may have."""

    def check(value: Number) -> Number:
        if not low <= value <= high:
            raise ValueError(f"is {value}, but has to be between {low} and {high}")
        return value

    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLimits:
    """Deadlines and caps of the network engine, for every phase of an association."""

    max_associations: int = within(300, 1, 10_000)
    max_connections_per_address: int = within(100, 1, 10_000)
    max_pdu_bytes: int = within(131_072, 4_096, 1 << 24)
    max_command_bytes: int = within(16_384, 1_024, 1 << 20)
    max_object_bytes: int = within(1 << 40, 1 << 20, 1 << 50)
    max_identifier_bytes: int = within(1 << 20, 4_096, 1 << 26)
    association_timeout_s: float = within(10.0, 0.1, 600.0)
    pdu_timeout_s: float = within(30.0, 0.1, 3_600.0)
    idle_timeout_s: float = within(300.0, 1.0, 86_400.0)
    send_timeout_s: float = within(30.0, 0.1, 3_600.0)
    connect_timeout_s: float = within(10.0, 0.1, 600.0)
    response_timeout_s: float = within(120.0, 1.0, 3_600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLimits:
    """How objects are held while they arrive, how long a volume may take, how often and fast copies are read again,
    how long those stay that moved away, and how long Storage Commitment waits for a volume.
    """

    memory_per_object_bytes: int = within(4 << 20, 1 << 16, 1 << 30)
    write_timeout_s: float = within(30.0, 0.1, 3_600.0)
    reserve_bytes: int = within(1 << 28, 0, 1 << 50)
    verify_every_days: int = within(90, 0, 3_650)
    verify_bytes_per_s: int = within(20 << 20, 1 << 16, 1 << 40)
    release_delay_s: float = within(3_600.0, 0.0, 2_592_000.0)
    commitment_wait_s: float = within(600.0, 0.0, 86_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscodingLimits:
    """What putting objects into another transfer syntax may take: processes, memory and time for a frame, disk."""

    processes: int = within(2, 1, 256)
    memory_bytes: int = within(2 << 30, 1 << 26, 1 << 40)
    frame_timeout_s: float = within(60.0, 0.1, 3_600.0)
    cache_bytes: int = within(10 << 30, 0, 1 << 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged: `level` is DEBUG, INFO, WARNING or ERROR; `file` is a path, or None for standard error."""

    level: str = field(default="INFO", metadata={"check": _log_level})
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything one node needs to run. `database` is complete: it holds the password, and is not in the repr."""

    data_dir: Path
    aet: AeTitle = field(default_factory=lambda: AeTitle("PACS"))
    host: str = field(default="127.0.0.1", metadata={"check": host_name})
    port: int = within(11112, 0, 65_535)
    database: str = field(repr=False, metadata={"check": _database_url})
    database_password_file: Path | None = None
    check_called: bool = True
    accept_private_sop_classes: bool = True
    default_issuer: str = ""
    default_charset: str = field(default="", metadata={"check": charset_term})
    max_find_answers: int = within(0, 0, 1 << 31)
    workers: int = within(0, 0, 64)
    network: NetworkLimits = field(default_factory=NetworkLimits)
    storage: StorageLimits = field(default_factory=StorageLimits)
    transcoding: TranscodingLimits = field(default_factory=TranscodingLimits)
    log: LogSettings = field(default_factory=LogSettings)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False, metadata={"internal": True})

    @property
    def workers_here(self) -> int:
        """How many processes serve associations: one for each processor, unless a number is set."""
        return self.workers or os.cpu_count() or 1

    def overridden(self) -> dict[str, str]:
        """The settings that an environment variable changed for this run, each with that variable."""
        return {name: origin for name, origin in self.origins.items() if origin in ENVIRONMENT.values()}


def load(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check a settings file. PACS_AET, PACS_HOST and PACS_PORT of `environment` win over it.

    Relative paths are relative to `data_dir`, and that is relative to the file's own folder. `origins` of the result
    tells for each dotted name where its value comes from: "default", a line of the file, or a variable.

    Raises: ConfigError with every problem and its place.
    """
    reading = _Reading(path)
    values = reading.section(Settings, read_mapping(path, remedy="; `pacs init` makes one"), "")
    reading.override(values, environment or {})
    data_dir = path.parent.absolute() / values.get("data_dir", ".")
    values["data_dir"] = data_dir
    values["database"] = _anchored_url(values.get("database", "sqlite:///index.db"), data_dir)
    log = values.get("log", LogSettings())
    if log.file is not None:
        values["log"] = replace(log, file=data_dir / log.file)
    if password_file := values.get("database_password_file"):
        values["database_password_file"] = data_dir / password_file
        try:
            values["database"] = _with_password(values["database"], data_dir / password_file)
        except ValueError as error:
            reading.problem("database_password_file", str(error))
    if reading.problems:
        raise ConfigError(*reading.problems)
    return Settings(**values, origins=reading.origins)


def database_at(url: str, password_file: Path | None) -> str:
    """The URL of a database besides that of the settings, with the password of a file.

    Raises: ConfigError.
    """
    try:
        anchored = _anchored_url(_database_url(url), Path.cwd())
        return anchored if password_file is None else _with_password(anchored, password_file)
    except ValueError as error:
        raise ConfigError(f"the database to copy to: {error}") from error


def minimal_file(*, aet: AeTitle, host: str, port: int, database: str | None) -> str:
    """The text of a settings file that says only this; it belongs into the data directory.

    Raises: ConfigError when a value cannot stand in it.
    """
    values: dict[str, object] = {"aet": str(aet), "host": host, "port": port}
    if database is not None:
        values["database"] = database
    problems = []
    for name, check in (("aet", site_aet), ("host", host_name), ("database", _database_url)):
        try:
            check(str(values.get(name, "sqlite:///index.db")))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError(*problems)
    lines = "".join(yaml.safe_dump({name: value}, allow_unicode=True, width=1_000) for name, value in values.items())
    return f"# The settings of this archive; docs/reference/settings.md has all of them.\n{lines}"


def entries(settings: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every setting as (dotted name, value), in the order of the classes; a password is not among them."""
    for item in fields(settings):  # type: ignore[arg-type]
        if item.metadata.get("internal"):
            continue
        value = getattr(settings, item.name)
        if is_dataclass(value):
            yield from entries(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", shown_url(value) if item.name == "database" else value


def shown_url(url: str) -> str:
    """The database URL without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def _anchored_url(url: str, data_dir: Path) -> str:
    if not url.startswith("sqlite:///"):
        return url
    file, mark, query = url.removeprefix("sqlite:///").partition("?")
    return f"sqlite:///{data_dir / file}{mark}{query}"


def _with_password(url: str, file: Path) -> str:
    parts = urlsplit(url)
    if not parts.username:
        raise ValueError("needs a user name in database, like postgresql://pacs@localhost/pacs")
    try:
        if file.stat().st_mode & stat.S_IRWXO:
            raise ValueError(f"{file} is open to every user of this machine: chmod 600 it")
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:{quote(password, safe='')}@{host}").geturl()


class _Reading:
    """One reading of one file: the values it yields, where each came from, and what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.origins = {name: DEFAULT for name, _ in _leaves(Settings)}

    def problem(self, name: str, reason: str) -> None:
        origin = self.origins.get(name, DEFAULT)
        self.problems.append(f"{self.path if origin == DEFAULT else origin}: {name}: {reason}")

    def section(self, kind: type, node: yaml.Node, prefix: str) -> dict[str, Any]:
        """The good values of one mapping, for the dataclass `kind`; what is wrong becomes problems."""
        known = {item.name: item for item in fields(kind) if not item.metadata.get("internal")}
        hints = get_type_hints(kind)
        values: dict[str, Any] = {}
        if not isinstance(node, yaml.MappingNode):
            if node.tag != _NULL_TAG:
                self.problems.append(f"{place_in(self.path, node.start_mark)}: {prefix[:-1]}: needs settings below it")
            return values
        for key_node, value_node in node.value:
            key, place = str(key_node.value), place_in(self.path, key_node.start_mark)
            name = f"{prefix}{key}"
            if key not in known:
                self.problems.append(f"{place}: {name}: unknown setting; the nearest is {_nearest(key, prefix)}")
            elif key in values:
                self.problems.append(f"{place}: {name}: is set twice")
            elif is_dataclass(hints[key]):
                values[key] = hints[key](**self.section(hints[key], value_node, f"{name}."))
            else:
                self.origins[name] = place
                self._take(values, name, hints[key], known[key].metadata.get("check"), value_node)
        return values

    def override(self, values: dict[str, Any], environment: Mapping[str, str]) -> None:
        """Let the environment variables that are set win over the top of the file."""
        hints = get_type_hints(Settings)
        checks = {item.name: item.metadata.get("check") for item in fields(Settings)}
        for name, variable in ENVIRONMENT.items():
            text = environment.get(variable)
            if not text:
                continue
            tag = _INT_TAG if text.isascii() and text.isdigit() else _TEXT_TAG
            before, origin = values.get(name), self.origins[name]
            self.origins[name] = variable
            self._take(values, name, hints[name], checks[name], yaml.ScalarNode(tag, text))
            if values.get(name) == before:
                self.origins[name] = origin

    def _take(
        self, values: dict[str, Any], name: str, kind: object, check: Callable[[Any], Any] | None, node: yaml.Node
    ) -> None:
        try:
            value = _value(kind, node)
            values[name.rpartition(".")[2]] = check(value) if check else value
        except ValueError as error:
            self.problem(name, str(error))


def _value(kind: object, node: yaml.Node) -> object:
    """The value of a scalar for a setting of type `kind`. Raises: ValueError with the reason."""
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("needs one value, not a list or a mapping")  # noqa: TRY004 - reported, not raised to a caller
    text = str(node.value)
    if not text.isprintable():
        raise ValueError("has a line break or a control character in it")
    if kind is bool or kind is int or kind is float:
        return _plain(kind, node)
    if kind == Path | None and node.tag == _NULL_TAG:
        return None
    if kind is AeTitle:
        return site_aet(text)
    if kind is str:  # also `NO` or `1234`, which YAML would read as something else
        return "" if node.tag == _NULL_TAG else text
    if not text:
        raise ValueError("needs a path")
    return Path(text)


def _plain(kind: type, node: yaml.ScalarNode) -> object:
    value = yaml.SafeLoader("").construct_object(node)
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"is true or false, not '{node.value[:80]}'")
    elif isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise ValueError(f"needs a {'whole ' if kind is int else ''}number, not '{node.value[:80]}'")
    return kind(value)


def _leaves(kind: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, name) of every setting."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(inner := hints[item.name]):
            yield from _leaves(inner, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        elif not item.metadata.get("internal"):
            yield f"{prefix}{item.name}", item.name


def _nearest(key: str, prefix: str) -> str:
    """The setting whose name is most like `key`: one of the same section if one is alike, else any."""
    leaves = list(_leaves(Settings))
    here = [name for dotted, name in leaves if dotted == f"{prefix}{name}"]
    if near := difflib.get_close_matches(key, here, n=1, cutoff=0.75):
        return prefix + near[0]
    return max(leaves, key=lambda leaf: difflib.SequenceMatcher(None, key, leaf[1]).ratio())[0]
