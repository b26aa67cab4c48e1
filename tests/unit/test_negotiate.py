"""Association requests and answers: read in bounds, decided by others, written so that DICOM libraries read them."""

import time
from dataclasses import replace

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from support import rude

from pacs_server.dicom.part10 import IMPLEMENTATION_CLASS_UID
from pacs_server.errors import ProtocolViolation
from pacs_server.net.associate import (
    TITLES,
    read_acceptance,
    read_request,
)
from pacs_server.net.associate_writing import write_acceptance, write_rejection, write_request
from pacs_server.net.negotiate import (
    CALLED_NOT_RECOGNISED,
    CONTEXT_NAME,
    LOCAL_LIMIT,
    NO_REASON,
    PROTOCOL_VERSION,
    READABLE_SYNTAXES,
    AssociationRequest,
    ContextAnswer,
    ContextResult,
    IdentityKind,
    ProposedContext,
    UserIdentity,
    is_registered_class,
    is_storage_class,
    rejection,
)

ECHO = rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE)
CT = rude.context(3, rude.CT_STORAGE, rude.EXPLICIT_LE, rude.IMPLICIT_LE)


def request_of(pdu: bytes) -> AssociationRequest:
    request = read_request(pdu, "192.0.2.1")
    assert isinstance(request, AssociationRequest)
    return request


def test_a_request_tells_what_was_proposed() -> None:
    user = rude.user_information(
        rude.role(rude.CT_STORAGE, 0, 1),
        rude.item(0x53, bytes(4)),
        rude.item(0x55, b"RUDE_1"),
        rude.item(0x56, b"\0\x11" + rude.VERIFICATION.encode() + b"\1\2"),
        max_pdu_bytes=32_768,
    )
    request = request_of(rude.associate_request(ECHO, CT, user=user, called=b" PACS", calling=b"CT1"))
    assert (request.called_aet, request.calling_aet, request.peer_address) == ("PACS", "CT1", "192.0.2.1")
    assert request.contexts == (
        ProposedContext(id=1, abstract_syntax=rude.VERIFICATION, transfer_syntaxes=(rude.IMPLICIT_LE,)),
        ProposedContext(
            id=3,
            abstract_syntax=rude.CT_STORAGE,
            transfer_syntaxes=(rude.EXPLICIT_LE, rude.IMPLICIT_LE),
            scu_role=False,
            scp_role=True,
        ),
    )
    assert (request.max_pdu_bytes, request.implementation_version) == (32_768, "RUDE_1")
    assert request.implementation_class_uid == "1.2.3"
    assert request.asks_for_window
    assert request.extended == {rude.VERIFICATION: b"\1\2"}


def test_what_we_request_is_read_by_pynetdicom_and_by_ourselves() -> None:
    proposed = [
        ProposedContext(id=1, abstract_syntax=rude.CT_STORAGE, transfer_syntaxes=(rude.EXPLICIT_LE,)),
        ProposedContext(
            id=3, abstract_syntax=rude.STUDY_FIND, transfer_syntaxes=(rude.IMPLICIT_LE,), scu_role=False, scp_role=True
        ),
    ]
    pdu = write_request("THEM", "US", proposed, 65_536)
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(pdu)
    assert (theirs.called_ae_title, theirs.calling_ae_title) == ("THEM", "US")
    assert theirs.user_information.maximum_length == 65_536
    assert theirs.user_information.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    request = request_of(pdu)
    assert request.contexts == tuple(proposed)
    assert (request.called_aet, request.calling_aet) == ("THEM", "US")


ACCEPT_CT = ContextAnswer(
    id=3, result=ContextResult.ACCEPTED, transfer_syntax=rude.EXPLICIT_LE, scu_role=True, scp_role=False
)
REFUSE_ECHO = ContextAnswer(id=1, result=ContextResult.USER_REJECTION, transfer_syntax="not.a.uid")


def test_what_we_accept_is_read_by_pynetdicom_and_by_ourselves() -> None:
    user = rude.user_information(rude.item(0x53, bytes(4)), rude.role(rude.CT_STORAGE, 1, 1))
    pdu = rude.associate_request(ECHO, CT, user=user)
    accepted = write_acceptance(request_of(pdu), pdu[TITLES], [REFUSE_ECHO, ACCEPT_CT], 65_536)
    theirs = A_ASSOCIATE_AC()
    theirs.decode(accepted)
    assert [(one.context_id, one.result) for one in theirs.presentation_context] == [(1, 1), (3, 0)]
    assert theirs.presentation_context[1].transfer_syntax == rude.EXPLICIT_LE
    assert (theirs.called_ae_title, theirs.calling_ae_title) == ("PACS", "CT1")
    window = theirs.user_information.async_ops_window
    assert (window.max_operations_invoked, window.max_operations_performed) == (1, 1)
    assert (theirs.user_information.role_selection[rude.CT_STORAGE].scu_role, ACCEPT_CT.scu_role) == (1, True)
    assert theirs.user_information.user_identity is None
    ours = read_acceptance(accepted)
    assert ours.results[3] == (0, rude.EXPLICIT_LE)
    assert ours.results[1][0] == ContextResult.USER_REJECTION
    assert ours.user.max_pdu_bytes == 65_536
    assert ours.user.roles == {rude.CT_STORAGE: (True, False)}


def test_a_window_and_roles_are_answered_only_where_they_were_asked_for() -> None:
    pdu = rude.associate_request(ECHO)
    answer = ContextAnswer(id=1, result=ContextResult.ACCEPTED, transfer_syntax=rude.IMPLICIT_LE)
    theirs = A_ASSOCIATE_AC()
    theirs.decode(write_acceptance(request_of(pdu), pdu[TITLES], [answer], 65_536))
    assert theirs.user_information.async_ops_window is None
    assert theirs.user_information.role_selection == {}


def test_what_one_device_was_told_is_not_told_the_next() -> None:
    asking = rude.user_information(rude.item(0x53, bytes(4)), rude.role(rude.CT_STORAGE, 1, 1))
    first = rude.associate_request(CT, user=asking, calling=b"CT1")
    second = rude.associate_request(CT, calling=b"CT2")
    plain = replace(ACCEPT_CT, scu_role=None, scp_role=None)
    read = [request_of(pdu) for pdu in (first, second)]
    assert [(one.contexts[0].scu_role, one.contexts[0].scp_role) for one in read] == [(True, True), (None, None)]
    told = [
        read_acceptance(write_acceptance(read[0], first[TITLES], [ACCEPT_CT], 65_536)),
        read_acceptance(write_acceptance(read[1], second[TITLES], [plain], 65_536)),
        read_acceptance(write_acceptance(read[1], second[TITLES], [plain], 32_768)),
    ]
    assert [one.user.max_pdu_bytes for one in told] == [65_536, 65_536, 32_768]
    assert [one.user.roles for one in told] == [{rude.CT_STORAGE: (True, False)}, {}, {}]
    assert [one.user.asks_for_window for one in told] == [True, False, False]
    assert write_acceptance(read[1], second[TITLES], [plain], 65_536)[TITLES] == second[TITLES]


RUBBISH_TITLES = [b"\x93\xfa\x96\x7b", b"A\r\nB", b"../x", b"\xff" * 16, b"", b"PACS\0\0", b"\x1b[31m"]


@pytest.mark.parametrize("title", RUBBISH_TITLES)
def test_rubbish_titles_are_handed_on_as_text_and_sent_back_untouched(title: bytes) -> None:
    pdu = rude.associate_request(ECHO, called=title, calling=title)
    request = request_of(pdu)
    assert request.called_aet == request.calling_aet == title.decode("latin-1")
    answer = ContextAnswer(id=1, result=ContextResult.ACCEPTED, transfer_syntax=rude.IMPLICIT_LE)
    assert write_acceptance(request, pdu[TITLES], [answer], 65_536)[TITLES] == title.ljust(16) * 2


def test_a_rejection_says_its_three_numbers_and_what_they_mean() -> None:
    theirs = A_ASSOCIATE_RJ()
    theirs.decode(write_rejection(LOCAL_LIMIT))
    assert (theirs.result, theirs.source, theirs.reason_diagnostic) == (2, 3, 2)
    assert rejection(1, 1, 7) == CALLED_NOT_RECOGNISED
    assert "later" in rejection(2, 3, 1).text
    assert "source 9, reason 9" in rejection(1, 9, 9).text


@pytest.mark.parametrize(("version", "known"), [(1, True), (0xFFFF, True), (0, False), (2, False)])
def test_only_bit_0_of_the_protocol_version_counts(version: int, known: bool) -> None:
    answer = read_request(rude.associate_request(ECHO, version=version), "192.0.2.1")
    assert isinstance(answer, AssociationRequest) is known
    assert known or answer == PROTOCOL_VERSION


def test_another_application_context_is_rejected() -> None:
    assert read_request(rude.associate_request(ECHO, name="1.2.840.10008.3.1.1.2"), "192.0.2.1") == CONTEXT_NAME


def identity(kind: int, primary: bytes, secondary: bytes = b"") -> bytes:
    sized = b"".join(len(part).to_bytes(2, "big") + part for part in (primary, secondary))
    return rude.item(0x58, bytes((kind, 0)) + sized)


@pytest.mark.parametrize(
    ("kind", "primary", "secondary"), [(1, b"user", b""), (2, b"user", b"secret"), (4, b"<saml/>" * 99, b"")]
)
def test_a_sound_user_identity_is_read_and_its_secrets_are_not_shown(
    kind: int, primary: bytes, secondary: bytes
) -> None:
    item = identity(kind, primary, secondary)
    found = request_of(rude.associate_request(ECHO, user=rude.user_information(item))).identity
    assert found == UserIdentity(kind=IdentityKind(kind), primary=primary, secondary=secondary)
    assert not [secret for secret in (primary, secondary) if secret and str(secret)[2:-1] in repr(found)]


def test_the_user_that_we_name_is_read_by_pynetdicom_and_by_ourselves() -> None:
    told = UserIdentity(kind=IdentityKind.NAME_AND_PASSCODE, primary="田中".encode(), secondary=b"secret!!")
    proposed = [ProposedContext(id=1, abstract_syntax=rude.VERIFICATION, transfer_syntaxes=(rude.IMPLICIT_LE,))]
    pdu = write_request("PACS", "CT1", proposed, 65_536, told)
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(pdu)
    item = theirs.user_information.user_identity
    assert (item.id_type, item.primary_field, item.secondary_field) == (2, told.primary, told.secondary)
    assert request_of(pdu).identity == told


@pytest.mark.parametrize(("asked", "believed", "told"), [(1, True, b""), (0, True, None), (1, False, None)])
def test_a_user_is_confirmed_only_where_that_was_asked_for_and_is_true(
    asked: int, believed: bool, told: bytes | None
) -> None:
    item = rude.item(0x58, bytes((1, asked)) + b"\0\4user\0\0")
    pdu = rude.associate_request(ECHO, user=rude.user_information(item))
    answer = ContextAnswer(id=1, result=ContextResult.ACCEPTED, transfer_syntax=rude.IMPLICIT_LE)
    theirs = A_ASSOCIATE_AC()
    theirs.decode(write_acceptance(request_of(pdu), pdu[TITLES], [answer], 65_536, confirms_identity=believed))
    confirmed = theirs.user_information.user_identity
    assert (confirmed.server_response if confirmed else None) == told


@pytest.mark.parametrize(
    "item",
    [
        identity(0, b"user"),
        identity(6, b"user"),
        identity(255, b"user"),
        identity(1, b""),
        identity(3, b"x" * 60_000),
        identity(1, b"user") * 2,
        rude.item(0x58, b""),
        rude.item(0x58, b"\1\0\xff\xffx"),
    ],
)
def test_a_damaged_or_huge_user_identity_is_rejected(item: bytes) -> None:
    assert read_request(rude.associate_request(ECHO, user=rude.user_information(item)), "192.0.2.1") == NO_REASON


BROKEN = {
    "zero contexts": rude.associate_request(),
    "no transfer syntax": rude.associate_request(rude.context(1, rude.VERIFICATION)),
    "no abstract syntax": rude.associate_request(rude.item(0x20, b"\1\0\0\0" + rude.item(0x40, b"1.2"))),
    "two abstract syntaxes": rude.associate_request(
        rude.item(0x20, b"\1\0\0\0" + rude.item(0x30, b"1.2") * 2 + rude.item(0x40, b"1.2"))
    ),
    "empty abstract syntax": rude.associate_request(rude.context(1, "", rude.IMPLICIT_LE)),
    "even context ID": rude.associate_request(rude.context(2, rude.VERIFICATION, rude.IMPLICIT_LE)),
    "context ID twice": rude.associate_request(ECHO, ECHO),
    "name of 65 characters": rude.associate_request(rude.context(1, "1" * 65, rude.IMPLICIT_LE)),
    "context shorter than its head": rude.associate_request(rude.item(0x20, b"\1\0")),
    "unknown item": rude.associate_request(ECHO, rude.item(0xFF, b"?")),
    "unknown item in a context": rude.associate_request(
        rude.item(0x20, b"\1\0\0\0" + rude.item(0x30, b"1.2") + rude.item(0xFF, b"?"))
    ),
    "item past the end": rude.associate_request(ECHO, rude.item(0x20, b"\3\0\0\0", 60_000)),
    "sub-item past its item": rude.associate_request(rude.item(0x20, b"\1\0\0\0" + rude.item(0x30, b"1.2", 500))),
    "half an item header": rude.associate_request(ECHO, user=b"\x50\0"),
    "user information twice": rude.associate_request(ECHO, rude.user_information()),
    "too many syntaxes": rude.associate_request(rude.context(1, rude.VERIFICATION, *["1.2"] * 500)),
    "10,000 sub-items": rude.associate_request(ECHO, user=rude.user_information(rude.item(0x59, b"") * 10_000)),
    "role with a length past its end": rude.associate_request(
        ECHO, user=rude.user_information(rude.item(0x54, b"\xff\xff1.2"))
    ),
    "role without roles": rude.associate_request(ECHO, user=rude.user_information(rude.item(0x54, b"\0\0031.2"))),
    "maximum length of two bytes": rude.associate_request(ECHO, user=rude.item(0x50, rude.item(0x51, b"\x40\0"))),
    "PDUs in which nothing fits": rude.associate_request(ECHO, user=rude.user_information(max_pdu_bytes=6)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_request_is_a_violation(name: str) -> None:
    with pytest.raises(ProtocolViolation):
        read_request(BROKEN[name], "192.0.2.1")


def test_no_request_that_was_cut_or_has_one_wrong_byte_breaks_the_reader() -> None:
    whole = rude.associate_request(ECHO, CT, user=rude.user_information(rude.role(rude.CT_STORAGE, 0, 1)))
    changed = [whole[:end] for end in range(74, len(whole))]
    changed += [whole[:at] + bytes((byte,)) + whole[at + 1 :] for at in range(74, len(whole)) for byte in (0, 1, 0xFF)]
    outcomes = {_outcome(pdu) for pdu in changed}
    assert {"violation", "read"} <= outcomes <= {"violation", "read", "rejected"}


def _outcome(pdu: bytes) -> str:
    try:
        return "read" if isinstance(read_request(pdu, "192.0.2.1"), AssociationRequest) else "rejected"
    except ProtocolViolation:
        return "violation"


def test_the_largest_sensible_request_costs_less_than_100_ms() -> None:
    syntaxes = [f"1.2.840.10008.1.2.4.{number}" for number in range(60)]
    pdu = rude.associate_request(*(rude.context(number, rude.CT_STORAGE, *syntaxes) for number in range(1, 256, 2)))
    took = []
    for _ in range(10):
        started = time.thread_time()
        assert len(request_of(pdu).contexts) == 128
        took.append(time.thread_time() - started)
    assert min(took) < 0.1


def test_odd_names_are_read_without_a_warning_and_can_be_refused() -> None:
    pdu = rude.associate_request(rude.context(1, "1.02.x", "1..2"), rude.context(3, "1.2.3.\0", "1.2\0"))
    request = request_of(pdu)
    assert [one.abstract_syntax for one in request.contexts] == ["1.02.x", "1.2.3."]
    answers = [
        ContextAnswer(
            id=one.id, result=ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, transfer_syntax=one.transfer_syntaxes[0]
        )
        for one in request.contexts
    ]
    assert read_acceptance(write_acceptance(request, pdu[TITLES], answers, 65_536)).results.keys() == {1, 3}


def test_a_role_for_a_class_that_is_no_proper_uid_is_not_granted() -> None:
    name = "1.2.392.200036.09"
    user = rude.user_information(rude.role(name, 1, 1))
    pdu = rude.associate_request(rude.context(1, name, rude.IMPLICIT_LE), user=user)
    answer = ContextAnswer(
        id=1, result=ContextResult.ACCEPTED, transfer_syntax=rude.IMPLICIT_LE, scu_role=True, scp_role=True
    )
    accepted = write_acceptance(request_of(pdu), pdu[TITLES], [answer], 65_536)
    assert read_acceptance(accepted).user.roles == {}


@pytest.mark.parametrize(
    ("uid", "storage", "registered"),
    [
        (rude.CT_STORAGE, True, True),
        ("1.2.840.10008.5.1.4.1.1.5", True, True),  # Nuclear Medicine Image Storage, retired
        ("1.2.840.10008.5.1.4.1.1.104.1", True, True),  # Encapsulated PDF Storage
        ("1.2.840.10008.5.1.4.38.1", False, True),  # Hanging Protocol Storage: of no patient, no study
        ("1.2.840.10008.5.1.4.1.1.999.1", True, False),  # of a later edition
        ("1.3.12.2.1107.5.9.1", True, False),  # private
        (rude.VERIFICATION, False, True),
        (rude.STUDY_FIND, False, True),
        ("1.2.840.10008.5.1.4.31", False, True),  # Modality Worklist
        ("1.2.840.10008.1.20.1", False, True),  # Storage Commitment Push Model
        ("1.2.840.10008.1.20.2", False, True),  # Storage Commitment Pull Model, retired
        ("1.2.840.10008.1.3.10", False, True),  # Media Storage Directory Storage
        ("1.2.840.10008.3.1.2.1.1", False, True),  # Detached Patient Management, retired
        ("1.2.840.10008.4.2", False, True),  # Storage Service Class, not a SOP class
        ("1.2.840.10008.1.2.1", False, True),  # a transfer syntax
        ("", False, False),
        ("CT Image Storage", False, False),
        ("1..2", False, False),
    ],
)
def test_what_counts_as_storage(uid: str, storage: bool, registered: bool) -> None:
    assert is_storage_class(uid) is storage
    assert is_registered_class(uid) is registered


def test_readable_syntaxes_are_those_of_stored_data_sets() -> None:
    assert {rude.IMPLICIT_LE, rude.EXPLICIT_LE, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"} <= READABLE_SYNTAXES
    assert {"1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.55"} <= READABLE_SYNTAXES
    assert not {"1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.6.1", "1.2.840.113619.5.2"} & READABLE_SYNTAXES
