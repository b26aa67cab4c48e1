"""Reads the settings file: all problems are found in one reading, each with its line; nothing is guessed and no key is
ignored.
"""

from __future__ import annotations

import difflib
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints
from urllib.parse import quote, urlsplit

import yaml

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import ConfigError
from pacs_server.settings.checks import database_url, host_name, site_aet
from pacs_server.settings.values import ENVIRONMENT, LogSettings, PatroniSettings, Settings, TlsSettings
from pacs_server.settings.watching import AlertSettings, MailSettings, WebhookSettings
from pacs_server.yaml_file import place_in, read_mapping, whole_number

Section = TypeVar("Section", PatroniSettings, MailSettings, WebhookSettings)

DEFAULT: Final = "default"
_NO_ARCHIVE: Final = "; no archive is there; name its settings file with -c, or make one with pacs init"

_NULL_TAG: Final = "tag:yaml.org,2002:null"
_BOOL_TAG: Final = "tag:yaml.org,2002:bool"
_FLOAT_TAG: Final = "tag:yaml.org,2002:float"
_TEXT_TAG: Final = "tag:yaml.org,2002:str"

_hints_of: Final = cache(get_type_hints)  # evaluating the annotations takes longer than reading a file


def load(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check a settings file. PACS_AET, PACS_HOST and PACS_PORT of `environment` win over it.

    Relative paths are relative to `data_dir`, and that is relative to the file's own folder. `origins` of the result
    tells for each dotted name where its value comes from: "default", a line of the file, or a variable.

    Raises: ConfigError with every problem and its place.
    """
    reading = _Reading(path)
    values = reading.section(Settings, read_mapping(path, remedy=_NO_ARCHIVE), "")
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
    values["patroni"] = _anchored_files(values.get("patroni", PatroniSettings()), data_dir)
    values["alert"] = _anchored_alert(values.get("alert", AlertSettings()), data_dir)
    _check_mail(reading, values["alert"].mail)
    reading.check_secret("patroni.password_file", values["patroni"].password_file)
    reading.check_secret("alert.mail.password_file", values["alert"].mail.password_file)
    if "port" in values and values["port"] is None and values.get("tls", TlsSettings()).port is None:
        reading.problem("port", "is null, and tls.port too: nobody could call, so give one of them a whole number")
    if reading.problems:
        raise ConfigError(*reading.problems)
    return Settings(**values, origins=reading.origins)


def database_at(url: str, password_file: Path | None) -> str:
    """The URL of a database besides that of the settings, with the password of a file.

    Raises: ConfigError.
    """
    try:
        anchored = _anchored_url(database_url(url), Path.cwd())
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
    for name, check in (("aet", site_aet), ("host", host_name), ("database", database_url)):
        try:
            check(str(values.get(name, "sqlite:///index.db")))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError(*problems)
    lines = "".join(yaml.safe_dump({name: value}, allow_unicode=True, width=1_000) for name, value in values.items())
    return f"# The settings of this archive; docs/reference/settings.md has all of them.\n{lines}"


def _anchored_url(url: str, data_dir: Path) -> str:
    if not url.startswith("sqlite:///"):
        return url
    file, mark, query = url.removeprefix("sqlite:///").partition("?")
    return f"sqlite:///{data_dir / file}{mark}{query}"


def _anchored_files(section: Section, data_dir: Path) -> Section:
    named = {name: data_dir / file for name in ("ca_file", "password_file") if (file := getattr(section, name, None))}
    return replace(section, **named)


def _anchored_alert(alert: AlertSettings, data_dir: Path) -> AlertSettings:
    mail, webhook = (_anchored_files(alert.mail, data_dir), _anchored_files(alert.webhook, data_dir))
    return replace(alert, mail=mail, webhook=webhook)


def _check_mail(reading: _Reading, mail: MailSettings) -> None:
    if mail.host:
        for name in ("sender", "recipients"):
            if not getattr(mail, name) and not reading.has_problem(f"alert.mail.{name}"):
                reading.problem(f"alert.mail.{name}", "is empty, but alert.mail.host is given, so somebody has to be")


def secret_in(file: Path) -> str:
    """The password in the first line of a file. Raises: ValueError when it cannot be read, or others can read it."""
    try:
        if file.stat().st_mode & stat.S_IRWXO:
            raise ValueError(f"{file} is open to every user of this machine: chmod 600 it")
        return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except PermissionError as error:
        raise ValueError(
            f"{file} cannot be read: {error.strerror}; it has to belong to the user of the server (chown)"
        ) from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}; write it (chmod 600), or name another") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} holds no text in UTF-8: write the password into it, and nothing else") from error


def _with_password(url: str, file: Path) -> str:
    parts = urlsplit(url)
    if not parts.username:
        raise ValueError("needs a user name in database, like postgresql://pacs@localhost/pacs")
    password = secret_in(file)
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

    def check_secret(self, name: str, file: Path | None) -> None:
        if file is not None:
            try:
                secret_in(file)
            except ValueError as error:
                self.problem(name, str(error))

    def has_problem(self, name: str) -> bool:
        """Whether something is wrong with this setting, so that the value that it has is not the one that was given."""
        return any(f": {name}: " in problem for problem in self.problems)

    def section(self, kind: type, node: yaml.Node, prefix: str) -> dict[str, Any]:
        """The good values of one mapping, for the dataclass `kind`; what is wrong becomes problems."""
        known = {item.name: item for item in fields(kind) if not item.metadata.get("internal")}
        hints = _hints_of(kind)
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
        hints = _hints_of(Settings)
        checks = {item.name: item.metadata.get("check") for item in fields(Settings)}
        for name, variable in ENVIRONMENT.items():
            text = environment.get(variable)
            if not text:
                continue
            before, origin = values.get(name), self.origins[name]
            self.origins[name] = variable
            self._take(values, name, hints[name], checks[name], yaml.ScalarNode(_TEXT_TAG, text))
            if values.get(name) == before:
                self.origins[name] = origin

    def _take(
        self, values: dict[str, Any], name: str, kind: object, check: Callable[[Any], Any] | None, node: yaml.Node
    ) -> None:
        try:
            value = _COLLECTED[kind](node) if kind in _COLLECTED else _value(kind, node)
            values[name.rpartition(".")[2]] = check(value) if check and value is not None else value
        except ValueError as error:
            self.problem(name, str(error))


def _value(kind: object, node: yaml.Node) -> object:
    """The value of a scalar for a setting of type `kind`. Raises: ValueError with the reason."""
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("needs one value, not a list or a mapping")  # noqa: TRY004 - reported, not raised to a caller
    text = str(node.value)
    if not text.isprintable():
        raise ValueError("has a line break or a control character in it")
    if kind in (Path | None, int | None) and node.tag == _NULL_TAG:
        return None
    if kind == int | None:
        return _plain(int, node)
    if kind is bool or kind is int or kind is float:
        return _plain(kind, node)
    if kind is AeTitle:
        return site_aet(text)
    if kind is str:  # also `NO` or `1234`, which YAML would read as something else
        return "" if node.tag == _NULL_TAG else text
    if not text:
        raise ValueError("needs a path")
    return Path(text)


def _texts(node: yaml.Node) -> tuple[str, ...]:
    """The texts of a list; nothing is an empty one. Raises: ValueError with the reason."""
    if node.tag == _NULL_TAG:
        return ()
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError("needs a list, like [A, B]")  # noqa: TRY004 - reported, not raised to a caller
    return tuple(str(_value(str, one)) for one in node.value)


def _paths(node: yaml.Node) -> dict[str, Path]:
    """The paths of a mapping, by their names; nothing is an empty one. Raises: ValueError with the reason."""
    if node.tag == _NULL_TAG:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("needs `name: path` lines below it")  # noqa: TRY004 - reported, not raised to a caller
    named = {str(_value(str, name)): Path(str(_value(Path, path))) for name, path in node.value}
    if len(named) < len(node.value):
        raise ValueError("has a name twice")
    return named


_COLLECTED: Final[dict[object, Callable[[yaml.Node], object]]] = {
    tuple[str, ...]: _texts,
    Mapping[str, Path]: _paths,
}


def _plain(kind: type, node: yaml.ScalarNode) -> object:
    text = str(node.value)
    if kind is bool:
        if node.tag != _BOOL_TAG or (value := yaml.SafeLoader.bool_values.get(text.lower())) is None:
            raise ValueError(f"is true or false, not '{text[:80]}'")
        return value
    number: float | None = whole_number(node)
    if number is None and kind is float and node.tag == _FLOAT_TAG:
        with suppress(ValueError):
            number = float(text)
    if number is None:
        raise ValueError(f"needs a {'whole ' if kind is int else ''}number, not '{text[:80]}'")
    return kind(number)


def _leaves(kind: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, name) of every setting."""
    hints = _hints_of(kind)
    for item in fields(kind):
        if is_dataclass(inner := hints[item.name]):
            yield from _leaves(inner, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        elif not item.metadata.get("internal"):
            yield f"{prefix}{item.name}", item.name


def _nearest(key: str, prefix: str) -> str:
    """The setting or section whose name is most like `key`: one of the same section if one is alike, else any."""
    names = _names()
    here = [name for dotted, name in names if dotted == f"{prefix}{name}"]
    if near := difflib.get_close_matches(key, here, n=1, cutoff=0.75):
        return prefix + near[0]
    return max(names, key=lambda one: difflib.SequenceMatcher(None, key, one[1]).ratio())[0]


def _names() -> list[tuple[str, str]]:
    """(dotted name, name) of every setting and of every section, each once."""
    dotted = {name: None for leaf, _ in _leaves(Settings) for name in (*_sections_of(leaf), leaf)}
    return [(one, one.rpartition(".")[2]) for one in dotted]


def _sections_of(leaf: str) -> Iterator[str]:
    parts = leaf.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts)))
