"""The structure of an audit message, as the schema of PS3.15 section A.5.1 has it: elements in their order, how often
each may come, which attributes it must and may have, and the values of those that are a choice.
"""

import re
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import datetime
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class Rule:
    """`children` in their order, each with the least and the most of it; attributes with the form of their values."""

    children: tuple[tuple[str, int, int], ...] = ()
    needed: dict[str, str] = field(default_factory=dict)
    allowed: dict[str, str] = field(default_factory=dict)
    text: str = r"\s*"


MANY = 10_000
TOKEN, TEXT, NUMBER, BASE64 = r"\S(.*\S)?|", r"(?s).*", r"\d+", r"[A-Za-z0-9+/=]*"
CODED = Rule(needed={"csd-code": TOKEN, "codeSystemName": TOKEN, "originalText": TOKEN}, allowed={"displayName": TOKEN})
RULES = {
    "AuditMessage": Rule(
        (
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, MANY),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, MANY),
        )
    ),
    "EventIdentification": Rule(
        (("EventID", 1, 1), ("EventTypeCode", 0, MANY), ("EventOutcomeDescription", 0, 1)),
        {
            "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
            "EventOutcomeIndicator": "0|4|8|12",
        },
        {"EventActionCode": "[CRUDE]"},
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": Rule(text=TEXT),
    "ActiveParticipant": Rule(
        (("RoleIDCode", 0, MANY), ("MediaIdentifier", 0, 1)),
        {"UserID": TEXT, "UserIsRequestor": "true|false"},
        {
            "AlternativeUserID": TEXT,
            "UserName": TEXT,
            "NetworkAccessPointID": TOKEN,
            "NetworkAccessPointTypeCode": "[1-5]",
        },
    ),
    "RoleIDCode": CODED,
    "MediaIdentifier": Rule((("MediaType", 1, 1),)),
    "MediaType": CODED,
    "AuditSourceIdentification": Rule(
        (("AuditSourceTypeCode", 0, MANY),), {"AuditSourceID": TOKEN}, {"AuditEnterpriseSiteID": TOKEN}
    ),
    "AuditSourceTypeCode": Rule(
        needed={"csd-code": "[1-9]"}, allowed={"codeSystemName": TOKEN, "originalText": TOKEN, "displayName": TOKEN}
    ),
    "ParticipantObjectIdentification": Rule(
        (
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 0, 1),
            ("ParticipantObjectQuery", 0, 1),
            ("ParticipantObjectDetail", 0, MANY),
            ("ParticipantObjectDescription", 0, MANY),
        ),
        {"ParticipantObjectID": TOKEN},
        {
            "ParticipantObjectTypeCode": "[1-4]",
            "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
            "ParticipantObjectDataLifeCycle": "[1-9]|1[0-5]",
            "ParticipantObjectSensitivity": TOKEN,
        },
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": Rule(text=TEXT),
    "ParticipantObjectQuery": Rule(text=BASE64),
    "ParticipantObjectDetail": Rule(needed={"type": TOKEN, "value": BASE64}),
    "ParticipantObjectDescription": Rule((("SOPClass", 0, MANY),)),
    "SOPClass": Rule((("Instance", 0, MANY),), {"NumberOfInstances": NUMBER}, {"UID": TOKEN}),
}


def violations(element: ET.Element) -> list[str]:
    """What of a message is not as the schema says; nothing when it is valid."""
    rule = RULES.get(element.tag)
    if rule is None:
        return [f"there is no element {element.tag}"]
    found = [f"{element.tag} has no {name}" for name in rule.needed if name not in element.attrib]
    for name, value in element.attrib.items():
        form = (rule.needed | rule.allowed).get(name)
        if form is None or not re.fullmatch(form, value):
            found.append(f"{element.tag} {name}={value!r}")
    if not re.fullmatch(rule.text, element.text or ""):
        found.append(f"the text of {element.tag}: {element.text!r}")
    order = [name for name, _, _ in rule.children]
    names = [child.tag for child in element]
    if names != sorted(names, key=lambda name: order.index(name) if name in order else -1):
        found.append(f"the order below {element.tag}: {names}")
    for name, least, most in rule.children:
        if not least <= names.count(name) <= most:
            found.append(f"{names.count(name)} {name} below {element.tag}")
    if element.tag == "ParticipantObjectIdentification" and (
        names.count("ParticipantObjectName") + names.count("ParticipantObjectQuery") != 1
    ):
        found.append("an object needs either a name or a query")
    return found + [one for child in element for one in violations(child)]


def in_words(element: ET.Element) -> dict[str, str]:
    """The base64 texts of a message, by what they are."""
    told = {one.attrib["type"]: one.attrib["value"] for one in element.iter("ParticipantObjectDetail")}
    if (query := element.findtext(".//ParticipantObjectQuery")) is not None:
        told["query"] = query
    return {name: b64decode(value).decode() for name, value in told.items()}


def moment_of(element: ET.Element) -> datetime:
    """When what a message tells of happened."""
    return datetime.fromisoformat(element[0].attrib["EventDateTime"])
