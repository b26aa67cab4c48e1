"""How a registered peer is called: its title and address, and over TLS if it wants that."""

from __future__ import annotations

from pathlib import Path

from pacs_server.index.site.peers import Peer
from pacs_server.net.client import Destination
from pacs_server.net.secure import Security
from pacs_server.settings import TlsFiles


def way_to(peer: Peer, files: TlsFiles) -> Destination:
    """Where the peer is called; `files` are those of this node's certificate.

    One that only calls us cannot be: its host is empty, and connecting to it raises PeerUnreachable.
    """
    security = None
    if peer.uses_tls:
        passcode_file = Path(peer.passcode_file)
        security = Security(files=files, fingerprint=peer.certificate, user=peer.as_user, passcode_file=passcode_file)
    return Destination(aet=peer.aet, host=peer.host or "", port=peer.port or 0, security=security)
