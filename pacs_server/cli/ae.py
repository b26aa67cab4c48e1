"""`pacs ae`: the peers that may call us and that we may send to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import yaml

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import (
    Group,
    Invocation,
    PathWord,
    aet_value,
    confirmed,
    is_there,
    pass_invocation,
    replacing,
)
from pacs_server.cli.output import in_their_language, listed, print_facts, print_rows, talk
from pacs_server.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pacs_server.dicom.identity import AeTitle
    from pacs_server.index.site.peers import Peer
    from pacs_server.service.assemble import Node
    from pacs_server.settings import Settings

_HEADINGS: Final = {
    "aet": "AET",
    "host": "HOST",
    "port": "PORT",
    "allow": "ALLOW",
    "from": "FROM",
    "issuer": "ISSUER",
    "charset": "CHARSET",
    "syntax": "SYNTAX",
}
_LEG_HEADINGS: Final = {"leg": "LEG", "result": "RESULT", "remedy": "WHAT TO CHANGE"}
# What keeps others out, and how a person says that nothing shall.
_RESTRICTING: Final = {"certificate": "-", "identity": "none", "destinations": "-"}
_MODE: Final = 0o666  # less what the umask takes
_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option("--allow", metavar="RIGHTS", help="Of echo,store,find,get,move,commit; a comma list. At first: all."),
    click.option(
        "--from",
        "sources",
        multiple=True,
        metavar="CIDR",
        help="Address, network or host name it may call from; repeat it. At first: HOST.",
    ),
    click.option("--issuer", metavar="ID", help="Issuer of the patient IDs that it sends without one."),
    click.option("--charset", metavar="CS", help="Character set to assume where it names none, and to answer in."),
    click.option("--max-answers", metavar="N", help="Of one of its queries. At first 0: as the settings say."),
    click.option(
        "--combined-datetime", metavar="YES/NO", help="Take its range of dates and of times as one. At first: no."
    ),
    click.option("--associations", metavar="N", help="With how many at once objects are sent to it. At first: 1."),
    click.option(
        "--syntax",
        metavar="TS",
        help="Send it what is stored uncompressed in jpeg-lossless, jpeg-ls, jpeg-2000 or rle, or in the one of that "
        "UID. With uncompressed, offer it nothing else. At first: as it is.",
    ),
    click.option(
        "--certificate",
        metavar="SHA256",
        help="Let it in only over TLS with the certificate of that fingerprint; with --tls, also send to that one "
        "only. '-' is any.",
    ),
    click.option("--tls/--no-tls", default=None, help="Call it over TLS. At first: without."),
    click.option(
        "--called",
        metavar="TITLES",
        help="Titles besides our own by which it may call us; a comma list. At first: none.",
    ),
    click.option(
        "--destinations",
        metavar="AETS",
        help="Peers to which it may have something moved; a comma list. At first: any.",
    ),
    click.option(
        "--max-associations",
        metavar="N",
        help="Of its own that it may have open at once. At first 0: no limit of its own.",
    ),
    click.option(
        "--reserved", metavar="N", help="Keep room for so many of its associations, whoever else calls. At first: none."
    ),
    click.option(
        "--identity",
        metavar="KIND",
        help="Let it in only over TLS, and with a user who is proven: password (pacs user) or jwt (identity.jwt in "
        "pacs.yaml). At first: none.",
    ),
    click.option(
        "--as-user", metavar="NAME", help="Log in there as this user, with --tls and --passcode-file; '-' is nobody."
    ),
    click.option(
        "--passcode-file", metavar="FILE", help="With the passcode of --as-user in it, readable by the server alone."
    ),
)


def _registered(command: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
    """The command with an option for everything that is registered about a peer but its address."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=Group)
def ae() -> None:
    """Register peers: modalities, viewers, other archives."""


@ae.command(example="pacs ae add CT1 192.168.10.21 104 --allow echo,store")
@click.argument("aet", callback=aet_value)
@click.argument("host")
@click.argument("port")
@_registered
@pass_invocation
def add(invocation: Invocation, /, aet: AeTitle, sources: tuple[str, ...], **given: str | bool | None) -> ExitCode:
    """Register a peer.

    HOST PORT may be '- -' for one that only calls us; then it needs --from.
    """
    peer = _peer(_given(given, sources) | {"aet": aet})
    with invocation.node() as node:
        node.registry.add_peer(peer)
        _warn_of_login(peer, node.settings)
    talk(f"registered {aet}" + (f"; try it with: pacs ae test {aet}" if peer.host else ""))
    return ExitCode.DONE


@ae.command("set", example="pacs ae set CT1 --from 192.168.10.0/24 --charset 'ISO_IR 13'")
@click.argument("aet", callback=aet_value)
@click.option("--host", help="Its address or host name; '-' for one that only calls us.")
@click.option("--port", help="Its port; '-' for one that only calls us.")
@_registered
@pass_invocation
def set_(invocation: Invocation, /, aet: AeTitle, sources: tuple[str, ...], **given: str | bool | None) -> ExitCode:
    """Change what is registered about a peer.

    What is not named stays as it is; --from replaces all that it had.
    """
    changes = _given(given, sources)
    if not changes:
        raise click.UsageError("nothing to change: name at least one option")
    with invocation.node() as node:
        peer = node.registry.change_peer(aet, lambda known: _changed(known, changes))
        _warn_of_login(peer, node.settings)
    talk(f"changed {aet}")
    return ExitCode.DONE


@ae.command("list", reports=True, example="pacs ae list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the registered peers."""
    from pacs_server.cli.peer_text import facts_of

    with invocation.node() as node:
        rows = [facts_of(peer) for peer in node.registry.peers()]
    if not print_rows(rows, _HEADINGS, as_json=invocation.as_json):
        talk("no peer is registered: only this machine may call")
    return ExitCode.DONE


@ae.command(reports=True, example="pacs ae show CT1")
@click.argument("aet", callback=aet_value)
@pass_invocation
def show(invocation: Invocation, aet: AeTitle) -> ExitCode:
    """Show one peer."""
    from pacs_server.cli.peer_text import facts_of

    with invocation.node() as node:
        print_facts(facts_of(node.registry.known_peer(aet)), as_json=invocation.as_json)
    return ExitCode.DONE


@ae.command(example="pacs ae remove CT1 --yes")
@click.argument("aet", callback=aet_value)
@confirmed
@pass_invocation
def remove(invocation: Invocation, aet: AeTitle, *, yes: bool) -> ExitCode:
    """Forget a peer. What it sent stays."""
    with invocation.node() as node:
        node.registry.remove_peer(aet, rehearse=not yes)
        naming = listed(map(in_their_language, _naming(node, aet)))
    if yes:
        talk(f"forgot {aet}")
    else:
        talk(f"would forget {aet}, which could then neither call us nor be sent to; do it with --yes")
    if naming:
        talk(f"{aet} stays named, and what is registered by that title next has part in it: {naming}")
    return ExitCode.DONE


def _naming(node: Node, aet: AeTitle) -> Iterator[str]:
    """What was decided of a title and stays when its peer is forgotten."""
    from pacs_server.index.sending.backlogs import backlogs

    if aet in node.registry.policies().of_peers:
        yield f"policy set --peer {aet}"
    yield from (f"route {one.name}" for one in node.route_rules.all().values() if aet in (*one.to, *one.senders))
    yield from (f"rule {one.name}" for one in node.rules.all() if one.archive == aet)
    yield from (f"partner {one.name}" for one in node.partners.all() if one.aet == aet)
    if backlogs(node.index, aet):
        yield "pacs send list"


@ae.command(reports=True, example="pacs ae test CT1")
@click.argument("aet", callback=aet_value)
@pass_invocation
def test(invocation: Invocation, aet: AeTitle) -> ExitCode:
    """Try a peer leg by leg, and say what to change.

    TCP, TLS if it is called so, association, C-ECHO, then C-STORE of a tiny object: patient ID PACS-TEST, the same one
    each time.
    """
    from pacs_server.archive.calling import way_to
    from pacs_server.service.peers.legs import try_peer

    with invocation.node() as node:
        peer, settings = node.registry.known_peer(aet), node.settings
    if peer.host is None or peer.port is None:
        raise Refused(f"{aet} only calls us: it has no address; give it one with: pacs ae set {aet} --host H --port P")
    legs = try_peer(way_to(peer, settings.tls_files), settings)
    rows = [{"leg": leg.name, "result": leg.result, "remedy": leg.remedy} for leg in legs]
    print_rows(rows, _LEG_HEADINGS, as_json=invocation.as_json, said=_LEG_HEADINGS)
    return ExitCode.DONE if all(leg.ok for leg in legs) else ExitCode.UNREACHABLE


@ae.command("import", example="pacs ae import peers.yaml --yes")
@click.argument("file", type=PathWord(exists=True, dir_okay=False))
@replacing
@pass_invocation
def import_(invocation: Invocation, file: Path, *, yes: bool) -> ExitCode:
    """Register the peers of a file that pacs ae export wrote.

    Those that would change a known peer wait for --yes.
    """
    from pacs_server.cli.peer_text import differences, read_peers

    peers = read_peers(file)
    left = 0
    with invocation.node() as node:
        for peer in peers:
            known = node.registry.save_peer(peer, replaces=yes)
            if known == peer:
                continue
            if known is None:
                talk(f"registered {peer.aet}")
            elif yes:
                talk(f"changed {peer.aet}")
            else:
                left += 1
                talk(f"would change {peer.aet}: {differences(known, peer)}")
    if left:
        talk(f"{left} of {len(peers)} peers were left as they are; change them with --yes")
    return ExitCode.PARTLY if left else ExitCode.DONE


@ae.command(example="pacs ae export peers.yaml")
@click.argument("file", type=PathWord(dir_okay=False))
@replacing
@pass_invocation
def export(invocation: Invocation, file: Path, *, yes: bool) -> ExitCode:
    """Write the registered peers to a YAML file.

    FILE may be - for standard output; pacs ae import reads it.
    """
    from pacs_server.cli.peer_text import facts_of

    with invocation.node() as node:
        peers = [facts_of(peer) for peer in node.registry.peers()]
    text = yaml.safe_dump(peers, allow_unicode=True, sort_keys=False)
    if str(file) == "-":
        click.echo(text, nl=False)
        return ExitCode.DONE
    try:
        if is_there(file) and not yes:
            raise Refused(f"{file} exists and would be overwritten; do it with --yes")
        _write(file, text.encode())
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from error
    talk(f"wrote {len(peers)} peers to {file}")
    return ExitCode.DONE


def _write(file: Path, content: bytes) -> None:
    """Write a file as a whole, or leave the one that is there; what is no file, like a pipe, takes it as it comes."""
    from pacs_server.whole_file import write_whole

    if file.exists() and not file.is_file():
        file.write_bytes(content)
        return
    file.parent.stat()  # a folder that is misspelt is not made
    write_whole(file.resolve(), content, _MODE)


def _given(options: Mapping[str, str | bool | None], sources: tuple[str, ...]) -> dict[str, object]:
    """The facts that were given on the command line, and only those.

    Raises: UsageError for an empty value that would take away what keeps others out: it is no decision of anybody, but
    what a command that failed in the place of the value leaves.
    """
    from pacs_server.cli.peer_text import words

    facts: dict[str, object] = {key: value for key, value in options.items() if value is not None}
    for name, open_to_all in _RESTRICTING.items():
        if name in facts and not words(str(facts[name])):
            raise click.UsageError(
                f"--{name} is empty and was not taken; to restrict nothing, say --{name} {open_to_all}"
            )
    return facts | {"from": list(sources)} if sources else facts


def _warn_of_login(peer: Peer, settings: Settings) -> None:
    from pacs_server.service.peers.acquaintance import login_problems

    for problem, remedy in login_problems(peer, settings):
        talk(f"{in_their_language(problem)}: {in_their_language(remedy)}")


def _changed(known: Peer, changes: dict[str, object]) -> Peer:
    from pacs_server.cli.peer_text import facts_of

    facts = facts_of(known)
    if known.sources == (known.host,):  # the address it calls from was never said by itself, so it moves along
        del facts["from"]
    return _peer(facts | changes)


def _peer(facts: Mapping[str, object]) -> Peer:
    from pacs_server.cli.peer_text import peer_of

    try:
        return peer_of(facts)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
