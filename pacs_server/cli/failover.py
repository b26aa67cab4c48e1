"""`pacs failover`: which of two sites is the preferred one, and the way from one to the other."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from pacs_server import log
from pacs_server.cli.exits import ExitCode, exit_code
from pacs_server.cli.failover_members import patroni_with, plan_switch, refuse_demotion, reinit, show_members, switch
from pacs_server.cli.invocation import Group, Invocation, Number, pass_invocation
from pacs_server.cli.output import (
    Progress,
    as_json_text,
    in_their_language,
    label_in_their_language,
    listed,
    print_facts,
    print_rows,
    printable,
    talk,
)
from pacs_server.errors import IndexUnavailable, PacsError, StillBusy

if TYPE_CHECKING:
    from pacs_server.cluster.failover import Plan
    from pacs_server.service.assemble import Node
    from pacs_server.service.partners.failover import Failover, Lost

_WAIT: Final = click.option("--wait", "wait_s", type=Number(min=0), default=600, show_default=True,
                            metavar="SECONDS", help="How long to wait at most.")  # fmt: skip
_LOST: Final = click.option("--source-lost", is_flag=True, help="The other site does not answer, and cannot hand over.")
_HEADINGS: Final = {
    "name": "PARTNER",
    "state": "STATE",
    "since": "SINCE",
    "it_lacks_objects": "IT LACKS",
    "it_is_behind_s": "BEHIND S",
    "we_lack_objects": "WE LACK",
    "we_are_behind_s": "BEHIND S",
    "is_draining": "DRAINING",
    "clock_ahead_s": "CLOCK AHEAD S",
    "compared_at": "COMPARED",
    "compared_found": "DIFFERED",
}


@click.group(cls=Group)
def failover() -> None:
    """Say which of two sites viewers and modalities are to use.

    A site is called as pacs partner list calls it; this one here, or as the other one calls it. Where Patroni runs the
    database, a member of it may be named as well: then Patroni is asked.
    """


@failover.command(reports=True, example="pacs failover status --json")
@pass_invocation
def status(invocation: Invocation) -> ExitCode:
    """Show which site is preferred, and how far each is behind the other.

    Asks nobody: partners are shown as the running server saw them last.
    """
    from pacs_server.service.partners.role import failover_facts

    try:
        with invocation.node() as node:
            facts = failover_facts(node, datetime.now(UTC))
    except IndexUnavailable as error:
        if (members := show_members(invocation)) is not None:  # they may show why
            _print_json(invocation, {"problem": str(error), "database": members})
        raise
    if invocation.as_json:
        _print_json(invocation, facts | {"database": show_members(invocation)})
        return ExitCode.DONE
    left = facts["unfinished"]
    told = {name: facts[name] for name in ("role", "preferred", "takes_stores", "draining_since", "draining_by")}
    told |= {"lacking_copies": facts["lacking_copies"]}
    if left:
        problems = "; ".join(left["problems"])
        steps = listed(in_their_language(step) for step in left["left"])
        told["unfinished"] = f"to {left['target']}, left: {steps}{f' ({problems})' if problems else ''}"
    print_facts(told, as_json=False, said=("role", "unfinished"))
    if facts["partners"]:
        click.echo()
        print_rows(facts["partners"], _HEADINGS, as_json=False, said=("state",))
    show_members(invocation)
    return ExitCode.DONE


@failover.command(reports=True, example="pacs failover plan to osaka")
@click.argument("word", metavar="to", type=click.Choice(["to"]))
@click.argument("site")
@_LOST
@pass_invocation
def plan(invocation: Invocation, word: str, site: str, *, source_lost: bool) -> ExitCode:
    """Show what a failover would do, and what speaks against it.

    Changes nothing. Ends with 0 only when it would run.
    """
    from pacs_server.service.partners.failover import Failover

    if (patroni := patroni_with(invocation, site)) is not None:
        return plan_switch(patroni, site, as_json=invocation.as_json)
    with invocation.node() as node:
        asked = Failover(node, site, is_source_lost=source_lost)
        return _show_plan(asked, asked.plan(), as_json=invocation.as_json)


@failover.command(reports=True, example="pacs failover to osaka")
@click.argument("site")
@_LOST
@click.option("--dry-run", is_flag=True, help="Only show what would be done, like pacs failover plan.")
@_WAIT
@click.option("--keep-draining", is_flag=True, help="Leave the other site draining when the time is over.")
@pass_invocation
def to(
    invocation: Invocation, site: str, *, source_lost: bool, dry_run: bool, wait_s: float, keep_draining: bool
) -> ExitCode:
    """Make a site the preferred one.

    The other one takes no new associations, hands over what it has, and takes them again when the site was shown to
    store, find and give back. Given again after it was broken off, it goes on where it was.
    """
    from pacs_server.service.locks import failover_lock
    from pacs_server.service.partners.failover import Failover

    if (patroni := patroni_with(invocation, site)) is not None:
        return (plan_switch if dry_run else switch)(patroni, site, as_json=invocation.as_json)
    with invocation.node() as node, failover_lock(node.settings.data_dir):
        _log_where_the_server_does(node)
        asked = Failover(node, site, is_source_lost=source_lost)
        planned = asked.plan()
        if dry_run or planned.refusals or planned.is_done:
            return _show_plan(asked, planned, as_json=invocation.as_json)
        for warning in planned.warnings:
            talk(f"warning: {warning}")
        lost = asked.lost() if planned.is_source_lost else None
        ran: list[dict[str, Any]] = []
        facts = _plan_facts(planned, lost) | {"ran": ran}
        try:
            _run(asked, planned, ran, wait_s=wait_s, keeps_draining=keep_draining)
        except PacsError as error:
            result = "refused" if isinstance(error, StillBusy) else "broken off"
            _print_json(invocation, facts | {"result": result, "problem": str(error)})
            raise
    is_whole = all(one["result"] == "done" for one in ran)
    _print_json(invocation, facts | {"result": "done" if is_whole else "partly done"})
    if lost is not None:
        _talk_of_lost(planned, lost)
    if not is_whole:
        talk(f"{site} is preferred; what failed is tried again by: pacs failover to {site}")
        return ExitCode.PARTLY
    talk(f"{site} is the preferred site")
    return ExitCode.DONE


@failover.command(reports=True, example="pacs failover abandon")
@pass_invocation
def abandon(invocation: Invocation) -> ExitCode:
    """Give up a failover that was broken off.

    The other site takes associations again. Which one is preferred stays as it is.
    """
    from pacs_server.service.locks import failover_lock
    from pacs_server.service.partners.failover import abandon as give_up

    with invocation.node() as node, failover_lock(node.settings.data_dir):
        _log_where_the_server_does(node)
        given_up, problem = give_up(node)
    _print_json(invocation, given_up.facts() | {"problem": problem})
    talk(f"gave up the failover to {given_up.target}")
    if problem:
        talk(f"{given_up.source} does not know it yet, and takes no associations when it is back: {printable(problem)}")
        talk("then, on that site: pacs failover demote here --end")
        return ExitCode.PARTLY
    return ExitCode.DONE


@failover.command(reports=True, example="pacs failover resync osaka")
@click.argument("site")
@_WAIT
@pass_invocation
def resync(invocation: Invocation, site: str, *, wait_s: float) -> ExitCode:
    """Make a partner and this site equal, and show that they are.

    Counts every object anew, on this side, and waits until each has what the other has. Ends with 3 when the time was
    over before. For a member of the database, Patroni is asked to make its copy anew.
    """
    from pacs_server.service.partners.resync import resync as make_equal

    if (patroni := patroni_with(invocation, site)) is not None:
        return reinit(patroni, site, as_json=invocation.as_json)
    progress = Progress()
    with invocation.node() as node:
        for state in make_equal(node, node.partners.one(site), ends_at=time.monotonic() + wait_s):
            told = f"{site} lacks {state.there}, this site {state.here}, on their way {state.on_their_way}"
            progress.show(told)
    progress.clear()
    print_facts(state.facts(), as_json=invocation.as_json)
    if not state.is_equal:
        talk(f"{site} and this site are not equal yet; what is left goes on by itself: pacs failover status")
        return ExitCode.PARTLY
    talk(f"{site} and this site hold the same")
    return ExitCode.DONE


@failover.command(reports=True, example="pacs failover demote osaka")
@click.argument("site")
@click.option("--end", is_flag=True, help="Take associations again.")
@pass_invocation
def demote(invocation: Invocation, site: str, *, end: bool) -> ExitCode:
    """Let a site take no new associations but those of partners.

    It stays so after a restart, until --end. Nothing else changes.
    """
    from pacs_server.service.partners.failover import drain

    if patroni_with(invocation, site) is not None:
        refuse_demotion(site)
    with invocation.node() as node:
        drain(node, site, is_draining=not end)
    _print_json(invocation, {"site": site, "is_draining": not end})
    talk(f"{site} takes associations again" if end else f"{site} takes no new associations; undo with --end")
    return ExitCode.DONE


def _run(asked: Failover, planned: Plan, ran: list[dict[str, Any]], *, wait_s: float, keeps_draining: bool) -> None:
    """Do it, and tell of each step as it ends, also in `ran`."""
    progress = Progress()
    try:
        for event in asked.run(planned, wait_s=wait_s, keeps_draining=keeps_draining):
            if not event.is_over:
                progress.show(event.told)
                continue
            progress.clear()
            told = printable(event.problem or event.told) or "done"
            talk(f"{in_their_language(event.step)}: {in_their_language(told)}")
            result = "failed" if event.problem else "done"
            ran.append({"step": event.step.value, "result": result, "problem": event.problem})
    finally:
        progress.clear()


def _print_json(invocation: Invocation, facts: dict[str, Any]) -> None:
    if invocation.as_json:
        click.echo(as_json_text(facts))


def _log_where_the_server_does(node: Node) -> None:
    """A command speaks to the person; what it did belongs into the log of the server too, where that is a file."""
    settings = node.settings.log
    if settings.file is None:
        return
    try:
        log.configure(settings.level, settings.file)
    except OSError as error:  # no reason to stay where it is at night
        talk(f"{settings.file} cannot be written: {error.strerror}; what is done now is not told there")


def _show_plan(asked: Failover, planned: Plan, *, as_json: bool) -> ExitCode:
    lost = asked.lost() if planned.is_source_lost and not planned.refusals else None
    if as_json:
        result = "refused" if planned.refusals else "nothing to do" if planned.is_done else "would run"
        click.echo(as_json_text(_plan_facts(planned, lost) | {"result": result}))
    elif planned.steps:
        steps = listed(in_their_language(step) for step in planned.steps)
        checks = {_name_of_check(name): in_their_language(told) for name, told in planned.checks.items()}
        print_facts({"target": planned.target, "source": planned.source, "steps": steps, **checks}, as_json=False)
    for warning in planned.warnings:
        talk(f"warning: {warning}")
    if lost is not None:
        _talk_of_lost(planned, lost)
    for one in planned.refusals:
        talk(f"pacs: {printable(one.text)}")
    if planned.refusals:
        return exit_code(planned.refusals[0].error())
    if planned.is_done:
        talk(f"{planned.target} is the preferred site already")
    return ExitCode.DONE


def _name_of_check(name: str) -> str:
    """The name of what was looked at, which mostly begins with that of a site, in the language of the person."""
    site, _, what = name.partition(" ")
    told = label_in_their_language(f"{{}} {what}").replace("{}", site)
    return label_in_their_language(name) if told == name else told


def _plan_facts(planned: Plan, lost: Lost | None) -> dict[str, Any]:
    return {
        "target": planned.target,
        "source": planned.source,
        "is_source_lost": planned.is_source_lost,
        "steps": [step.value for step in planned.steps],
        "checks": dict(planned.checks),
        "refusals": [{"reason": one.reason.value, "text": one.text} for one in planned.refusals],
        "warnings": list(planned.warnings),
        "lost": lost
        and {
            "objects": lost.objects,
            "series": lost.number_of_series,
            "owed_since": lost.owed_since and lost.owed_since.isoformat(timespec="seconds"),
            "as_of": lost.as_of and lost.as_of.isoformat(timespec="seconds"),
            "named": [{"study": study_uid, "series": series_uid} for study_uid, series_uid in lost.series],
        },
    }


def _talk_of_lost(planned: Plan, lost: Lost) -> None:
    """What only the source has seen, and what is not known about it."""
    if lost.as_of is None:
        talk(f"{planned.source} was never heard of, so it is not known what only it has")
        return
    as_of = lost.as_of.isoformat(timespec="seconds")
    talk(f"only {planned.source} has {lost.objects} objects of {lost.number_of_series} series, as of {as_of}")
    for study_uid, series_uid in lost.series:
        talk(f"  study {study_uid} series {series_uid}")
    talk("what it took after that is not known; once it is back: pacs failover resync, on either site")
