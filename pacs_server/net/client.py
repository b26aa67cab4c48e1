"""Associations that we request: connect, echo, store, ask for an action, report an event. Queries and retrieves are in
net/asking.py.

Source: PS3.8 section 7.1, PS3.7 sections 9.1.1, 9.1.5, 10.1.1 and 10.1.4.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import (
    ConfigError,
    PacsError,
    PeerAborted,
    PeerRejected,
    PeerTimedOut,
    PeerUnreachable,
    ProtocolViolation,
)
from pacs_server.net.association import Association
from pacs_server.net.connection import Connection
from pacs_server.net.handshake import request
from pacs_server.net.message import CommandField, encode_command
from pacs_server.net.negotiate import MAX_CONTEXTS as MAX_CONTEXTS
from pacs_server.net.negotiate import VERIFICATION, ProposedContext
from pacs_server.net.secure import Security, secure_outgoing
from pacs_server.settings import NetworkLimits

_Found: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]  # as getaddrinfo(3) tells it

_LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_MEDIUM: Final = 0
# Duplicate SOP Instance: archives that take each object once answer so for what they hold already.
HELD_ALREADY: Final = 0x0111
_TAKEN: Final = frozenset({0x0000, 0x0001, 0x0107, HELD_ALREADY, 0x0116})


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An application entity that can be called, over TLS where there is `security`. One that `is_here` is on this
    machine and called from its loopback address, whatever the address on which it listens.
    """

    aet: str
    host: str
    port: int
    security: Security | None = None
    is_here: bool = False

    def __str__(self) -> str:
        return f"{self.aet} ({self.host}:{self.port})"


def connect(
    destination: Destination,
    *,
    calling_aet: str,
    contexts: Sequence[tuple[str, Sequence[str], bool]],
    limits: NetworkLimits,
    on_open: Callable[[int], None] | None = None,
) -> Association:
    """Request an association. `contexts`, at most 128: abstract syntax, transfer syntaxes, whether we act as its SCP.
    `on_open` is told the port of our end before it connects.

    What was accepted is in `contexts` of the association, what was not in `refused`; it may be that none was.

    Raises: what `open_connection` raises; PeerUnreachable also when the passcode of its user cannot be read;
    PeerRejected with the reason; PeerAborted; PeerTimedOut when no answer comes; ProtocolViolation when the answer is
    damaged.
    """
    proposed = _propose(contexts)
    try:
        identity = destination.security.identity() if destination.security else None
    except ConfigError as error:
        raise PeerUnreachable(f"{destination} is not called: {error}") from error
    connection = open_connection(destination, limits, on_open)
    try:
        agreement = request(connection, destination.aet, calling_aet, proposed, limits, destination.host, identity)
    except PeerRejected as error:
        raise PeerRejected(f"{destination} rejected the association of {calling_aet}: {error}") from error
    except PeerTimedOut as error:
        waited = f"{limits.association_timeout_s:g} s"
        raise PeerTimedOut(f"{destination} did not answer the association request within {waited}") from error
    except PeerAborted as error:
        raise PeerAborted(f"{destination} gave no answer to the association request: {error}") from error
    except ProtocolViolation as error:
        raise ProtocolViolation(f"{destination} gave no valid answer to the association request: {error}") from error
    return Association(connection, limits, agreement)


def open_connection(
    destination: Destination, limits: NetworkLimits, on_open: Callable[[int], None] | None = None
) -> Connection:
    """A connection on which nothing was said yet, or over TLS only that both sides are who they should be. In TLS 1.3
    the other side may still refuse our certificate afterwards. `on_open` is told the port of our end before all that.

    Raises: PeerUnreachable without a TCP connection, or when this node has no certificate for TLS; WrongCertificate;
    ProtocolViolation when its certificate is not trusted; PeerRejected; PeerAborted; PeerTimedOut.
    """
    host, port, timeout_s = destination.host, destination.port, limits.connect_timeout_s
    is_here = destination.is_here
    sock = open_socket(host, port, named=destination, timeout_s=timeout_s, on_open=on_open, is_here=is_here)
    if destination.security is None:
        return Connection(sock, limits)
    try:
        return secure_outgoing(sock, limits, destination.security, host)
    except PacsError as error:
        sock.close()
        kind = PeerUnreachable if isinstance(error, ConfigError) else type(error)
        raise kind(f"TLS with {destination} failed: {error}") from error


def _propose(contexts: Sequence[tuple[str, Sequence[str], bool]]) -> list[ProposedContext]:
    """With odd IDs from 1. Source: PS3.8 section 9.3.2.2; for the roles PS3.7 section D.3.3.4."""
    if not 1 <= len(contexts) <= MAX_CONTEXTS:
        raise ValueError(f"{len(contexts)} presentation contexts; an association has 1 to {MAX_CONTEXTS}")
    return [
        ProposedContext(
            id=2 * index + 1,
            abstract_syntax=abstract_syntax,
            transfer_syntaxes=tuple(syntaxes),
            scu_role=False if as_scp else None,
            scp_role=True if as_scp else None,
        )
        for index, (abstract_syntax, syntaxes, as_scp) in enumerate(contexts)
    ]


def open_socket(
    host: str,
    port: int,
    *,
    named: object,
    timeout_s: float,
    on_open: Callable[[int], None] | None = None,
    is_here: bool = False,
) -> socket.socket:
    """A TCP connection; `named` is what messages call the other side. `on_open` is told the port of our end before it
    connects, and then one address of the host is tried. To a host that `is_here` it comes from the loopback address.

    Raises: PeerUnreachable with the reason.
    """
    try:
        found = _resolved(host, port, timeout_s)
        if found is None:
            raise PeerUnreachable(f"{named}: no name server told the address of {host} within {timeout_s:g} s")
        *others, last = found if on_open is None else found[:1]
        for one in others:
            with suppress(OSError):
                return _connected(one, timeout_s, on_open, is_here)
        return _connected(last, timeout_s, on_open, is_here)
    except ConnectionRefusedError as error:
        raise PeerUnreachable(f"{named} refused the connection: nothing listens on that port") from error
    except TimeoutError as error:
        raise PeerUnreachable(
            f"{named} did not answer within {timeout_s:g} s: it is down, or a firewall drops the packets"
        ) from error
    except (OSError, UnicodeError, RuntimeError) as error:  # RuntimeError: the system's limit of threads
        raise PeerUnreachable(f"{named} cannot be reached: {error}") from error


def _resolved(host: str, port: int, timeout_s: float) -> Sequence[_Found] | None:
    """The addresses of a host, None when they are not told in time: the resolver of the system has no deadline but its
    own, of 10 s and more, and is asked for names only, in a thread of its own.

    Raises: OSError; UnicodeError.
    """
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        return ask(flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        told: SimpleQueue[Sequence[_Found] | OSError | UnicodeError] = SimpleQueue()

    def wait() -> None:
        try:
            told.put(ask())
        except (OSError, UnicodeError) as error:
            told.put(error)

    threading.Thread(target=wait, name="resolver", daemon=True).start()
    try:
        answer = told.get(timeout=timeout_s)
    except Empty:
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _connected(found: _Found, timeout_s: float, on_open: Callable[[int], None] | None, is_here: bool) -> socket.socket:
    """Raises: OSError. `on_open` raises nothing."""
    family, kind, _, _, address = found
    sock = socket.socket(family, kind)
    try:
        sock.settimeout(timeout_s)
        if is_here or on_open is not None:
            sock.bind((_LOOPBACK[family] if is_here else "", 0))
        if on_open is not None:
            on_open(sock.getsockname()[1])
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def echo(association: Association) -> int:
    """Send a C-ECHO and return the status of its response.

    Raises: PeerRejected when the peer accepted no context for Verification; AssociationBroken.
    Source: PS3.7 section 9.3.5.
    """
    context = association.context_of(VERIFICATION)
    if context is None:
        raise PeerRejected(f"{association.called_aet} accepted no presentation context for Verification")
    message_id = association.next_message_id()
    command = encode_command(CommandField.C_ECHO_RQ, message_id=message_id, affected_sop_class=VERIFICATION)
    association.send(context.id, command)
    return association.receive_response(message_id).status


def store(
    association: Association,
    *,
    context_id: int,
    sop_class: str,
    sop_instance: str,
    data_set: Iterable[Buffer],
    originator: tuple[str, int] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> int:
    """Send one object and return the status of the C-STORE response. The pieces of `data_set` are sent uncopied.

    `originator`: the AE title and message ID of the C-MOVE that asked for it. `meanwhile` is called with each piece,
    and twice a second while the response is waited for.

    Raises: AssociationBroken, also when the peer takes no PDU of 4096 bytes. Source: PS3.7 section 9.3.1.
    """
    message_id = association.next_message_id()
    command = encode_command(
        CommandField.C_STORE_RQ,
        has_data_set=True,
        message_id=message_id,
        affected_sop_class=sop_class,
        affected_sop_instance=sop_instance,
        priority=_MEDIUM,
        originator=originator,
    )
    association.send(context_id, command, _with_turns(data_set, meanwhile) if meanwhile else data_set)
    return association.receive_response(message_id, meanwhile).status


def is_stored(status: int) -> bool:
    """Whether the status of a C-STORE response says that the peer has the object: it was taken, with or without a
    warning, or is held there already.

    Source: PS3.4 section B.2.3, PS3.7 annex C.4.
    """
    return status in _TAKEN or status >> 12 == 0xB


def _with_turns(data_set: Iterable[Buffer], meanwhile: Callable[[], None]) -> Iterator[Buffer]:
    for piece in data_set:
        meanwhile()
        yield piece


def action(
    association: Association, *, context_id: int, sop_class: str, sop_instance: str, action_type: int, data_set: bytes
) -> int:
    """Send an N-ACTION and return the status of its response.

    Raises: AssociationBroken. Source: PS3.7 section 10.3.5.
    """
    message_id = association.next_message_id()
    command = encode_command(
        CommandField.N_ACTION_RQ,
        has_data_set=True,
        message_id=message_id,
        requested_sop_class=sop_class,
        requested_sop_instance=sop_instance,
        action_type=action_type,
    )
    association.respond(command, context_id, data_set)
    return association.receive_response(message_id).status


def event_report(
    association: Association, *, context_id: int, sop_class: str, sop_instance: str, event_type: int, data_set: bytes
) -> int:
    """Send an N-EVENT-REPORT and return the status of its response.

    Raises: AssociationBroken. Source: PS3.7 section 10.3.1.
    """
    message_id = association.next_message_id()
    command = event_report_command(message_id, sop_class, sop_instance, event_type)
    association.respond(command, context_id, data_set)
    return association.receive_response(message_id).status


def event_report_command(message_id: int, sop_class: str, sop_instance: str, event_type: int) -> bytes:
    """The command set of an N-EVENT-REPORT with a data set."""
    return encode_command(
        CommandField.N_EVENT_REPORT_RQ,
        has_data_set=True,
        message_id=message_id,
        affected_sop_class=sop_class,
        affected_sop_instance=sop_instance,
        event_type=event_type,
    )
