"""`pacs alert`: the alarms that stand, and whether they would arrive."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, pass_invocation
from pacs_server.cli.output import print_rows, talk

ALARM_HEADINGS: Final = {
    "kind": "ALARM",
    "about": "ABOUT",
    "since": "SINCE",
    "gone_since": "GONE SINCE",
    "text": "WHAT",
}
ALARM_WORDS: Final = ("kind", "text")
_TRIED_HEADINGS: Final = {"way": "WAY", "result": "RESULT"}


@click.group(cls=Group)
def alert() -> None:
    """Show the alarms that stand, and try how they are told."""


@alert.command("list", reports=True, example="pacs alert list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the alarms of this node that stand.

    Ends with 12 when there are some.
    """
    from pacs_server.service.monitoring.alarm_book import standing_alarms, undelivered

    data_dir = invocation.settings().data_dir
    rows = standing_alarms(data_dir)
    print_rows(rows, ALARM_HEADINGS, as_json=invocation.as_json, said=ALARM_WORDS)
    for way, problem in undelivered(data_dir).items():
        talk(f"alarms wait, because {way} does not take them: {problem}")
    if not rows:
        talk("no alarm stands")
    return ExitCode.DAMAGE if rows else ExitCode.DONE


@alert.command(reports=True, example="pacs alert test")
@pass_invocation
def test(invocation: Invocation) -> ExitCode:
    """Send a test alarm by each way that the settings give.

    Ends with 3 when one of the ways did not take it, and with 13 when none did.
    """
    from pacs_server.errors import AlarmNotTold, ConfigError
    from pacs_server.service.monitoring.alarm_book import Notice
    from pacs_server.service.monitoring.messengers import ways_of
    from pacs_server.service.roll_call import node_name

    settings = invocation.settings()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    notice = Notice(
        what="test",
        kind="test",
        about="test",
        text="this is a test: somebody gave the command pacs alert test",
        since=now,
        at=now,
        node=node_name(settings),
        aet=str(settings.aet),
    )
    if not (ways := ways_of(settings.alert)):
        raise ConfigError("alert: neither command nor mail nor webhook is given, so that alarms stand in the log alone")
    rows = []
    failed = 0
    for way, tell in ways.items():
        try:
            tell(notice)
        except AlarmNotTold as error:
            failed += 1
            rows.append({"way": way, "result": str(error), "is_told": False})
        else:
            rows.append({"way": way, "result": "taken", "is_told": True})
    print_rows(rows, _TRIED_HEADINGS, as_json=invocation.as_json, said=_TRIED_HEADINGS)
    return ExitCode.DONE if not failed else ExitCode.UNREACHABLE if failed == len(ways) else ExitCode.PARTLY
