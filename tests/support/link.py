"""Partners without archives: certificates, a link server that answers, and callers ruder than a partner."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pacs_server.cluster.certificates import make, read
from pacs_server.cluster.link import Handler, LinkServer
from pacs_server.index.site.partners import Partner
from pacs_server.net.listener import listen
from pacs_server.settings import PartnerSettings, TlsFiles

QUICK = PartnerSettings(
    max_connections=2,
    connect_timeout_s=30.0,
    handshake_timeout_s=30.0,
    message_timeout_s=30.0,
    idle_timeout_s=60.0,
)


def certificate(folder: Path, *, days: int = 30) -> TlsFiles:
    """The files of a node with an authority of its own."""
    files = TlsFiles.within(folder)
    make(files, ["localhost", "127.0.0.1"], days=days, now=datetime.now(UTC))
    return files


def partner(name: str, files: TlsFiles, *, port: int = 1) -> Partner:
    """The partner who has that certificate, as one that was seen."""
    return Partner(
        name=name,
        host="127.0.0.1",
        port=port,
        fingerprint=read(files.certificate).fingerprint,
        certificate=files.certificate.read_text(encoding="ascii"),
        added_at=datetime.now(UTC),
    )


class Desk:
    """A link server on a port of its own, and the partners that it knows at this moment."""

    def __init__(self, files: TlsFiles, settings: PartnerSettings = QUICK, **handlers: Handler) -> None:
        self.files = files
        self.partners: list[Partner] = []
        listening = listen("127.0.0.1", 0)
        self.port = int(listening.getsockname()[1])
        self.partner = replace(partner("desk", files), port=self.port)
        self.strangers: list[tuple[str, str]] = []
        self._server = LinkServer(
            listening,
            settings,
            files,
            partners=lambda: self.partners,
            handlers=handlers,
            on_stranger=lambda address, why: self.strangers.append((address, why)),
        )

    @contextmanager
    def running(self) -> Iterator["Desk"]:
        self._server.start()
        try:
            yield self
        finally:
            self._server.stop(5.0)


@contextmanager
def raw_link(desk: Desk, files: TlsFiles) -> Iterator[ssl.SSLSocket]:
    """TLS with that certificate, by Python's own sockets, to say whatever one likes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(files.certificate, files.key)
    with (
        socket.create_connection(("127.0.0.1", desk.port), timeout=30) as plain,
        context.wrap_socket(plain) as link,
    ):
        yield link


def ends(sock: socket.socket) -> bytes:
    """What still comes until the other side closes, in whatever way."""
    told = b""
    try:
        while data := sock.recv(65_536):
            told += data
    except (ssl.SSLError, ConnectionResetError):
        pass
    return told
