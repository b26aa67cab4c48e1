"""Messages for a syslog receiver: over TLS, each with its length before it, or as datagrams.

Source: RFC 5424 (message), RFC 5425 (TLS, section 4.3.1 framing), RFC 5426 (UDP), PS3.15 sections A.6 and A.7.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from pacs_server.errors import ConfigError, PeerAborted, PeerRejected, PeerTimedOut
from pacs_server.net.client import open_socket
from pacs_server.settings import TlsFiles

# Facility 10 (security and authorization), severity 5 (notice): PS3.15 section A.6.
_PRIORITY: Final = 10 * 8 + 5
_MESSAGE_ID: Final = "DICOM+RFC3881"
_UTF_8: Final = b"\xef\xbb\xbf"


def syslog_message(text: bytes, *, at: datetime, host: str, process: str) -> bytes:
    """One message in the form of RFC 5424; `text` is UTF-8."""
    header = f"<{_PRIORITY}>1 {at.isoformat(timespec='milliseconds')} {host} pacs {process} {_MESSAGE_ID} - "
    return header.encode("ascii") + _UTF_8 + text


def receiver_context(authority: Path, own: TlsFiles) -> ssl.SSLContext:
    """For receivers whose certificates an authority has signed. This node shows its own certificate, if it has one.

    Raises: ConfigError when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(authority))
        if own.certificate.exists():
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(own.certificate, own.key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the receiver of audit messages cannot be checked with {authority}: {error}; audit.syslog.ca_file in "
            "pacs.yaml names the file, in PEM, of the authority that has signed its certificate"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # PS3.15 section B.12
    return context


def send_over_tls(
    host: str, port: int, messages: Iterable[bytes], context: ssl.SSLContext, *, timeout_s: float
) -> None:
    """Have a receiver read these messages. It says that it has by answering our close_notify with its own, as it must
    (RFC 5425 section 4.4): what merely left us may never arrive, and a receiver that dies closes the connection, too.

    Raises: PeerUnreachable; PeerRejected when one does not trust the other; PeerTimedOut; PeerAborted. It may have read
    some of them then.
    """
    framed = b"".join(b"%d %b" % (len(message), message) for message in messages)
    named = f"the receiver of audit messages at {host}:{port}"
    with open_socket(host, port, named=named, timeout_s=timeout_s) as connected:
        connected.settimeout(timeout_s)
        try:
            with context.wrap_socket(connected, server_hostname=host) as secured:
                secured.sendall(framed)
                secured.unwrap()
        except ssl.SSLEOFError as error:
            raise PeerAborted(
                f"{named} closed the connection without saying that it has read everything (RFC 5425 section 4.4): of "
                "rsyslog take the driver ossl, which does"
            ) from error
        except ssl.SSLError as error:
            raise PeerRejected(f"{named} and this node do not come together over TLS: {error}") from error
        except TimeoutError as error:
            raise PeerTimedOut(f"{named} took too long to read what was sent") from error
        except OSError as error:
            raise PeerAborted(f"the connection with {named} broke: {error.strerror or error}") from error


def send_datagrams(host: str, port: int, messages: Iterable[bytes]) -> None:
    """Send each message as a datagram. Nobody knows whether one arrives.

    Raises: PeerAborted when one cannot be sent.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sending:
            for message in messages:
                sending.sendto(message, address)
    except OSError as error:
        raise PeerAborted(f"no datagram can be sent to {host}:{port}: {error.strerror or error}") from error
