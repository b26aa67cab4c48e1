"""A peer as text: what `pacs ae` takes as arguments, lists as JSON and keeps in YAML files, and back, checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pacs_server.cli.output import printable
from pacs_server.dicom.pixels.transcoding import ENCODABLE, ENCODABLE_BY_NAME, UNCOMPRESSED
from pacs_server.errors import ConfigError, Refused
from pacs_server.index.site.peers import Identity, Peer, Right
from pacs_server.net.tls import normal_fingerprint
from pacs_server.settings import charset_term, host_name, site_aet
from pacs_server.yaml_file import Item, read_items

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY: Final = "-"
KEYS: Final = (
    "aet", "host", "port", "allow", "from", "issuer", "charset", "max_answers", "combined_datetime", "associations",
    "syntax", "certificate", "tls", "called", "destinations", "max_associations", "reserved", "identity", "as_user",
    "passcode_file",
)  # fmt: skip
_LISTS: Final = ("allow", "from", "called", "destinations")
MAX_ASSOCIATIONS: Final = 16
MOST_ROOM: Final = 10_000  # network.max_associations


def facts_of(peer: Peer) -> dict[str, object]:
    """A peer as it is listed and exported; `peer_of` reads it back."""
    return {
        "aet": str(peer.aet),
        "host": peer.host,
        "port": peer.port,
        "allow": [right.value for right in Right if right in peer.rights],
        "from": list(peer.sources),
        "issuer": peer.issuer,
        "charset": peer.charset,
        "max_answers": peer.max_answers,
        "combined_datetime": peer.combines_moments,
        "associations": peer.associations,
        "syntax": _syntax_name(peer.syntax),
        "certificate": peer.certificate,
        "tls": peer.uses_tls,
        "called": list(peer.called),
        "destinations": list(peer.destinations),
        "max_associations": peer.max_associations,
        "reserved": peer.reserved,
        "identity": peer.identity.value,
        "as_user": peer.as_user,
        "passcode_file": peer.passcode_file,
    }


def peer_of(facts: Mapping[str, object]) -> Peer:
    """The peer of such facts. A host of "-" or None is one that only calls us; without "allow" it has every right.

    Raises: ValueError with the reason, for the first thing that cannot be.
    """
    if unknown := [key for key in facts if key not in KEYS]:
        raise ValueError(f"unknown {printable(unknown)}; known are {', '.join(KEYS)}")
    host, port = _host(facts.get("host")), _port(facts.get("port"))
    if (host is None) != (port is None):
        raise ValueError("host and port go together: both given, or '-' for both")
    sources = _sources(words(facts.get("from"))) or ((host,) if host else ())
    if not sources:
        raise ValueError("it has no address: name one with --from, else it could never call")
    allow = facts.get("allow")
    as_user, passcode_file = _word(facts.get("as_user")), _word(facts.get("passcode_file"))
    if bool(as_user) != bool(passcode_file) or (as_user and not _yes(facts.get("tls"))):
        raise ValueError("as_user, passcode_file and tls go together: a passcode is sent over TLS alone")
    return Peer(
        aet=site_aet(str(facts.get("aet") or "")),
        host=host,
        port=port,
        rights=frozenset(Right) if allow is None else _rights(words(allow)),
        sources=sources,
        issuer=_line(facts.get("issuer")),
        charset=charset_term(_line(facts.get("charset"))),
        max_answers=_count(facts.get("max_answers")),
        combines_moments=_yes(facts.get("combined_datetime")),
        associations=_associations(facts.get("associations")),
        syntax=_syntax(_line(facts.get("syntax"))),
        certificate=_certificate(_line(facts.get("certificate"))),
        uses_tls=_yes(facts.get("tls")),
        called=_titles(facts.get("called")),
        destinations=_titles(facts.get("destinations")),
        max_associations=_room(facts.get("max_associations")),
        reserved=_room(facts.get("reserved")),
        identity=_identity(_line(facts.get("identity"))),
        as_user=as_user,
        passcode_file=str(Path(passcode_file).absolute()) if passcode_file else "",
    )


def read_peers(file: Path) -> list[Peer]:
    """The peers of a YAML file. Raises: Refused, naming the peer that cannot be read."""
    try:
        entries = read_items(file).listed
    except ConfigError as error:
        raise Refused(str(error)) from error
    if entries is None or any(entry.named is None for entry in entries):
        raise Refused(f"{file} is not a list of peers, like one that pacs ae export writes")
    return list(_peers_of(file, entries))


def _peers_of(file: Path, entries: Iterable[Item]) -> Iterator[Peer]:
    for number, entry in enumerate(entries, start=1):
        try:
            yield peer_of({key: _fact(key, item) for key, item in entry.named or ()})
        except ValueError as error:
            raise Refused(f"{file}, peer {number}: {error}; nothing was changed") from error


def _fact(key: str, item: Item) -> object:
    if item.named is not None or (item.listed is not None and key not in _LISTS):
        raise ValueError(f"{printable(key)} is one value, not several")
    if item.listed is None:
        return item.text
    texts = [one.text for one in item.listed]
    if None in texts:
        raise ValueError(f"{printable(key)} is a list of texts")
    return texts


def differences(known: Peer, wanted: Peer) -> str:
    """What would change, as `key old -> new`."""
    before, after = facts_of(known), facts_of(wanted)
    return "; ".join(
        f"{key} {printable(before[key]) or NOBODY} -> {printable(after[key]) or NOBODY}"
        for key in KEYS
        if before[key] != after[key]
    )


def words(value: object) -> tuple[str, ...]:
    """Those of a list, or of a text that is a comma list. Raises: ValueError."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if isinstance(value, Iterable):
        return tuple(map(str, value))
    raise ValueError(f"'{printable(value)}' is not a list")


def _line(value: object) -> str:
    text = "" if value is None else str(value)
    if not text.isprintable():
        raise ValueError(f"'{printable(text)}' has a line break or a control character in it")
    return text


def _word(value: object) -> str:
    """A text; '-' is none."""
    text = _line(value)
    return "" if text == NOBODY else text


def _identity(text: str) -> Identity:
    if text and text not in list(Identity):
        raise ValueError(f"'{printable(text)}' is no identity; offered are {', '.join(Identity)}")
    return Identity(text or Identity.NONE)


def _host(value: object) -> str | None:
    return None if value in (None, NOBODY) else host_name(str(value))


def _number(value: object, *, unsaid: int) -> int:
    """What is written in ASCII digits; -1 for anything else."""
    text = str(unsaid if value is None else value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _port(value: object) -> int | None:
    if value in (None, NOBODY):
        return None
    if not 1 <= (port := _number(value, unsaid=0)) <= 65_535:
        raise ValueError(f"'{printable(value)}' is not a port: a number from 1 to 65535, or '-'")
    return port


def _count(value: object) -> int:
    if (count := _number(value, unsaid=0)) < 0:
        raise ValueError(f"'{printable(value)}' is not a number of answers: 0 for no limit of its own, or more")
    return count


def _associations(value: object) -> int:
    if not 1 <= (number := _number(value, unsaid=1)) <= MAX_ASSOCIATIONS:
        raise ValueError(f"'{printable(value)}' is not a number of associations: from 1 to {MAX_ASSOCIATIONS}")
    return number


def _room(value: object) -> int:
    if not 0 <= (number := _number(value, unsaid=0)) <= MOST_ROOM:
        raise ValueError(f"'{printable(value)}' is not a number of associations: from 0 to {MOST_ROOM}")
    return number


def _titles(value: object) -> tuple[str, ...]:
    """AE titles; '-' is none."""
    return tuple(str(site_aet(word)) for word in words(value) if word != NOBODY)


def _yes(value: object) -> bool:
    text = str(value or "no").lower()
    if text not in ("yes", "no", "true", "false", "on", "off"):
        raise ValueError(f"'{printable(value)}' is neither yes nor no")
    return text in ("yes", "true", "on")


def _syntax(text: str) -> str:
    """The UID of a transfer syntax that can be compressed into, or UNCOMPRESSED; nothing, or '-', is none."""
    uid = ENCODABLE_BY_NAME.get(text, "" if text == NOBODY else text)
    if uid and uid != UNCOMPRESSED and uid not in ENCODABLE:
        offered = ", ".join((*ENCODABLE_BY_NAME, UNCOMPRESSED))
        raise ValueError(f"'{printable(text)}' is not a transfer syntax to send in; offered are {offered}, '-'")
    return uid


def _syntax_name(uid: str) -> str:
    return next((name for name, known in ENCODABLE_BY_NAME.items() if known == uid), uid)


def _certificate(text: str) -> str:
    """A fingerprint; nothing, or '-', is none."""
    return "" if text in ("", NOBODY) else normal_fingerprint(text)


def rights_of(text: str) -> frozenset[Right]:
    """The rights of a comma list. Raises: ValueError."""
    return _rights(words(text))


def _rights(names: tuple[str, ...]) -> frozenset[Right]:
    offered = [right.value for right in Right]
    for name in names:
        if name not in offered:
            raise ValueError(f"'{printable(name)}' is not a right; offered are {','.join(offered)}")
    return frozenset(Right(name) for name in names)


def _sources(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            if "/" in text:
                raise ValueError(f"'{printable(text)}' is not a network, like 192.168.10.0/24") from error
            host_name(text)
    return texts
