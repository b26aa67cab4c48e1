"""A site that calls its own port, as a failover does to try it out."""

import socket
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pacs_server.net.client import open_connection
from pacs_server.service.partners import sides
from pacs_server.settings import NetworkLimits


def address_of_machine() -> str:
    """One by which others would reach it. Nothing is sent to find it."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking, suppress(OSError):
        asking.connect(("192.0.2.1", 9))
        return str(asking.getsockname()[0])
    return "127.0.0.1"


@pytest.mark.skipif(address_of_machine().startswith("127."), reason="this machine has no other address")
def test_a_site_that_listens_on_one_address_alone_is_called_by_itself_from_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server((address_of_machine(), 0)) as server:
        host, port = server.getsockname()
        monkeypatch.setattr(sides, "serving", lambda _: {"aet": "TOKYO", "host": host, "port": port})
        node = cast(Any, SimpleNamespace(settings=SimpleNamespace(data_dir=Path())))
        destination = sides.Here(node, partner=cast(Any, None)).destination()
        assert destination is not None
        with closing(open_connection(destination, NetworkLimits())):
            accepted, (caller, _) = server.accept()
            accepted.close()
    assert caller == "127.0.0.1"  # from any other address only a registered title may call
