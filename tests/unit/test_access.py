"""Who is let in, and to which services."""

import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import AeTitle
from pacs_server.dimse import access, host_names
from pacs_server.dimse.access import (
    AccessRules,
    Admission,
    Caller,
    answer_contexts,
    asked_for,
    covers,
    identify,
    self_check_of,
)
from pacs_server.dimse.host_names import plain_address
from pacs_server.index.site.peers import Identity, Peer, Right
from pacs_server.net.negotiate import (
    CALLED_NOT_RECOGNISED,
    CALLING_NOT_RECOGNISED,
    CONGESTION,
    AssociationRequest,
    ContextResult,
    ProposedContext,
    Rejection,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_FIND, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
WORKLIST = "1.2.840.10008.5.1.4.31"
VERIFICATION, COMMITMENT = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
PRIVATE = "1.3.12.2.1107.5.9.1"
JPEG = "1.2.840.10008.1.2.4.50"

RULES = AccessRules(
    aet=AeTitle("PACS"),
    check_called=True,
    accept_private_sop_classes=True,
    default_issuer="HOSPITAL",
    default_charset="ISO_IR 100",
)


class NameServer:
    """Answers every name with the same addresses, or not, once it may."""

    def __init__(self) -> None:
        self.told: list[str] | socket.gaierror = ["192.0.2.7"]
        self.times = 0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def answer(self, host: str, port: None, **_: object) -> list[tuple[object, ...]]:
        self.times += 1
        assert self.goes_on.wait(30)
        if isinstance(self.told, socket.gaierror):
            raise self.told
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.told]


def request_from(address: str = "127.0.0.1", *contexts: ProposedContext, calling: str = "CT1", called: str = "PACS"):
    return AssociationRequest(
        calling_aet=calling,
        called_aet=called,
        peer_address=address,
        contexts=contexts,
        max_pdu_bytes=16384,
        implementation_class_uid="1.2.3",
        implementation_version="",
        extended={},
    )


def context(abstract: str, *syntaxes: str, scu: bool | None = None, scp: bool | None = None) -> ProposedContext:
    return ProposedContext(id=1, abstract_syntax=abstract, transfer_syntaxes=syntaxes, scu_role=scu, scp_role=scp)


def peer(*rights: Right, sources: tuple[str, ...] = ("192.0.2.0/24",), charset: str = "", issuer: str = "") -> Peer:
    return Peer(
        aet=AeTitle("CT1"),
        host=None,
        port=None,
        rights=frozenset(rights),
        sources=sources,
        issuer=issuer,
        charset=charset,
    )


def admitted(request: AssociationRequest, known: Peer | None, rules: AccessRules = RULES) -> Caller:
    verdict = identify(request, rules, lambda _: known)
    assert isinstance(verdict, Caller)
    return verdict


def rejected(request: AssociationRequest, known: Peer | None, rules: AccessRules = RULES) -> Rejection:
    verdict = identify(request, rules, lambda _: known)
    assert isinstance(verdict, Rejection)
    return verdict


def test_an_unregistered_caller_on_this_machine_may_do_everything() -> None:
    assert admitted(request_from("127.0.0.1"), None).rights == frozenset(Right)
    assert admitted(request_from("::1"), None).rights == frozenset(Right)
    assert admitted(request_from("::ffff:127.0.0.1"), None).rights == frozenset(Right)


def test_an_unregistered_caller_from_the_network_is_not_recognised() -> None:
    assert rejected(request_from("192.0.2.7"), None) == CALLING_NOT_RECOGNISED


def test_a_registered_caller_is_let_in_from_its_addresses_only() -> None:
    assert admitted(request_from("192.0.2.7"), peer(Right.STORE)).rights == {Right.STORE}
    assert rejected(request_from("198.51.100.7"), peer(Right.STORE)) == CALLING_NOT_RECOGNISED
    assert rejected(request_from("127.0.0.1"), peer(Right.STORE)) == CALLING_NOT_RECOGNISED


def test_a_wrong_called_title_is_rejected_unless_the_site_does_not_check_it() -> None:
    assert rejected(request_from(called="OTHER"), None) == CALLED_NOT_RECOGNISED
    assert rejected(request_from(called="pacs"), None) == CALLED_NOT_RECOGNISED
    assert rejected(request_from(called=""), None) == CALLED_NOT_RECOGNISED
    assert admitted(request_from(called="OTHER"), None, replace(RULES, check_called=False))


def test_a_peer_may_call_by_the_titles_that_it_was_allowed() -> None:
    old = replace(peer(Right.STORE), called=("OLDPACS",))
    assert admitted(request_from("192.0.2.7", called="OLDPACS"), old)
    assert admitted(request_from("192.0.2.7"), old)
    assert rejected(request_from("192.0.2.7", called="OTHER"), old) == CALLED_NOT_RECOGNISED
    assert rejected(request_from("192.0.2.7", called="OLDPACS"), peer(Right.STORE)) == CALLED_NOT_RECOGNISED


def test_what_an_admin_allowed_a_peer_is_what_it_may() -> None:
    allowed: dict[str, Any] = {
        "max_answers": 7, "combines_moments": True, "syntax": JPEG, "destinations": ("VIEWER",),
        "max_associations": 3, "identity": Identity.PASSWORD,
    }  # fmt: skip
    caller = admitted(request_from("192.0.2.7"), replace(peer(Right.FIND), **allowed))
    assert {name: getattr(caller, name) for name in allowed} == allowed
    assert caller.rights == {Right.FIND}
    assert caller.label == "CT1"


def test_a_title_that_nobody_registered_is_no_name_in_the_metrics() -> None:
    assert admitted(request_from("127.0.0.1"), None).label == "unregistered"


@pytest.mark.parametrize(
    ("fingerprint", "why"), [(None, "showed no TLS"), ("", "showed none"), ("BB:02", "showed another one")]
)
def test_a_pinned_peer_is_let_in_with_its_certificate_alone(fingerprint: str | None, why: str) -> None:
    pinned = replace(peer(Right.STORE), certificate="AA:01")
    assert isinstance(identify(request_from("192.0.2.7"), RULES, lambda _: pinned, "AA:01"), Caller)
    verdict = identify(request_from("192.0.2.7"), RULES, lambda _: pinned, fingerprint)
    assert verdict == CALLING_NOT_RECOGNISED
    assert isinstance(verdict, Rejection)
    assert verdict.why.endswith(why)


@pytest.mark.parametrize("calling", ["", " ", "\x1b[0m", "../x\\", "\xff" * 16])
def test_a_calling_title_that_is_none_is_rejected(calling: str) -> None:
    assert rejected(request_from(calling=calling), None) == CALLING_NOT_RECOGNISED


def test_what_is_assumed_of_a_peer_comes_from_the_peer_else_from_the_site() -> None:
    mine = admitted(request_from("192.0.2.7"), peer(Right.STORE, charset="ISO_IR 192", issuer="CLINIC"))
    assert (mine.origin.charset, mine.origin.issuer, mine.charset) == ("ISO_IR 192", "CLINIC", "ISO_IR 192")
    site = admitted(request_from("192.0.2.7"), peer(Right.STORE))
    assert (site.origin.charset, site.origin.issuer, site.charset) == ("ISO_IR 100", "HOSPITAL", "")


def answer_to(proposed: ProposedContext, *rights: Right, rules: AccessRules = RULES, usual: str | None = None):
    caller = admitted(request_from("192.0.2.7"), peer(*rights), rules)
    (answer,) = answer_contexts(request_from("192.0.2.7", proposed), caller, rules, lambda _: usual)
    return answer


def answer_beside_get(proposed: ProposedContext, *rights: Right):
    caller = admitted(request_from("192.0.2.7"), peer(*rights))
    request = request_from("192.0.2.7", context(STUDY_GET, IMPLICIT_LE), proposed)
    return answer_contexts(request, caller, RULES, lambda _: None)[1]


def test_a_store_only_peer_is_refused_the_query_context_and_not_the_storage_one() -> None:
    assert answer_to(context(STUDY_FIND, IMPLICIT_LE), Right.STORE).result == ContextResult.USER_REJECTION
    assert answer_to(context(CT, IMPLICIT_LE), Right.STORE).result == ContextResult.ACCEPTED
    assert answer_to(context(CT, IMPLICIT_LE), Right.FIND).result == ContextResult.USER_REJECTION


def test_storage_takes_the_first_syntax_of_the_requestor_that_we_can_read() -> None:
    assert answer_to(context(CT, "1.2.3.4", JPEG, EXPLICIT_LE), Right.STORE).transfer_syntax == JPEG
    unreadable = answer_to(context(CT, "1.2.3.4"), Right.STORE)
    assert unreadable.result == ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


def test_a_receiver_of_c_get_is_offered_the_syntax_in_which_most_objects_are_stored() -> None:
    proposed = context(CT, IMPLICIT_LE, EXPLICIT_LE, JPEG, scu=False, scp=True)
    answer = answer_to(proposed, Right.GET, usual=JPEG)
    assert (answer.transfer_syntax, answer.scu_role, answer.scp_role) == (JPEG, False, True)
    assert answer_to(proposed, Right.GET, usual=None).transfer_syntax == EXPLICIT_LE
    only_implicit = context(CT, IMPLICIT_LE, scu=False, scp=True)
    assert answer_to(only_implicit, Right.GET, usual=JPEG).transfer_syntax == IMPLICIT_LE
    only_compressed = context(CT, JPEG, scu=False, scp=True)
    answer = answer_to(only_compressed, Right.GET, usual=None)
    assert (answer.result, answer.transfer_syntax) == (ContextResult.ACCEPTED, JPEG)


def test_roles_are_answered_only_where_they_were_asked_and_only_as_far_as_the_rights_go() -> None:
    assert not answer_to(context(CT, EXPLICIT_LE), Right.STORE).tells_roles
    both = answer_to(context(CT, EXPLICIT_LE, scu=True, scp=True), Right.STORE)
    assert (both.scu_role, both.scp_role, both.tells_roles) == (True, False, True)
    receiver = context(CT, EXPLICIT_LE, scu=False, scp=True)
    answer = answer_to(receiver, Right.STORE, Right.GET)
    assert (answer.scu_role, answer.scp_role) == (False, True)
    assert answer_to(receiver, Right.STORE).result == ContextResult.USER_REJECTION


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ((None, None), (True, False)),
        ((True, True), (True, True)),
        ((True, False), (True, False)),
        ((False, True), (False, True)),
    ],
)
def test_commitment_is_asked_for_in_one_role_and_reported_in_the_other(
    asked: tuple[bool | None, bool | None], agreed: tuple[bool, bool]
) -> None:
    answer = answer_to(context(COMMITMENT, IMPLICIT_LE, scu=asked[0], scp=asked[1]), Right.COMMIT)
    assert (answer.result, answer.scu_role, answer.scp_role) == (ContextResult.ACCEPTED, *agreed)


def test_commitment_in_no_role_is_refused() -> None:
    proposed = context(COMMITMENT, IMPLICIT_LE, scu=False, scp=False)
    assert answer_to(proposed, Right.COMMIT).result == ContextResult.USER_REJECTION


def test_a_right_that_is_not_needed_for_what_is_proposed_is_not_taken_for_asked_for() -> None:
    receiver = context(CT, EXPLICIT_LE, scu=False, scp=True)
    assert asked_for(request_from("192.0.2.7", receiver)) == {Right.GET}
    assert asked_for(request_from("192.0.2.7", context(CT, EXPLICIT_LE))) == {Right.STORE}
    others = context(STUDY_FIND, IMPLICIT_LE), context(VERIFICATION, IMPLICIT_LE), context(WORKLIST, IMPLICIT_LE)
    assert asked_for(request_from("192.0.2.7", *others)) == {Right.FIND, Right.ECHO}


def test_the_server_that_calls_itself_may_do_nothing_else() -> None:
    assert self_check_of("PACS").rights == {Right.ECHO}


@pytest.mark.parametrize(
    ("rights", "scu", "scp"),
    [
        ((Right.GET,), False, True),
        ((Right.GET, Right.STORE), True, True),
        ((Right.STORE,), True, False),
    ],
)
def test_a_storage_context_without_roles_beside_c_get_is_for_what_that_brings(
    rights: tuple[Right, ...], scu: bool, scp: bool
) -> None:
    answer = answer_beside_get(context(CT, EXPLICIT_LE), *rights)
    assert (answer.scu_role, answer.scp_role, answer.tells_roles) == (scu, scp, False)


def test_a_role_beside_c_get_is_obeyed() -> None:
    answer = answer_beside_get(context(CT, EXPLICIT_LE, scu=True, scp=False), Right.GET, Right.STORE)
    assert (answer.scu_role, answer.scp_role) == (True, False)


def test_who_stores_and_receives_in_one_context_does_so_in_a_syntax_that_all_can_be_put_into() -> None:
    proposed = context(CT, JPEG, IMPLICIT_LE, EXPLICIT_LE, scu=True, scp=True)
    assert answer_to(proposed, Right.STORE, Right.GET).transfer_syntax == EXPLICIT_LE
    assert answer_to(proposed, Right.STORE).transfer_syntax == JPEG


def test_a_private_storage_class_is_taken_unless_the_site_refuses_it() -> None:
    strict = replace(RULES, accept_private_sop_classes=False)
    assert answer_to(context(PRIVATE, EXPLICIT_LE), Right.STORE).result == ContextResult.ACCEPTED
    refused = answer_to(context(PRIVATE, EXPLICIT_LE), Right.STORE, rules=strict)
    assert refused.result == ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED


def test_a_registered_class_that_is_no_storage_is_not_taken_for_storage() -> None:
    answer = answer_to(context(WORKLIST, EXPLICIT_LE), Right.STORE, Right.FIND)
    assert answer.result == ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED


def test_queries_are_spoken_in_explicit_before_implicit_and_never_compressed() -> None:
    assert answer_to(context(STUDY_FIND, IMPLICIT_LE, EXPLICIT_LE), Right.FIND).transfer_syntax == EXPLICIT_LE
    assert answer_to(context(STUDY_FIND, EXPLICIT_BE), Right.FIND).transfer_syntax == EXPLICIT_BE
    compressed = answer_to(context(STUDY_FIND, JPEG), Right.FIND)
    assert compressed.result == ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


def test_a_source_may_be_an_address_a_block_or_a_host_name() -> None:
    assert covers("192.0.2.7", plain_address("::ffff:192.0.2.7"))
    assert covers("2001:db8::/32", plain_address("2001:db8::1%eth0"))
    assert covers("localhost", plain_address("127.0.0.1"))
    assert not covers("no-such-host.invalid", plain_address("192.0.2.7"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    """A name server in the place of that of the system, asked again by each call."""
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.answer)
    monkeypatch.setattr(host_names, "_KNOWN_FOR_S", 0.0)
    monkeypatch.setattr(access, "_HOST_NAMES", host_names.HostNames())
    return server


def test_a_name_server_that_is_down_turns_nobody_away_whose_address_it_told_before(asked: NameServer) -> None:
    ct = peer(Right.STORE, sources=("ct1.hospital.lan",))
    admitted(request_from("192.0.2.7"), ct)
    asked.told = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    admitted(request_from("192.0.2.7"), ct)
    assert rejected(request_from("192.0.2.8"), ct) == CALLING_NOT_RECOGNISED
    asked.told = ["192.0.2.8"]
    admitted(request_from("192.0.2.8"), ct)
    assert rejected(request_from("192.0.2.7"), ct) == CALLING_NOT_RECOGNISED
    asked.told = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert rejected(request_from("192.0.2.8"), ct) == CALLING_NOT_RECOGNISED


def test_who_may_call_from_a_name_that_nobody_resolves_is_asked_to_come_again(asked: NameServer) -> None:
    asked.told = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    ct = peer(Right.STORE, sources=("ct1.hospital.lan", "192.0.2.9"))
    verdict = rejected(request_from("192.0.2.7"), ct)
    assert (verdict, verdict.why) == (
        CONGESTION, "nobody tells the address of ct1.hospital.lan now, from where it may call"
    )  # fmt: skip
    admitted(request_from("192.0.2.9"), ct)
    asked.told = ["192.0.2.7"]
    admitted(request_from("192.0.2.7"), ct)


def test_a_name_server_that_hangs_is_asked_once_and_not_waited_for_where_an_answer_is_known(
    asked: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_names, "_PATIENCE_S", 0.01)
    ct = peer(Right.STORE, sources=("ct1.hospital.lan",))
    admitted(request_from("192.0.2.7"), ct)
    asked.goes_on.clear()
    for _ in range(20):
        admitted(request_from("192.0.2.7"), ct)
    assert asked.times == 2
    asked.goes_on.set()


def test_a_site_that_drains_asks_everybody_but_partners_to_come_again() -> None:
    caller = identify(request_from(), RULES, lambda aet: None)
    assert isinstance(caller, Caller)
    admission = Admission(is_draining=True, partners=frozenset({"OSAKA"}))
    assert admission.admit(caller) is CONGESTION
    partner = replace(caller, aet="OSAKA")
    assert admission.admit(partner) is partner
    assert Admission().admit(caller) is caller


def test_a_standby_that_takes_no_stores_still_answers_and_takes_what_partners_send() -> None:
    caller = identify(request_from(), RULES, lambda aet: None)
    assert isinstance(caller, Caller)
    admission = Admission(takes_stores=False, partners=frozenset({"OSAKA"}))
    admitted = admission.admit(caller)
    assert isinstance(admitted, Caller)
    assert caller.rights - admitted.rights == {Right.STORE}
    assert admission.admit(replace(caller, aet="OSAKA")) == replace(caller, aet="OSAKA")
