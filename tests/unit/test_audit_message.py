"""Events as audit messages: each as the schema says, with the codes of its kind."""

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.audit_schema import in_words, moment_of, violations

from pacs_server.dicom.audit import Event, EventKind, EventOutcome
from pacs_server.dicom.audit_message import message_of
from pacs_server.dicom.operations import OperationKind
from pacs_server.net.syslog import syslog_message

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
FULL = {
    "address": "10.0.0.7", "target": "VIEWER", "patient_id": "4711", "issuer": "HOSPITAL", "study_uid": "1.2.3",
    "count": 12, "uid_digest": "0" * 32, "detail": "association 17",
}  # fmt: skip


def message(kind: EventKind, **values: Any) -> ET.Element:
    event = Event(**{"kind": kind, "at": NOW, "who": "CT1"} | values)
    return ET.fromstring(message_of(event, aet="PACS", source="PACS@pacs1"))


def roles(element: ET.Element) -> dict[str, str]:
    return {
        one.attrib["UserID"]: "".join(code.attrib["originalText"] for code in one.iter("RoleIDCode"))
        for one in element.iter("ActiveParticipant")
    }


@pytest.mark.parametrize("outcome", EventOutcome)
@pytest.mark.parametrize("kind", EventKind)
def test_every_event_is_a_message_of_the_schema_with_all_its_values_and_with_none(
    kind: EventKind, outcome: EventOutcome
) -> None:
    assert violations(message(kind, outcome=outcome, person="tanaka", **FULL)) == []
    assert violations(message(kind, outcome=outcome, who="")) == []


def test_the_schema_of_these_tests_refuses_what_is_wrong() -> None:
    good = message(EventKind.STORE, **FULL)
    for change in (
        lambda one: one.remove(one[0]),
        lambda one: one[0].attrib.update(EventActionCode="X"),
        lambda one: one[0].attrib.pop("EventDateTime"),
        lambda one: one.append(one[0]),
        lambda one: one[-1].remove(one[-1].find("ParticipantObjectName")),
        lambda one: one[1].attrib.update(Colour="red"),
    ):
        copy = ET.fromstring(ET.tostring(good))
        assert violations(copy) == []
        change(copy)
        assert violations(copy)


def test_objects_that_were_stored_are_instances_transferred_with_study_count_and_patient() -> None:
    told = message(EventKind.STORE, **FULL)
    assert told[0][0].attrib["csd-code"] == "110104"
    assert (told[0].attrib["EventActionCode"], moment_of(told)) == ("C", NOW)
    assert roles(told) == {"CT1": "Source Role ID", "PACS": "Destination Role ID"}
    assert told.find(".//ActiveParticipant[@UserID='CT1']").attrib["NetworkAccessPointTypeCode"] == "2"
    study, patient = told.findall("ParticipantObjectIdentification")
    assert study.attrib["ParticipantObjectID"] == "1.2.3"
    assert study.find(".//SOPClass").attrib["NumberOfInstances"] == "12"
    assert patient.attrib["ParticipantObjectID"] == "4711^^^HOSPITAL"
    assert in_words(told) == {"Digest of SOP Instance UIDs": "0" * 32, "Detail": "association 17"}


def test_a_retrieve_names_who_asked_where_it_went_and_from_where() -> None:
    told = message(EventKind.SEND, **FULL)
    assert roles(told) == {"CT1": "", "VIEWER": "Destination Role ID", "PACS": "Source Role ID"}
    requestors = [
        one.attrib["UserID"] for one in told.iter("ActiveParticipant") if one.attrib["UserIsRequestor"] == "true"
    ]
    assert requestors == ["CT1"]
    own = message(EventKind.SEND, **FULL | {"target": "CT1"})
    assert roles(own) == {"CT1": "Destination Role ID", "PACS": "Source Role ID"}


def test_a_query_has_its_sop_class_and_its_keys() -> None:
    told = message(EventKind.QUERY, target="1.2.840.10008.5.1.4.1.2.2.1", detail="STUDY PatientName=山田*")
    (asked,) = told.findall("ParticipantObjectIdentification")
    assert asked.attrib["ParticipantObjectID"] == "1.2.840.10008.5.1.4.1.2.2.1"
    assert in_words(told) == {"query": "STUDY PatientName=山田*"}


def test_what_was_refused_says_why() -> None:
    told = message(EventKind.ASSOCIATION, outcome=EventOutcome.REFUSED, detail="calling AE title not recognised")
    assert [one.attrib["csd-code"] for one in told[0] if "csd-code" in one.attrib] == ["110113", "110126"]
    assert told[0].attrib["EventOutcomeIndicator"] == "4"
    assert told.findtext(".//EventOutcomeDescription") == "calling AE title not recognised"


def test_a_syslog_message_has_the_header_of_the_standard() -> None:
    sent = syslog_message("<山/>".encode(), at=NOW, host="pacs1", process="c0ffee")
    assert (
        sent == b"<85>1 2026-01-02T03:04:05.678+00:00 pacs1 pacs c0ffee DICOM+RFC3881 - \xef\xbb\xbf" + "<山/>".encode()
    )


def test_every_decision_about_objects_is_an_event() -> None:
    assert {kind.value for kind in OperationKind} <= {kind.value for kind in EventKind}


def test_the_person_who_has_logged_in_is_the_requestor_in_place_of_their_device() -> None:
    told = message(EventKind.QUERY, person="tanaka", **FULL)
    asking = {one.attrib["UserID"]: one.attrib["UserIsRequestor"] for one in told.iter("ActiveParticipant")}
    assert asking == {"CT1": "false", "tanaka": "true", "PACS": "false"}


def test_a_login_that_was_refused_is_a_user_authentication_with_whom_it_claimed_to_be() -> None:
    told = message(EventKind.LOGIN, outcome=EventOutcome.REFUSED, person="tanaka", detail="the passcode is wrong")
    codes = [(one.tag, one.attrib["csd-code"]) for one in told[0].iter() if "csd-code" in one.attrib]
    assert codes == [("EventID", "110114"), ("EventTypeCode", "110122")]
    assert told[0].attrib["EventOutcomeIndicator"] == "4"
    assert "tanaka" in roles(told)
    assert told.find("ParticipantObjectIdentification") is None
