"""The names and addresses under which this machine is reached, as far as it knows them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

# Addresses of documentation (RFC 5737, RFC 3849): nothing is sent, the system only says from where it would be.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_DISCARD_PORT: Final = 9
_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")


def own_names(*hosts: str) -> tuple[str, ...]:
    """Its host name first, and the `hosts` that it listens on, but those that stand for every address."""
    return tuple(
        dict.fromkeys(
            (socket.gethostname(), socket.getfqdn(), *filter(_is_one, hosts), *_ALWAYS, *outgoing_addresses())
        )
    )


def _is_one(host: str) -> bool:
    with suppress(ValueError):
        return not ipaddress.ip_address(host).is_unspecified
    return True


def outgoing_addresses() -> Iterator[str]:
    """The addresses from which this machine would reach others."""
    for family, address in _ELSEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((address, _DISCARD_PORT))
            yield str(asking.getsockname()[0])
