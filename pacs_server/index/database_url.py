"""The URL of a database: SQLite's, or PostgreSQL's with one host or several, as its own programs write it."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pacs_server.errors import ConfigError

_SEVERAL_HOSTS: Final = re.compile(r"^(postgresql[^:]*://(?:[^@/?]*@)?)([^@/?]+,[^@/?]+)(/[^?]*)(?:\?(.*))?$")


def parse_url(url: str) -> URL:
    """The parts of a database URL. Raises: ConfigError when it is no URL, or of another kind of database."""
    try:
        parsed = make_url(_SEVERAL_HOSTS.sub(_hosts_as_parameters, url))
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "the database URL cannot be read; it looks like sqlite:///PATH or postgresql://..."
        ) from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"database {parsed.drivername} is not supported: use sqlite:///PATH or postgresql://...")
    return parsed


def _hosts_as_parameters(found: re.Match[str]) -> str:
    """postgresql://USER@A:1,B:2/NAME?REST, as libpq writes it, in the form that SQLAlchemy reads."""
    user, hosts, name, rest = found.groups()
    return f"{user}{name}?{'&'.join(f'host={host}' for host in hosts.split(','))}{'&' if rest else ''}{rest or ''}"
