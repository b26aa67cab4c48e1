"""TLS on a connected socket, either role; for partners TLS 1.3 with certificates that are pinned: each is known, not
its name or issuer.

The handshake and every read and write have a deadline as a whole, which the time-outs of Python's own TLS sockets, one
for each system call, are not.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from pacs_server.errors import ConfigError, PacsError, PeerAborted, PeerRejected, PeerTimedOut, ProtocolViolation
from pacs_server.net.connection import LINGER_BYTES, LINGER_S
from pacs_server.settings import TlsFiles

Result = TypeVar("Result")

NOT_PINNED: Final = "the certificate of the other side is not one that was pinned here"

_READ_BYTES: Final = 65_536
# A pin is a person's decision about one certificate. That it has expired is told (pacs tls show, pacs status), but must
# not cut two servers apart at night, nor must a clock that jumped. X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h.
WHENEVER: Final = 0x200000
_LEAST_S: Final = 0.001  # a time-out of 0 would mean not to wait at all, and not to say so


def fingerprint_of(certificate: bytes) -> str:
    """The SHA-256 fingerprint of a certificate in DER, as OpenSSL prints it: pairs of digits with colons between."""
    return hashlib.sha256(certificate).digest().hex(":").upper()


def normal_fingerprint(text: str) -> str:
    """A fingerprint that a person gave, in that form; colons and case do not matter.

    Raises: ValueError with the reason.
    """
    digits = text.strip().replace(":", "")
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size or len(digits) != 2 * len(digest):
        raise ValueError(
            f"'{text[:120]}' is no SHA-256 fingerprint: 64 hexadecimal digits, as pacs tls show prints them"
        )
    return digest.hex(":").upper()


def own_fingerprint(files: TlsFiles) -> str:
    """The fingerprint of this node's certificate. Raises: ConfigError when it has none, or cannot use it."""
    calling(files)
    first = files.certificate.read_text(encoding="latin-1").partition(ssl.PEM_FOOTER)[0]
    return fingerprint_of(ssl.PEM_cert_to_DER_cert(first[first.index(ssl.PEM_HEADER) :] + ssl.PEM_FOOTER))


def refuse_unusable(files: TlsFiles) -> None:
    """Raises: ConfigError when certificate and key of this node cannot be used."""
    context_with(files, ssl.PROTOCOL_TLS_SERVER, ssl.TLSVersion.TLSv1_3)


def serving(files: TlsFiles, pinned: Iterable[str]) -> ssl.SSLContext:
    """For connections that are let in: only the holders of these certificates, in PEM, come through the handshake.

    Raises: ConfigError when this node has no certificate, or cannot use it.
    """
    context = context_with(files, ssl.PROTOCOL_TLS_SERVER, ssl.TLSVersion.TLSv1_3)
    context.num_tickets = 0  # one that is not pinned any more must not come back on a ticket
    context.verify_mode = ssl.CERT_REQUIRED
    # Each pinned certificate is trusted by itself, whoever issued it.
    context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | WHENEVER)
    if known := "".join(pinned):
        context.load_verify_locations(cadata=known)
    return context


def calling(files: TlsFiles) -> ssl.SSLContext:
    """For connections that we open. Whoever answers is let through the handshake, in which it proves that it holds the
    key of its certificate: compare that with the pinned one before anything is sent.

    Raises: ConfigError when this node has no certificate, or cannot use it.
    """
    context = context_with(files, ssl.PROTOCOL_TLS_CLIENT, ssl.TLSVersion.TLSv1_3)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def context_with(files: TlsFiles, protocol: ssl._SSLMethod, least: ssl.TLSVersion) -> ssl.SSLContext:
    """One that shows the certificate of this node, and speaks no version below `least`.

    Raises: ConfigError when it has none, or cannot use it.
    """
    context = ssl.SSLContext(protocol)
    context.minimum_version = least
    try:
        if files.key.stat().st_mode & stat.S_IRWXO:
            raise ConfigError(f"{files.key} is open to every user of this machine: chmod 600 it")
        for file in (files.certificate, files.key):
            file.open("rb").close()
    except PermissionError as error:
        raise closed_to_the_server(error) from error
    except OSError as error:
        raise ConfigError(
            f"this node has no certificate: {error.filename}: {error.strerror}; pacs tls init makes one"
        ) from error
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificate {files.certificate} and the key {files.key} cannot be used: {error}; "
            "both are PEM, the key without a pass phrase, and belong together: pacs tls init makes such"
        ) from error
    return context


def closed_to_the_server(error: PermissionError) -> ConfigError:
    """What is said of a file that another user made, as root does who renews a certificate."""
    return ConfigError(
        f"{error.filename} cannot be read: {error.strerror}; it has to belong to the user of the server (chown)"
    )


def of_partners(error: ssl.SSLError) -> PacsError:
    """What an error of TLS says about a partner."""
    reason = reason_of(error)
    if "ALERT" in reason:
        return PeerRejected(
            f"the other side ended the TLS handshake ({reason}): has it pinned the certificate of this node?"
        )
    if reason == "CERTIFICATE_VERIFY_FAILED":
        return ProtocolViolation(NOT_PINNED)
    return ProtocolViolation(f"the other side does not speak TLS 1.3 as it should: {reason}")


def reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's word for it."""
    return error.reason or str(error)


@dataclass(frozen=True, slots=True)
class TlsEnd:
    """One end of a connection: what arrives from the other is put into `arrived`, what is in `leaving` is for it."""

    tls: ssl.SSLObject
    arrived: ssl.MemoryBIO
    leaving: ssl.MemoryBIO


class TlsStream:
    """What goes over one connection. Belongs to one thread; the socket stays its owner's. `host` is the name that the
    other side's certificate has to be for, where the context asks for that; `explain` puts an error of TLS into words.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        is_server: bool,
        host: str | None = None,
        explain: Callable[[ssl.SSLError], PacsError] = of_partners,
    ) -> None:
        self._socket = sock
        self._explain = explain
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=is_server, server_hostname=host)
        self.end = TlsEnd(self._tls, self._arrived, self._leaving)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def shake_hands(self, timeout_s: float) -> bytes:
        """Agree on keys; the certificate of the other side, in DER, or nothing where the context asks for none.

        Raises: ProtocolViolation when it does not speak TLS as the context wants, or its certificate is not trusted;
        PeerRejected when it does not want ours; PeerTimedOut; PeerAborted.
        """
        self._do(self._tls.do_handshake, time.monotonic() + timeout_s)
        return self._tls.getpeercert(binary_form=True) or b""

    def receive(self, deadline: float) -> bytes:
        """What comes next, some bytes of it; none when the other side has ended. `deadline` is of the monotonic clock.

        Raises: PeerTimedOut; PeerAborted; PeerRejected; ProtocolViolation.
        """
        try:
            return self._do(lambda: self._tls.read(_READ_BYTES), deadline)
        except ssl.SSLZeroReturnError:
            return b""

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it. Raises: PeerTimedOut; PeerAborted; PeerRejected; ProtocolViolation."""
        view = memoryview(data)
        for first in range(0, len(view), _READ_BYTES):
            piece = view[first : first + _READ_BYTES]
            self._do(lambda: self._tls.write(piece), deadline)  # noqa: B023 - called at once

    def finish(self) -> None:
        """Say that nothing more is sent, and let the other side read it. Never raises; the socket is not closed."""
        with contextlib.suppress(OSError):
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._socket.setblocking(False)
            self._socket.send(self._leaving.read())
            self._socket.shutdown(socket.SHUT_WR)
            self._read_out()

    def _read_out(self) -> None:
        """Unread bytes would make the kernel send RST, which destroys what we sent last before it is read."""
        ends_at, total = time.monotonic() + LINGER_S, 0
        while total < LINGER_BYTES and (left := ends_at - time.monotonic()) > 0:
            self._socket.settimeout(left)
            if not (count := len(self._socket.recv(_READ_BYTES))):
                return
            total += count

    def _do(self, step: Callable[[], Result], deadline: float) -> Result:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._fill(deadline)
            except ssl.SSLZeroReturnError:
                raise
            except ssl.SSLError as error:
                raise self._explain(error) from error
            else:
                self._flush(deadline)
                return result

    def _flush(self, deadline: float) -> None:
        if data := self._leaving.read():
            self._wait(lambda: self._socket.sendall(data), deadline, "to take what was sent")

    def _fill(self, deadline: float) -> None:
        data = self._wait(lambda: self._socket.recv(_READ_BYTES), deadline, "to send what was waited for")
        if not data:
            raise PeerAborted("the other side closed the connection")
        self._arrived.write(data)

    def _wait(self, step: Callable[[], Result], deadline: float, what: str) -> Result:
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), _LEAST_S))
            return step()
        except TimeoutError as error:
            raise PeerTimedOut(f"the other side took too long {what}") from error
        except OSError as error:
            raise PeerAborted(f"the connection broke: {error.strerror or error}") from error
