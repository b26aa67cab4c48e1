"""What SQLite needs that PostgreSQL does not: a local disk, pragmas, and that the driver begins nothing by itself."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from pacs_server.errors import ConfigError, IndexUnavailable, IndexUnreachable
from pacs_server.ownership import make_file

_NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "9p"})
_POOLED_CONNECTIONS: Final = 16
# Only other programs are waited for so long: ours queue on a kernel lock before (driver.py). Senders give up at 30 s.
_LOCKED_MS: Final = 10_000
_PRIMARY_CODE: Final = 0xFF
_FULL: Final = "database or disk is full"
# The cache is for the pages that a connection writes and those in the log; where there is a mapping, others are read
# through it.
_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    f"busy_timeout={_LOCKED_MS}",
    "temp_store=MEMORY",
)
_CACHE_KIB: Final = 16_384
_MAPPED_BYTES: Final = 1 << 30


def sqlite_engine(
    url: URL, connections: int = _POOLED_CONNECTIONS, *, cache_kib: int = _CACHE_KIB, is_mapped: bool = True
) -> Engine:
    """An engine for a SQLite file, with that many connections kept open, each with a cache of at most so much.

    What goes through much of the file is read in half to two thirds of the time when it `is_mapped`. But each time
    another connection has committed, SQLite unmaps the file and maps it again: a look-up by key took 100 us after each
    commit, and 30 without a mapping.
    """
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        pool_use_lifo=True,
        max_overflow=-1,
        hide_parameters=True,
        connect_args={"check_same_thread": False},
    )
    pragmas = (*_PRAGMAS, f"cache_size=-{cache_kib}", f"mmap_size={_MAPPED_BYTES if is_mapped else 0}")
    event.listen(engine, "connect", lambda connection, _: _prepare_sqlite(connection, pragmas))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, pragmas: Sequence[str]) -> None:
    # The driver must not begin transactions by itself: a read would become a write in the middle (see _begin_sqlite).
    connection.isolation_level = None
    connection.create_function("regexp", 2, _contains, deterministic=True)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _contains(regex: str, text: str | None) -> bool:
    """SQLite's `text REGEXP regex`. Python's `re` keeps the compiled expressions."""
    return text is not None and re.search(regex, text) is not None


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def is_locked(error: BaseException | None) -> bool:
    """Whether this says that another program keeps the file locked."""
    reason = error.orig if isinstance(error, DBAPIError) else error
    code: int = getattr(reason, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY


def kept_locked(path: Path) -> IndexUnreachable:
    """What is raised then."""
    return IndexUnreachable(
        f"another program keeps the index {path} locked: end it; fuser -v {path} (or lsof) lists it, beside pacs itself"
    )


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite file while others write to it, as it is at one moment.

    Raises: IndexUnavailable.
    """
    try:
        with closing(sqlite3.connect(source)) as opened, closing(sqlite3.connect(target)) as copy:
            opened.backup(copy)
    except sqlite3.Error as error:
        raise _uncopied(source, target, str(error)) from error


def keep_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite file as `copy_sqlite` does, for the owner of the folder. It has another name until all of it is
    there: what was broken off is not taken for a copy, and is in nobody's way.

    Raises: IndexUnavailable; then nothing is left of it, and a copy that was there stays.
    """
    partial = target.with_name(f"{target.name}.part")
    try:
        _remove_partial(partial)
        make_file(partial)
        copy_sqlite(source, partial)
        partial.replace(target)
    except OSError as error:
        raise _uncopied(source, target, str(error.strerror)) from error
    except IndexUnavailable:
        with suppress(OSError):
            _remove_partial(partial)
        raise


def _remove_partial(partial: Path) -> None:
    for path in (partial, partial.with_name(f"{partial.name}-journal")):
        path.unlink(missing_ok=True)


def _uncopied(source: Path, target: Path, why: str) -> IndexUnavailable:
    remedy = "make room there" if why == _FULL else ""
    return IndexUnavailable(f"{source} could not be copied to {target}: {why}", remedy)


def refuse_network_file_system(path: Path) -> None:
    """Raises: ConfigError when a SQLite file of this path would lie on one."""
    kind = _file_system_of(path.parent)
    if kind in _NETWORK_FILE_SYSTEMS or (kind.startswith("fuse.") and kind not in ("fuse.fuse-overlayfs",)):
        raise ConfigError(
            f"the SQLite file {path} would lie on {kind}, where its write-ahead log is not safe: "
            "put it on a local disk (database: in pacs.yaml), or use PostgreSQL"
        )


def _file_system_of(path: Path) -> str:
    """The type of the file system that holds a path, as the kernel names it; empty where that cannot be told."""
    try:
        device = path.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return next((line.partition(" - ")[2].split()[0] for line in reversed(lines) if line.split()[2] == wanted), "")
