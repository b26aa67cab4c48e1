"""Which addresses are public, and that a port without TLS is not bound to one by accident."""

from pathlib import Path

import pytest

from pacs_server.errors import ConfigError
from pacs_server.service.processes.exposure import (
    addresses_of_machine,
    is_public,
    refuse_public,
    refuse_public_monitoring,
)

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.1.2.0
        /24 link UNICAST
     |-- 10.1.2.3
        /32 host LOCAL
     |-- 10.1.2.255
        /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 8.8.4.4
        /32 host LOCAL
"""
INET6 = (
    "00000000000000000000000000000001 01 80 10 80       lo\n"
    "fe80000000000000021122fffe334455 02 40 20 80     eth0\n"
    "20014860486000000000000000008888 02 40 00 80     eth0\n"
)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.31.0.1",
        "192.168.1.1",
        "100.64.0.1",  # shared: of a provider behind one address, or of an overlay network
        "100.127.255.254",
        "169.254.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "::ffff:100.64.0.1",
    ],
)
def test_addresses_of_a_site_are_not_public(address: str) -> None:
    assert not is_public(address)
    refuse_public(address, ["8.8.8.8"])


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2001:4860:4860::8888", "::ffff:8.8.8.8"]
)
def test_a_public_address_without_tls_is_refused_by_name(address: str) -> None:
    assert is_public(address)
    with pytest.raises(ConfigError, match=r"reached from the Internet .* tls\.port, or turn public_without_tls on"):
        refuse_public(address, [])


def test_monitoring_is_never_answered_on_a_public_address() -> None:
    refuse_public_monitoring("10.1.2.3", ["8.8.8.8"])
    refuse_public_monitoring("::", ["10.1.2.3", "::1"])
    for host in ("8.8.8.8", "0.0.0.0", "::"):
        with pytest.raises(ConfigError, match=r"http\.host: .* \(8\.8\.8\.8\).* bind it to a private address"):
            refuse_public_monitoring(host, ["127.0.0.1", "8.8.8.8"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_every_address_counts_by_those_that_the_machine_has(host: str) -> None:
    refuse_public(host, ["127.0.0.1", "10.1.2.3"])
    with pytest.raises(ConfigError, match=r"\(8\.8\.4\.4\)"):
        refuse_public(host, ["127.0.0.1", "8.8.4.4", "10.1.2.3"])


def test_the_addresses_are_read_as_the_kernel_tells_them(tmp_path: Path) -> None:
    ipv4, ipv6 = tmp_path / "fib_trie", tmp_path / "if_inet6"
    ipv4.write_text(TRIE, encoding="ascii")
    told = {"10.1.2.3", "127.0.0.1", "8.8.4.4"}
    assert addresses_of_machine(ipv4, ipv6) == told
    ipv6.write_text(INET6, encoding="ascii")
    assert addresses_of_machine(ipv4, ipv6) == told | {"::1", "fe80::211:22ff:fe33:4455", "2001:4860:4860::8888"}


def test_this_machine_has_its_loopback_address() -> None:
    assert "127.0.0.1" in addresses_of_machine()
