"""The legs of the way to a peer, for `pacs ae test` and `pacs doctor AET`: each is tried only when the one before it
held, and a failed one says what to change.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.tiny_object import SECONDARY_CAPTURE, TEST_INSTANCE_UID, tiny_object
from pacs_server.errors import PacsError, PeerRejected, PeerTimedOut, PeerUnreachable, WrongCertificate
from pacs_server.net import client
from pacs_server.net.negotiate import CALLED_NOT_RECOGNISED, CALLING_NOT_RECOGNISED

if TYPE_CHECKING:
    from pacs_server.net.association import Association
    from pacs_server.settings import Settings

VERIFICATION: Final = "1.2.840.10008.1.1"

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One step of the way to a peer; `remedy` says what failed and what to change, `cause` is what was raised."""

    name: str
    remedy: str = ""
    cause: PacsError | None = None

    @property
    def ok(self) -> bool:
        """Whether the step succeeded."""
        return not self.remedy

    @property
    def result(self) -> str:
        """The outcome as a word."""
        return "ok" if self.ok else "failed"


def try_peer(destination: client.Destination, settings: Settings, *, stores: bool = True) -> list[Leg]:
    """Try TCP, TLS where it is called so, association, C-ECHO and, with `stores`, C-STORE of a tiny object, up to the
    first leg that fails.

    The object has the same UIDs each time, so that a peer tested daily holds one.
    """
    host, port = destination.host, destination.port
    try:
        socket.create_connection((host, port), timeout=settings.network.connect_timeout_s).close()
    except OSError as error:
        remedy = f"{error}: check that {host}:{port} is its address, that it is running, and the firewalls between"
        return [Leg(name="TCP", remedy=remedy)]
    legs = [Leg(name="TCP")]
    if destination.security is not None:
        try:
            client.open_connection(destination, settings.network).close()
        except PacsError as error:
            return [*legs, Leg(name="TLS", remedy=_tls_remedy(error, destination.aet), cause=error)]
        legs.append(Leg(name="TLS"))
    contexts = [(VERIFICATION, _SYNTAXES, False), (SECONDARY_CAPTURE, _SYNTAXES, False)]
    try:
        association = client.connect(destination, calling_aet=settings.aet, contexts=contexts, limits=settings.network)
    except PacsError as error:
        remedy = _association_remedy(error, destination, settings)
        return [*legs, Leg(name="association", remedy=remedy, cause=error)]
    legs.append(Leg(name="association"))
    try:
        for name, operation in (("C-ECHO", _echo), *([("C-STORE", _store)] if stores else [])):
            legs.append(_leg(name, operation, association))
            if not legs[-1].ok:
                return legs
        with suppress(PacsError):  # everything that was asked for is known
            association.release()
    finally:
        association.close()
    return legs


def _tls_remedy(error: PacsError, aet: str) -> str:
    if isinstance(error, PeerUnreachable):
        return str(error)
    if isinstance(error, WrongCertificate):
        return f"{error}: if that one is right, pin it with pacs ae set {aet} --certificate"
    return (
        f"{error}: check that this is its TLS port, and that tls.ca_file has the authority of its certificate and that "
        f"is for this host name, or pin it with pacs ae set {aet} --certificate"
    )


def _association_remedy(error: PacsError, destination: client.Destination, settings: Settings) -> str:
    if destination.security is not None and not isinstance(error, PeerTimedOut):
        return (
            f"{error}: let it trust the authority of this node's certificate (pacs tls show), register {settings.aet} "
            f"there, and check that its AE title is {destination.aet}"
        )
    if isinstance(error, PeerRejected):
        if CALLED_NOT_RECOGNISED.text in str(error):
            return f"{error}: its AE title is another one than {destination.aet}; register it here by its own"
        if CALLING_NOT_RECOGNISED.text in str(error):
            return f"{error}: register {settings.aet} (this archive) there, with the address from which it calls"
        return (
            f"{error}: register {settings.aet} (this archive) there, and check that its AE title is {destination.aet}"
        )
    return f"{error}: something else than a DICOM server may listen there, or it waits for TLS (pacs ae set --tls)"


def _leg(name: str, operation: Callable[[Association], str], association: Association) -> Leg:
    try:
        return Leg(name=name, remedy=operation(association))
    except PacsError as error:
        return Leg(name=name, remedy=f"{error}: look into the peer's log")


def _echo(association: Association) -> str:
    if _context_of(association, VERIFICATION) is None:
        return "it does not offer Verification to us: allow it there; storing may work all the same"
    status = client.echo(association)
    return "" if status == 0 else f"it answered status 0x{status:04X}: look into its log"


def _store(association: Association) -> str:
    chosen = _context_of(association, SECONDARY_CAPTURE)
    if chosen is None:
        return "it takes no Secondary Capture image from us: allow storing there; it may take other kinds"
    context_id, transfer_syntax = chosen
    status = client.store(
        association,
        context_id=context_id,
        sop_class=SECONDARY_CAPTURE,
        sop_instance=TEST_INSTANCE_UID,
        data_set=(tiny_object(transfer_syntax),),
        originator=None,
    )
    if client.is_stored(status):
        return ""
    return f"it refused the test object with status 0x{status:04X}: check its rights for us, its disk and its log"


def _context_of(association: Association, abstract_syntax: str) -> tuple[int, str] | None:
    for context in association.contexts.values():
        if context.abstract_syntax == abstract_syntax:
            return context.id, context.transfer_syntax
    return None
