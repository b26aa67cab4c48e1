"""`pacs audit`: who did what, and whether that is still what was written down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import MOMENT, Group, Invocation, pass_invocation, text_value
from pacs_server.cli.output import print_rows, talk
from pacs_server.dicom.audit import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacs_server.index.audit import Row

_HEADINGS: Final = {
    "at": "WHEN",
    "event": "EVENT",
    "outcome": "OUTCOME",
    "who": "WHO",
    "person": "PERSON",
    "address": "FROM",
    "target": "TO",
    "patient_id": "PATIENT",
    "count": "COUNT",
    "detail": "DETAIL",
    "study_uid": "STUDY",
}
_LONG: Final = ("person", "target", "patient_id", "detail")
_PROBLEM_HEADINGS: Final = {"chain": "CHAIN", "number": "NUMBER", "at": "WHEN", "problem": "PROBLEM"}


@click.group(cls=Group)
def audit() -> None:
    """Show who did what, and check that it is still what was written down."""


def _moment(name: str, help_text: str) -> Callable[[Any], Any]:
    return click.option(name, type=MOMENT, metavar="MOMENT", help=help_text)


@audit.command(reports=True, example="pacs audit report --patient 4711 --since 2026-01-01")
@click.option("--patient", metavar="ID", callback=text_value, help="Of the patient with this ID.")
@click.option("--peer", metavar="AET", callback=text_value, help="By this peer, or sent to it.")
@click.option("--who", metavar="TEXT", callback=text_value, help="By a person or peer whose name has this text in it.")
@click.option("--person", metavar="NAME", callback=text_value, help="By the person who was logged in under this name.")
@_moment("--since", "From this moment on, in UTC: 2026-01-31 or 2026-01-31T08:00.")
@_moment("--until", "Before this moment, in UTC.")
@click.option(
    "--event",
    "kinds",
    type=click.Choice([kind.value for kind in EventKind]),
    multiple=True,
    help="Only this; may be given again.",
)
@pass_invocation
def report(
    invocation: Invocation,
    patient: str,
    peer: str,
    who: str,
    person: str,
    since: datetime | None,
    until: datetime | None,
    kinds: tuple[str, ...],
) -> ExitCode:
    """List who did what, oldest first.

    What is asked for has to fit together. That somebody looked is written down too. Long texts are cut; --json has them
    whole.
    """
    from pacs_server.index.audit import Wanted

    wanted = Wanted(
        patient_id=patient,
        peer=peer,
        who=who,
        person=person,
        since=since.replace(tzinfo=UTC) if since else None,
        until=until.replace(tzinfo=UTC) if until else None,
        kinds=kinds,
    )
    with invocation.node() as node:
        node.audit.tell_reading()
        rows = (_facts(row) for row in node.audit.rows(wanted))
        count = print_rows(rows, _HEADINGS, as_json=invocation.as_json, said=("outcome",), long=_LONG)
    talk(f"{count} rows")
    return ExitCode.DONE


def _facts(row: Row) -> dict[str, object]:
    event = row.event
    return {
        "at": event.at.isoformat(timespec="seconds"),
        "event": event.kind.value,
        "outcome": event.outcome.value,
        "who": event.who,
        "person": event.person,
        "address": event.address,
        "target": event.target,
        "patient_id": event.patient_id,
        "issuer": event.issuer,
        "count": event.count,
        "detail": event.detail,
        "study_uid": event.study_uid,
        "uid_digest": event.uid_digest,
        "chain": row.chain,
        "number": row.number,
        "hash": row.hash,
    }


@audit.command(reports=True, example="pacs audit verify")
@pass_invocation
def verify(invocation: Invocation) -> ExitCode:
    """Check that nothing in the audit trail was edited, removed or put elsewhere.

    Of every chain the first row that is not as it was written is named. Checkpoints are compared with those on the
    volumes.

    Ends with 12 when something was changed.
    """
    from pacs_server.dicom.checkpoints import from_text
    from pacs_server.index.promotion import promotions
    from pacs_server.service.upkeep.checkpoints import last_checkpoint, problems_of_trail

    with invocation.node() as node:
        node.audit.tell_reading()
        rows = ({name: getattr(one, name) for name in _PROBLEM_HEADINGS} for one in problems_of_trail(node))
        count = print_rows(rows, _PROBLEM_HEADINGS, as_json=invocation.as_json, said=("problem",))
        last = last_checkpoint(node) if not count else None
        texts = node.audit.checkpoints() if last is None and not count else []
        promoted_at = ", ".join(f"{one:%Y-%m-%d %H:%M}" for one in promotions(node.index))
    if count:
        talk(f"{count} problems in the audit trail")
        if promoted_at:
            talk(
                f"the database was promoted, or restored on another server, at {promoted_at} UTC: rows missing right "
                "before then may not have been removed, but lost with the former server, which still has them"
            )
        return ExitCode.DAMAGE
    if last:
        talk(f"the last is {last.name}")
    elif texts:
        talk(f"this node has no key any more; the last checkpoint that there is is {from_text(texts[-1]).name}")
    else:
        talk("no checkpoint was taken yet: the running server takes one a day")
    talk("the audit trail is whole")
    return ExitCode.DONE
