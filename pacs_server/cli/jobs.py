"""`pacs jobs`: what is owed and to whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import ROWS, Group, Invocation, confirmed, pass_invocation
from pacs_server.cli.output import print_facts, print_rows, talk
from pacs_server.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pacs_server.index.job_queue import JobQueue
    from pacs_server.index.jobs import Job, JobState

_HEADINGS: Final = {
    "id": "NO",
    "kind": "KIND",
    "state": "STATE",
    "attempts": "ATTEMPTS",
    "due_at": "DUE",
    "series_uid": "SERIES",
    "target": "TARGET",
    "error": "LAST ERROR",
}
_SAID: Final = ("state", "error")
# Those of index/jobs.py, which is not loaded for a line of help; a test compares them.
KINDS: Final = (
    *("copy", "verify", "survey", "release", "describe", "operations", "commit", "route", "send", "replicate"),
    *("deposit", "audit"),
)
_KINDS: Final = click.Choice(KINDS)


def _each_once(context: click.Context, parameter: click.Parameter, numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(numbers))


@click.group(cls=Group)
def jobs() -> None:
    """Show what is owed, and let it wait or be tried."""


@jobs.command("list", reports=True, example="pacs jobs list --json")
@click.option("--limit", type=ROWS, default=1000, show_default=True, help="Show at most N.")
@pass_invocation
def list_(invocation: Invocation, limit: int) -> ExitCode:
    """List the jobs, those that are due first."""
    with invocation.node() as node:
        found = node.jobs.listed(limit=limit)
        paused = node.jobs.paused_kinds()
    if not print_rows(map(_row, found), _HEADINGS, as_json=invocation.as_json, said=_SAID):
        talk("no job waits")
    if paused:
        talk(f"nothing is begun of: {', '.join(sorted(paused))}; pacs jobs resume --kind lets it go on")
    return ExitCode.DONE


@jobs.command(reports=True, example="pacs jobs show 17")
@click.argument("number", type=ROWS)
@pass_invocation
def show(invocation: Invocation, number: int) -> ExitCode:
    """Show one job."""
    with invocation.node() as node:
        print_facts(_row(node.jobs.one(number)), as_json=invocation.as_json, said=_SAID)
    return ExitCode.DONE


@jobs.command(example="pacs jobs retry --all")
@click.argument("numbers", type=ROWS, nargs=-1, callback=_each_once)
@click.option("--all", "all_", is_flag=True, help="Every job that is not paused.")
@pass_invocation
def retry(invocation: Invocation, numbers: tuple[int, ...], *, all_: bool) -> ExitCode:
    """Have jobs tried at once.

    One that is under way is tried again at once if that attempt fails.
    """
    from pacs_server.index.jobs import JobState

    if all_ and numbers:
        raise click.UsageError("--all is every job: give it without numbers, or the numbers alone")
    with invocation.node() as node:
        known = node.jobs.listed(limit=1_000_000) if all_ else []
        chosen = [job.id for job in known if job.state is not JobState.PAUSED]
        if chosen:
            changed = node.jobs.set_state(chosen, JobState.WAITING, datetime.now(UTC))  # the others have just been done
            talk(f"{changed} of {len(chosen)} jobs will be tried at once")
            return ExitCode.DONE
        return _set_state(node.jobs, numbers, JobState.WAITING, "will be tried at once", may_be_none=all_)


@jobs.command(example="pacs jobs pause --kind verify")
@click.argument("numbers", type=ROWS, nargs=-1, callback=_each_once)
@click.option("--kind", "kinds", type=_KINDS, multiple=True, help="Every job of this kind, later ones too.")
@pass_invocation
def pause(invocation: Invocation, numbers: tuple[int, ...], kinds: tuple[str, ...]) -> ExitCode:
    """Let jobs wait until they are resumed."""
    from pacs_server.index.jobs import JobState

    with invocation.node() as node:
        if kinds:
            node.jobs.pause_kinds(kinds)
            talk(f"nothing is begun any more of: {', '.join(kinds)}")
        return _set_state(node.jobs, numbers, JobState.PAUSED, "paused", may_be_none=bool(kinds))


@jobs.command(example="pacs jobs resume --kind verify")
@click.argument("numbers", type=ROWS, nargs=-1, callback=_each_once)
@click.option("--kind", "kinds", type=_KINDS, multiple=True, help="Every job of this kind.")
@pass_invocation
def resume(invocation: Invocation, numbers: tuple[int, ...], kinds: tuple[str, ...]) -> ExitCode:
    """Let paused jobs go on."""
    from pacs_server.index.jobs import JobState

    with invocation.node() as node:
        if kinds:
            node.jobs.resume_kinds(kinds)
            talk(f"goes on: {', '.join(kinds)}")
        return _set_state(node.jobs, numbers, JobState.WAITING, "go on", may_be_none=bool(kinds))


@jobs.command(example="pacs jobs drop 17 --yes")
@click.argument("numbers", type=ROWS, nargs=-1, required=True, callback=_each_once)
@confirmed
@pass_invocation
def drop(invocation: Invocation, numbers: tuple[int, ...], *, yes: bool) -> ExitCode:
    """Forget jobs. What they would have done stays undone."""
    with invocation.node() as node:
        known = [node.jobs.one(number) for number in numbers]
        if not yes:
            for job in known:
                talk(f"would forget job {job.id}, {job.kind} {job.series_uid or job.target}; do it with --yes")
            return ExitCode.DONE
        dropped = node.jobs.drop(numbers)
    talk(f"forgot {dropped} of {len(numbers)} jobs")
    return ExitCode.DONE if dropped == len(numbers) else ExitCode.PARTLY


def _set_state(jobs: JobQueue, numbers: Sequence[int], state: JobState, told: str, *, may_be_none: bool) -> ExitCode:
    if not numbers:
        if not may_be_none:
            raise Refused("no job was named; pacs jobs list shows their numbers")
        return ExitCode.DONE
    for number in numbers:
        jobs.one(number)
    changed = jobs.set_state(numbers, state, datetime.now(UTC))
    talk(f"{changed} of {len(numbers)} jobs {told}")
    return ExitCode.DONE if changed == len(numbers) else ExitCode.PARTLY


def _row(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "kind": job.kind.value,
        "state": job.state.value,
        "attempts": job.attempts,
        "due_at": job.due_at.isoformat(timespec="seconds"),
        "created_at": job.created_at.isoformat(timespec="seconds"),
        "study_uid": job.study_uid,
        "series_uid": job.series_uid,
        "target": job.target,
        "worker": job.worker,
        "error": job.error,
    }
