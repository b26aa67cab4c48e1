"""Whole associations as their callers send them, each PDU with the state in which it comes: what mutator.py damages."""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from support import rude
from support.rude import (
    COMMITMENT,
    CT_STORAGE,
    EXPLICIT_LE,
    FIND,
    GET,
    IMPLICIT_LE,
    MOVE,
    VERIFICATION,
    context,
    item,
    message,
    pdu,
    query_request,
    role,
    store_request,
    user_information,
)
from support.samples import encoded, tiny, uid
from support.standing_rules import GOOD, PAYLOAD


@dataclass(frozen=True, slots=True)
class Step:
    """One PDU of the caller: in which state it is sent, and whether an answer is awaited behind it."""

    state: str
    sent: bytes
    is_answered: bool = False


def _association(*messages: tuple[bytes, bool], contexts: tuple[bytes, ...], user: bytes | None = None) -> list[Step]:
    """Request, messages, release. A message is some PDUs; the last of them may be answered."""
    steps = [Step("door", rude.associate_request(*contexts, user=user), is_answered=True)]
    for told, is_answered in messages:
        pdus = split(told)
        for number, one in enumerate(pdus, 1):
            state = "associated" if number == 1 else "data"
            steps.append(Step(state, one, is_answered=is_answered and number == len(pdus)))
    return [*steps, Step("associated", pdu(rude.RELEASE_RQ, bytes(4)), is_answered=True)]


def split(stream: bytes) -> list[bytes]:
    """The PDUs of a sound stream."""
    found = []
    while stream:
        end = 6 + int.from_bytes(stream[2:6], "big")
        found.append(stream[:end])
        stream = stream[end:]
    return found


def _keys(level: str, **values: str) -> bytes:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, text in values.items():
        setattr(identifier, keyword, text)
    return encoded(identifier, IMPLICIT_LE)


def _stored(number: int, *, room: int) -> tuple[bytes, bool]:
    dataset = tiny(number, study="fuzzed", PatientComments=PAYLOAD, PixelData=bytes(2_000), BitsAllocated=8)
    dataset["PixelData"].VR = "OB"
    command = store_request(number, dataset.SOPInstanceUID)
    return message(1, command, encoded(dataset), room=room), True


def _commitment() -> bytes:
    dataset, reference = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT_STORAGE, "1.2.3.4"
    dataset.TransactionUID, dataset.ReferencedSOPSequence = "1.2.3.4.5", [reference]
    return encoded(dataset, IMPLICIT_LE)


_HELD = uid("study", "good")
_STUDY = _keys("STUDY", StudyInstanceUID=_HELD)
_VERIFICATION = context(1, VERIFICATION, IMPLICIT_LE, EXPLICIT_LE)
_CT = context(1, CT_STORAGE, EXPLICIT_LE, IMPLICIT_LE)
_IDENTITY = item(0x58, b"\2\1\0\3me \0\4pass")
RECORDINGS: dict[str, list[Step]] = {
    "echo": _association((message(1, rude.echo_request()), True), contexts=(_VERIFICATION,)),
    "echo with everything": _association(
        *((message(1, rude.echo_request(number)), True) for number in (1, 2)),
        contexts=(_VERIFICATION, context(3, rude.STUDY_FIND, IMPLICIT_LE), context(5, "1.2.3.4", EXPLICIT_LE)),
        user=user_information(item(0x53, b"\0\5\0\5"), item(0x55, b"RUDE"), role(VERIFICATION, 1, 0), _IDENTITY),
    ),
    "store": _association(_stored(1, room=700), _stored(2, room=5_000), contexts=(_CT,)),
    "find": _association(
        (message(1, query_request(FIND, rude.STUDY_FIND), _keys("IMAGE", StudyInstanceUID=_HELD, PatientID="*")), True),
        (message(1, rude.cancel_request(1)), False),
        contexts=(context(1, rude.STUDY_FIND, IMPLICIT_LE),),
        user=user_information(item(0x56, b"\0\x1b" + rude.STUDY_FIND.encode() + b"\1\1\1")),
    ),
    "get": _association(
        (message(1, query_request(GET, rude.STUDY_GET), _STUDY), True),
        (message(3, rude.store_response(1)), True),
        (message(1, rude.cancel_request(1)), True),
        contexts=(context(1, rude.STUDY_GET, IMPLICIT_LE), context(3, CT_STORAGE, EXPLICIT_LE)),
        user=user_information(role(CT_STORAGE, 0, 1)),
    ),
    "move": _association(
        (
            message(1, query_request(MOVE, rude.STUDY_MOVE, destination=GOOD), _keys("STUDY", StudyInstanceUID=_HELD)),
            True,
        ),
        contexts=(context(1, rude.STUDY_MOVE, IMPLICIT_LE),),
    ),
    "commitment": _association(
        (message(1, rude.commit_request(), _commitment()), True), contexts=(context(1, COMMITMENT, IMPLICIT_LE),)
    ),
}
