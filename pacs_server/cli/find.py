"""`pacs find` and `pacs show`: what the archive holds, by the same matching as C-FIND."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import ROWS, Command, Group, Invocation, key_values, pass_invocation
from pacs_server.cli.output import in_their_language, print_facts, print_rows, printable, talk
from pacs_server.dicom.names import groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pacs_server.dicom.attributes import Attribute, ItemSequence, Level
    from pacs_server.dicom.operations import Operation

LEVELS: Final = {"patients": "PATIENT", "studies": "STUDY", "series": "SERIES", "instances": "IMAGE"}

_COLUMNS: Final = {
    "patients": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies"),
    "studies": (
        "StudyDate",
        "PatientID",
        "PatientName",
        "ModalitiesInStudy",
        "StudyDescription",
        "AccessionNumber",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    "series": (
        "StudyDate",
        "PatientID",
        "SeriesNumber",
        "Modality",
        "SeriesDescription",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    "instances": ("PatientID", "Modality", "SeriesNumber", "InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
_HEADINGS: Final = {
    "NumberOfPatientRelatedStudies": "STUDIES",
    "NumberOfStudyRelatedSeries": "SERIES",
    "NumberOfStudyRelatedInstances": "OBJECTS",
    "NumberOfSeriesRelatedInstances": "OBJECTS",
    "PatientID": "ID",
    "PatientName": "NAME",
    "PatientBirthDate": "BORN",
    "PatientSex": "SEX",
    "StudyDate": "DATE",
    "ModalitiesInStudy": "MODALITIES",
    "Modality": "MODALITY",
    "StudyDescription": "DESCRIPTION",
    "SeriesDescription": "DESCRIPTION",
    "AccessionNumber": "ACCESSION",
    "SeriesNumber": "SERIES",
    "InstanceNumber": "NUMBER",
    "BodyPartExamined": "BODY PART",
    "SOPClassUID": "SOP CLASS",
    "StudyInstanceUID": "UID",
    "SeriesInstanceUID": "UID",
    "SOPInstanceUID": "UID",
}
_HISTORY_HEADINGS: Final = {"at": "WHEN", "kind": "WHAT", "objects": "OBJECTS", "who": "BY", "reason": "REASON"}
_OBJECT_HEADINGS: Final = {
    "uid": "UID",
    "role": "ROLE",
    "instance_number": "NUMBER",
    "size_bytes": "BYTES",
    "sender": "FROM",
    "copies": "COPIES",
}


@click.command(cls=Command, reports=True, example="pacs find studies 'PatientName=山*' StudyDate=20260101-")
@click.argument("level", type=click.Choice(list(LEVELS)))
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--limit", type=ROWS, metavar="N", help="Show at most N.")
@pass_invocation
def find(invocation: Invocation, level: str, keys: tuple[str, ...], limit: int | None) -> ExitCode:
    """Find patients, studies, series or instances.

    KEY is a DICOM keyword; VALUE is matched as in C-FIND: * and ? in text, 20260101-20260131 for dates, UIDs joined
    by a backslash. ProcedureCodeSequence.CodeValue is a keyword of the items of a sequence. Long texts are cut; --json
    has them whole.
    """
    from pacs_server.dicom.attributes import Attribute, ItemSequence, Level
    from pacs_server.dicom.queries.matching import column_from_keyword, query_from_keywords

    given = key_values(keys)
    chosen = Level[LEVELS[level]]
    with invocation.node() as node:
        vocabulary = node.vocabulary()
        query = query_from_keywords(chosen, given, vocabulary)
        columns = dict.fromkeys(column_from_keyword(key, vocabulary) for key in (*given, *_COLUMNS[level]))
        attributes = sorted(columns, key=lambda column: isinstance(column, Attribute) and column.vr == "UI")
        rows = node.search.find(query, attributes, limit=limit)
        records = _records(rows, attributes, chosen)
        names = {column.keyword for column in attributes if isinstance(column, Attribute) and column.vr == "PN"}
        shown = records if invocation.as_json else (_readable(record, names) for record in records)
        headings = {column.keyword: _HEADINGS.get(column.keyword, column.keyword) for column in attributes}
        long = {column.keyword for column in attributes if isinstance(column, ItemSequence) or column.vr != "UI"}
        count = print_rows(shown, headings, as_json=invocation.as_json, long=long)
    if count == 0 or count == limit:
        talk("nothing found" if count == 0 else f"stopped after {count}, there may be more")
    return ExitCode.DONE


def _records(
    rows: Iterator[Sequence[str | int | None]], columns: Sequence[Attribute | ItemSequence], level: Level
) -> Iterator[dict[str, object]]:
    """Each row by keyword; `uid` is the UID of the entity itself."""
    from pacs_server.dicom.attributes import UNIQUE_KEY, ItemSequence

    own = UNIQUE_KEY[level]
    for row in rows:
        values = zip(columns, row, strict=True)
        record: dict[str, object] = {
            column.keyword: _items(column, str(value or "")) if isinstance(column, ItemSequence) else value
            for column, value in values
        }
        yield {"uid": record[own.keyword], **record} if own.vr == "UI" else record


def _items(sequence: ItemSequence, packed: str) -> list[dict[str, str]]:
    from pacs_server.dicom.items import unpack

    keywords = [field.keyword for field in sequence.fields]
    return [dict(zip(keywords, item, strict=True)) for item in unpack(packed)]


def _readable(record: Mapping[str, object], names: set[str]) -> dict[str, object]:
    def shown(key: str, value: object) -> object:
        if isinstance(value, list):
            return "; ".join(", ".join(filter(None, item.values())) for item in value)
        return readable_name(str(value)) if key in names and value else value

    return {key: shown(key, value) for key, value in record.items()}


def readable_name(value: str) -> str:
    """A person name for reading: ideographic first, then the other groups in parentheses, carets as spaces."""
    return "; ".join(filter(None, map(_one_name, value.split("\\"))))


def _one_name(value: str) -> str:
    alphabetic, ideographic, phonetic = (" ".join(group.replace("^", " ").split()) for group in groups(value))
    first, *others = [group for group in (ideographic, alphabetic, phonetic) if group] or [""]
    return f"{first} ({', '.join(others)})" if others else first


@click.group(cls=Group)
def show() -> None:
    """Show everything that is held of one entity."""


@show.command(cls=Command, reports=True, example="pacs show study 1.2.840.113619.2.1 --json")
@click.argument("uid")
@pass_invocation
def study(invocation: Invocation, uid: str) -> ExitCode:
    """Show a study, also one that was purged.

    Its series, objects, copies, versions, flags, hold and history.
    """
    from pacs_server.errors import UnknownName
    from pacs_server.index.fates import holds_of
    from pacs_server.index.queries.view import study_view

    with invocation.node() as node:
        view = study_view(node.index, uid)
        history = [_told(operation) for operation in node.instances.operations.of_study(uid)]
        holds = [hold for hold in holds_of(node.index) if hold.study_uid == uid]
    if view is None and not history:
        raise UnknownName(f"no study {printable(uid)[:80]} is held; pacs find studies lists those there are")
    view = view or {"uid": uid, "patient": {}, "series": [], "flags": []}
    view |= {"hold": holds[0].reason if holds else None, "history": history}
    if invocation.as_json:
        print_facts(view, as_json=True)
        return ExitCode.DONE
    _print_study(view)
    return ExitCode.DONE


def _told(operation: Operation) -> dict[str, object]:
    return {
        "at": operation.at.isoformat(timespec="seconds"),
        "kind": operation.kind.value,
        "objects": len(operation.objects),
        "who": operation.who,
        "reason": operation.reason,
    }


def _print_study(view: dict[str, Any]) -> None:
    parts, flags, history = view.pop("series"), view.pop("flags"), view.pop("history")
    patient = view.pop("patient")
    patient["patient_name"] = readable_name(patient.get("patient_name", ""))
    print_facts(patient | {"study_uid": view.pop("uid")} | view, as_json=False)
    for flag in flags:
        click.echo(
            f"flag  {printable(flag['kind'])}  {printable(flag['detail'])}  {printable(flag['sop_uid'])}".rstrip()
        )
    for part in parts:
        objects = part.pop("objects")
        click.echo()
        print_facts({"series_uid": part.pop("uid")} | part, as_json=False)
        print_rows(map(_object_row, objects), _OBJECT_HEADINGS, as_json=False, said=("role",))
    if history:
        click.echo()
        print_rows(history, _HISTORY_HEADINGS, as_json=False, said=("kind",))


def _object_row(held: Mapping[str, Any]) -> dict[str, object]:
    places = [f"{copy['volume']}:{copy['path']}" for copy in held["copies"]]
    places += [in_their_language(f"kept by {one['aet']}") for one in held["archives"] if not one["damage"]]
    return dict(held) | {"copies": places}
