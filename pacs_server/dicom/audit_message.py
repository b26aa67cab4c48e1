"""Events as the XML messages of PS3.15 section A.5, for a receiver of audit messages.

Source: PS3.15 section A.5.1 (schema), A.5.3 (what each message holds), PS3.16 annex D (codes).
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from pacs_server.dicom.audit import Event, EventKind, EventOutcome

_MEANINGS: Final = {
    "110037": "URI",
    "110100": "Application Activity",
    "110101": "Audit Log Used",
    "110102": "Begin Transferring DICOM Instances",
    "110103": "DICOM Instances Accessed",
    "110104": "DICOM Instances Transferred",
    "110105": "DICOM Study Deleted",
    "110106": "Export",
    "110107": "Import",
    "110112": "Query",
    "110113": "Security Alert",
    "110114": "User Authentication",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110122": "Login",
    "110126": "Node Authentication",
    "110130": "Hardware Configuration",
    "110131": "Software Configuration",
    "110150": "Application",
    "110152": "Destination Role ID",
    "110153": "Source Role ID",
    "110154": "Destination Media",
    "110155": "Source Media",
    "110180": "Study Instance UID",
    "110181": "SOP Class UID",
    "110182": "Node ID",
}
_OUTCOMES: Final = {
    EventOutcome.DONE: "0",
    EventOutcome.PARTLY: "4",
    EventOutcome.REFUSED: "4",
    EventOutcome.FAILED: "8",
}
_APPLICATION, _DESTINATION, _SOURCE, _DESTINATION_MEDIA, _SOURCE_MEDIA = (
    "110150",
    "110152",
    "110153",
    "110154",
    "110155",
)
_APPLICATION_SERVER: Final = "4"  # PS3.15 section A.5.1.2.1
_MACHINE_NAME, _IP_ADDRESS = "1", "2"
_PERSON, _SYSTEM_OBJECT = "1", "2"
_PATIENT, _REPORT, _SECURITY_RESOURCE, _QUERY = "1", "3", "13", "24"


@dataclass(frozen=True, slots=True)
class _Form:
    """The message of a kind of event: ID, type if there is one, action; the roles of who asks and of this archive."""

    event_id: str
    type_code: str
    action: str
    asking: str = ""
    archive: str = ""


_FORMS: Final = {
    EventKind.START: _Form("110100", "110120", "E", archive=_APPLICATION),
    EventKind.STOP: _Form("110100", "110121", "E", archive=_APPLICATION),
    EventKind.ASSOCIATION: _Form("110113", "110126", "E"),
    EventKind.STORE: _Form("110104", "", "C", asking=_SOURCE, archive=_DESTINATION),
    EventKind.QUERY: _Form("110112", "", "E", asking=_SOURCE, archive=_DESTINATION),
    EventKind.BEGIN: _Form("110102", "", "E", archive=_SOURCE),
    EventKind.SEND: _Form("110104", "", "R", archive=_SOURCE),
    EventKind.COMMITMENT: _Form("110103", "", "R"),
    EventKind.IMPORT: _Form("110107", "", "C", archive=_DESTINATION),
    EventKind.EXPORT: _Form("110106", "", "R", archive=_SOURCE),
    EventKind.ADOPT: _Form("110103", "", "C"),
    EventKind.HOLD: _Form("110103", "", "U"),
    EventKind.RELEASE: _Form("110103", "", "U"),
    EventKind.DELETE: _Form("110103", "", "D"),
    EventKind.RESTORE: _Form("110103", "", "U"),
    EventKind.PURGE: _Form("110105", "", "D"),
    EventKind.READMIT: _Form("110103", "", "U"),
    EventKind.VERSION: _Form("110103", "", "U"),
    EventKind.DEPOSIT: _Form("110103", "", "U"),
    EventKind.ALERT: _Form("110113", "110130", "E"),
    EventKind.COMMAND: _Form("110113", "110131", "E"),
    EventKind.AUDIT: _Form("110101", "", "R"),
    EventKind.LOGIN: _Form("110114", "110122", "E"),
}
_MEDIA: Final = {EventKind.IMPORT: _SOURCE_MEDIA, EventKind.EXPORT: _DESTINATION_MEDIA}


def message_of(event: Event, *, aet: str, source: str) -> bytes:
    """The message that tells of an event, in UTF-8. `aet` is the title of this archive, `source` names this node."""
    form = _FORMS[event.kind]
    if event.kind is EventKind.ALERT and event.outcome is EventOutcome.REFUSED:
        form = _Form("110113", "110126", "E")
    message = Element("AuditMessage")
    _identify(message, event, form)
    _participate(message, event, form, aet)
    source_id = SubElement(message, "AuditSourceIdentification", AuditSourceID=source)
    SubElement(source_id, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    _tell_objects(message, event, source)
    return bytes(tostring(message, encoding="utf-8", xml_declaration=True))


def _identify(message: Element, event: Event, form: _Form) -> None:
    identification = SubElement(
        message,
        "EventIdentification",
        EventActionCode=form.action,
        EventDateTime=event.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=_OUTCOMES[event.outcome],
    )
    _code(identification, "EventID", form.event_id)
    if form.type_code:
        _code(identification, "EventTypeCode", form.type_code)
    if event.outcome is not EventOutcome.DONE:
        SubElement(identification, "EventOutcomeDescription").text = event.detail or event.outcome.value


def _participate(message: Element, event: Event, form: _Form, aet: str) -> None:
    """Who asks, the person there who has logged in, who receives where that is another, and this archive."""
    goes_elsewhere = event.kind in (EventKind.BEGIN, EventKind.SEND, EventKind.EXPORT)
    if event.kind not in (EventKind.START, EventKind.STOP):
        is_receiver = goes_elsewhere and event.target == event.who
        role = _DESTINATION if is_receiver else form.asking
        _participant(message, event.who, role, event.address, asks=not event.person)
        if event.person:
            _participant(message, event.person, "", event.address, asks=True)
    if goes_elsewhere and event.target not in ("", event.who):
        _participant(message, event.target, _MEDIA.get(event.kind, _DESTINATION), "", asks=False)
    if event.kind is EventKind.IMPORT:
        _participant(message, "files", _SOURCE_MEDIA, "", asks=False)
    _participant(message, aet, form.archive, "", asks=False)


def _participant(message: Element, user: str, role: str, address: str, *, asks: bool) -> None:
    told = {"UserID": user or "unknown", "UserIsRequestor": "true" if asks else "false"}
    if address:
        told |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": _kind_of(address)}
    participant = SubElement(message, "ActiveParticipant", told)
    if role:
        _code(participant, "RoleIDCode", role)
    if role in (_SOURCE_MEDIA, _DESTINATION_MEDIA):
        media = SubElement(participant, "MediaIdentifier")
        _code(media, "MediaType", "110037")


def _kind_of(address: str) -> str:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS


def _tell_objects(message: Element, event: Event, source: str) -> None:
    if event.kind is EventKind.QUERY:
        asked = _object(message, event.target or "unknown", _SYSTEM_OBJECT, _QUERY, ("110181", "DCM", "SOP Class UID"))
        SubElement(asked, "ParticipantObjectQuery").text = _base64(event.detail)
    elif event.study_uid:
        study = _object(message, event.study_uid, _SYSTEM_OBJECT, _REPORT, ("110180", "DCM", "Study Instance UID"))
        SubElement(study, "ParticipantObjectName").text = event.study_uid
        _detail(study, "Digest of SOP Instance UIDs", event.uid_digest)
        _detail(study, "Detail", event.detail)
        described = SubElement(study, "ParticipantObjectDescription")
        SubElement(described, "SOPClass", NumberOfInstances=str(event.count))
    elif event.kind not in (EventKind.START, EventKind.STOP, EventKind.LOGIN):
        subject = _object(message, source, _SYSTEM_OBJECT, _SECURITY_RESOURCE, ("110182", "DCM", "Node ID"))
        SubElement(subject, "ParticipantObjectName").text = event.kind.value
        _detail(subject, "Alert Description", event.detail)
    if event.patient_id:
        patient = _object(message, _patient(event), _PERSON, _PATIENT, ("2", "RFC-3881", "Patient Number"))
        SubElement(patient, "ParticipantObjectName").text = event.patient_id


def _patient(event: Event) -> str:
    """The patient's ID, with its issuer as HL7 writes it where there is one."""
    return f"{event.patient_id}^^^{event.issuer}" if event.issuer else event.patient_id


def _object(message: Element, name: str, kind: str, role: str, code: tuple[str, str, str]) -> Element:
    told = {"ParticipantObjectID": name, "ParticipantObjectTypeCode": kind, "ParticipantObjectTypeCodeRole": role}
    made = SubElement(message, "ParticipantObjectIdentification", told)
    value, system, meaning = code
    SubElement(
        made, "ParticipantObjectIDTypeCode", {"csd-code": value, "codeSystemName": system, "originalText": meaning}
    )
    return made


def _detail(owner: Element, kind: str, text: str) -> None:
    if text:
        SubElement(owner, "ParticipantObjectDetail", type=kind, value=_base64(text))


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")


def _code(owner: Element, name: str, code: str) -> None:
    SubElement(owner, name, {"csd-code": code, "codeSystemName": "DCM", "originalText": _MEANINGS[code]})
