"""`pacs import` and `pacs export`: files in and out, through the same ingest and lookup as the network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Command, Invocation, PathWord, key_values, pass_invocation
from pacs_server.cli.output import Progress, print_rows, talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pacs_server.archive.exporting import ExportResult
    from pacs_server.archive.importing import ImportResult


@click.command("import", cls=Command, reports=True, example="pacs import /media/cdrom /srv/old-archive")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=PathWord(exists=True))
@pass_invocation
def import_(invocation: Invocation, paths: tuple[Path, ...]) -> ExitCode:
    """Take in DICOM files and folders. The files stay where they are; what is held already is not stored twice.

    Without --json only the files that were not taken, or that had something remarkable, are listed.
    """
    from pacs_server.archive.importing import ImportOutcome
    from pacs_server.service.upkeep.deeds import import_files

    taken = (ImportOutcome.STORED, ImportOutcome.DUPLICATE)
    counts: Counter[str] = Counter()
    progress = Progress()

    def rows(results: Iterable[ImportResult]) -> Iterator[dict[str, object]]:
        for result in results:
            counts[result.outcome.value] += 1
            progress.show(f"{counts.total()} files, now {result.path}")
            if invocation.as_json or result.outcome not in taken or result.reason:
                progress.clear()
                yield {"path": str(result.path), "outcome": result.outcome.value, "reason": result.reason}

    with invocation.node() as node:
        print_rows(
            rows(import_files(node, paths)),
            {"outcome": "OUTCOME", "path": "FILE", "reason": "WHY"},
            as_json=invocation.as_json,
            said=("outcome", "reason"),
            is_work=True,
        )
    progress.clear()
    talk(", ".join(f"{counts[outcome.value]} {outcome.value}" for outcome in ImportOutcome))
    return ExitCode.PARTLY if counts[ImportOutcome.REFUSED.value] else ExitCode.DONE


@click.command(cls=Command, reports=True, example="pacs export PatientID=1234 Modality=CT --to /media/usb")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="DIR",
    type=PathWord(file_okay=False),
    help="Folder for STUDY/SERIES/OBJECT.dcm; made if it is missing. No file there is overwritten.",
)
@click.option(
    "--dicomdir",
    "as_medium",
    is_flag=True,
    help="As a medium for others: DICOM/ST000001/SE000001/IM000001 and a DICOMDIR, in a folder that has none.",
)
@pass_invocation
def export(invocation: Invocation, keys: tuple[str, ...], target: Path, *, as_medium: bool) -> ExitCode:
    """Write objects to files, byte for byte as they were received.

    KEY is a DICOM keyword, matched as in pacs find; a study is written whole unless a key is of its series or objects.

    Without --json only the objects that could not be written are listed.
    """
    from pacs_server.service.upkeep.deeds import export_files

    counts: Counter[bool] = Counter()
    progress = Progress()

    def rows(results: Iterable[ExportResult]) -> Iterator[dict[str, object]]:
        for result in results:
            counts[result.path is not None] += 1
            progress.show(f"{counts.total()} objects, now {result.path or result.sop_uid}")
            if invocation.as_json or result.path is None:
                progress.clear()
                path = str(result.path) if result.path else None
                yield {"uid": str(result.sop_uid), "path": path, "problem": result.problem}

    given = key_values(keys)
    with invocation.node() as node:
        print_rows(
            rows(export_files(node, given, target, as_medium=as_medium)),
            {"uid": "UID", "problem": "PROBLEM"},
            as_json=invocation.as_json,
            said=("problem",),
            is_work=True,
        )
    progress.clear()
    talk(f"{counts[True]} written to {target}, {counts[False]} not" if counts else "nothing found")
    return ExitCode.PARTLY if counts[False] else ExitCode.DONE
