"""A receiver of syslog messages: over TLS, framed by their lengths (RFC 5425), or as datagrams."""

import socket
import ssl
from xml.etree import ElementTree as ET

from support.accepting import Accepting

from pacs_server.settings import TlsFiles


class Receiver(Accepting):
    """Keeps what it read. With `breaks_off` it reads so many bytes of the next connection and drops it; unless it
    `confirms`, it ends each as rsyslog does with its driver gtls."""

    def __init__(self, files: TlsFiles, port: int = 0) -> None:
        super().__init__(port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.certificate, files.key)
        self._context.load_verify_locations(files.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self.texts: list[bytes] = []
        self.breaks_off = 0
        self.confirms = True

    def talk(self, connected: socket.socket) -> None:
        with self._context.wrap_socket(connected, server_side=True) as secured:
            read = b""
            while piece := secured.recv(65_536):
                read += piece
                if self.breaks_off and len(read) >= self.breaks_off:
                    self.breaks_off = 0
                    return
            self.texts += frames(read)
            if self.confirms:
                secured.unwrap()

    def messages(self) -> list[ET.Element]:
        """The audit messages that were read whole, each once: one comes again when it is not known that it was read."""
        return [message_in(text) for text in dict.fromkeys(self.texts)]


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
