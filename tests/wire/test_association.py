"""Both roles of an association against each other over real sockets, and what a caller is told when it fails."""

import gc
import socket
import struct
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from itertools import chain, repeat
from types import SimpleNamespace

import pytest
from support import rude
from support.link import certificate
from support.namespaces import Cable, entered
from support.small_archive import (
    ANSWERS,
    CONTEXTS,
    CT_SYNTAXES,
    QUICK,
    USUAL,
    Archive,
    call,
    scripted,
    send_ct,
    served,
    wait_until,
)

from pacs_server.errors import (
    PacsError,
    PeerAborted,
    PeerRejected,
    PeerTimedOut,
    PeerUnreachable,
    ProtocolViolation,
    Undecodable,
)
from pacs_server.net import association, client
from pacs_server.net.association import Association
from pacs_server.net.connection import Connection
from pacs_server.net.message import CommandField, encode_command
from pacs_server.net.negotiate import ContextResult
from pacs_server.net.wire import Fragment, data_header
from pacs_server.settings import NetworkLimits, TlsFiles


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls"])
def serving(request: pytest.FixtureRequest, files: TlsFiles) -> Iterator[Callable[[NetworkLimits], Archive]]:
    with ExitStack() as stack:
        yield lambda limits: stack.enter_context(served(limits, files if request.param == "tls" else None))


@pytest.fixture
def archive(serving: Callable[[NetworkLimits], Archive]) -> Archive:
    return serving(USUAL)


# --- good manners ---


def test_what_an_association_holds_is_free_when_it_is_closed_and_not_when_garbage_is_looked_for(
    archive: Archive,
) -> None:
    association = call(archive)
    assert client.echo(association) == 0
    association.release()
    association.close()
    told = weakref.ref(association)
    gc.disable()
    try:
        del association
        assert told() is None
    finally:
        gc.enable()


def test_a_peer_can_connect_echo_and_release(archive: Archive) -> None:
    association = call(archive)
    assert client.echo(association) == 0
    association.release()
    assert archive.ending() is None
    agreed = archive.agreed[0]
    assert (agreed.calling_aet, agreed.called_aet, agreed.peer_address) == ("CT1", "PACS", "127.0.0.1")
    assert [one.transfer_syntax for one in agreed.contexts.values()] == [
        rude.IMPLICIT_LE,
        rude.EXPLICIT_LE,
        rude.IMPLICIT_LE,
    ]
    assert all(one.as_scp and not one.as_scu for one in agreed.contexts.values())
    assert all(one.as_scu and not one.as_scp for one in association.contexts.values())


@pytest.mark.parametrize("size", [1, 131_066, 131_067, 3_000_000])
def test_an_object_arrives_byte_for_byte(archive: Archive, size: int) -> None:
    pieces = (b"head", bytes(range(256)) * (size // 256), b"x" * (size % 256))
    association = call(archive)
    assert send_ct(association, *pieces) == 0
    association.release()
    assert archive.stored == [b"".join(pieces)]
    command = archive.commands[0]
    assert (command.move_originator, command.move_originator_message_id) == ("US", 7)
    assert command.affected_sop_instance == "1.2.3"


def test_an_empty_data_set_is_a_data_set(archive: Archive) -> None:
    association = call(archive)
    assert send_ct(association) == 0
    assert client.echo(association) == 0
    association.release()
    assert archive.stored == [b""]


def test_pdus_are_as_small_as_the_peer_wants_them(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, max_pdu_bytes=4096))
    association = call(archive)
    content = bytes(range(256)) * 100
    assert send_ct(association, content) == 0
    association.release()
    assert archive.stored == [content]


def test_a_refused_object_is_skipped_and_the_association_goes_on(archive: Archive) -> None:
    archive.refuse_objects = True
    association = call(archive)
    assert send_ct(association, bytes(2_000_000)) == 0xA700
    assert client.echo(association) == 0
    association.release()
    assert archive.ending() is None


def test_roles_are_negotiated(archive: Archive) -> None:
    association = call(archive, contexts=[(rude.CT_STORAGE, CT_SYNTAXES, True)])
    assert [(one.as_scu, one.as_scp) for one in association.contexts.values()] == [(False, True)]
    association.release()
    assert archive.ending() is None


def test_what_was_not_accepted_is_told_with_its_reason(archive: Archive) -> None:
    association = call(archive, contexts=[("1.3.12.2", CT_SYNTAXES, False), *CONTEXTS])
    assert sorted(association.contexts) == [3, 5, 7]
    assert association.refused == {1: ("1.3.12.2", ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)}
    association.release()


def find(association: Association, identifier: bytes) -> int:
    message_id = association.next_message_id()
    command = encode_command(
        CommandField.C_FIND_RQ,
        has_data_set=True,
        message_id=message_id,
        affected_sop_class=rude.STUDY_FIND,
        priority=0,
    )
    association.send(5, command, (identifier,))
    return message_id


def test_many_answers_arrive_in_order_and_whole(archive: Archive) -> None:
    association = call(archive)
    message_id = find(association, b"identifier")
    for _ in range(ANSWERS):
        assert association.receive_response(message_id).status == 0xFF00
        assert association.read_identifier() == b"identifier"
    assert association.receive_response(message_id).status == 0
    association.release()


def test_a_cancel_ends_a_query(archive: Archive) -> None:
    association = call(archive)
    message_id = find(association, b"slow")
    association.receive_response(message_id)
    association.drain()
    association.send(5, rude.cancel_request(message_id))
    while (status := association.receive_response(message_id).status) == 0xFF00:
        association.drain()
    assert status == 0xFE00
    assert archive.answered < ANSWERS
    association.release()


def test_a_request_that_comes_while_another_is_worked_on_may_have_as_large_a_data_set(
    serving: Callable[[NetworkLimits], Archive], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "_LOOK_EVERY_S", 0.0)
    archive = serving(replace(USUAL, max_object_bytes=1000))
    content = bytes(700)
    with closing(call(archive)) as calling:
        find, store = (calling.next_message_id() for _ in range(2))
        calling.queue(5, rude.query_request(rude.FIND, rude.STUDY_FIND, message_id=find), [content])
        calling.queue(3, rude.store_request(store), [content])
        calling.flush()
        for _ in range(ANSWERS):
            assert calling.receive_response(find).is_pending
            assert calling.read_identifier() == content
        assert [calling.receive_response(one).status for one in (find, store)] == [0, 0]
    assert archive.stored == [content]


def test_cancels_of_finished_requests_are_dropped(archive: Archive) -> None:
    association = call(archive)
    for message_id in range(1, 51):
        association.send(5, rude.cancel_request(message_id))
    assert client.echo(association) == 0
    association.release()


def test_an_identifier_that_is_too_large_is_refused_and_not_kept(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, max_identifier_bytes=4096))
    association = call(archive)
    message_id = find(association, bytes(4097))
    assert association.receive_response(message_id).status == 0xA900
    association.release()


def test_a_data_set_that_cannot_be_read_to_its_end_ends_the_association(archive: Archive) -> None:
    def pieces() -> Iterator[bytes]:
        yield bytes(3_000_000)
        raise Undecodable("the copy is damaged")

    association = call(archive)
    with pytest.raises(Undecodable):
        client.store(association, context_id=3, sop_class=rude.CT_STORAGE, sop_instance="1.2", data_set=pieces())
    assert isinstance(archive.ending(), PeerAborted)
    assert archive.stored == []
    with pytest.raises(PeerAborted, match="has ended"):
        client.echo(association)
    association.close()


def test_a_data_set_that_cannot_be_read_at_all_harms_nothing(archive: Archive) -> None:
    def pieces() -> Iterator[bytes]:
        raise Undecodable("the copy is damaged")
        yield b""

    association = call(archive)
    with pytest.raises(Undecodable):
        client.store(association, context_id=3, sop_class=rude.CT_STORAGE, sop_instance="1.2", data_set=pieces())
    assert client.echo(association) == 0
    association.release()


# --- slow lines ---


class Line(socket.socket):
    """A connection over which `takes` bytes go with each call, while 20 s pass; what comes is `coming`."""

    takes, now, coming = 0, 0.0, b""

    def recv_into(self, buffer: memoryview) -> int:  # type: ignore[override]
        self.now += 20.0
        some, self.coming = self.coming[: min(self.takes, len(buffer))], self.coming[min(self.takes, len(buffer)) :]
        buffer[: len(some)] = some
        if not some:
            raise BlockingIOError
        return len(some)

    def sendmsg(self, buffers: Sequence[bytes | memoryview]) -> int:  # type: ignore[override]
        self.now += 20.0
        return min(self.takes, sum(map(len, buffers)))


@pytest.mark.parametrize(("takes", "arrives"), [(65_536, True), (49_152, True), (20_000, False), (0, False)])
def test_a_slow_line_is_waited_for_as_long_as_something_goes_over_it(
    takes: int, arrives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Line() as line:
        line.connect(server.getsockname())
        line.takes = takes
        connection = Connection(line, NetworkLimits(send_timeout_s=30.0))
        monkeypatch.setattr("pacs_server.net.connection.time", SimpleNamespace(monotonic=lambda: line.now))
        with nullcontext() if arrives else pytest.raises(PeerTimedOut, match="took too long to take"):
            connection.send([bytes(1 << 20)])


@pytest.mark.parametrize(("takes", "arrives"), [(65_536, True), (49_152, True), (20_000, False), (1, False)])
def test_a_pdu_that_comes_over_a_slow_line_is_waited_for_as_long_as_something_comes(
    takes: int, arrives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Line() as line:
        line.connect(server.getsockname())
        line.takes, line.coming = takes, rude.p_data(rude.value(3, 2, bytes((1 << 20) - 6)))
        connection = Connection(line, NetworkLimits(pdu_timeout_s=30.0, max_pdu_bytes=1 << 20))
        monkeypatch.setattr("pacs_server.net.connection.time", SimpleNamespace(monotonic=lambda: line.now))
        with nullcontext() if arrives else pytest.raises(PeerTimedOut, match="took too long to send a whole PDU"):
            connection.next_event(60.0)


class Vain(socket.socket):
    """A connection that adds up how long the calls may have waited that sent nothing, by what the kernel was told."""

    waited_s = 0.0

    def sendmsg(self, buffers: Sequence[bytes | memoryview]) -> int:  # type: ignore[override]
        try:
            return super().sendmsg(buffers)
        except BlockingIOError:
            seconds, microseconds = struct.unpack("ll", self.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16))
            self.waited_s += seconds + microseconds / 1e6
            raise


def test_a_peer_that_reads_nothing_is_waited_for_once_and_not_for_each_call_of_the_system() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, Vain() as ours:
        ours.connect(silent.getsockname())
        connection = Connection(ours, NetworkLimits(send_timeout_s=2.0))
        began = time.monotonic()
        with pytest.raises(PeerTimedOut, match="took too long to take"):
            connection.send([bytes(16 << 20)])
        assert time.monotonic() - began >= 2.0
        assert 0 < ours.waited_s < 3.0


@pytest.mark.parametrize("between", [True, False])
def test_a_peer_is_not_late_where_we_are_who_was_slow(between: bool) -> None:
    """Between two PDUs, as with a volume that hangs, or in the middle of one, as with another peer that is slow."""
    pdu = data_header(1, 100, is_command=False, is_last=False) + bytes(100)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        connection = Connection(server.accept()[0], NetworkLimits(pdu_timeout_s=0.3))

        def work() -> None:
            peer.sendall(pdu[50:])
            time.sleep(0.5)

        turns = chain([work], repeat(lambda: None))
        with closing(connection):
            peer.sendall(pdu + pdu[:50])
            assert isinstance(connection.next_event(0.3), Fragment)
            if between:
                next(turns)()
            assert isinstance(connection.next_event(0.3, meanwhile=lambda: next(turns)()), Fragment)


def test_a_peer_that_is_cut_off_is_noticed_by_whoever_only_tells_it_a_little_now_and_then() -> None:
    with Cable() as cable:
        with entered(cable.networks[0]):
            server = socket.create_server((cable.addresses[0], 0))
        with entered(cable.networks[1]):
            line = socket.create_connection(server.getsockname(), timeout=30)
        with server, line:
            connection = Connection(line, NetworkLimits(idle_timeout_s=2.0, send_timeout_s=2.0))
            connection.send([b"Pending"])
            cable.pull()
            # The kernel tells of the time that is over, or of why nothing got through until then.
            with pytest.raises(PeerAborted, match=r"timed out|No route to host"):
                tell_now_and_then(connection)


def tell_now_and_then(connection: Connection) -> None:
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        connection.send([b"Pending"])
        time.sleep(0.1)


def accepting(*behind: bytes) -> bytes:
    """What accepts an association, and says more behind that."""
    accepted = rude.item(0x21, bytes((1, 0, 0, 0)) + rude.item(0x40, rude.IMPLICIT_LE.encode()))
    name = rude.item(0x10, rude.APPLICATION_CONTEXT.encode())
    head = b"\0\1\0\0" + b"PACS".ljust(16) + b"CT1".ljust(16) + bytes(32)
    return rude.pdu(rude.ASSOCIATE_AC, head + name + accepted + rude.user_information()) + b"".join(behind)


@pytest.mark.parametrize(
    ("behind", "is_spent"),
    [
        (b"", False),
        (rude.pdu(rude.RELEASE_RQ, bytes(4)), True),
        (rude.pdu(rude.ABORT, bytes(4)), True),
        (rude.p_data(rude.value(1, 3, rude.store_response(7))), True),
    ],
)
def test_what_a_peer_said_between_two_requests_tells_whether_another_may_be_made(
    behind: bytes, *, is_spent: bool
) -> None:
    server, thread, destination = scripted(accepting(behind))
    with (
        closing(server),
        closing(client.connect(destination, calling_aet="CT1", contexts=CONTEXTS[:1], limits=USUAL)) as association,
    ):
        if is_spent:
            wait_until(association.is_spent)
        assert association.is_spent() is is_spent
    thread.join()


def test_an_association_whose_peer_closed_the_connection_is_spent_and_one_that_serves_is_not(archive: Archive) -> None:
    with closing(call(archive)) as association:
        assert client.echo(association) == 0
        assert not association.is_spent()
        archive.agreed[0].close()
        wait_until(association.is_spent)
        assert not association.is_open


# --- why a call fails ---


def test_a_peer_that_aborts_while_it_is_sent_an_object_is_told_from_a_connection_that_breaks(archive: Archive) -> None:
    archive.abort_objects = True
    with (
        closing(call(archive)) as association,
        pytest.raises(PeerAborted, match=r"the peer aborted .*source 0, reason 0"),
    ):
        send_ct(association, bytes(64 << 20))


def test_a_peer_that_ends_tls_in_the_middle_broke_the_association_and_rejected_nobody(files: TlsFiles) -> None:
    with served(USUAL, files) as archive, closing(call(archive)) as association:
        assert client.echo(association) == 0
        association._connection._socket.send(b"\x17\x03\x03\0\x20" + bytes(32))  # no record: it is told so by an alert
        with pytest.raises(PeerAborted, match="BAD_RECORD_MAC"):
            client.echo(association)
        assert isinstance(archive.ending(), ProtocolViolation)


def test_a_rejected_caller_is_told_why(archive: Archive) -> None:
    with pytest.raises(PeerRejected, match="calling AE title not recognised"):
        call(archive, calling="NOBODY")


def test_a_refused_connection_is_told_from_a_silent_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as taken:
        destination = client.Destination(aet="SILENT", host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(PeerTimedOut, match="SILENT"):
            client.connect(destination, calling_aet="US", contexts=CONTEXTS, limits=QUICK)
        taken.bind(("127.0.0.1", 0))  # so that nobody else gets the port and listens there
        destination = replace(destination, port=taken.getsockname()[1])
        with pytest.raises(PeerUnreachable, match="nothing listens"):
            client.connect(destination, calling_aet="US", contexts=CONTEXTS, limits=QUICK)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolViolation),
        (rude.pdu(rude.RELEASE_RP, bytes(4)), ProtocolViolation),
        (rude.pdu(rude.ASSOCIATE_AC, bytes(68) + rude.item(0x21, b"\1", 900)), ProtocolViolation),
        (rude.pdu(rude.ASSOCIATE_AC, b"", 0xFFFFFFFF), ProtocolViolation),
        (rude.pdu(rude.ABORT, bytes(4)), PeerAborted),
        (rude.pdu(rude.ASSOCIATE_RJ, b"\0\2\3\2"), PeerRejected),
        (rude.pdu(rude.ASSOCIATE_AC, bytes(68))[:20], PeerTimedOut),
    ],
)
def test_an_odd_answer_to_our_request_is_told_for_what_it_is(reply: bytes, error: type[PacsError]) -> None:
    server, thread, destination = scripted(reply)
    limits = QUICK if error is PeerTimedOut else USUAL
    with server:
        with pytest.raises(error, match="ODD"):
            client.connect(destination, calling_aet="US", contexts=CONTEXTS, limits=limits)
        thread.join(60)
        assert not thread.is_alive()
