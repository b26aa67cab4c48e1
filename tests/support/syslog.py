"""A receiver of syslog messages: over TLS, framed by their lengths (RFC 5425), or as datagrams."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from xml.etree import ElementTree as ET

from pacs_server.settings import TlsFiles


class Receiver:
    """Keeps what it read. With `breaks_off` it reads so many bytes of the next connection and drops it."""

    def __init__(self, files: TlsFiles, port: int = 0) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.certificate, files.key)
        self._context.load_verify_locations(files.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        self.texts: list[bytes] = []
        self.connections = 0
        self.breaks_off = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        """Receive while the block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connected:
                connected.settimeout(10)
                with suppress(OSError):
                    self._receive(connected)

    def _receive(self, connected: socket.socket) -> None:
        with self._context.wrap_socket(connected, server_side=True) as secured:
            read = b""
            while piece := secured.recv(65_536):
                read += piece
                if self.breaks_off and len(read) >= self.breaks_off:
                    self.breaks_off = 0
                    return
            self.texts += frames(read)
            secured.unwrap()

    def messages(self) -> list[ET.Element]:
        """The audit messages that were read whole."""
        return [message_in(text) for text in self.texts]


def frames(read: bytes) -> list[bytes]:
    """The messages in what was read, each behind its length. Source: RFC 5425 section 4.3."""
    found = []
    while read:
        length, _, rest = read.partition(b" ")
        found.append(rest[: int(length)])
        assert len(found[-1]) == int(length)
        read = rest[int(length) :]
    return found


def message_in(text: bytes) -> ET.Element:
    """The audit message in a syslog message."""
    header, _, body = text.partition(b" - \xef\xbb\xbf")
    assert header.startswith(b"<85>1 ")
    assert header.endswith(b"DICOM+RFC3881")
    return ET.fromstring(body)
