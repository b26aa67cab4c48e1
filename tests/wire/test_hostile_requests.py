"""Hostile inputs, rows 38 to 46: requests that contradict themselves, ask for everything, or would go round in circles,
against a running archive.
"""

import time

import pytest
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
    Peer,
    commit_request,
    context,
    message,
    query_request,
    store_request,
)
from support.samples import encoded, tiny, uid
from support.server import LONG
from support.standing_rules import PAYLOAD, SERVED_S, Watched

CONTEXTS = (
    context(1, rude.VERIFICATION, IMPLICIT_LE),
    context(3, CT_STORAGE, EXPLICIT_LE),
    context(5, rude.STUDY_FIND, IMPLICIT_LE),
    context(7, rude.STUDY_MOVE, IMPLICIT_LE),
    context(9, rude.STUDY_GET, IMPLICIT_LE),
    context(11, rude.PATIENT_FIND, IMPLICIT_LE),
    context(13, rude.PATIENT_MOVE, IMPLICIT_LE),
    context(15, rude.PATIENT_GET, IMPLICIT_LE),
    context(17, COMMITMENT, IMPLICIT_LE),
)
HELD = uid("study", "good")  # four objects


def keys(level: str, **values: object) -> bytes:
    """An identifier; what pydicom would not let one write stands in it all the same."""
    identifier = Dataset()
    if level:
        identifier.QueryRetrieveLevel = level
    for keyword, text in values.items():
        setattr(identifier, keyword, text)
    return encoded(identifier, IMPLICIT_LE)


def answer(peer: Peer, told: bytes) -> int:
    """The final status of a request on an association of its own."""
    assert peer.associate(*CONTEXTS)[0] == rude.ASSOCIATE_AC
    peer.send(told)
    status = peer.answered()
    peer.release()
    return status


# --- rows 38, 40, 41: objects ---


def storing(*, command: str | bytes | None = None, sop_class: str = CT_STORAGE, **values: object) -> bytes:
    """A C-STORE of a small object; `command` is the SOP Instance UID that its command names, `values` what its data set
    has of its own.
    """
    dataset = tiny("hostile", PatientComments=PAYLOAD, **values)
    instance = dataset.SOPInstanceUID if command is None else command
    return message(3, store_request(sop_instance=instance, sop_class=sop_class), encoded(dataset))


def both(text: str) -> bytes:
    """A C-STORE whose command and data set have the same text for a SOP Instance UID."""
    return storing(command=text, SOPInstanceUID=text)


REFUSED = {
    "row 38: C-STORE without a data set": (message(3, store_request(data_set_type=0x0101)), 0x0110),
    "row 38: C-ECHO with a data set": (message(1, rude.echo_request(data_set_type=1), PAYLOAD.encode()), 0x0110),
    "row 38: C-ECHO of a class that is stored": (message(1, rude.echo_request(sop_class=CT_STORAGE)), 0x0122),
    "row 38: C-ECHO of a class of queries": (message(1, rude.echo_request(sop_class=rude.STUDY_FIND)), 0x0122),
    "row 38: C-ECHO of a class that is none": (message(1, rude.echo_request(sop_class=PAYLOAD)), 0x0122),
    "row 40: the class of the command is not that of the context": (storing(sop_class=rude.VERIFICATION), 0xA900),
    "row 40: the class of the data set is another": (storing(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), 0xA900),
    "row 40: the instance of the data set is another": (storing(command="1.2.3.4.5"), 0xA900),
    "row 40: the data set is a whole file": (
        message(3, store_request(), b"\0" * 128 + b"DICM" + encoded(tiny("hostile"))),
        0xC000,
    ),
    **{f"row 41: SOP instance {text[:9]!r}": (both(text), 0x0117) for text in ("", "1..2", "1.2.", "abc", "..", ".1")},
    "row 41: SOP instance of 65 characters": (both("1." + "2" * 63), 0x0117),
    "row 41: no study": (storing(StudyInstanceUID=""), 0xA900),
    "row 41: no series": (storing(SeriesInstanceUID=""), 0xA900),
    "row 41: study missing": (storing(StudyInstanceUID=None), 0xA900),
}
KEPT = {
    "row 41: a leading zero": storing(command="1.02.3", SOPInstanceUID="1.02.3"),
    "row 41: spaces behind": storing(command="1.2.3.77  ", SOPInstanceUID="1.2.3.77"),
    **{
        f"row 41: {keyword} {text[:9]!r}": storing(
            command=f"1.2.3.{number}", SOPInstanceUID=f"1.2.3.{number}", **{keyword: text}
        )
        for number, (keyword, text) in enumerate(
            (keyword, text)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID")
            for text in ("1." + "2" * 63, "1..2", "1.2.", "abc", "..")
        )
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_object_that_contradicts_itself_is_refused(ill_treated: Watched, name: str) -> None:
    told, status = REFUSED[name]
    with ill_treated.case(name, is_audited="C-ECHO" not in name) as case, case.connect() as peer:
        assert answer(peer, told) == status


@pytest.mark.parametrize("sop_class", [None, "", rude.VERIFICATION])
def test_an_echo_that_names_no_class_is_answered_as_one_that_does(ill_treated: Watched, sop_class: str | None) -> None:
    with ill_treated.case("row 38: C-ECHO without a class", is_audited=False) as case, case.connect() as peer:
        assert answer(peer, message(1, rude.echo_request(sop_class=sop_class))) == 0x0000


@pytest.mark.parametrize("name", KEPT)
def test_an_object_with_an_odd_uid_is_kept_where_that_does_no_harm(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name, stored=1) as case, case.connect() as peer:
        assert answer(peer, KEPT[name]) == 0x0000


# --- rows 43, 44: questions ---

LIST_OF_UIDS = "\\".join(f"1.2.840.113619.2.{number}" for number in range(100_000)).encode() + b"\0"
MISUSED = {
    **{
        f"row 43: {what} {kind}": message(context_id, query_request(field, sop_class, destination="GOOD"), identifier)
        for kind, field, context_id, sop_class in (
            ("C-MOVE", MOVE, 7, rude.STUDY_MOVE),
            ("C-GET", GET, 9, rude.STUDY_GET),
        )
        for what, identifier in (
            ("no keys", keys("STUDY")),
            ("neither level nor key", keys("", PatientName="A")),
            ("another level", keys("FRAME", StudyInstanceUID=HELD)),
            ("an empty UID", keys("STUDY", StudyInstanceUID="")),
            ("every UID", keys("STUDY", StudyInstanceUID="*")),
            ("a UID with ?", keys("STUDY", StudyInstanceUID=HELD[:-1] + "?")),
            ("a part of a UID", keys("SERIES", StudyInstanceUID=HELD, SeriesInstanceUID="1.*")),
            ("100,000 UIDs", keys("STUDY") + rude.element(0x000D, LIST_OF_UIDS, group=0x0020)),
            ("random bytes", bytes(range(256))),
        )
    },
    **{
        f"row 43: {what} at PATIENT level {kind}": message(
            context_id, query_request(field, sop_class, destination="GOOD"), identifier
        )
        for kind, field, context_id, sop_class in (
            ("C-MOVE", MOVE, 13, rude.PATIENT_MOVE),
            ("C-GET", GET, 15, rude.PATIENT_GET),
        )
        for what, identifier in (
            ("no ID", keys("PATIENT")),
            ("an empty ID", keys("PATIENT", PatientID="")),
            ("every ID", keys("PATIENT", PatientID="*")),
        )
    },
    "row 44: no level": message(5, query_request(FIND, rude.STUDY_FIND), keys("", PatientID="")),
    "row 44: a level that there is not": message(5, query_request(FIND, rude.STUDY_FIND), keys("X" * 16)),
    "row 44: random bytes": message(5, query_request(FIND, rude.STUDY_FIND), bytes(range(256))),
}


@pytest.mark.parametrize("name", MISUSED)
def test_a_question_that_says_nothing_moves_and_finds_nothing(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name) as case, case.connect() as peer:
        assert answer(peer, MISUSED[name]) == 0xA900


INJECTIONS = ("%", "_", "'", "';--", '";--', "' OR '1'='1", "\0", "[0-9]", "\\%", "(?:.*)*", "{}%n", "\x1b[2J")
TEXT_KEYS = ("PatientName", "PatientID", "AccessionNumber", "StudyDescription", "StudyID", "ReferringPhysicianName")
ODD_KEYS = (
    *({keyword: text} for keyword in TEXT_KEYS for text in INJECTIONS),
    *({"StudyDate": text} for text in ("-", "20200101-20191231", "--", "2020-01-01", "x-y", "99999999", "-" * 5_000)),
    *({"StudyTime": text} for text in ("-", "24:00:60", "2359-0000", "'")),
    *({"PatientName": "*a" * 5_000}, {"PatientID": "?" * 10_000}, {"StudyDescription": "*" * 10_000 + PAYLOAD}),
    *({"ModalitiesInStudy": "'"}, {"NumberOfStudyRelatedInstances": "-1"}, {"StudyInstanceUID": "';--"}),
    *({"PatientComments": "*"}, {"ReferencedStudySequence": []}),
)
# Without a key that is answered, and at a level that only some toolkits ask of that model.
BARE = [keys(level, **others) for level in ("STUDY", "PATIENT") for others in ({}, {"PatientComments": ""})]


def test_odd_keys_are_matched_as_they_stand_and_soon(ill_treated: Watched) -> None:
    """No key has an effect on the database, and none takes long; each is answered with rows or with a status."""
    slowest = 0.0
    with ill_treated.case("row 44: keys", has_a_line_each=False) as case, case.connect() as peer:
        peer.associate(*CONTEXTS)
        for odd in (*(keys("STUDY", **{"StudyInstanceUID": "", **key}) for key in ODD_KEYS), *BARE):
            began = time.monotonic()
            peer.send(message(5, query_request(FIND, rude.STUDY_FIND), odd))
            assert peer.answered() in (0x0000, 0xA900), odd
            slowest = max(slowest, time.monotonic() - began)
        peer.send(message(5, query_request(FIND, rude.STUDY_FIND), keys("STUDY", StudyInstanceUID="")))
        assert peer.answered() == 0x0000
        peer.release()
    assert slowest < SERVED_S


# --- row 46: commitments ---


def reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_STORAGE, uid
    return item


def commitment(transaction: str, *uids: str) -> bytes:
    """A data set that asks for Storage Commitment of these objects."""
    dataset = Dataset()
    dataset.TransactionUID = transaction
    dataset.ReferencedSOPSequence = [reference(uid) for uid in uids]
    return encoded(dataset, IMPLICIT_LE)


def many(transaction: str, number: int) -> bytes:
    """The same for so many objects, with an item that is written once."""
    head, with_one = commitment(transaction), commitment(transaction, "1.2.3.4")
    item = with_one[len(head) :]
    return head[:-4] + b"\xff" * 4 + item * number + b"\xfe\xff\xdd\xe0\0\0\0\0"


ASKED = commit_request()
REFUSED_COMMITMENTS = {
    "row 46: 1 M UIDs": (message(17, ASKED, many("1.2.3.46", 1_000_000 if LONG else 320_000)), 0x0213),
    "row 46: 100,001 UIDs": (message(17, ASKED, many("1.2.3.46", 100_001)), 0x0213),
    "row 46: no transaction": (message(17, ASKED, commitment("", "1.2.3.4")), 0x0120),
    "row 46: no objects": (message(17, ASKED, commitment("1.2.3.46")), 0x0120),
    "row 46: random bytes": (message(17, ASKED, bytes(range(256))), 0x0115),
    "row 46: another action": (message(17, commit_request(action=2), commitment("1.2.3.46", "1.2.3.4")), 0x0123),
    "row 46: another instance": (
        message(17, commit_request(instance="1.2.3"), commitment("1.2.3.46", "1.2.3")),
        0x0112,
    ),
    "row 46: a report on a transaction that is not ours": (
        message(17, rude.report_request(), commitment("1.2.3.46", "1.2.3.4")),
        0x0115,
    ),
}


@pytest.mark.parametrize("name", REFUSED_COMMITMENTS)
def test_a_commitment_that_cannot_be_given_is_refused_and_not_recorded(ill_treated: Watched, name: str) -> None:
    told, status = REFUSED_COMMITMENTS[name]
    ill_treated.forget_peak()
    before = ill_treated.peak_bytes()
    with ill_treated.case(name) as case, case.connect() as peer:
        peer.associate(*CONTEXTS)
        peer.send(told)
        assert peer.answered() == status
        peer.release()
    assert ill_treated.peak_bytes() - before < 96 << 20


def test_row_46_the_transaction_uid_of_another_peer_is_not_touched(ill_treated: Watched) -> None:
    """Each peer's transactions are its own, whatever UIDs others chose; the same peer may not change its own."""
    with ill_treated.case("row 46: the transaction of another", has_rows=True) as case:
        for calling, uids, status in (
            (b"FIRST", ("1.2.3.4",), 0x0000),
            (b"SECOND", ("1.2.3.5", "1.2.3.6"), 0x0000),
            (b"FIRST", ("1.2.3.7",), 0x0131),
        ):
            with case.connect() as peer:
                peer.associate(*CONTEXTS, calling=calling)
                peer.send(message(17, ASKED, commitment("1.2.3.47", *uids)))
                assert peer.answered() == status
                peer.send(rude.pdu(rude.ABORT, bytes(4)))
        listed = {row["aet"]: row for row in ill_treated.archive.report("commit", "list")}
        assert set(listed) == {"FIRST", "SECOND"}


def test_row_46_a_report_that_is_answered_twice_breaks_the_protocol_and_nothing_else(ill_treated: Watched) -> None:
    with ill_treated.case("row 46: a report that is answered twice", has_rows=True) as case, case.connect() as peer:
        peer.associate(*CONTEXTS)
        peer.send(message(17, ASKED, commitment("1.2.3.48", "1.2.3.4")))
        assert peer.answered() == 0x0000
        reported = peer.read_pdu()
        assert reported is not None
        assert reported[0] == rude.P_DATA
        peer.send(message(17, rude.report_response(1, 0xFF00)) + message(17, rude.report_response(1, 0x0000)))
        assert peer.ended() == rude.ABORT
    assert "came that answers nothing" in ill_treated.archive.log_text()
