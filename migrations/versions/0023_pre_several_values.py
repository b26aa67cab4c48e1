"""Where an ID that is found by an index, and has to be a single one, came as several, each of them is found: what came
so before gets the rows that recording makes from now on.

Runs pre: a release before it finds the whole text alone, and what it records meanwhile stays so until the index is
rebuilt.
"""

import sqlalchemy as sa
from alembic import op

from pacs_server.dicom.values import sought_in

revision = "0023_pre_several_values"
down_revision = "0022_pre_current_of_study"
branch_labels = None
depends_on = None

_MOST_VALUES = 64
_OF_ITEMS = 1 << 30

_VALUES = sa.table("extra_values", *map(sa.column, ("field_id", "owner_row", "place", "value", "sought")))


def upgrade() -> None:
    for table, owner, column, vr, field_id in (
        ("patients", "id", "patient_id", "LO", -0x00100020),
        ("studies", "id", "accession_number", "SH", -0x00080050),
        ("procedure_codes", "owner_row", "code_value", "SH", -(_OF_ITEMS + 0x00080100)),
        ("request_attributes", "owner_row", "scheduled_step_id", "SH", -(_OF_ITEMS + 0x00400009)),
        ("request_attributes", "owner_row", "requested_procedure_id", "SH", -(_OF_ITEMS + 0x00401001)),
    ):
        _part(table, owner, column, vr, field_id)


def _part(table: str, owner: str, column: str, vr: str, field_id: int) -> None:
    finds = "strpos" if op.get_bind().dialect.name == "postgresql" else "instr"
    asked = f"SELECT {owner}, {column} FROM {table} WHERE {finds}({column}, :backslash) > 0 ORDER BY id"
    values: dict[int, dict[str, None]] = {}
    for owner_row, text in op.get_bind().execute(sa.text(asked), {"backslash": "\\"}):
        values.setdefault(owner_row, {}).update(dict.fromkeys(map(str.strip, text.split("\\"))))
    rows = [
        {"field_id": field_id, "owner_row": owner_row, "place": place, "value": value, "sought": sought}
        for owner_row, found in values.items()
        for place, value in enumerate(list(filter(None, found))[:_MOST_VALUES])
        if (sought := sought_in(value, vr))
    ]
    if rows:
        op.bulk_insert(_VALUES, rows)
