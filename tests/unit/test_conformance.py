"""The conformance statement says what the code does."""

import re

import conformance
import pytest

from pacs_server.dicom.attributes import ATTRIBUTES, Level


def statement() -> str:
    return conformance.STATEMENT.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    assert conformance.filled(statement()) == statement(), "run ./scripts/make_conformance"


def test_every_table_stands_in_the_statement_once() -> None:
    assert sorted(re.findall(r"<!-- table: (\S+) -->", statement())) == sorted(conformance.TABLES)


@pytest.mark.parametrize("level", list(Level))
def test_every_attribute_stands_in_the_table_of_its_level(level: Level) -> None:
    _, _, behind = statement().partition(f"<!-- table: keys-{level.name.lower()} -->")
    table = behind.partition("<!-- end -->")[0]
    for attribute in ATTRIBUTES:
        assert (f"| {attribute.keyword} |" in table) == (attribute.level == level)
