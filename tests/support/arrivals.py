"""Builds arrivals for the index: objects as they are after their files were written."""

import itertools
from datetime import UTC, date, datetime
from typing import Any

from pacs_server.dicom.attributes import Level, Matching, read_attributes
from pacs_server.dicom.describe import Description, Flag, folded_columns, patient_identity
from pacs_server.dicom.identity import Digest, ObjectHasher, Uid
from pacs_server.index.objects import Arrival, CopyRow

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
_numbers = itertools.count(1)


def digest_of(text: str) -> Digest:
    hasher = ObjectHasher(EXPLICIT_LE)
    hasher.update(text.encode())
    return hasher.digest()


def arrival(
    sop: str | None = None,
    *,
    study: str = "1.2.3",
    series: str | None = None,
    content: str = "first",
    role: str = "version",
    flags: tuple[Flag, ...] = (),
    volume: str = "volume-1",
    syntax: str = EXPLICIT_LE,
    **values: Any,
) -> Arrival:
    """An arrival with the given column values, e.g. patient_id="1", modality="CT", instance_number=3."""
    sop_uid = Uid(sop or f"1.2.3.4.{next(_numbers)}")
    series_uid = series or f"{study}.1"
    given = {"patient_id": "P1", "patient_name": "YAMADA^TARO", "modality": "CT", "sop_class": CT, "sop_uid": sop_uid}
    given |= {"study_uid": study, "series_uid": series_uid} | values
    levels = {level: _level(level, given) for level in Level}
    patient = levels[Level.PATIENT]
    patient["identity"] = patient_identity(patient["patient_id"], patient["issuer"], study)
    digest = digest_of(f"{study} {sop_uid} {content}")
    return Arrival(
        description=Description(
            patient=patient,
            study=levels[Level.STUDY],
            series=levels[Level.SERIES],
            instance=levels[Level.IMAGE],
            flags=flags,
            sop_uid=sop_uid,
            sop_class=given["sop_class"],
            study_uid=study,
            series_uid=series_uid,
        ),
        digest=digest,
        transfer_syntax=syntax,
        size_bytes=1000,
        copies=(CopyRow(volume_id=volume, path=f"v1/2026/01/02/{study}/{series_uid}/{sop_uid}-{digest[:16]}.dcm"),),
        received_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        day=date(2026, 1, 2),
        sender="CT1",
        role_beside_current=role,
    )


def _level(level: Level, given: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for attribute in read_attributes(level):
        value = given.get(attribute.column)
        columns[attribute.column] = value
        if attribute.matching is Matching.NAME:
            columns |= folded_columns(attribute, value)
    return columns
