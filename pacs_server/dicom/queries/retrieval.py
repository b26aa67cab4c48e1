"""A C-MOVE or C-GET identifier as values: which objects are asked for, and a refusal where that is not certain.

Source: PS3.4 sections C.4.2.1.4 and C.4.3.1.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pacs_server.dicom.attributes import BY_KEYWORD, UNIQUE_KEY, Level
from pacs_server.dicom.queries.identifier import Identifier, read_identifier
from pacs_server.dicom.queries.matching import Model, read_level
from pacs_server.dicom.queries.predicates import as_one_value
from pacs_server.errors import BadQuery

_MAX_VALUES: Final = 10_000
_ISSUER: Final = BY_KEYWORD["IssuerOfPatientID"].tag


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveRequest:
    """Which objects are asked for: those that are in every list which is not empty."""

    level: Level
    patient_ids: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()
    study_uids: tuple[str, ...] = ()
    series_uids: tuple[str, ...] = ()
    sop_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Whom an identifier names, and which study; empty where it names none, or more than one."""

    patient_id: str = ""
    issuer: str = ""
    study_uid: str = ""


def named_in(identifier: bytes, transfer_syntax: str, *, assumed_charset: str = "") -> Named:
    """What a retrieve identifier names, also where it is one that is refused; nothing where it cannot be read."""
    try:
        keys = read_identifier(identifier, transfer_syntax, assumed_charset=assumed_charset)
    except BadQuery:
        return Named()
    patient_id, issuer, study_uid = (
        "" if set(text) & set("\\*?") else text
        for text in map(keys.text, (UNIQUE_KEY[Level.PATIENT].tag, _ISSUER, UNIQUE_KEY[Level.STUDY].tag))
    )
    return Named(patient_id=patient_id, issuer=issuer if patient_id else "", study_uid=study_uid)


def parse_retrieve(
    identifier: bytes, transfer_syntax: str, model: Model, *, assumed_charset: str = ""
) -> RetrieveRequest:
    """Read a retrieve identifier. A missing level is that of the lowest UID; empty keys above the level are ignored,
    and so is every key that is no unique key. A UID below the stated level would silently be more than was asked for,
    so it is a refusal. A patient ID above the level stands for itself, also with an asterisk or a question mark in it:
    3D Slicer sends what it was answered.

    Raises: BadQuery when the unique key of the level is missing or empty, or has a wildcard; when a UID above it has
    one, or a patient ID is nothing else.
    """
    keys = read_identifier(identifier, transfer_syntax, assumed_charset=assumed_charset)
    values = {level: _values(keys, level) for level in Level}
    given = [level for level in Level if values[level]]
    level = read_level(keys, model)
    if level is None:
        if not given:
            raise BadQuery("the retrieve has no Query/Retrieve Level and no unique key")
        level = max(given)
    if not values[level]:
        raise BadQuery(f"the retrieve has no {UNIQUE_KEY[level].keyword}, the unique key of its level")
    if given[-1] > level:
        raise BadQuery(f"{UNIQUE_KEY[given[-1]].keyword} is below the level of the retrieve")
    for each in given:
        _check_wildcards(values[each], each, is_above=each < level)
    issuer = keys.text(_ISSUER)
    return RetrieveRequest(
        level=level,
        patient_ids=values[Level.PATIENT],
        issuers=(issuer,) if issuer and values[Level.PATIENT] else (),
        study_uids=values[Level.STUDY],
        series_uids=values[Level.SERIES],
        sop_uids=values[Level.IMAGE],
    )


def _values(keys: Identifier, level: Level) -> tuple[str, ...]:
    attribute = UNIQUE_KEY[level]
    text = keys.text(attribute.tag)
    trimmed = (value.strip(" ") for value in text.split("\\"))
    values = tuple(dict.fromkeys(value for value in trimmed if value))
    if values and "\\" in text and level is Level.PATIENT:
        values += as_one_value(text)
    if len(values) > _MAX_VALUES:
        raise BadQuery(f"{attribute.keyword} has more than {_MAX_VALUES} values; ask in parts")
    return values


def _check_wildcards(values: Iterable[str], level: Level, *, is_above: bool) -> None:
    for value in values:
        is_literal = is_above and level is Level.PATIENT and value.strip("*?")
        if ("*" in value or "?" in value) and not is_literal:
            raise BadQuery(f"{UNIQUE_KEY[level].keyword} of a retrieve may not have wildcards")
