"""Crowds of connections, and the end of a server."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from socket import AI_NUMERICHOST, EAI_AGAIN, create_connection, gaierror, socket
from threading import Event
from typing import Any

import pytest
from support import rude
from support.rude import Peer
from support.server import wait_for
from support.small_archive import USUAL, Archive, call, served, started, wait_until

from pacs_server.errors import (
    ConfigError,
    PacsError,
    PeerRejected,
    PeerUnreachable,
)
from pacs_server.net import client
from pacs_server.net.client import open_socket
from pacs_server.net.listener import Listener, listen
from pacs_server.net.seats import Seats
from pacs_server.settings import NetworkLimits


@pytest.fixture
def serving() -> Iterator[Callable[[NetworkLimits], Archive]]:
    with ExitStack() as stack:
        yield lambda limits: stack.enter_context(served(limits))


@pytest.fixture
def archive(serving: Callable[[NetworkLimits], Archive]) -> Archive:
    return serving(USUAL)


def test_a_port_that_is_for_root_is_not_told_to_be_in_use() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii")) <= 104:
        pytest.skip("here anybody may listen on port 104")
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        with pytest.raises(ConfigError, match=r"127\.0\.0\.1:104: Permission denied; choose a port from 1024 on"):
            listen("127.0.0.1", 104)
    finally:
        os.seteuid(user)


# --- crowds ---


def test_beyond_the_places_a_request_is_rejected_as_transient(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, max_associations=2))
    first, second = call(archive), call(archive)
    with pytest.raises(PeerRejected, match=r"local limit exceeded.*later"):
        call(archive)
    first.release()
    wait_until(lambda: _can_echo(archive))
    second.release()


def test_a_peer_has_one_address_whatever_the_socket_is_bound_to() -> None:
    known = Path("/proc/net/if_inet6")
    if not known.exists() or " lo\n" not in known.read_text():
        pytest.skip("IPv6 is off here")
    asked: SimpleQueue[str] = SimpleQueue()
    with closing(listen("::", 0)) as both:
        serve = lambda sock, address, _: (asked.put(address), sock.close())  # noqa: E731
        listener = Listener(both, USUAL, serve, seats=Seats(USUAL), numbers=count(1))
        listener.start()
        for host in ("127.0.0.1", "::1"):
            with closing(create_connection((host, both.getsockname()[1]))):
                assert asked.get(timeout=30) == host
        listener.stop()


def test_who_has_released_has_its_place_again_at_once(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, max_associations=1))
    for _ in range(200):
        call(archive).release()


def test_the_server_reaches_itself_when_its_own_address_has_all_the_connections_that_it_may_have() -> None:
    asked: SimpleQueue[socket] = SimpleQueue()
    ports: list[int] = []
    limits = replace(USUAL, max_connections_per_address=1)
    with closing(listen("127.0.0.1", 0)) as listening:
        serve = lambda sock, *_: asked.put(sock.dup())  # noqa: E731
        seats = Seats(limits)
        listener = Listener(listening, limits, serve, seats=seats, numbers=count(1), is_own_call=ports.__contains__)
        listener.start()
        address = listening.getsockname()
        assert seats.arrive("127.0.0.1")
        with closing(create_connection(address)) as other:
            other.settimeout(30)
            assert other.recv(1) == b""
        for _ in range(3):  # what it took is given back
            with closing(open_socket(*address, named="itself", timeout_s=30, on_open=ports.append)):
                asked.get(timeout=30).close()
            wait_for(lambda: seats.arrive("own calls"), "the place to be given back")
            seats.leave("own calls", seated=None)
        listener.stop()


def test_a_name_server_that_does_not_answer_is_waited_for_as_long_as_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    over = Event()
    resolve = client.socket.getaddrinfo

    def hang(*asked: Any, flags: int = 0, **how: Any) -> Any:
        if not flags & AI_NUMERICHOST:
            over.wait(60)
        return resolve(*asked, flags=flags, **how)

    monkeypatch.setattr(client.socket, "getaddrinfo", hang)
    with pytest.raises(PeerUnreachable, match=r"^CT1: no name server told the address of ct1 within 0\.2 s$"):
        open_socket("ct1", 104, named="CT1", timeout_s=0.2)
    over.set()


def test_of_the_addresses_of_a_name_the_one_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket()) as deaf, closing(listen("127.0.0.1", 0)) as listening:
        deaf.bind(("127.0.0.1", 0))
        resolve = client.socket.getaddrinfo

        def several(host: str, port: int, *, flags: int = 0, **how: Any) -> Any:
            if flags & AI_NUMERICHOST:
                return resolve(host, port, flags=flags, **how)
            return [resolve(*one.getsockname(), **how)[0] for one in (deaf, listening)]

        monkeypatch.setattr(client.socket, "getaddrinfo", several)
        with closing(open_socket("ct1", 104, named="CT1", timeout_s=30)) as opened:
            assert opened.getpeername() == listening.getsockname()


def test_a_name_to_listen_on_that_nobody_knows_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise gaierror(EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(client.socket, "getaddrinfo", fail)
    with pytest.raises(
        ConfigError, match=r"^cannot listen on pacs:104: Temporary failure in name .*; name an address, or"
    ):
        listen("pacs", 104)


def test_one_address_gets_only_its_share_of_connections(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, max_connections_per_address=2))
    first, second = call(archive), call(archive)
    with Peer(archive.address) as peer:
        assert peer.read_pdu() is None
    first.release()
    archive.ending()
    wait_until(lambda: _can_echo(archive))
    second.release()


def _can_echo(archive: Archive) -> bool:
    try:
        association = call(archive)
    except PacsError:
        return False
    assert client.echo(association) == 0
    association.release()
    return True


def test_silent_connections_make_room_for_one_that_speaks(serving: Callable[[NetworkLimits], Archive]) -> None:
    usual = replace(USUAL, max_associations=1, max_connections_per_address=1000)
    archive = serving(replace(usual, association_timeout_s=600.0))  # they would stay
    silent = [Peer(archive.address) for _ in range(80)]
    association = call(archive)
    assert client.echo(association) == 0
    association.release()
    for peer in silent:
        peer.socket.close()


def test_draining_ends_idle_associations_and_waits_for_busy_ones() -> None:
    archive = Archive(USUAL)
    listener = started(archive, USUAL)
    with Peer(archive.address) as idle, Peer(archive.address) as busy:
        idle.associate()
        busy.associate(*rude.ECHO_AND_CT)
        busy.send(rude.STORE)
        wait_until(lambda: len(archive.commands) == 1)
        listener.stop()
        assert not listener.drain(0.3)
        assert idle.aborted()[0] == 2
        wait_until(lambda: len(archive.endings) == 1)
        assert str(archive.endings[0]) == "this server stopped between two requests of the peer"
        busy.send(rude.p_data(rude.value(3, 2, b"data")))
        found = busy.read_pdu()
        assert found is not None
        assert found[0] == rude.P_DATA
        assert listener.drain(60)
    assert archive.stored == [b"data"]


def test_nothing_is_accepted_after_stop() -> None:
    archive = Archive(USUAL)
    listener = started(archive, USUAL)
    listener.stop()
    assert listener.drain(60)
    with pytest.raises(PeerUnreachable):
        call(archive)
