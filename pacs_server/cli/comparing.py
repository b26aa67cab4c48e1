"""`pacs reconcile --with`: this archive against another one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.output import Progress, in_their_language, listed, print_rows, talk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from pacs_server.archive.comparing import Difference
    from pacs_server.cli.invocation import Invocation
    from pacs_server.service.assemble import Node

_HEADINGS: Final = {
    "kind": "FINDING",
    "uid": "OBJECT",
    "series_uid": "SERIES",
    "study_uid": "STUDY",
    "outcome": "OUTCOME",
}
_FETCHED: Final = "fetched"
_QUEUED: Final = "queued to be sent"


class Mending(Enum):
    """What is done about a difference."""

    NONE = auto()
    FETCH = auto()
    FETCH_AND_SEND = auto()


def compare_with(
    invocation: Invocation,
    aet: str,
    keys: Mapping[str, str],
    since: date | None,
    *,
    mending: Mending,
    is_thorough: bool,
) -> ExitCode:
    """Compare with a peer, print each object that only one of both has, and have it fetched or sent; who only fetches
    is told nothing of what is missing there.
    """
    from pacs_server.archive.comparing import DifferenceKind
    from pacs_server.service.peers.comparing import compare, comparison

    progress, counts, problems = Progress(), Counter[str](), list[str]()

    def rows() -> Iterator[dict[str, object]]:
        with comparison(node, aet, keys, is_thorough=is_thorough) as made:
            for part in compare(node, made, keys, since):
                counts["studies"] += part.studies
                problems.extend([part.problem] if part.problem else [])
                progress.show(f"{counts['studies']} studies compared, {part.period}")
                differences = [
                    one
                    for one in part.differences
                    if mending is not Mending.FETCH or one.kind is not DifferenceKind.MISSING_THERE
                ]
                outcomes = {} if mending is Mending.NONE else _repaired(node, aet, differences)
                for one in differences:
                    progress.clear()
                    outcome = outcomes.get((one.study_uid, one.sop_uid), "")
                    counts[one.kind.value] += 1
                    counts["left"] += outcome not in (_FETCHED, _QUEUED)
                    yield {
                        "kind": one.kind.value,
                        "uid": one.sop_uid,
                        "series_uid": one.series_uid,
                        "study_uid": one.study_uid,
                        "outcome": outcome,
                    }

    with invocation.node() as node:
        print_rows(rows(), _HEADINGS, as_json=invocation.as_json, said=("kind", "outcome"), is_work=True)
    progress.clear()
    studies, left = counts.pop("studies"), counts.pop("left", 0)
    told = listed(f"{count} x {in_their_language(kind)}" for kind, count in counts.items())
    same = "nothing is missing here" if mending is Mending.FETCH else "they hold the same"
    talk(f"{studies} studies compared with {aet}: {told or in_their_language(same)}")
    for problem in problems:
        talk(f"its studies without a date are not compared: {problem}; compare them patient by patient (PatientID=)")
    return ExitCode.PARTLY if left or problems else ExitCode.DONE


def _repaired(node: Node, aet: str, differences: Sequence[Difference]) -> dict[tuple[str, str], str]:
    """What became of each object, by the UIDs of its study and its own: queued for the running server to send,
    fetched, or why not.
    """
    from pacs_server.archive.comparing import DifferenceKind
    from pacs_server.service.peers.comparing import fetch_missing, send_missing

    outcomes: dict[tuple[str, str], str] = {}
    if send_missing(node, aet, differences, datetime.now(UTC)):
        missing = [one for one in differences if one.kind is DifferenceKind.MISSING_THERE]
        outcomes |= {(one.study_uid, one.sop_uid): _QUEUED for one in missing}
    for fetched in fetch_missing(node, aet, differences, lambda: False):
        outcomes[fetched.item.study_uid, fetched.item.sop_uid] = fetched.problem or _FETCHED
    return outcomes
