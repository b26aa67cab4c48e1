"""The addresses of host names that peers may call from: a name server that is slow or down turns nobody away whose
addresses it told before, and delays no other peer.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

from pacs_server import log

Addresses: TypeAlias = frozenset[IPv4Address | IPv6Address]

_KNOWN_FOR_S: Final = 60.0
# How long the answer is waited for where an older one is known. The resolver of the system gives up after 10 s and
# more, which is longer than many modalities wait for an association.
_PATIENCE_S: Final = 1.0
# There is no such name, or it has no address: that is an answer too. Source: getaddrinfo(3).
_NONE_THERE: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})


def plain_address(text: str) -> IPv4Address | IPv6Address:
    """The address without a scope, and as IPv4 where it is an IPv4 address mapped into IPv6."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@dataclass(slots=True)
class _Name:
    """What was told of one name last, None before that, and when it was asked for. `answered` while nobody asks."""

    known: Addresses | None = None
    asked_at: float = float("-inf")
    answered: threading.Event = field(default_factory=threading.Event)


class HostNames:
    """May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, _Name] = {}

    def addresses(self, host: str) -> Addresses | None:
        """The addresses of a name, asked for again after a minute, so that a changed lease is noticed; the last ones
        that were told while the name server does not answer, None where none were.
        """
        name = self._asked(host)
        name.answered.wait(None if name.known is None else _PATIENCE_S)
        return name.known

    def _asked(self, host: str) -> _Name:
        """The name, asked for if that is due; at one time by one thread, however many callers wait for it."""
        now = time.monotonic()
        with self._lock:
            name = self._names.get(host)
            if name is None:
                name = self._names[host] = _Name()
            elif not name.answered.is_set() or (name.known is not None and now - name.asked_at < _KNOWN_FOR_S):
                return name
            name.asked_at = now
            name.answered.clear()
        try:
            threading.Thread(target=_ask, args=(host, name), name="host name", daemon=True).start()
        except RuntimeError:  # no more threads: the next caller tries again
            name.answered.set()
            raise
        return name


def _ask(host: str, name: _Name) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        name.known = frozenset(plain_address(str(entry[4][0])) for entry in found)
    except (OSError, UnicodeError) as error:
        if isinstance(error, socket.gaierror) and error.errno in _NONE_THERE:
            name.known = frozenset()
        log.warning("host name of a peer not resolved", host=host, why=error, last=len(name.known or ()) or None)
    finally:
        name.answered.set()
