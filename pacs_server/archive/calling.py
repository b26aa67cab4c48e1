"""How a registered peer is called: its title and address, and over TLS if it wants that."""

from __future__ import annotations

from pacs_server.index.registry import Peer
from pacs_server.net.client import Destination
from pacs_server.net.secure import Security
from pacs_server.settings import TlsFiles


def way_to(peer: Peer, files: TlsFiles) -> Destination:
    """Where the peer is called; `files` are those of this node's certificate.

    One that only calls us cannot be: its host is empty, and connecting to it raises PeerUnreachable.
    """
    security = Security(files=files, fingerprint=peer.certificate) if peer.uses_tls else None
    return Destination(aet=peer.aet, host=peer.host or "", port=peer.port or 0, security=security)
