"""`pacs db check`: what of a database is not as this release needs it, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final

from pacs_server.cli.exits import ExitCode
from pacs_server.errors import ConfigError, IndexDamaged, IndexUnavailable

if TYPE_CHECKING:
    from pacs_server.index.engine import Index

Problem = tuple[str, str, ExitCode]

_FIRST_OF_ALL: Final = (ExitCode.UNREACHABLE, ExitCode.CONFIGURATION, ExitCode.DAMAGE, ExitCode.SCHEMA)


def examine_database(url: str) -> tuple[list[dict[str, object]], ExitCode]:
    """Every check that can be made, as rows, and the exit code of the worst.

    Raises: ConfigError when the URL is not usable.
    """
    from pacs_server.index.engine import Index

    rows: list[dict[str, object]] = []
    codes: set[ExitCode] = set()
    with closing(Index.open(url)) as index:
        for check, find in _CHECKS.items():
            if check == ("contents" if index.database_path is None else "kind"):
                continue  # of the other database
            problems = list(_found(find, index))
            rows.extend({"check": check, "result": result, "remedy": remedy} for result, remedy, _ in problems)
            codes.update(code for *_, code in problems)
            if not problems:
                rows.append({"check": check, "result": "good", "remedy": ""})
            elif check in _NEEDED_BY_THE_NEXT:
                break
    return rows, next((code for code in _FIRST_OF_ALL if code in codes), ExitCode.DONE)


def _found(find: Callable[[Index], Iterator[Problem]], index: Index) -> Iterator[Problem]:
    try:
        yield from find(index)
    except IndexDamaged as error:
        yield error.problem, error.remedy, ExitCode.DAMAGE
    except IndexUnavailable as error:
        remedy = error.remedy or "start it, or mend the way to it; database in pacs.yaml names it"
        yield error.problem, remedy, ExitCode.UNREACHABLE


def _database(index: Index) -> Iterator[Problem]:
    from pacs_server.index.maintenance.schema import revision

    revision(index)
    yield from ()


def _kind(index: Index) -> Iterator[Problem]:
    from pacs_server.index.maintenance.schema import refuse_unfit_kind

    try:
        refuse_unfit_kind(index)
    except ConfigError as error:
        yield str(error), "docs/operate/postgresql.md", ExitCode.CONFIGURATION


def _schema(index: Index) -> Iterator[Problem]:
    from pacs_server.index.maintenance.schema import head, knows, revision

    if (found := revision(index)) is None:
        yield (
            "it is empty",
            "another name in its URL, or pacs restore-backup; pacs db current says more",
            ExitCode.SCHEMA,
        )
    elif not knows(found):
        yield f"it has schema {found} of a newer release", "install that release or a later one", ExitCode.SCHEMA
    elif found != head():
        yield (
            f"it has schema {found}, this release needs {head()}",
            "stop the server, then pacs db upgrade",
            ExitCode.SCHEMA,
        )


def _tables(index: Index) -> Iterator[Problem]:
    from pacs_server.index.maintenance.checking import differences

    for told in differences(index):
        yield told, "undo what was changed by hand, or pacs restore-backup", ExitCode.DAMAGE


def _contents(index: Index) -> Iterator[Problem]:
    from pacs_server.index.maintenance.checking import damage
    from pacs_server.index.maintenance.schema import is_gone

    if is_gone(index):  # the next check says so
        return
    for told in damage(index):
        yield told, IndexDamaged.usual_remedy, ExitCode.DAMAGE


def writing_problems(index: Index) -> Iterator[Problem]:
    """What keeps objects from being recorded. Raises: IndexUnavailable when the database is damaged."""
    from pacs_server.index.maintenance.checking import write_once

    try:
        write_once(index)
    except IndexDamaged:
        raise
    except IndexUnavailable as error:
        usual = "make room, and give pacs the right to write to it; of PostgreSQL, see that it is no standby"
        yield error.problem, error.remedy or usual, ExitCode.UNREACHABLE


_CHECKS: Final[dict[str, Callable[[Index], Iterator[Problem]]]] = {
    "database": _database,
    "kind": _kind,
    "contents": _contents,
    "schema": _schema,
    "tables": _tables,
    "writing": writing_problems,
}
# What the tables have to be is known of this release alone.
_NEEDED_BY_THE_NEXT: Final = ("database", "kind", "schema")
