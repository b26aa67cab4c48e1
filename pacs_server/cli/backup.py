"""`pacs backup` and `pacs restore-backup`: a copy of the archive elsewhere, whether it is whole, and the way back."""

from __future__ import annotations

import shlex
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import (
    Command,
    Group,
    Invocation,
    PathWord,
    confirmed,
    pass_invocation,
    refuse_while_serving,
    text_value,
)
from pacs_server.cli.output import Progress, print_rows, readable_size, talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pacs_server.service.upkeep.backup import Plan, Verification
    from pacs_server.storage.backup import Summary
    from pacs_server.storage.carrying import Carried

_OBJECT_HEADINGS: Final = {"uid": "UID", "result": "RESULT", "path": "FILE", "detail": "DETAIL"}
_FILE_HEADINGS: Final = {"path": "FILE", "damage": "DAMAGE"}
_RUN_HEADINGS: Final = {
    "run": "RUN",
    "state": "STATE",
    "verified_at": "VERIFIED",
    "objects": "OBJECTS",
    "with_objects": "WITH THEM",
    "size": "SIZE",
    "schema": "SCHEMA",
}
_VOLUME_HEADINGS: Final = {"name": "VOLUME", "becomes": "BECOMES", "path": "PATH"}
_NEVER: Final = "never"

_directory = click.argument("directory", metavar="DIR", type=PathWord())
_run = click.option(
    "--run", "stamp", metavar="RUN", callback=text_value, help="Not the newest that is complete, but this one."
)


@click.group(cls=Group)
def backup() -> None:
    """Back up the archive, and see whether a backup is whole."""


@backup.command("run", reports=True, example="pacs backup run --to /mnt/backup/pacs --objects")
@click.option(
    "--to",
    "target",
    required=True,
    metavar="DIR",
    type=PathWord(),
    help="Where backups are kept; made if it is missing.",
)
@click.option("--objects", "with_objects", is_flag=True, help="Also every object that is not there yet.")
@click.option("--new", "is_new", is_flag=True, help="Begin on another disk at a place where there was a backup.")
@pass_invocation
def run_(invocation: Invocation, target: Path, *, with_objects: bool, is_new: bool) -> ExitCode:
    """Back up the archive as it is at one moment.

    That is its index, its settings, its operations, a list of all objects, and the certificates and keys of its tls
    directory: keep DIR as secret as the server. The server may keep running. Nothing in DIR is ever removed.
    Interrupted, it goes on with the objects that are not there yet when it is run again. Password files are not copied.
    Before an upgrade, back up with the former release: a new one backs up no database that is not upgraded yet.

    Lists the objects that could not be read, and ends with 3 if there are any.
    """
    from pacs_server.service.upkeep.backup import refuse_older, run_backup
    from pacs_server.storage.backup import stamp_of

    refuse_older(invocation.settings().database)
    now = datetime.now(UTC)
    results: Counter[str] = Counter()
    with invocation.node() as node:
        settings_path = invocation.settings_path()
        done = run_backup(node, settings_path, target, with_objects=with_objects, is_new=is_new, now=now)
        print_rows(
            _missing(done, results),
            _OBJECT_HEADINGS,
            as_json=invocation.as_json,
            said=("result", "detail"),
            is_work=True,
        )
    talk(f"backed up to {target}, run {stamp_of(now)}, not verified: pacs backup verify {shlex.quote(str(target))}")
    if with_objects:
        talk(f"{results['copied']} objects copied, {results['present']} were there, {results['missing']} unreadable")
    return ExitCode.PARTLY if results["missing"] else ExitCode.DONE


def _missing(carried: Iterable[Carried], results: Counter[str]) -> Iterator[dict[str, object]]:
    """The objects that are missing, as rows; all are counted by their result."""
    progress = Progress()
    size_bytes = 0
    for one in carried:
        results[one.result.value] += 1
        size_bytes += one.size_bytes
        progress.show(f"{results.total()} objects, {readable_size(size_bytes)}, {results['copied']} of them copied")
        if one.detail:
            progress.clear()
            yield {"uid": one.sop_uid, "result": one.result.value, "path": one.path, "detail": one.detail}
    progress.clear()


@backup.command(reports=True, example="pacs backup verify /mnt/backup/pacs")
@_directory
@_run
@pass_invocation
def verify(invocation: Invocation, directory: Path, stamp: str) -> ExitCode:
    """Read a whole backup and compare it with what was backed up.

    A backup that was not verified says so when it is listed or restored. Works without an archive.

    Lists what is damaged, and ends with 12 if anything is. The next pacs backup run --objects replaces damaged objects.
    """
    from pacs_server.service.upkeep.backup import Verification

    verification = Verification(directory, stamp)
    damaged = print_rows(
        _damaged(verification), _FILE_HEADINGS, as_json=invocation.as_json, said=("damage",), is_work=True
    )
    name = verification.summary.stamp
    talk(f"run {name} is damaged: {damaged} files" if damaged else f"run {name} is whole")
    if verification.remark:
        talk(f"that could not be noted there: {verification.remark}")
    return ExitCode.DAMAGE if damaged else ExitCode.DONE


def _damaged(verification: Verification) -> Iterator[dict[str, object]]:
    progress = Progress()
    files = size_bytes = 0
    for one in verification.files():
        files, size_bytes = files + 1, size_bytes + one.size_bytes
        progress.show(f"{files} files, {readable_size(size_bytes)} read")
        if one.damage:
            progress.clear()
            yield {"path": one.path, "damage": one.damage}
    progress.clear()


@backup.command("list", reports=True, example="pacs backup list /mnt/backup/pacs")
@_directory
@pass_invocation
def list_(invocation: Invocation, directory: Path) -> ExitCode:
    """List the runs in a directory, and when each was verified. Works without an archive."""
    from pacs_server.service.upkeep.backup import backups_in

    rows = (_run_row(stamp, summary, problem) for stamp, summary, problem in backups_in(directory))
    if not print_rows(rows, _RUN_HEADINGS, as_json=invocation.as_json, said=("state", "verified_at")):
        talk(f"{directory} has no backup; is the right directory mounted there?")
    return ExitCode.DONE


def _run_row(stamp: str, summary: Summary | None, problem: str) -> dict[str, object]:
    if summary is None:
        return {"run": stamp, "state": problem or "broken off", "verified_at": _NEVER}
    verified_at = summary.verified_at.isoformat(timespec="seconds") if summary.verified_at else _NEVER
    return {
        "run": stamp,
        "state": f"{len(summary.damaged)} files damaged" if summary.damaged else "complete",
        "verified_at": None if summary.damaged else verified_at,
        "objects": summary.counts["instances"],
        "with_objects": summary.with_objects,
        "missing": summary.missing_count,
        "size": readable_size(summary.size_bytes),
        "size_bytes": summary.size_bytes,
        "schema": summary.schema,
        "release": summary.release,
        "taken_at": summary.taken_at.isoformat(timespec="seconds"),
    }


@click.command("restore-backup", cls=Command, reports=True, example="pacs restore-backup /mnt/backup/pacs --yes")
@_directory
@_run
@confirmed
@pass_invocation
def restore_backup(invocation: Invocation, directory: Path, stamp: str, *, yes: bool) -> ExitCode:
    """Bring the archive back from a backup.

    Its index takes the place of that of the settings file, which stays as it is. Volumes that are there are kept;
    objects that no volume has, and certificates that are missing, are copied back from DIR. No server may be running.
    Interrupted, it goes on when it is run again.

    Without --yes lists what becomes of the volumes. With it, lists the objects that DIR does not hold either, and ends
    with 12 if there are any.
    """
    from pacs_server.service.person import command_of
    from pacs_server.service.upkeep.backup import Restore

    settings, now = invocation.settings(), datetime.now(UTC)
    refuse_while_serving(settings.data_dir, "a restore of its index")
    with Restore.of(settings, directory, stamp) as restore:
        _tell(restore.plan)
        if not yes:
            print_rows(_volume_rows(restore.plan), _VOLUME_HEADINGS, as_json=invocation.as_json, said=("becomes",))
            talk("nothing was changed; a volume that is only not mounted should be mounted first; do it with --yes")
            return ExitCode.DONE
        results: Counter[str] = Counter()
        lost = _missing(restore.do(now=now, command=command_of(invocation.words, now)), results)
        print_rows(lost, _OBJECT_HEADINGS, as_json=invocation.as_json, said=("result", "detail"), is_work=True)
        if restore.kept is not None:
            talk(f"the former index is kept at {restore.kept}")
        for remark in restore.remarks:
            talk(remark)
    talk(
        f"restored: {results['present']} objects are there, {results['copied']} copied back, {results['missing']} lost"
    )
    talk("start the server, then run pacs reconcile --repair: it takes in what arrived after the backup")
    return ExitCode.DAMAGE if results["missing"] else ExitCode.DONE


def _tell(plan: Plan) -> None:
    summary = plan.summary
    if summary.damaged:
        talk(
            f"the backup {summary.stamp} was found damaged: {len(summary.damaged)} files; pacs backup verify names "
            "them, --run takes another one"
        )
    elif summary.verified_at is None:
        talk(f"the backup {summary.stamp} was never verified; pacs backup verify reads it")
    if plan.goes_on:
        talk(f"the restore of {summary.stamp} was broken off after its index was in place; it goes on")
    counts = summary.counts
    talk(
        f"run {summary.stamp}: {counts['studies']} studies, {counts['instances']} objects, {plan.lacking} to copy back"
    )
    if plan.is_estimate:
        talk("what the volumes have that the backup does not know is not copied again, so it may be fewer")


def _volume_rows(plan: Plan) -> Iterator[dict[str, object]]:
    for one in plan.volumes:
        yield {"name": one.row.name, "becomes": one.becomes.value, "path": one.row.path}
