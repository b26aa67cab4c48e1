"""What the words of a database and of its driver say to an administrator: what to do, and if nothing else helps."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from sqlalchemy.engine import URL

from pacs_server.errors import IndexDamaged, IndexUnavailable, IndexUnfit, IndexUnreachable

_PASSWORD: Final = (
    "name a file with the right password as database_password_file in pacs.yaml (--password-file of pacs db copy), "
    "or put it into ~/.pgpass"
)
_LOOK_THERE: Final = "see that PostgreSQL runs there, that the URL names its host and port, and the firewalls between"
_ROOM: Final = "make room on the disk of the database"
_ROOM_OR_DISK: Final = (
    "make room on the disk of the database; where it has some, see in the system's log whether the disk fails"
)
_OF_ANOTHER: Final = "it holds tables of something else: make an empty one, and name that"
_WRITABLE: Final = (
    "name every server in the URL, and target_session_attrs=read-write (docs/operate/postgresql.md); see that one of "
    "them is no standby, and that default_transaction_read_only is off there"
)
_OF_SEVERAL: Final = (
    "start the primary, or promote the standby once it is certain that the primary is off "
    "(docs/operate/postgresql.md); where Patroni does that, promote nothing: pacs failover status"
)
_OF_A_PRIMARY: Final = "the URL asks for a standby: name target_session_attrs=read-write there"
_LEFT_BEHIND: Final = (
    "end it and make it a standby of the promoted one (pg_rewind, or pg_basebackup), and see why that one is away"
)
_LOCKED: Final = (
    "see in pg_stat_activity whose transaction is open since long ago (xact_start), and end it there, or by "
    "SELECT pg_terminate_backend(pid)"
)
STANDBY_NEEDED: Final = "start that standby, or take it out of synchronous_standby_names on the primary and reload it"
_OPTION: Final = "correct what stands behind the ? in the URL"

# The server tells an SQLSTATE in every language; of a connection that was not made the driver tells only the words.
_UNFIT_STATES: Final = frozenset({"42501", "42P07"})  # insufficient_privilege, duplicate_table
_BROKEN_STATES: Final = frozenset({"XX001", "XX002"})  # data_corrupted, index_corrupted
_BROKEN_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF
_CONNECTION_STATES: Final = ("08", "57P")  # connection_exception, and an administrator who ends the server
_UNFIT_WORDS: Final = (
    (r"invalid (connection option|\w+ value)", _OPTION),
    (r"^table .* already exists$", _OF_ANOTHER),
)


def unavailable(shown_url: str, url: URL, kind: type[IndexUnavailable], reason: BaseException) -> IndexUnavailable:
    """What to raise for an error of the driver or of its pool that is of this kind by itself: with the remedy, as
    `IndexUnfit` when nothing helps but a change of the database or of the settings, and as `IndexDamaged` when what it
    keeps is broken.
    """
    words, state = _words_of(reason), getattr(reason, "pgcode", None)
    problem = f"the index at {shown_url} failed: {words}"
    code = getattr(reason, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY_CODE
    if state in _BROKEN_STATES or code in _BROKEN_CODES:
        return IndexDamaged(problem, IndexDamaged.usual_remedy)
    if state is not None:
        remedy, is_unfit = _by_state(url).get(state, ""), state in _UNFIT_STATES
    else:
        unfit = _first_of(_UNFIT_WORDS, words)
        remedy, is_unfit = unfit or _first_of(_by_words(url), words), bool(unfit)
    is_away = issubclass(kind, IndexUnreachable) and (state or "08").startswith(_CONNECTION_STATES)
    # Not for those of the pool, all of whose connections are in use; nor where a server was found, and said no.
    if not remedy and is_away and hasattr(reason, "pgcode") and "FATAL:" not in words:
        remedy = _LOOK_THERE
    return (IndexUnfit if is_unfit else kind)(problem, remedy)


def keep_to_one_sentence(*errors: BaseException | None) -> None:
    """Let these errors of PostgreSQL, and a traceback of them, say only what `unavailable` tells of them."""
    for error in filter(None, errors):
        reason = getattr(error, "orig", error)
        if getattr(reason, "pgcode", None) is not None:
            error.args = (_words_of(reason),)


def _words_of(reason: BaseException) -> str:
    """What the server says in one sentence. What it says besides quotes the statement, and rows of patients."""
    primary = getattr(getattr(reason, "diag", None), "message_primary", None)
    return " ".join(str(primary or reason).split())


def _first_of(known: tuple[tuple[str, str], ...], words: str) -> str:
    return next((remedy for pattern, remedy in known if re.search(pattern, words)), "")


def _by_state(url: URL) -> dict[str, str]:
    user, name = url.username or "USER", url.database
    return {
        "25006": _WRITABLE,
        "42501": (
            f"let {user} own it and its tables (ALTER DATABASE {name} OWNER TO {user}, ALTER TABLE likewise), "
            "or GRANT it what is missing"
        ),
        "42P07": _OF_ANOTHER,
        "53100": _ROOM,
        "55P03": _LOCKED,
    }


def _by_words(url: URL) -> tuple[tuple[str, str], ...]:
    user, name = url.username or "USER", url.database
    is_alone = isinstance(url.query.get("host", ""), str)
    return (
        (r"no password supplied|password authentication failed", _PASSWORD),
        (
            r'database ".*" does not exist',
            f"createdb -O {user} -T template0 -E UTF8 --locale=C.UTF-8 {name}, or correct the name in the URL",
        ),
        (r'role ".*" does not exist', f"createuser --pwprompt {user}, or correct the user in the URL"),
        (
            r"no pg_hba\.conf entry|pg_hba\.conf rejects connection|(Peer|Ident) authentication failed",
            "let it in: pg_hba.conf there, then reload",
        ),
        (r"too many clients|remaining connection slots", "raise max_connections there, or lower workers in pacs.yaml"),
        (
            r"too many connections for (role|database)",
            f"let it have more there (ALTER ROLE {user} or ALTER DATABASE {name} CONNECTION LIMIT), "
            "or lower workers in pacs.yaml",
        ),
        (r"server does not support SSL", "turn ssl on there, or leave sslmode out of the URL"),
        (r"server is not in hot standby mode|session is not read-only", _OF_A_PRIMARY),
        (r"was promoted in its place", _LEFT_BEHIND),
        (r"for a synchronous standby", STANDBY_NEEDED),
        (r"session is read-only|server is in hot standby mode", _WRITABLE if is_alone else _OF_SEVERAL),
        (r"No space left on device|could not write init file", _ROOM),
        (r"could not translate host name", "correct the host in the URL, or its name in DNS"),
        (
            r"unable to open database file|readonly database",
            "let its user read and write that file, and its folder, which may be mounted read-only",
        ),
        (r"database or disk is full", _ROOM),
        (r"disk I/O error", _ROOM_OR_DISK),  # it is said too where there is no room for the -shm file
    )
