"""`pacs partner`: the other sites that this one exchanges everything with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, aet_value, confirmed, name_value, pass_invocation
from pacs_server.cli.output import as_json_text, print_facts, print_rows, printable, talk
from pacs_server.errors import PartnerRefused, Refused, WrongCertificate

if TYPE_CHECKING:
    from pacs_server.cluster.pair import Missing
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.index.site.partners import Partner
    from pacs_server.service.assemble import Node
    from pacs_server.service.partners.pairing import Greeting

MISSING_HEADINGS: Final = {
    "missing": "MISSING",
    "study_uid": "STUDY",
    "uid": "OBJECT",
    "received_at": "RECEIVED",
    "digest": "DIGEST",
}
PARTNER_HEADINGS: Final = {
    "name": "PARTNER",
    "host": "HOST",
    "port": "PORT",
    "state": "STATE",
    "since": "SINCE",
    "behind_objects": "BEHIND",
    "owes_objects": "OWES US",
    "compared_at": "COMPARED",
    "missing": "MISSING",
    "clock_ahead_s": "CLOCK AHEAD S",
    "version": "VERSION",
    "problem": "PROBLEM",
}
PARTNER_WORDS: Final = ("state", "problem")
_AET = click.option("--aet", callback=lambda context, parameter, value: value and aet_value(context, parameter, value),
                    help="The registered peer that objects for it go to: pacs ae list.")  # fmt: skip


def _checked_host(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from pacs_server.settings import host_name

    try:
        return value if value is None else host_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _checked_fingerprint(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from pacs_server.net.tls import normal_fingerprint

    try:
        return value if value is None else normal_fingerprint(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.group(cls=Group)
def partner() -> None:
    """Join this archive with another one."""


@partner.command(example="pacs partner add osaka 192.168.20.5 11114 --fingerprint $OSAKA_PIN --aet OSAKA")
@click.argument("name", callback=name_value)
@click.argument("host", callback=_checked_host)
@click.argument("port", type=click.IntRange(1, 65_535))
@click.option("--fingerprint", required=True, metavar="F", callback=_checked_fingerprint,
              help="SHA-256 of its certificate, as pacs tls show prints it there.")  # fmt: skip
@_AET
@pass_invocation
def add(invocation: Invocation, /, name: str, host: str, port: int, fingerprint: str, aet: AeTitle | None) -> ExitCode:
    """Make another archive a partner, known by its certificate alone.

    It has to add this one too.
    """
    from pacs_server.index.site.partners import Partner
    from pacs_server.service.partners.sides import HERE

    if name == HERE:
        raise Refused(f"{HERE} is what every site calls itself: give the partner another name")
    with invocation.node() as node:
        ours = _own_fingerprint(node, fingerprint)
        if aet is not None:
            node.registry.known_peer(aet)
        added = Partner(
            name=name, host=host, port=port, fingerprint=fingerprint, aet=aet or "", added_at=datetime.now(UTC)
        )
        greeting = _greeted(node, added)
        site_id = greeting.hello.site_id if greeting.hello else None
        node.partners.add(replace(added, certificate=greeting.certificate, site_id=site_id))
    talk(f"added partner {name}")
    if greeting.problem is not None:
        talk(f"it does not answer yet: {printable(greeting.problem)}")
    talk(f"there, this node is pinned by --fingerprint {ours}")
    return ExitCode.DONE


@partner.command("set", example="pacs partner set osaka --fingerprint $OSAKA_PIN")
@click.argument("name")
@click.option("--host", callback=_checked_host, help="Its address or host name.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Its partner port.")
@click.option("--fingerprint", metavar="F", callback=_checked_fingerprint,
              help="SHA-256 of its new certificate, as pacs tls show prints it there.")  # fmt: skip
@_AET
@pass_invocation
def set_(invocation: Invocation, /, name: str, **given: Any) -> ExitCode:
    """Change what is known of a partner.

    What is not named stays as it is.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to change: name at least one option")
    with invocation.node() as node:
        known = node.partners.one(name)
        if (fingerprint := changes.get("fingerprint", known.fingerprint)) != known.fingerprint:
            _own_fingerprint(node, fingerprint)
            changes["certificate"] = ""
        if (aet := changes.get("aet")) is not None:
            node.registry.known_peer(aet)
        if certificate := _greeted(node, replace(known, **changes)).certificate:
            changes["certificate"] = certificate
        node.partners.change(name, changes)
    talk(f"changed partner {name}")
    return ExitCode.DONE


@partner.command("list", reports=True, example="pacs partner list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the partners, as they were when the server last greeted them."""
    from pacs_server.service.present import partners_of

    with invocation.node() as node:
        rows = partners_of(node)
    if not print_rows(rows, PARTNER_HEADINGS, as_json=invocation.as_json, said=PARTNER_WORDS):
        talk("there is no partner: this archive stands alone")
    return ExitCode.DONE


@partner.command(reports=True, example="pacs partner show osaka")
@click.argument("name")
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Greet a partner now, and show it.

    Ends with 13 when it does not answer.
    """
    from pacs_server.service.partners.liaison import contact_of
    from pacs_server.service.partners.pairing import greet
    from pacs_server.service.present import partner_facts

    with invocation.node() as node:
        asked = node.partners.one(name)
        greeting = greet(node, asked, lambda: datetime.now(UTC))
        contact = contact_of(asked, greeting, datetime.now(UTC))
        known = node.partners.one(name)
        facts = partner_facts(node, known, contact)
    if invocation.as_json:
        facts["logs"] = dict(greeting.hello.logs) if greeting.hello else {}
    else:
        del facts["comparison"]  # compared_at and missing say of it what a person looks for
    print_facts(facts, as_json=invocation.as_json, said=PARTNER_WORDS)
    return ExitCode.DONE if contact.is_reached else ExitCode.UNREACHABLE


@partner.command(reports=True, example="pacs partner compare osaka --repair")
@click.argument("name")
@click.option("--full", is_flag=True, help="Count anew what both hold, from the rows of all objects.")
@click.option("--repair", is_flag=True, help="Have each site send the other what it lacks.")
@pass_invocation
def compare(invocation: Invocation, /, name: str, *, full: bool, repair: bool) -> ExitCode:
    """Compare everything that is held here and at a partner.

    Ends with 12 when one of both lacks something that is not on its way.
    """
    from pacs_server.service.partners.pairing import compare_with

    with invocation.node() as node:
        found = compare_with(node, node.partners.one(name), full=full, heals=repair, now=datetime.now(UTC))
    rows = [_missing(one, place) for place, many in (("here", found.here), ("there", found.there)) for one in many]
    if invocation.as_json:
        facts = {"is_equal": found.is_equal, "studies": found.studies, "on_their_way": found.on_their_way}
        click.echo(as_json_text(facts | {"missing": rows}))
    else:
        print_rows(rows, MISSING_HEADINGS, as_json=False)
    told = (
        f"{len(found.here)} objects are missing here, {len(found.there)} there, {found.on_their_way} are on their way"
    )
    talk(f"both hold the same as {name}" if found.is_equal else told)
    if found.refusal:
        talk(found.refusal)
    elif rows and repair:
        talk("they were entered to be sent: pacs partner list shows how many are left")
    return ExitCode.DAMAGE if rows and (found.refusal or not repair) else ExitCode.DONE


def _missing(one: Missing, place: str) -> dict[str, object]:
    return {
        "missing": place,
        "study_uid": one.study_uid,
        "series_uid": one.series_uid,
        "uid": one.sop_uid,
        "digest": one.digest,
        "received_at": one.received_at.isoformat(timespec="seconds"),
    }


@partner.command(example="pacs partner pause osaka")
@click.argument("name")
@pass_invocation
def pause(invocation: Invocation, name: str) -> ExitCode:
    """Exchange nothing with a partner for the time being."""
    return _set_paused(invocation, name, is_paused=True)


@partner.command(example="pacs partner resume osaka")
@click.argument("name")
@pass_invocation
def resume(invocation: Invocation, name: str) -> ExitCode:
    """Go on with a paused partner."""
    return _set_paused(invocation, name, is_paused=False)


@partner.command(example="pacs partner remove osaka --yes")
@click.argument("name")
@confirmed
@pass_invocation
def remove(invocation: Invocation, name: str, *, yes: bool) -> ExitCode:
    """Forget a partner. What came from it stays."""
    with invocation.node() as node:
        node.partners.one(name)
        if not yes:
            talk(f"would forget partner {name}, with which nothing would be exchanged any more; do it with --yes")
            return ExitCode.DONE
        node.partners.remove(name)
    talk(f"forgot partner {name}")
    return ExitCode.DONE


def _greeted(node: Node, asked: Partner) -> Greeting:
    """Greet before anything is saved: what is wrong for good is refused, what may come is not.

    Raises: Refused when another certificate is there, the site is this one or another than before, or it refuses.
    """
    from pacs_server.service.partners.pairing import greet

    greeting = greet(node, asked, lambda: datetime.now(UTC))
    problem = greeting.problem
    is_refusal = isinstance(problem, (WrongCertificate, PartnerRefused, Refused))
    if problem is not None and is_refusal and not problem.retryable:
        raise Refused(f"{problem}; nothing was changed") from problem
    return greeting


def _own_fingerprint(node: Node, given: str) -> str:
    """That of this node. Raises: Refused when it was given for another; ConfigError when this node has none."""
    from pacs_server.net.tls import own_fingerprint

    ours = own_fingerprint(node.settings.tls_files)
    if given == ours:
        raise Refused("that is the certificate of this node itself; pacs tls show prints the other's there")
    return ours


def _set_paused(invocation: Invocation, name: str, *, is_paused: bool) -> ExitCode:
    with invocation.node() as node:
        node.partners.pause(name, is_paused=is_paused)
    talk(f"partner {name} {'is paused' if is_paused else 'goes on'}")
    return ExitCode.DONE
