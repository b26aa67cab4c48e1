"""The legs of the way to a peer, for `pacs ae test` and `pacs doctor AET`: each is tried only when the one before it
held, and a failed one says what to change.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.tiny_object import SECONDARY_CAPTURE, TEST_INSTANCE_UID, tiny_object
from pacs_server.errors import ConfigError, PacsError, PeerRejected, PeerTimedOut, PeerUnreachable, WrongCertificate
from pacs_server.net import client
from pacs_server.net.negotiate import CALLED_NOT_RECOGNISED, CALLING_NOT_RECOGNISED, VERIFICATION

if TYPE_CHECKING:
    from pacs_server.net.association import Association
    from pacs_server.settings import Settings

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
    first leg that fails. Without TLS all are tried on one connection: some servers end, or stay busy for a while, when
    one is closed on which nothing came.

    The object has the same UIDs each time, so that a peer tested daily holds one.
    """
    legs = [Leg(name="TCP")]
    contexts = [(VERIFICATION, _SYNTAXES, False), (SECONDARY_CAPTURE, _SYNTAXES, False)]
    try:
        if destination.security is not None:
            client.open_connection(destination, settings.network).close()
            legs.append(Leg(name="TLS"))
        association = client.connect(destination, calling_aet=settings.aet, contexts=contexts, limits=settings.network)
    except PacsError as error:
        return _up_to_failed(legs, error, destination, settings)
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


def _up_to_failed(held: list[Leg], error: PacsError, destination: client.Destination, settings: Settings) -> list[Leg]:
    is_ours = isinstance(error.__cause__, ConfigError)  # a certificate or passcode of this node is not there
    if isinstance(error, PeerUnreachable) and not is_ours:
        address = f"{destination.host}:{destination.port}"
        remedy = f"{error}: check that {address} is its address, that it is running, and the firewalls between"
        return [Leg(name="TCP", remedy=remedy, cause=error)]
    if destination.security is not None and len(held) == 1:
        remedy = str(error) if is_ours else _tls_remedy(error, destination.aet)
        return [*held, Leg(name="TLS", remedy=remedy, cause=error)]
    return [*held, Leg(name="association", remedy=_association_remedy(error, destination, settings), cause=error)]


def _tls_remedy(error: PacsError, aet: str) -> str:
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
    if association.context_of(VERIFICATION) is None:
        return "it does not offer Verification to us: allow it there; storing may work all the same"
    status = client.echo(association)
    return "" if status == 0 else f"it answered status 0x{status:04X}: look into its log"


def _store(association: Association) -> str:
    context = association.context_of(SECONDARY_CAPTURE)
    if context is None:
        return "it takes no Secondary Capture image from us: allow storing there; it may take other kinds"
    status = client.store(
        association,
        context_id=context.id,
        sop_class=SECONDARY_CAPTURE,
        sop_instance=TEST_INSTANCE_UID,
        data_set=(tiny_object(context.transfer_syntax),),
    )
    if client.is_stored(status):
        return ""
    return f"it refused the test object with status 0x{status:04X}: check its rights for us, its disk and its log"
