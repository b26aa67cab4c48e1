"""`pacs failover` with a member of a database that Patroni runs: who leads is asked of Patroni, and decided there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.output import as_json_text, in_their_language, print_facts, print_rows, printable, talk
from pacs_server.errors import IndexUnavailable, PatroniUnavailable, Refused

if TYPE_CHECKING:
    from pacs_server.cli.invocation import Invocation
    from pacs_server.cluster.members import Member
    from pacs_server.cluster.patroni import Patroni

_HEADINGS: Final = {
    "name": "MEMBER",
    "role": "ROLE",
    "state": "STATE",
    "address": "ADDRESS",
    "timeline": "TIMELINE",
    "lag_bytes": "LAG",
    "version": "PATRONI",
}


def patroni_with(invocation: Invocation, name: str) -> Patroni | None:
    """Patroni, where the settings name one that has a member of that name; else it is about a site.

    Raises: ConfigError; PatroniUnavailable when it does not answer, and no site is known by that name.
    """
    patroni = _patroni(invocation)
    if patroni is None:
        return None
    try:
        return patroni if patroni.status().member(name) is not None else None
    except PatroniUnavailable as error:
        if not _is_site(invocation, name):
            raise
        talk(f"warning: {printable(error)}")
        return None


def _is_site(invocation: Invocation, name: str) -> bool:
    """Whether a site is known by a name, as far as the index can be asked."""
    from pacs_server.service.partners.failover import is_site

    try:
        with invocation.node() as node:
            return is_site(node, name)
    except IndexUnavailable:
        return False


def show_members(invocation: Invocation) -> dict[str, Any] | None:
    """The members as facts, which are printed unless it is JSON that is wanted; None where no Patroni is named.

    Raises: ConfigError.
    """
    patroni = _patroni(invocation)
    if patroni is None:
        return None
    try:
        state = patroni.status()
    except PatroniUnavailable as error:
        talk(f"warning: {printable(error)}")
        return {"problem": str(error), "members": []}
    rows = [_facts(one) for one in state.members]
    if not invocation.as_json:
        click.echo()
        print_rows(rows, _HEADINGS, as_json=False)
    return {"problem": "", "members": rows, "is_paused": state.is_paused, "is_synchronous": state.is_synchronous}


def plan_switch(patroni: Patroni, name: str, *, as_json: bool) -> ExitCode:
    """Show what would be asked of Patroni, and what speaks against it. Raises: PatroniUnavailable."""
    planned = patroni.plan(name, datetime.now(UTC))
    facts: dict[str, Any] = {
        "target": planned.to,
        "source": planned.leader,
        "steps": ["switch over" if planned.leader else "fail over"],
    }
    refusals = [{"reason": "patroni", "text": one} for one in planned.refusals]
    if as_json:
        click.echo(as_json_text(facts | {"refusals": refusals, "result": "refused" if refusals else "would run"}))
    else:
        print_facts(facts | {"steps": in_their_language(facts["steps"][0])}, as_json=False)
    for one in planned.refusals:
        talk(f"pacs: {printable(one)}")
    return ExitCode.REFUSED if refusals else ExitCode.DONE


def switch(patroni: Patroni, name: str, *, as_json: bool) -> ExitCode:
    """Have Patroni make a member the leader. Raises: Refused; PatroniUnavailable."""
    return _told({"target": name, "result": "done", "told": patroni.switch(name, datetime.now(UTC))}, as_json=as_json)


def reinit(patroni: Patroni, name: str, *, as_json: bool) -> ExitCode:
    """Have Patroni make the copy of a member anew. Raises: Refused; PatroniUnavailable."""
    return _told({"target": name, "result": "begun", "told": patroni.reinit(name)}, as_json=as_json)


def refuse_demotion(name: str) -> None:
    """Raises: Refused. Patroni demotes who leads when another one is to."""
    raise Refused(f"{name} is a member that Patroni runs: name the one that is to lead: pacs failover to MEMBER")


def _patroni(invocation: Invocation) -> Patroni | None:
    from pacs_server.cluster.patroni import Patroni

    settings = invocation.settings().patroni
    return Patroni(settings) if settings.urls else None


def _told(facts: dict[str, Any], *, as_json: bool) -> ExitCode:
    if as_json:
        click.echo(as_json_text(facts))
    talk(f"Patroni says: {printable(facts['told'])}")
    return ExitCode.DONE


def _facts(one: Member) -> dict[str, Any]:
    return {
        "name": one.name,
        "role": one.role,
        "state": one.state,
        "address": one.address,
        "timeline": one.timeline,
        "lag_bytes": one.lag_bytes,
        "version": one.version,
    }
