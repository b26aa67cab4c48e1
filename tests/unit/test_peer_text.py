"""A peer as arguments and as YAML: what is accepted comes back the same, what cannot be is refused with a reason."""

import pytest
import yaml

from pacs_server.cli.peer_text import differences, facts_of, peer_of, read_peers
from pacs_server.errors import Refused
from pacs_server.index.site.peers import Right

CT1 = {"aet": "CT1", "host": "192.168.10.21", "port": "104"}


def test_a_peer_has_every_right_and_calls_from_its_host_unless_said_otherwise():
    peer = peer_of(CT1)
    assert (peer.host, peer.port, peer.sources) == ("192.168.10.21", 104, ("192.168.10.21",))
    assert peer.rights == frozenset(Right)


def test_rights_are_a_comma_list_and_may_be_none_at_all():
    assert peer_of(CT1 | {"allow": "store, echo"}).rights == {Right.STORE, Right.ECHO}
    assert peer_of(CT1 | {"allow": []}).rights == frozenset()


@pytest.mark.parametrize(
    "charset", ["ISO_IR 192", "\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87", "SHIFT_JIS", "EUC-JP"]
)
def test_a_peer_may_write_in_any_character_set_that_is_read(charset):
    assert peer_of(CT1 | {"charset": charset}).charset == charset


def test_a_peer_that_only_calls_needs_an_address_to_call_from():
    caller = peer_of({"aet": "US1", "host": "-", "port": "-", "from": ["10.0.0.0/8", "us1.example.org"]})
    assert (caller.host, caller.port, caller.sources) == (None, None, ("10.0.0.0/8", "us1.example.org"))
    with pytest.raises(ValueError, match="--from"):
        peer_of({"aet": "US1", "host": "-", "port": "-"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"aet": "A;B"}, "configuration"),
        ({"aet": ""}, "AE title"),
        ({"host": "no such host"}, "host name"),
        ({"port": "-"}, "go together"),
        ({"port": "0"}, "not a port"),
        ({"port": "65536"}, "not a port"),
        ({"port": "１０４"}, "not a port"),
        ({"port": "00000000165536"}, "not a port"),
        ({"max_associations": "00000000110001"}, "from 0 to"),
        ({"allow": "store,delete"}, "'delete' is not a right"),
        ({"from": ["10.0.0.0/33"]}, "not a network"),
        ({"from": ["a b"]}, "host name"),
        ({"from": ["-"]}, "host name"),
        ({"charset": "SJIS"}, "defined term"),
        ({"charset": "sjis"}, "write SHIFT_JIS"),
        ({"charset": "\\ISO_IR 87"}, "write ISO 2022 IR 87"),
        ({"issuer": "a\nb"}, "control character"),
        ({"hots": "x"}, "unknown hots"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(change, reason):
    with pytest.raises(ValueError, match=reason):
        peer_of(CT1 | change)


def test_what_is_exported_is_imported_as_the_same_peers(tmp_path):
    peers = [
        peer_of(CT1 | {"allow": "echo", "charset": "ISO_IR 13", "issuer": "病院"}),
        peer_of({"aet": "NO", "host": "-", "port": "-", "from": ["2001:db8::/32"]}),
    ]
    file = tmp_path / "peers.yaml"
    file.write_text(yaml.safe_dump([facts_of(peer) for peer in peers], allow_unicode=True))
    assert read_peers(file) == peers


ALIASES_OF_ALIASES = "- &a0 x\n" + "".join(f"- &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("aet: CT1", "not a list"),
        ("- CT1", "not a list"),
        ("", "not a list"),
        ("[", "line 1: expected the node content"),
        ("- {aet: CT1, port: 1}", "peer 1"),
        ("- {aet: CT1, tls: !!bool x, from: ct1}", "peer 1: 'x' is neither yes nor no"),
        ("- {aet: [CT1], from: ct1}", "peer 1: aet is one value"),
        ("- {aet: CT1, from: [[ct1]]}", "peer 1: from is a list of texts"),
        ("- " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("- &a {aet: *a}", "nested too deeply"),
        (ALIASES_OF_ALIASES, "more than 100,000 values"),
        ("#" * (1 << 20) + "\n[]", "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_list_of_peers_is_refused(tmp_path, text, reason):
    file = tmp_path / "peers.yaml"
    file.write_text(text)
    with pytest.raises(Refused, match=reason):
        read_peers(file)


def test_a_value_of_a_file_is_what_stands_there(tmp_path):
    file = tmp_path / "peers.yaml"
    file.write_text("- {aet: 0123, host: ct1, port: 0104, issuer: 0123, tls: on, max_answers: null}\n"
                    "- {aet: NO, host: ~, port: , from: 10.0.0.1, issuer: 2026-13-45}\n")  # fmt: skip
    first, second = read_peers(file)
    assert (first.aet, first.port, first.issuer, first.uses_tls, first.max_answers) == ("0123", 104, "0123", True, 0)
    assert (second.aet, second.host, second.port, second.issuer) == ("NO", None, None, "2026-13-45")


def test_differences_name_only_what_changes():
    assert differences(peer_of(CT1), peer_of(CT1 | {"port": 105, "issuer": "X"})) == "port 104 -> 105; issuer - -> X"
