"""Which objects are meant by whoever has them sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.predicates import Predicate
from pacs_server.index.queries.criteria import criterion
from pacs_server.index.queries.finding import joined
from pacs_server.index.retiring import TRASH
from pacs_server.index.tables import instances, is_current, series, studies


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which objects are meant: current ones that fulfil every predicate, of one of these senders where any is named."""

    predicates: tuple[Predicate, ...] = ()
    study_uid: str = ""
    series_uid: str = ""
    senders: tuple[str, ...] = ()


def meant_objects(selection: Selection, *, in_trash: bool = False) -> Select[Any]:
    """The objects of a selection, with the UIDs above them; or those `in_trash` that would be if they were not."""
    conditions = [criterion(predicate, Level.IMAGE, in_trash=in_trash) for predicate in selection.predicates]
    conditions += [studies.c.study_uid == selection.study_uid] if selection.study_uid else []
    conditions += [series.c.series_uid == selection.series_uid] if selection.series_uid else []
    conditions += [instances.c.sender.in_(selection.senders)] if selection.senders else []
    is_shown = instances.c.role == TRASH if in_trash else is_current(instances)
    named = select(studies.c.study_uid, series.c.series_uid, instances.c.sop_uid, instances.c.digest)
    return named.select_from(joined(Level.IMAGE)).where(is_shown, *conditions)
