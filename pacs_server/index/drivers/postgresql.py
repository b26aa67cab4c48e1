"""What PostgreSQL needs that SQLite does not: limits on how long anything may take, and texts that compare alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as NoneIsFree

from pacs_server.errors import ConfigError, IndexConflict, IndexCutOff, IndexLocked, IndexUnavailable, IndexUnreachable
from pacs_server.index.drivers.remedies import STANDBY_NEEDED

if TYPE_CHECKING:
    from pacs_server.index.drivers.entrance import Entrance

# Of each host of the URL in turn; one that is switched off answers nothing at all.
_CONNECT_S: Final = 10
# An association waits for every statement, and its peer gives up after half a minute or later. The slowest query among
# a million studies takes 3 s.
_STATEMENT_S: Final = 20
_LOCK_S: Final = 10
# A transaction that nobody goes on with holds locks. A C-FIND whose peer takes the answers slowly is one, too.
_IDLE_S: Final = 300
_POOLED_CONNECTIONS: Final = 16
# Of one process. A server takes 100 by default, of all together; who comes to more than these waits for a free one.
_MOST_CONNECTIONS: Final = 48
_FREE_CONNECTION_S: Final = 15

_SETTINGS: Final = {
    "statement_timeout": f"{_STATEMENT_S}s",
    "lock_timeout": f"{_LOCK_S}s",
    "idle_in_transaction_session_timeout": f"{_IDLE_S}s",
    "transaction_timeout": "0",  # since PostgreSQL 17; a backup is one transaction
    # Who writes first waits for the locks of others, and then has to see what they have written.
    "default_transaction_isolation": "read committed",
    # So that a node that vanishes does not keep its locks for two hours.
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "synchronous_commit": "on",
    # Compiling a list of all studies took 2 of 3 s: it is estimated far above what it costs.
    "jit": "off",
    # How much of an answer is thought to be read. With the usual 0.1 what hardly any study has was sought study by
    # study in the order of their days: 2.3 to 4.8 s among a million, now 0.1 to 0.6. From 0.6 on, all studies are
    # sorted before the first of a long list: 2.2 s, now 2 ms.
    "cursor_tuple_fraction": "0.3",
}
# The kernel notices after some 10 s that a machine is lost, or a network drops all packets; one that is only
# slow acknowledges what it is sent. So there is time left to wait for a server that takes its place.
_KEEPALIVES: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}

WITHOUT_HASTE: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
)

# By a statement, because PgBouncer lets no such options pass. What the URL says stays, and what is stronger than `on`.
_SETTLE: Final = (
    "SELECT set_config(name, ours.value, false) FROM pg_settings"
    " JOIN unnest(%s::text[], %s::text[]) AS ours (name, value) USING (name)"
    " WHERE CASE name WHEN 'synchronous_commit' THEN setting = 'off' ELSE source <> 'client' END"
)

# Who records a group of objects has all others of the process wait behind it.
_WAIT_LITTLE: Final = "SET LOCAL lock_timeout = 2000"

# Who waits to change a table has all others wait behind it, those who only read, too.
WAIT_LITTLE_FOR_TABLES: Final = f"SET LOCAL lock_timeout = {_LOCK_S * 1000}"

# Those that were cut off, too: they wait on, each with its connection. A standby that lives answers in milliseconds.
_LONG_WAIT_S: Final = 5
_WAITING_COMMITS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = current_user"
    " AND clock_timestamp() - query_start > make_interval(secs => {})"
)

# serialization_failure, deadlock_detected, unique_violation: the other one has committed, or will have.
_CONFLICTS: Final = frozenset({"40001", "40P01", "23505"})
# feature_not_supported: a column has another type than when a statement was planned; invalid_sql_statement_name: who
# stands between has changed the session.
_PLANS_LOST: Final = frozenset({"0A000", "26000"})
# admin_shutdown, crash_shutdown, idle_in_transaction_session_timeout
_ENDED: Final = frozenset({"57P01", "57P02", "25P03"})
_READ_ONLY: Final = "25006"  # read_only_sql_transaction
_LOCKED: Final = "55P03"  # lock_not_available
# Of insufficient_resources disk_full, out_of_memory and configuration_limit_exceeded; program_limit_exceeded and
# system_error. To the driver they are errors of its operation; the server is there, though, and answers others.
_TAKES_NOT: Final = ("53100", "53200", "53400", "54", "58")

# Times are texts, and beginnings are looked up as ranges: both are right only where texts are ordered by their bytes.
_KIND: Final = text(
    "SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,"
    " to_jsonb(pg_database) ->> 'datlocprovider' = 'i' AS is_of_icu,"  # a column since PostgreSQL 15
    " current_schema() AS schema, current_setting('search_path') AS search_path"
    " FROM pg_database WHERE datname = current_database()"
)
_INSERT: Final = re.compile(r"(INSERT INTO .* VALUES )(\(.*\))( RETURNING .*)", re.DOTALL)
_COMPARES: Final = text("SELECT 'B' < 'a' AND '+' < '.' AND '.' < '1' AND 'ん' < '\U0010ffff' AND lower('Ä') = 'ä'")


def postgresql_engine(url: URL) -> Engine:
    """An engine whose connections are given up when the server does not answer."""
    # Here because of psycopg2, which SQLite does not need.
    from pacs_server.index.drivers.absence import OutlastingPool
    from pacs_server.index.drivers.entrance import Entrance
    from pacs_server.index.drivers.watch import WatchedCursor

    entrance = Entrance()
    engine = create_engine(
        url,
        poolclass=OutlastingPool,
        pool_size=_POOLED_CONNECTIONS,
        pool_use_lifo=True,
        max_overflow=_MOST_CONNECTIONS - _POOLED_CONNECTIONS,
        pool_timeout=_FREE_CONNECTION_S,
        hide_parameters=True,
        connect_args={
            **_arguments(url),
            "connection_factory": entrance.connection,
            "cursor_factory": WatchedCursor,
        },
    )
    engine.pool.entrance = entrance  # type: ignore[attr-defined]
    event.listen(engine, "connect", _settle)
    event.listen(engine, "checkout", _refuse_lost)
    return engine


def outlast(engine: Engine, *, waits: bool) -> None:
    """Wait for a database that is away, or takes no changes, for a moment; or no more."""
    from pacs_server.index.drivers.absence import OUTLASTED_S

    entrance = _entrance(engine)
    for one in (entrance.absence, entrance.refusal):
        one.wait(OUTLASTED_S if waits else 0.0)


def _entrance(engine: Engine) -> Entrance:
    return engine.pool.entrance  # type: ignore[attr-defined,no-any-return]


def await_changes(engine: Engine) -> None:
    """Return once the server takes changes, where that is in doubt: a standby is about to be promoted, perhaps.

    Raises: psycopg2.OperationalError when it still takes none.
    """
    refusal = _entrance(engine).refusal
    if refusal.is_known:
        refusal.outlasted(partial(_refuse_read_only, engine))


def _refuse_read_only(engine: Engine) -> None:
    from psycopg2 import OperationalError

    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SHOW transaction_read_only")
        if cursor.fetchone() == ("on",):
            # By a setting of the database or of the role, a session is what it was when it began.
            _entrance(engine).leave(cursor.connection)
            raise OperationalError("session is read-only")


def _refuse_lost(connection: Any, *_: object) -> None:
    """Have the pool close a connection to a server that was left for a newer one, or all where one leads nowhere,
    and make another in its place.
    """
    if connection.entrance.has_left(connection):
        raise DisconnectionError("another server was promoted, or its own one has ended others")
    if why := connection.why_lost():
        raise InvalidatePoolError(why)


def _settle(connection: Any, _: object) -> None:
    """Have a session wait no longer than it may, and flush what it commits, whatever is usual for its server."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, (list(_SETTINGS), list(_SETTINGS.values())))
    connection.commit()


def _arguments(url: URL) -> dict[str, Any]:
    """What the environment must not change. Time-outs, as far as the URL does not."""
    usual: dict[str, Any] = {"connect_timeout": _CONNECT_S, **_KEEPALIVES}
    return {name: value for name, value in usual.items() if name not in url.query} | {
        "client_encoding": "utf8",  # a role, or PGCLIENTENCODING, may say one that has not every letter
        "options": url.query.get("options", ""),
    }


def wait_little(url: URL) -> str:
    """The statement by which a transaction waits for no lock for long; empty where the URL says how long."""
    return "" if "lock_timeout" in str(url.query.get("options", "")) else _WAIT_LITTLE


def kind_of(reason: Any, engine: Engine) -> type[IndexUnavailable]:
    """Which of our errors an error of the driver or of the pool is."""
    state = getattr(reason, "pgcode", None)
    if getattr(reason, "is_in_doubt", False):
        return IndexCutOff
    if state in _CONFLICTS:
        return IndexConflict
    entrance = _entrance(engine)
    if state in _PLANS_LOST:
        entrance.leave(reason.cursor.connection)  # each connection has its own
        return IndexConflict
    if state == _READ_ONLY:
        # It was demoted: the next connection goes to the server that took its place.
        entrance.leave(reason.cursor.connection)
        entrance.doubt_changes()
        return IndexCutOff
    if state == _LOCKED:
        return IndexLocked
    driver = engine.dialect.loaded_dbapi
    # Mostly the server tells no state of a connection that it has ended; the words are the driver's own.
    if state in _ENDED or (isinstance(reason, driver.Error) and engine.dialect.is_disconnect(reason, None, None)):
        entrance.doubt_changes()  # the next connection may lead to a standby that is not promoted yet
        return IndexCutOff
    is_away = isinstance(reason, (NoneIsFree, driver.OperationalError))
    return IndexUnreachable if is_away and not (state or "").startswith(_TAKES_NOT) else IndexUnavailable


def refuse_waiting_commits(value_of: Callable[[str], Any]) -> None:
    """Raises: IndexUnreachable while commits wait for a synchronous standby: each further one would only wait behind
    them.
    """
    if waiting := value_of(_WAITING_COMMITS.format(_LONG_WAIT_S)):
        raise IndexUnreachable(
            f"{waiting} commits wait for a synchronous standby of PostgreSQL that does not answer",
            STANDBY_NEEDED,
        )


def refuse_unfit(connection: Connection) -> None:
    """Refuse a database in which texts are not UTF-8, not ordered by their bytes, or letters only those of ASCII; and
    one that shows no schema, which would look empty.

    Raises: ConfigError.
    """
    kind = connection.execute(_KIND).one()
    if kind.schema is None:
        raise ConfigError(
            f"the PostgreSQL database shows no schema: its search_path is {kind.search_path}, of which none exists or "
            "may be used; ALTER DATABASE or ALTER ROLE ... RESET search_path, or GRANT USAGE ON SCHEMA"
        )
    if kind.encoding == "UTF8" and connection.execute(_COMPARES).scalar():
        return
    of, by = (" of ICU", " --locale-provider=libc") if kind.is_of_icu else ("", "")
    raise ConfigError(
        f"the PostgreSQL database has encoding {kind.encoding}, collation {kind.datcollate} and ctype {kind.datctype}"
        f"{of}; it needs UTF8, texts in the order of their bytes, and a ctype that is not C: "
        f"createdb -T template0 -E UTF8{by} --locale=C.UTF-8 NAME (or{by} --lc-collate=C --lc-ctype=en_US.UTF-8)"
    )


def insert_together(cursor: Any, sql: str, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Execute an insert of one row for several, in one round trip; answers what it returns, in any order.

    Raises: psycopg2.Error.
    """
    from psycopg2.extras import execute_values  # here because of psycopg2, which SQLite does not need

    before, values, returning = _INSERT.fullmatch(sql).groups()  # type: ignore[union-attr]
    whole = f"{before}%s{returning}"
    made = execute_values(cursor, whole, rows, template=values, page_size=len(rows), fetch=True)  # type: ignore[no-untyped-call]
    return list(made)
