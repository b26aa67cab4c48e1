"""The link between partners over real sockets: who gets in, what ends a connection, and that it ends nobody else's."""

import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.house import NOW, House
from support.link import QUICK, Desk, certificate, ends, partner, raw_link
from support.server import wait_for

from pacs_server.cluster.link import Link, connect
from pacs_server.cluster.messages import MAX_MESSAGE_BYTES, Inbox, Message, encode
from pacs_server.errors import (
    Busy,
    ConfigError,
    PacsError,
    PartnerRefused,
    PeerAborted,
    PeerRejected,
    PeerTimedOut,
    PeerUnreachable,
    ProtocolViolation,
    Refused,
    WrongCertificate,
)
from pacs_server.index.site.partners import Partner
from pacs_server.service.partners.liaison import Liaison, contact_of
from pacs_server.service.partners.pairing import Greeting
from pacs_server.settings import PartnerSettings, TlsFiles

# A phase that is to run out does so soon; all others have time on a busy machine.
SOON_S = 0.5


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return certificate(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return certificate(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def strangers(theirs: TlsFiles, tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """Of the same authority as the partner's."""
    folder = tmp_path_factory.mktemp("stranger")
    shutil.copy(theirs.ca, folder)
    shutil.copy(theirs.ca_key, folder)
    return certificate(folder)


def echo(_: Partner, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body


def who(partner: Partner, _: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": partner.name}


def refuse(_: Partner, body: Mapping[str, Any]) -> Mapping[str, Any]:
    raise Busy("later") if body.get("later") else Refused("never")


def new_desk(ours: TlsFiles, theirs: TlsFiles, settings: PartnerSettings = QUICK) -> Desk:
    desk = Desk(ours, settings, echo=echo, who=who, refuse=refuse)
    desk.partners = [partner("them", theirs)]
    return desk


@pytest.fixture
def desk(ours: TlsFiles, theirs: TlsFiles) -> Iterator[Desk]:
    with new_desk(ours, theirs).running() as running:
        yield running


def called(desk: Desk, files: TlsFiles, settings: PartnerSettings = QUICK) -> Any:
    return connect("127.0.0.1", desk.port, desk.partner.fingerprint, named="the desk", files=files, settings=settings)


def asks(desk: Desk, files: TlsFiles) -> bool:
    with called(desk, files) as link:
        return bool(link.ask("who", {}) == {"name": "them"})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def ended_once(caplog: pytest.LogCaptureFixture, why: str) -> None:
    """One log line, and only one, says that the connection ended, and why."""
    wait_for(lambda: warnings(caplog), "the log line")
    (line,) = warnings(caplog)
    assert "partner connection ended" in line
    assert why in line


def test_a_partner_asks_as_often_as_it_likes_and_is_known_by_name(desk: Desk, theirs: TlsFiles) -> None:
    large = {"text": "x" * (MAX_MESSAGE_BYTES - 100)}
    with called(desk, theirs) as link:
        assert link.ask("who", {}) == {"name": "them"}
        assert link.ask("echo", {"a": [1, None, "田中"]}) == {"a": [1, None, "田中"]}
        assert link.ask("echo", large) == large


def test_a_refusal_comes_back_with_its_reason_and_the_link_goes_on(desk: Desk, theirs: TlsFiles) -> None:
    with called(desk, theirs) as link:
        with pytest.raises(PartnerRefused, match="the desk refused: never") as never:
            link.ask("refuse", {})
        with pytest.raises(PartnerRefused, match="later") as later:
            link.ask("refuse", {"later": True})
        assert (never.value.retryable, later.value.retryable) == (False, True)
        assert link.ask("who", {}) == {"name": "them"}


def test_a_paused_partner_is_told_so_whatever_it_asks(desk: Desk, theirs: TlsFiles) -> None:
    desk.partners = [replace(desk.partners[0], is_paused=True)]
    with called(desk, theirs) as link, pytest.raises(PartnerRefused, match="pacs partner resume them") as told:
        link.ask("who", {})
    assert told.value.retryable


def test_who_is_not_pinned_is_told_so_by_tls_and_heard_no_further(
    desk: Desk, theirs: TlsFiles, strangers: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even with a certificate of the authority that issued the partner's."""
    with called(desk, strangers) as link, pytest.raises(PeerRejected, match="has it pinned the certificate"):
        link.ask("who", {})
    ended_once(caplog, "not one that was pinned here")
    assert asks(desk, theirs)


def test_a_caller_without_a_certificate_is_not_heard(
    desk: Desk, theirs: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    openssl(desk, "-tls1_3", expect_failure=False)
    ended_once(caplog, "PEER_DID_NOT_RETURN_A_CERTIFICATE")
    assert asks(desk, theirs)


def test_nothing_is_sent_to_one_that_has_another_certificate_than_the_pinned(
    desk: Desk, theirs: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    desk.partner = replace(desk.partner, fingerprint=desk.partners[0].fingerprint)
    with pytest.raises(WrongCertificate, match="the desk has the certificate"), called(desk, theirs):
        pytest.fail("it was connected")
    assert warnings(caplog) == []


def test_a_partner_that_is_removed_is_answered_no_more(
    desk: Desk, theirs: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    with called(desk, theirs) as link:
        assert link.ask("who", {}) == {"name": "them"}
        desk.partners = []
        with pytest.raises(PeerAborted):
            link.ask("who", {})
    ended_once(caplog, "not one that was pinned here")


def test_a_pinned_certificate_that_has_expired_does_not_cut_the_link(desk: Desk, tmp_path: Path) -> None:
    files = certificate(tmp_path, days=0)  # valid from yesterday to this moment
    desk.partners = [partner("them", files)]
    assert asks(desk, files)


def openssl(desk: Desk, *options: str, expect_failure: bool = True) -> str:
    """What s_client says; it has to fail in the handshake, unless that is over for it when the server refuses it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{desk.port}", *options]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode != 0) or not expect_failure
    return done.stdout + done.stderr


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_1", "-tls1"])
def test_an_older_tls_is_refused_even_to_a_partner(
    desk: Desk, theirs: TlsFiles, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    with_certificate = ("-cert", str(theirs.certificate), "-key", str(theirs.key))
    openssl(desk, version, "-cipher", "ALL:@SECLEVEL=0", *with_certificate)
    ended_once(caplog, "does not speak TLS 1.3")
    assert "TLSv1.3" in openssl(desk, "-tls1_3", *with_certificate, expect_failure=False)
    assert asks(desk, theirs)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", b"\x01\x00\x00\x00\x00\xcd" + bytes(205), bytes(100)],
    ids=["HTTP", "SSH", "A-ASSOCIATE-RQ", "NULs"],
)
def test_plain_bytes_end_their_own_connection(
    desk: Desk, theirs: TlsFiles, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", desk.port), timeout=30) as plain:
        plain.sendall(data)
        ends(plain)
    ended_once(caplog, "does not speak TLS 1.3")
    assert asks(desk, theirs)


def framed(text: bytes) -> bytes:
    return struct.pack(">L", len(text)) + text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack(">L", 0xFFFFFFFF), "are allowed"),
        (struct.pack(">L", MAX_MESSAGE_BYTES + 1), "are allowed"),
        (framed(b"\x00" * 1_000), "no JSON"),
        (framed(b"[" * 1_000_000), "RecursionError"),
        (framed(b'{"version":2,"kind":"who","body":{}}'), "version 2"),
        (framed(b'{"version":1,"kind":"what\\nis this","body":{}}'), "does not know: what\\\\nis this"),
        (framed(b'{"version":1,"kind":"who","body":{}}') * 2, "more came before the answer"),
    ],
    ids=["length of 4 GiB", "length over the cap", "garbage", "nesting", "version", "kind", "two at once"],
)
def test_what_is_no_message_ends_the_connection_of_a_partner_without_an_answer(
    desk: Desk, theirs: TlsFiles, data: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with raw_link(desk, theirs) as link:
        link.sendall(data)
        assert ends(link) == b""
    ended_once(caplog, why.replace("\\\\", "\\"))
    assert asks(desk, theirs)


def test_half_a_message_and_silence_ends_within_its_time(
    ours: TlsFiles, theirs: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    with new_desk(ours, theirs, replace(QUICK, message_timeout_s=SOON_S)).running() as desk:
        for said in (b"\x00", framed(b'{"version":1')[:-3]):
            with raw_link(desk, theirs) as link:
                link.sendall(said)
                assert ends(link) == b""
            wait_for(lambda: warnings(caplog), "the log line")
            ended_once(caplog, "took too long to send")
            caplog.clear()


def test_half_a_message_and_an_end_is_no_message(
    desk: Desk, theirs: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    with raw_link(desk, theirs) as link:
        link.sendall(encode(Message(kind="who", body={}))[:-1])
        link.unwrap()
    ended_once(caplog, "in the middle of a message")


def test_silence_in_each_phase_ends_within_its_time(
    ours: TlsFiles, theirs: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    with new_desk(ours, theirs, replace(QUICK, handshake_timeout_s=SOON_S)).running() as desk:
        with socket.create_connection(("127.0.0.1", desk.port), timeout=30) as silent:
            silent.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
            ends(silent)
        ended_once(caplog, "took too long to send")
    caplog.clear()
    with (
        new_desk(ours, theirs, replace(QUICK, idle_timeout_s=SOON_S)).running() as desk,
        raw_link(desk, theirs) as link,
    ):
        assert ends(link) == b""
        ended_once(caplog, "took too long to send")


def test_a_crowd_of_silent_callers_keeps_no_partner_out(desk: Desk, theirs: TlsFiles) -> None:
    """More of them than there may be connections, none of which runs out of its time while the partner is served."""
    with ExitStack() as crowd:
        for _ in range(100):
            crowd.enter_context(socket.create_connection(("127.0.0.1", desk.port), timeout=30))
        assert asks(desk, theirs)
        assert asks(desk, theirs)


def test_connections_of_partners_are_capped_and_those_that_are_there_go_on(
    desk: Desk, theirs: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as opened:
        links: list[Link] = [opened.enter_context(called(desk, theirs)) for _ in range(QUICK.max_connections)]
        assert all(link.ask("who", {}) == {"name": "them"} for link in links)
        with called(desk, theirs) as third, pytest.raises(PeerAborted):
            third.ask("who", {})
        ended_once(caplog, "2 connections of partners are open already")
        assert all(link.ask("who", {}) == {"name": "them"} for link in links)

    def is_served() -> bool:
        with suppress(PeerAborted):
            return asks(desk, theirs)
        return False

    wait_for(is_served, "a place to be free")


class Impostor:
    """Has the certificate of the desk, and answers each message with what it is told to."""

    def __init__(self, files: TlsFiles, answer: bytes) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.certificate, files.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.files = files
        self.port = int(self._listening.getsockname()[1])
        self.partner = partner("desk", files)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        plain, _ = self._listening.accept()
        with (
            suppress(OSError),  # whoever asked may have had enough before
            self._listening,
            plain,
            self._context.wrap_socket(plain, server_side=True) as link,
        ):
            inbox = Inbox()
            while inbox.next() is None:
                inbox.feed(link.recv(65_536))
            link.sendall(self._answer)
            ends(link)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (framed(b"["), ProtocolViolation),
        (struct.pack(">L", 0xFFFFFFFF), ProtocolViolation),
        (encode(Message(kind="echo", body={})), ProtocolViolation),
        (encode(Message(kind="who", body={})) * 2, ProtocolViolation),
        (encode(Message(kind="refused", body={})), PartnerRefused),
        (b"", PeerTimedOut),
        (b"\x00", PeerTimedOut),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_its_kind(
    ours: TlsFiles, theirs: TlsFiles, answer: bytes, error: type[Exception]
) -> None:
    impostor = Impostor(ours, answer)
    settings = replace(QUICK, message_timeout_s=SOON_S) if error is PeerTimedOut else QUICK
    link = connect(
        "127.0.0.1", impostor.port, impostor.partner.fingerprint, named="it", files=theirs, settings=settings
    )
    with link as opened, pytest.raises(error):
        opened.ask("who", {})


def test_where_nobody_listens_or_no_tls_is_spoken_or_no_certificate_is_here_is_told_apart(
    desk: Desk, theirs: TlsFiles, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        desk.port = mute.getsockname()[1]
        with (
            pytest.raises(PeerTimedOut, match="took too long"),
            called(desk, theirs, replace(QUICK, handshake_timeout_s=SOON_S)),
        ):
            pytest.fail("it was connected")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # so that nobody else gets the port and listens there
        desk.port = taken.getsockname()[1]
        with pytest.raises(PeerUnreachable, match="nothing listens"), called(desk, theirs):
            pytest.fail("it was connected")
    with pytest.raises(ConfigError, match="pacs tls init"), called(desk, TlsFiles.within(tmp_path)):
        pytest.fail("it was connected")


def test_a_partner_that_cannot_be_compared_with_keeps_no_other_from_being(tmp_path: Path) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    certificate(house.settings.tls_files.certificate.parent)
    with ExitStack() as running, house.node() as node:
        desks = [running.enter_context(Desk(certificate(tmp_path / name)).running()) for name in ("kyoto", "osaka")]
        liaison = Liaison(node, None, lambda: True)
        for name, desk in zip(("kyoto", "osaka"), desks, strict=True):
            one = replace(desk.partner, name=name, aet=name.upper())
            node.partners.add(one)
            liaison._contacts.note(replace(contact_of(one, Greeting(), NOW), is_reached=True))
        with pytest.raises(PacsError):
            liaison._compare()
        wait_for(lambda: all(desk.strangers for desk in desks), "both to be called")
