"""DICOM over TLS: the profile, the contexts of this node, and connections that are encrypted.

TLS 1.3, or 1.2 with the suites of the profile that keep a recording useless even to who gets the key later (ECDHE); of
those, DHE is left out as RFC 9325 section 4.2 advises. Source: PS3.15 sections B.12 and B.13.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

from pacs_server import log
from pacs_server.dicom.elements import Buffer
from pacs_server.errors import ConfigError, PacsError, PeerAborted, PeerRejected, ProtocolViolation, WrongCertificate
from pacs_server.net.connection import Connection
from pacs_server.net.negotiate import IdentityKind, UserIdentity
from pacs_server.net.tls import (
    WHENEVER,
    TlsEnd,
    TlsStream,
    closed_to_the_server,
    context_with,
    fingerprint_of,
    reason_of,
)
from pacs_server.settings import ClientCertificates, NetworkLimits, TlsFiles, secret_in

# Level 2: no RSA key below 2,048 bits, no curve below 224; OpenSSL's own list of curves begins at 256.
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:!AESCCM8:@SECLEVEL=2"
_ENCRYPTED_BYTES: Final = 65_536  # received at once; below one record of them is kept (16 KiB, RFC 8446 section 5.1)
_PIECE_BYTES: Final = 65_536  # encrypted at once
_ASKED: Final = {
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.NONE: ssl.CERT_NONE,
}
# OpenSSL's words, of either side, for no version or suite that both speak.
_NOTHING_IN_COMMON: Final = frozenset(
    {"TLSV1_ALERT_PROTOCOL_VERSION", "TLSV1_ALERT_INSUFFICIENT_SECURITY", "UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER"}
)
# For what begins like no TLS at all.
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL"})
_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How a peer is called over TLS: our certificate, and the one it has to show, by SHA-256 fingerprint; without one,
    a certificate of the authority for the host name that is called. `user` is who logs in there, with the passcode of
    a file; nobody does where it is empty.
    """

    files: TlsFiles
    fingerprint: str = ""
    user: str = ""
    passcode_file: Path = Path()

    def identity(self) -> UserIdentity | None:
        """Who logs in. Raises: ConfigError when the passcode cannot be read, or others can read it."""
        if not self.user:
            return None
        try:
            passcode = secret_in(self.passcode_file)
        except ValueError as error:
            raise ConfigError(f"the user {self.user} cannot log in: {error}") from error
        return UserIdentity(
            kind=IdentityKind.NAME_AND_PASSCODE, primary=self.user.encode(), secondary=passcode.encode()
        )


# --- the contexts of this node ---


class _Kept:
    """A context that is made anew when one of its files was replaced. May be used from any thread."""

    def __init__(self, files: TlsFiles, make: Callable[[], ssl.SSLContext]) -> None:
        self._paths = (files.certificate, files.key, files.ca)
        self._make = make
        self._lock = threading.Lock()
        self._stamp: _Stamp = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """With the files of this moment; with those of before while they cannot be used. Raises: ConfigError."""
        with self._lock:
            stamp = tuple(map(_stamp_of, self._paths))
            if self._context is None or stamp != self._stamp:
                try:
                    self._context = self._make()
                except ConfigError as error:
                    if self._context is None:
                        raise
                    log.error("new certificate not taken, the old one goes on", why=error)
                self._stamp = stamp
            return self._context


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_ino, found.st_size  # which other rights and another owner change as well


def incoming_context(files: TlsFiles, asked: ClientCertificates) -> ssl.SSLContext:
    """For connections that are let in, made anew when a file of it was replaced.

    Raises: ConfigError when this node has no certificate or no authority, or cannot use them.
    """
    return _incoming(files, asked).context()


def outgoing_context(files: TlsFiles, *, is_pinned: bool) -> ssl.SSLContext:
    """For connections that we open, made anew in the same way. With `is_pinned`, any certificate comes through the
    handshake: compare it before anything is sent.

    Raises: ConfigError when this node has no certificate or no authority, or cannot use them.
    """
    return _outgoing(files, is_pinned).context()


@lru_cache(maxsize=16)
def _incoming(files: TlsFiles, asked: ClientCertificates) -> _Kept:
    def make() -> ssl.SSLContext:
        context = _of_profile(files, ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # nobody comes back without showing the certificate
        context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.verify_mode = _ASKED[asked]
        if asked is not ClientCertificates.NONE:
            _trust(context, files)
        return context

    return _Kept(files, make)


@lru_cache(maxsize=16)
def _outgoing(files: TlsFiles, is_pinned: bool) -> _Kept:
    def make() -> ssl.SSLContext:
        context = _of_profile(files, ssl.PROTOCOL_TLS_CLIENT)
        if is_pinned:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            _trust(context, files)
        return context

    return _Kept(files, make)


def _of_profile(files: TlsFiles, protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = context_with(files, protocol, ssl.TLSVersion.TLSv1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(_SUITES)
    return context


def _trust(context: ssl.SSLContext, files: TlsFiles) -> None:
    """A certificate that stands in the file itself, which a device may have made for itself, is trusted too."""
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    try:
        files.ca.open("rb").close()
        context.load_verify_locations(files.ca)
    except PermissionError as error:
        raise closed_to_the_server(error) from error
    except OSError as error:
        raise ConfigError(
            f"the authority {files.ca} cannot be used: {error.strerror or error}; tls.ca_file names the certificates "
            "that those of peers are from, in PEM; pacs tls init makes one"
        ) from error


def distrust_of(files: TlsFiles) -> str:
    """OpenSSL's reason why whoever trusts the authority alone refuses the certificate of this node, at whatever time;
    empty when it is trusted: the two shake hands here.

    Raises: ConfigError when this node has no certificate or no authority, or cannot use them.
    """
    peer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    peer.check_hostname = False
    _trust(peer, files)
    peer.verify_flags |= WHENEVER
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = peer.wrap_bio(back, there)
    node = _of_profile(files, ssl.PROTOCOL_TLS_SERVER).wrap_bio(there, back, server_side=True)
    for end in (caller, node, caller):  # the last one has the certificate
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return ""


# --- connections ---


class SecureConnection(Connection):
    """The PDUs of one socket over TLS. `certificate` is the peer's in DER, `fingerprint` is of that; both are empty
    when it showed none.
    """

    def __init__(self, sock: socket.socket, limits: NetworkLimits, end: TlsEnd, certificate: bytes) -> None:
        super().__init__(sock, limits)
        self.certificate = certificate
        self.fingerprint = fingerprint_of(certificate) if certificate else ""
        self._tls, self._arrived, self._leaving = end.tls, end.arrived, end.leaving
        self._encrypted = memoryview(bytearray(_ENCRYPTED_BYTES))
        self._has_ended = False

    def _is_waiting(self, wait_s: float) -> bool:
        return self._holds_some() or self._has_ended or super()._is_waiting(wait_s)

    def _holds_some(self) -> bool:
        """Whether what arrived was not all taken; not of a record that is incomplete, which OpenSSL keeps to itself."""
        return bool(self._arrived.pending or self._tls.pending())

    def _take(self, into: memoryview) -> int:
        if self._has_ended:
            return 0
        if not self._holds_some():
            count = super()._take(self._encrypted)
            if count == 0:
                return 0
            self._arrived.write(self._encrypted[:count])
        count = self._decrypt(into)
        if count == 0 and not self._has_ended:
            raise BlockingIOError  # part of a record
        return count

    def _decrypt(self, into: memoryview) -> int:
        """As much as is here, or as there is room for. Raises: PeerRejected, but PeerAborted once a PDU has come: an
        alert says nothing of our certificate then; ProtocolViolation.
        """
        total = 0
        try:
            while total < len(into) and (count := cast(int, self._tls.read(len(into) - total, into[total:]))):
                total += count
            self._has_ended = total < len(into)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._has_ended = True
        except ssl.SSLError as error:
            told = explained(error)
            is_late = isinstance(told, PeerRejected) and self._reader.finished
            raise (PeerAborted(f"the other side ended TLS: {reason_of(error)}") if is_late else told) from error
        if self._leaving.pending:  # the peer asked for new keys
            super()._put([self._leaving.read()])
        return total

    def _put(self, buffers: list[Buffer]) -> None:
        for piece in _pieces(buffers):
            try:
                self._tls.write(piece)
            except ssl.SSLError as error:
                raise PeerAborted(f"the connection broke: {reason_of(error)}") from error
            super()._put([self._leaving.read()])

    def _sealed(self, pdu: bytes) -> bytes:
        with suppress(ssl.SSLError):  # it wants to read the answer to our end, which is not waited for
            if pdu:
                self._tls.write(pdu)
            self._tls.unwrap()
        return self._leaving.read()

    def close(self) -> None:
        """Say that nothing more is sent, if the peer takes it, and close the socket."""
        with suppress(OSError):
            self._socket.send(self._sealed(b""), socket.MSG_DONTWAIT)
        super().close()


def _pieces(buffers: Iterable[Buffer]) -> Iterator[bytes]:
    """The same bytes in pieces, all but the last of one size."""
    held: list[memoryview] = []
    held_bytes = 0
    for buffer in buffers:
        view = memoryview(buffer)
        while held_bytes + len(view) >= _PIECE_BYTES:
            cut = _PIECE_BYTES - held_bytes
            yield b"".join((*held, view[:cut]))
            held, held_bytes, view = [], 0, view[cut:]
        if view:
            held.append(view)
            held_bytes += len(view)
    if held:
        yield b"".join(held)


def secure_incoming(
    sock: socket.socket, limits: NetworkLimits, files: TlsFiles, asked: ClientCertificates
) -> SecureConnection:
    """A connection that was let in, once both sides have agreed on keys, within `association_timeout_s`.

    Raises: ProtocolViolation when the peer does not speak TLS as the profile wants, or its certificate is not trusted;
    PeerRejected when it does not trust ours; PeerTimedOut; PeerAborted; ConfigError. The socket stays open then.
    """
    stream = TlsStream(sock, incoming_context(files, asked), is_server=True, explain=explained)
    return SecureConnection(sock, limits, stream.end, _agreed(stream, limits))


def secure_outgoing(sock: socket.socket, limits: NetworkLimits, security: Security, host: str) -> SecureConnection:
    """A connection that we opened, once the other side has shown that it is the one that is meant.

    Raises: WrongCertificate; and as `secure_incoming`.
    """
    pinned = security.fingerprint
    context = outgoing_context(security.files, is_pinned=bool(pinned))
    stream = TlsStream(sock, context, is_server=False, host=host, explain=explained)
    certificate = _agreed(stream, limits)
    fingerprint = fingerprint_of(certificate)
    if pinned and fingerprint != pinned:
        stream.finish()
        raise WrongCertificate(f"it has the certificate {fingerprint}, not the one that was pinned")
    return SecureConnection(sock, limits, stream.end, certificate)


def _agreed(stream: TlsStream, limits: NetworkLimits) -> bytes:
    try:
        return stream.shake_hands(limits.association_timeout_s)
    except (ProtocolViolation, PeerRejected):
        stream.finish()  # why we end it is for the other side to be read
        raise


def explained(error: ssl.SSLError) -> PacsError:
    """What an error of TLS says about a peer."""
    reason = reason_of(error)
    if reason in _NOTHING_IN_COMMON:
        kind = PeerRejected if "ALERT" in reason else ProtocolViolation
        return kind(
            f"the other side speaks no TLS that is spoken here ({reason}): 1.2 or 1.3 with ECDHE is needed there"
        )
    if reason in _NOT_TLS:
        return ProtocolViolation(f"the other side speaks no TLS ({reason}): DICOM without it has a port of its own")
    if "ALERT" in reason:
        return PeerRejected(f"the other side ended TLS ({reason}): does it trust the certificate of this node?")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProtocolViolation(f"the certificate of the other side is not trusted: {error.verify_message}")
    return ProtocolViolation(f"the other side does not speak TLS as it should: {reason}")
