"""What values of settings may be: each check answers the value, or says why it cannot be."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pacs_server.dicom.charset import is_known_charset
from pacs_server.dicom.coded_sets import canonical_term
from pacs_server.dicom.identity import AeTitle

Number = TypeVar("Number", int, float)

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_SCHEMES: Final = ("sqlite", "postgresql", "postgresql+psycopg2")


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


def host_or_none(text: str) -> str:
    """An IP address or a host name, or nothing. Raises: ValueError with the reason."""
    return host_name(text) if text else text


def charset_term(text: str) -> str:
    """A value of (0008,0005): one term, or several joined by a backslash of which the first may be empty; or nothing.
    `SHIFT_JIS` and `EUC-JP`, which are no terms, may be assumed too.

    Raises: ValueError with the reason. Source: PS3.3 tables C.12-2 to C.12-5.
    """
    if unknown := [term for term in text.split("\\") if not is_known_charset(term)]:
        shown = unknown[0][:80]
        if meant := canonical_term(unknown[0]):
            raise ValueError(f"'{shown}' is not a defined term of Specific Character Set; write {meant}")
        raise ValueError(f"'{shown}' is not a defined term of Specific Character Set, like ISO_IR 192")
    return text


def log_level(text: str) -> str:
    """A level of the log. Raises: ValueError with the reason."""
    if text not in LOG_LEVELS:
        raise ValueError(f"is one of {', '.join(LOG_LEVELS)}, not '{text[:80]}'")
    return text


def database_url(text: str) -> str:
    """A URL of SQLite or PostgreSQL without a password.

    Raises: ValueError with the reason.
    """
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES:
        raise ValueError("is a URL that begins with sqlite:/// or postgresql://")
    if parts.password is not None or any(name == "password" for name, _ in parse_qsl(parts.query, True)):
        raise ValueError("holds a password; put it in a file and name that file (database_password_file in pacs.yaml)")
    if parts.scheme == "sqlite" and (parts.netloc or not parts.path.strip("/")):
        raise ValueError("needs a file: sqlite:///index.db in data_dir, or sqlite:////an/absolute/path")
    for host in parts.netloc.rpartition("@")[2].split(","):  # of PostgreSQL there may be several
        _refuse_impossible_port(f"//{host}")
    return text


def absolute_paths(paths: Mapping[str, Path]) -> Mapping[str, Path]:
    """Paths that begin with a slash. Raises: ValueError with the reason."""
    if relative := [name for name, path in paths.items() if not path.is_absolute()]:
        raise ValueError(f"the path of {relative[0]} is {paths[relative[0]]}, but has to begin with /")
    return paths


def api_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    """URLs of Patroni's REST API. Raises: ValueError with the reason."""
    for url in urls:
        parts = urlsplit(url)
        if parts.username is not None:
            raise ValueError("holds a user name; that is said in patroni.user, and the password in a file")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"'{url[:80]}' is not the URL of a member's REST API, like http://db1:8008")
        _refuse_impossible_port(url)
    return urls


def hook_url(url: str) -> str:
    """A URL that takes a POST, or nothing. Raises: ValueError with the reason."""
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ValueError(f"'{url[:80]}' is no URL that begins with https:// or http://")
    if urlsplit(url).username is not None:
        raise ValueError("holds a user name, which a POST does not tell")
    _refuse_impossible_port(url)
    return url


def _refuse_impossible_port(url: str) -> None:
    """Python looks at the port of a URL only when it is asked for it, which is when something is to be sent there. Told
    is the host with its port alone: the path of a webhook may be its secret.

    Raises: ValueError with the reason.
    """
    parts = urlsplit(url)
    try:
        is_possible = parts.port != 0
    except ValueError:
        is_possible = False
    if not is_possible:
        where = parts.netloc.rpartition("@")[2]
        raise ValueError(f"'{where[:80]}' has no port from 1 to 65535; correct it, or leave it out for the usual one")


def _mail_address(text: str) -> str:
    if not _MAIL_ADDRESS.fullmatch(text):
        raise ValueError(f"'{text[:80]}' is no mail address, like pacs@hospital.example")
    return text


def mail_address_or_none(text: str) -> str:
    """A mail address, or nothing. Raises: ValueError with the reason."""
    return _mail_address(text) if text else text


def mail_addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Mail addresses. Raises: ValueError with the reason."""
    return tuple(map(_mail_address, texts))


def within(default: Number, low: Number, high: Number) -> Number:
    """A number setting with the least and the greatest value it may have."""
    return field(default=default, metadata={"check": number_within(low, high)})


def number_within(low: Number, high: Number) -> Callable[[Number], Number]:
    """A check that a number is not less and not more."""

    def check(value: Number) -> Number:
        if not low <= value <= high:
            raise ValueError(f"is {value}, but has to be between {low} and {high}")
        return value

    return check
