"""Statements that PostgreSQL plans once for a connection: how often it does, and what becomes of lost plans."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import bindparam, select, text
from sqlalchemy.engine import make_url
from support.arrivals import arrival
from support.postgres import Cluster

from pacs_server.errors import IndexUnavailable
from pacs_server.index.drivers import planned
from pacs_server.index.engine import Index
from pacs_server.index.objects import Outcome
from pacs_server.index.recording.instances import Instances
from pacs_server.index.statements import HotStatement
from pacs_server.index.tables import studies

PREPARED = text("SELECT name FROM pg_prepared_statements ORDER BY name")


@pytest.fixture
def index(upgraded_postgres_url: str) -> Iterator[Index]:
    with closing(Index.open(upgraded_postgres_url)) as opened:
        yield opened


def prepared(index: Index) -> list[str]:
    """The statements that the one connection of this index has, by name."""
    with index.read() as connection:
        return list(connection.execute(PREPARED).scalars())


def look_up(index: Index) -> HotStatement:
    return HotStatement(index, select(studies.c.id).where(studies.c.study_uid == bindparam("uid")))


def test_what_each_object_needs_is_planned_once_however_many_come(index: Index) -> None:
    objects = Instances(index)
    for number in range(3):
        objects.record(arrival(f"1.2.3.{number}"))
        objects.known(f"1.2.3.{number}", "1.2.3")
    planned_so_far = prepared(index)
    for number in range(3, 20):
        objects.record(arrival(f"1.2.3.{number}"))
        objects.known(f"1.2.3.{number}", "1.2.3")
    assert planned_so_far
    assert prepared(index) == planned_so_far


def test_a_plan_is_made_anew_before_a_table_has_outgrown_it(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "_USES", 3)
    finding = look_up(index)
    names = []
    for _ in range(7):
        assert finding.rows(uid="1.2.3") == []
        names.append(prepared(index))
    assert names == [["pacs_1"]] * 3 + [["pacs_2"]] * 3 + [["pacs_3"]]


def test_what_was_told_in_a_transaction_that_failed_is_told_again(index: Index) -> None:
    finding, failing = look_up(index), "SELECT 1/0"

    def in_one_go(cursor: Any) -> None:
        finding.later(cursor, {"uid": "1.2.3"})
        cursor.execute(failing)

    for _ in range(2):
        with pytest.raises(IndexUnavailable, match="division by zero"), index.write_cursor() as cursor:
            in_one_go(cursor)
    assert finding.rows(uid="1.2.3") == []
    with index.write_cursor() as cursor:
        assert finding.on(cursor, {"uid": "1.2.3"}).fetchall() == []


def test_a_column_that_gets_another_type_meanwhile_fails_no_object(
    cluster: Cluster, index: Index, upgraded_postgres_url: str
) -> None:
    objects = Instances(index)
    objects.record(arrival("1.2.3.1"))
    database = make_url(upgraded_postgres_url).database
    assert database is not None
    cluster.execute("ALTER TABLE studies ALTER COLUMN bucket TYPE bigint", database)
    assert objects.record(arrival("1.2.3.2")).outcome is Outcome.NEW


def test_a_transaction_that_is_begun_in_our_own_words_is_undone_when_its_block_fails(index: Index) -> None:
    def writing_half() -> None:
        with index.write_cursor() as cursor:
            cursor.execute("INSERT INTO site (name, value) VALUES ('half', '')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        writing_half()
    with index.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM site WHERE name = 'half'")).scalar() == 0
    with index.write_cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned()")
        assert cursor.fetchone() == (None,)
