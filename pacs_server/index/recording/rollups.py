"""The rows that objects of one study share while a group of them is recorded, and what each adds to their counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias

from pacs_server.dicom.describe import Description
from pacs_server.index.tables import patients, series, studies

Row: TypeAlias = dict[str, Any]

_COLUMNS: Final = tuple(tuple(table.c.keys()) for table in (studies, patients, series))


@dataclass(slots=True, kw_only=True)
class _Counted:
    """A row that a group adds to, as it was; whether the group made it; how many current objects are to be added."""

    row: Row
    is_made: bool = False
    new_instances: int = 0

    @property
    def is_found(self) -> bool:
        """Whether anything of it is found before this object."""
        return bool(self.row["instance_count"] + self.new_instances)

    @property
    def is_emptied(self) -> bool:
        """Whether it is there and nothing of it is found: all is in the trash, or beside other contents."""
        return not self.is_made and not self.is_found


@dataclass(slots=True, kw_only=True)
class Part(_Counted):
    """A series that a group adds to."""


@dataclass(slots=True, kw_only=True)
class Study(_Counted):
    """A study that a group adds to, its patient's row as it was, and what else is to be added."""

    patient: Row
    modalities: set[str]
    sop_classes: set[str]
    new_series: int = 0
    new_content: int = 0
    last_received_at: str = ""

    def count_in(self, part: Part, description: Description) -> None:
        """A current object of one of its series is added."""
        self.new_series += not part.is_found
        self.new_instances += 1
        part.new_instances += 1
        self.sop_classes.add(description.sop_class)
        if modality := part.row["modality"]:
            self.modalities.add(modality)


def rows_found(found: Sequence[Any]) -> tuple[Study, Part | None]:
    """A study, and one of its series if there is one, from the columns of study, patient and series."""
    values = iter(found)
    row, patient, part = (dict(zip(names, islice(values, len(names)), strict=True)) for names in _COLUMNS)
    modalities, sop_classes = (
        set(row[name].split("\\")) if row[name] else set() for name in ("modalities", "sop_classes")
    )
    study = Study(row=row, patient=patient, modalities=modalities, sop_classes=sop_classes)
    return study, Part(row=part) if part["id"] is not None else None
