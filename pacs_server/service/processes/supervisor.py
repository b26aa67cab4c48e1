"""Runs the archive in the foreground: one instance per data directory, drained on SIGTERM, reloaded on SIGHUP.

The supervisor binds the sockets and keeps the processes alive (crew.py) that accept from them, the one that keeps house
and the one that watches. It has one thread of its own, reads nothing that comes from outside, and leaves index and
volumes alone once it has seen that the schema is right, so that it outlives all of them.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeAlias

from pacs_server import log, this_release
from pacs_server.errors import ConfigError
from pacs_server.index.maintenance.schema import open_current
from pacs_server.index.site.registry import Registry
from pacs_server.net.listener import listen
from pacs_server.net.seats import Seats
from pacs_server.net.secure import incoming_context
from pacs_server.net.tls import own_fingerprint
from pacs_server.service.board import Board
from pacs_server.service.locks import instance_lock, lent_lock
from pacs_server.service.processes.crew import SIGNALS, Crew, Work, disregard_meaningless
from pacs_server.service.processes.exposure import addresses_of_machine, refuse_public, refuse_public_monitoring
from pacs_server.service.processes.housekeeping import keep_house
from pacs_server.service.processes.reloading import Reloading, use_log
from pacs_server.service.processes.resources import keep_freed_memory, open_more_files
from pacs_server.service.processes.service_manager import ServiceManager
from pacs_server.service.processes.watching import watch
from pacs_server.service.processes.worker import Doors, serve_associations
from pacs_server.service.telling import Teller, forget_workers, server_teller
from pacs_server.service.volume_rows import lenders
from pacs_server.settings import ClientCertificates, Settings

Address: TypeAlias = tuple[str | None, int | None]


def serve(
    load: Callable[[], Settings],
    manager: ServiceManager,
    *,
    announce: Callable[[str], None],
    begun: Callable[[Settings, Address, Address], None],
) -> None:
    """Serve until SIGTERM, SIGINT or SIGQUIT, then let running operations end, at most 30 s.

    `load` reads the settings; it is called again on SIGHUP, when the log settings take effect. `manager` is told how it
    goes. `announce` is told what this site is to its partners, and one line once associations are accepted. `begun` is
    called before that line, with the addresses that peers call: without TLS, and over TLS.

    Raises: Busy when another server runs on this data directory, or on that in which its volumes lie; ConfigError,
    IndexUnavailable or SchemaMismatch.
    """
    disregard_meaningless()
    settings = load()
    use_log(settings.log)
    open_more_files(settings.network.max_associations)
    keep_freed_memory()
    with instance_lock(settings.data_dir), ExitStack() as lent:
        with closing(open_current(settings.database)) as index:
            index.forget_damage()  # it may have been mended in its place; where not, it is met again
            for owner, volume in lenders(Registry(index).volumes(), settings).items():
                lent.enter_context(lent_lock(owner, volume))
        ports = _open_ports(settings, manager)
        forget_workers(settings.data_dir)
        teller = server_teller(settings.data_dir)
        crew = _crew(settings, Reloading(load, settings), ports, announce)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            this_release()  # as it is now: it may be replaced while they run
            crew.begin()
            _tell_begun(settings, ports, teller)
            manager.tell("READY=1")
            begun(settings, ports.doors.plain_address, ports.doors.secured_address)
            for address, how in ((ports.doors.plain_address, ""), (ports.doors.secured_address, " for TLS")):
                if address[1] is not None:
                    announce(f"{settings.aet} listens{how} on {address[0]}:{address[1]}")
            crew.watch(manager)
            manager.tell("STOPPING=1")
            drained = crew.end()
        finally:
            crew.kill()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            teller.forget()
            forget_workers(settings.data_dir)
        log.info("stopped", drained=drained)


class _Ports(NamedTuple):
    """The sockets of a server. They stay open while the processes that accept from them are replaced."""

    doors: Doors
    partners: socket.socket | None
    monitoring: socket.socket | None


def _open_ports(settings: Settings, manager: ServiceManager) -> _Ports:
    """Raises: ConfigError."""
    return _Ports(_doors(settings, manager), _listen_for_partners(settings), _listen_for_monitoring(settings))


def _crew(settings: Settings, reloading: Reloading, ports: _Ports, announce: Callable[[str], None]) -> Crew:
    """The processes, none of them begun."""
    doors = ports.doors
    seats = Seats(settings.network, processes=settings.workers_here, listeners=len(doors.open()))
    board = Board(settings.workers_here + 2)
    works: list[tuple[str, Work]] = [
        (f"worker {number}", partial(serve_associations, settings, doors, seats, board, number))
        for number in range(settings.workers_here)
    ]
    works += [
        ("housekeeping", partial(keep_house, settings, ports.partners, announce, board.totals)),
        ("watching", partial(watch, settings, doors, ports.monitoring, board)),
    ]
    closed_at_end = [*doors.open(), *([ports.monitoring] if ports.monitoring else [])]
    return Crew(reloading.reload, closed_at_end, seats, board, works)


def _tell_begun(settings: Settings, ports: _Ports, teller: Teller) -> None:
    """Tell the log and `pacs status` that associations are accepted, and where."""
    (host, port), (tls_host, tls_port) = ports.doors.plain_address, ports.doors.secured_address
    addresses = {"aet": settings.aet, "host": host, "port": port, "tls_host": tls_host, "tls_port": tls_port}
    log.info("listening", **addresses, processes=settings.workers_here, release=this_release())
    teller.tell(
        addresses
        | {
            "pid": os.getpid(),
            "partner_port": _port(ports.partners),
            "http_port": _port(ports.monitoring),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _port(listening: socket.socket | None) -> int | None:
    return int(listening.getsockname()[1]) if listening else None


def _doors(settings: Settings, manager: ServiceManager) -> Doors:
    """The sockets that peers connect to. Raises: ConfigError."""
    plain, secured = manager.socket(), None
    if plain is None and settings.port is not None:
        plain = listen(settings.host, settings.port)
    if plain is not None and not settings.public_without_tls:
        refuse_public(str(plain.getsockname()[0]), addresses_of_machine())
    if settings.tls.port is not None:
        incoming_context(settings.tls_files, ClientCertificates(settings.tls.client_certificates))
        secured = listen(settings.tls_host, settings.tls.port)
    return Doors(plain=plain, secured=secured)


def _listen_for_partners(settings: Settings) -> socket.socket | None:
    """It stays open while the process that answers is replaced: partners wait a moment longer then.

    Raises: ConfigError.
    """
    if settings.partner.port is None:
        return None
    own_fingerprint(settings.tls_files)
    listening = listen(settings.partner.host, settings.partner.port)
    host, port = listening.getsockname()[:2]
    log.info("listening for partners", host=host, port=port)
    return listening


def _listen_for_monitoring(settings: Settings) -> socket.socket | None:
    """Where the port is taken, or the address is public, the archive serves without it: monitoring notices that it has
    no answer.
    """
    if settings.http.port is None:
        return None
    try:
        refuse_public_monitoring(settings.http.host, addresses_of_machine())
        listening = listen(settings.http.host, settings.http.port)
    except ConfigError as error:
        log.warning("monitoring is not answered", why=error)
        return None
    host, port = listening.getsockname()[:2]
    log.info("listening for monitoring", host=host, port=port)
    return listening
