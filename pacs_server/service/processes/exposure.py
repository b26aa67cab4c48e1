"""Whether the world could call without TLS: which addresses a port is bound to, and which of them are public."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pacs_server.errors import ConfigError
from pacs_server.service.processes.own_names import outgoing_addresses

_IPV4: Final = Path("/proc/net/fib_trie")
_IPV6: Final = Path("/proc/net/if_inet6")


def refuse_public(host: str, machine: Iterable[str]) -> None:
    """Refuse to be called without TLS on a public address. `host` is what the socket is bound to, `machine` are the
    addresses that it stands for when it is every one.

    Raises: ConfigError, naming the public addresses.
    """
    if found := _public_ones(host, machine):
        raise ConfigError(
            f"host: {host} is reached from the Internet ({found}), and there is no TLS on this port: bind "
            "it to a private address and let the world use tls.port, or turn public_without_tls on"
        )


def refuse_public_monitoring(host: str, machine: Iterable[str]) -> None:
    """The same for the port of monitoring, which has neither TLS nor a password. Raises: ConfigError."""
    if found := _public_ones(host, machine):
        raise ConfigError(
            f"http.host: {host} is reached from the Internet ({found}), and anybody could read there how the archive "
            "does: bind it to a private address"
        )


def _public_ones(host: str, machine: Iterable[str]) -> str:
    bound = machine if ipaddress.ip_address(_plain(host)).is_unspecified else (host,)
    return ", ".join(sorted(one for one in bound if is_public(one)))


def is_public(address: str) -> bool:
    """Whether an address is reached from the Internet: it is neither loopback nor link-local, private or shared.

    Source: the IANA registries of special-purpose addresses; RFC 6598 (shared).
    """
    found = ipaddress.ip_address(_plain(address))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_global


def _plain(address: str) -> str:
    return address.partition("%")[0]


def addresses_of_machine(ipv4: Path = _IPV4, ipv6: Path = _IPV6) -> frozenset[str]:
    """The addresses of this machine, as Linux tells them; elsewhere those from which it would reach others."""
    try:
        return frozenset((*_ipv4_in(ipv4.read_text(encoding="ascii")), *_ipv6_in(ipv6)))
    except OSError:
        return frozenset(outgoing_addresses())


def _ipv4_in(trie: str) -> Iterable[str]:
    """Source: the kernel's net/ipv4/fib_trie.c: a leaf names an address, its next line what that is."""
    address = ""
    for line in trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            yield address


def _ipv6_in(table: Path) -> Iterable[str]:
    """None where IPv6 is turned off: then there is no such file. Source: the kernel's net/ipv6/addrconf.c."""
    if not table.exists():
        return
    for line in table.read_text(encoding="ascii").splitlines():
        yield str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0])))
