"""`pacs tier`: rules by which studies move to other volumes, what they would move, and the moving."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import DAYS, Group, Invocation, aet_value, confirmed, name_value, pass_invocation
from pacs_server.cli.output import Progress, as_json_text, print_facts, print_rows, readable_room, readable_size, talk
from pacs_server.cli.storage import TIERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pacs_server.archive.tiering import Room
    from pacs_server.index.releases import Waiting
    from pacs_server.index.site.tier_rules import TierRule
    from pacs_server.service.assemble import Node
    from pacs_server.service.upkeep.tiers import StudyMove
    from pacs_server.storage.volume import Volume

_RULE_HEADINGS: Final = {
    "name": "RULE",
    "source": "FROM",
    "to": "TO",
    "older_than_days": "OLDER THAN",
    "not_read_for_days": "NOT READ FOR",
    "modalities": "MODALITY",
    "makes_room": "MAKES ROOM",
}
_PLAN_HEADINGS: Final = {
    "rule": "RULE",
    "uid": "STUDY",
    "series": "SERIES",
    "objects": "OBJECTS",
    "size": "SIZE",
    "from_volumes": "FROM",
    "to_volumes": "TO",
}
_ROOM_HEADINGS: Final = {"name": "VOLUME", "tier": "TIER", "before": "FREE NOW", "after": "FREE THEN"}
_MOVED_HEADINGS: Final = {"rule": "RULE", "uid": "STUDY", "objects": "OBJECTS", "queued": "QUEUED",
                          "size": "SIZE", "problem": "PROBLEM"}  # fmt: skip


@click.group(cls=Group)
def tier() -> None:
    """Move studies between fast and slow volumes."""


def _archive_value(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    return aet_value(context, parameter, value) if value else ""


@tier.group(cls=Group)
def rule() -> None:
    """Say which studies move where."""


@rule.command(example="pacs tier rule add old --from hot --to cold --older-than 365 --not-read-for 90")
@click.argument("name", callback=name_value)
@click.option("--from", "source", type=click.Choice(TIERS), required=True, help="The tier that objects leave.")
@click.option("--to", "target", type=click.Choice(TIERS), help="The tier that they go to.")
@click.option("--to-archive", "archive", callback=_archive_value, metavar="AET",
              help="In place of --to: the archive server that is to keep them.")  # fmt: skip
@click.option("--older-than", "older_than_days", type=DAYS, metavar="DAYS",
              help="Studies made, or without a date received, more than so many days ago.")  # fmt: skip
@click.option("--not-read-for", "not_read_for_days", type=DAYS, metavar="DAYS",
              help="Studies that nobody retrieved, and nothing came for, for more than so many days.")  # fmt: skip
@click.option("--modality", "modalities", multiple=True, metavar="CS", help="Series of this modality; may be repeated.")
@click.option("--make-room", "makes_room", is_flag=True,
              help="Only so much that a volume comes down to its low-water mark, longest not read first.")  # fmt: skip
@pass_invocation
def add(invocation: Invocation, /, name: str, target: str | None, **asked: Any) -> ExitCode:
    """Add a rule.

    All that it asks for has to hold. A series belongs to the first rule that can move it, in the order of their names.
    An archive server is a registered peer. Objects stay here until it has committed to them and given them back, and
    what was read within 7 days, or --not-read-for, stays too.
    """
    from pacs_server.index.site.tier_rules import TierRule
    from pacs_server.service.destinations import destination_of

    made = TierRule(name=name, target=target or "", **asked)
    with invocation.node() as node:
        if made.archive:
            destination_of(node, made.archive)
        node.rules.add(made)
    talk(f"added rule {name}; pacs tier plan shows what it would move")
    return ExitCode.DONE


@rule.command("list", reports=True, example="pacs tier rule list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the rules in their order."""
    with invocation.node() as node:
        rules, window = node.rules.all(), node.rules.window()
    rows = [asdict(one) | {"to": one.archive or one.target} for one in rules]
    print_rows(rows, _RULE_HEADINGS, as_json=invocation.as_json)
    talk(f"the server moves by itself from {window}" if window else "the server does not move by itself")
    return ExitCode.DONE


@rule.command(example="pacs tier rule remove old --yes")
@click.argument("name")
@confirmed
@pass_invocation
def remove(invocation: Invocation, name: str, *, yes: bool) -> ExitCode:
    """Remove a rule. What it moved stays where it is."""
    with invocation.node() as node:
        if not yes:
            node.rules.one(name)
            talk(f"would remove rule {name}; what it moved stays where it is; do it with --yes")
            return ExitCode.DONE
        node.rules.remove(name)
    talk(f"removed rule {name}")
    return ExitCode.DONE


@tier.command(reports=True, example="pacs tier plan --json")
@pass_invocation
def plan(invocation: Invocation) -> ExitCode:
    """Show what the rules would move now.

    And what that does to the free space; changes nothing.
    """
    from pacs_server.archive.tiering import Room
    from pacs_server.service.upkeep.tiers import chosen_rules, planned

    with invocation.node() as node:
        rules = chosen_rules(node, None)
        room = Room()
        moves = list(planned(node, rules, room))
        told = _told_plan(node, rules, moves, room)
    if invocation.as_json:
        click.echo(as_json_text(told))
    else:
        _print_plan(told)
    return ExitCode.DONE


@tier.command(reports=True, example="pacs tier run --rule old --limit-bytes 1099511627776 --yes")
@click.option("--rule", "name", metavar="NAME", help="Only what this rule moves.")
@click.option("--limit-bytes", type=click.IntRange(min=1), metavar="N", help="Stop before more than this has moved.")
@confirmed
@pass_invocation
def run(invocation: Invocation, name: str | None, limit_bytes: int | None, *, yes: bool) -> ExitCode:
    """Move what the plan says.

    Broken off anywhere, it goes on when it is called again. An object is copied, the copy read back from the disk, and
    only then the old one given up. Its file is removed an hour later (storage.release_delay_s), by the running server
    or the next run. What goes to an archive server is queued, and is the work of the running server. Ends with 3 when
    something was left.
    """
    from pacs_server.archive.tiering import Room
    from pacs_server.service.locks import tier_lock
    from pacs_server.service.roll_call import node_name
    from pacs_server.service.upkeep import tiers

    with invocation.node() as node:
        rules = tiers.chosen_rules(node, name)
        room = Room()
        moves = tiers.planned(node, rules, room)
        for hindered, why in _hindrances(node, rules).items():
            talk(f"rule {hindered} cannot move anything: {why}")
        if not yes:
            _say_what_would_move(list(moves))
            print_rows((), _MOVED_HEADINGS, as_json=invocation.as_json)  # nothing moved
            return ExitCode.DONE
        with tier_lock(node.settings.data_dir):
            left = _move_all(invocation, node, moves, room, limit_bytes)
            for problem in tiers.release_what_is_due(node, f"{node_name(node.settings)}:tier"):
                talk(f"not removed: {problem}")
            talk(_waiting_line(node.releases.waiting()))
    return ExitCode.PARTLY if left else ExitCode.DONE


@tier.command(example="pacs tier window 01:00-05:00")
@click.argument("hours", metavar="HH:MM-HH:MM|off")
@pass_invocation
def window(invocation: Invocation, hours: str) -> ExitCode:
    """Let the running server move each day.

    What the plan says, between these times; off ends it.
    """
    from pacs_server.index.site.windows import Window

    chosen = None if hours == "off" else Window.of(hours)
    with invocation.node() as node:
        node.rules.set_window(chosen)
    talk(f"the server moves by itself from {chosen}" if chosen else "the server does not move by itself")
    return ExitCode.DONE


def _move_all(
    invocation: Invocation, node: Node, moves: Iterator[StudyMove], room: Room, limit_bytes: int | None
) -> bool:
    """Move one study after the other; whether something was left."""
    from pacs_server.service.upkeep.tiers import move_study

    counts: Counter[str] = Counter()
    progress = Progress()

    def rows() -> Iterator[dict[str, object]]:
        for study in moves:
            if limit_bytes is not None and counts["bytes"] + study.size_bytes > limit_bytes:
                counts["left"] += 1
                return
            progress.show(f"{counts['studies']} studies, {readable_size(counts['bytes'])} moved, now {study.study_uid}")
            moved = move_study(node, study, is_stopped=lambda: False)
            room.writing.clear()  # it is on the volumes now, and they were looked at
            problem = "; ".join(dict.fromkeys(moved.problems))
            counts.update(studies=1, objects=moved.objects, bytes=moved.size_bytes, left=int(bool(problem)))
            counts["queued"] += moved.queued
            progress.clear()
            yield {
                "rule": study.rule.name,
                "uid": study.study_uid,
                "objects": moved.objects,
                "queued": moved.queued,
                "size_bytes": moved.size_bytes,
                "size": readable_size(moved.size_bytes),
                "problem": problem,
            }

    print_rows(rows(), _MOVED_HEADINGS, as_json=invocation.as_json, said=("problem",), is_work=True)
    progress.clear()
    talk(f"{counts['objects']} objects of {counts['studies']} studies moved ({readable_size(counts['bytes'])})")
    if counts["queued"]:
        talk(f"{counts['queued']} objects queued for the running server to send to archive servers: pacs jobs list")
    return counts["left"] > 0


def _say_what_would_move(moves: Sequence[StudyMove]) -> None:
    objects, size = sum(one.objects for one in moves), sum(one.size_bytes for one in moves)
    deed = f"{objects} objects of {len(moves)} studies ({readable_size(size)}) would move; pacs tier plan lists them"
    talk(f"dry run: {deed}; do it with --yes")


def _hindrances(node: Node, rules: Sequence[TierRule]) -> dict[str, str]:
    from pacs_server.service.upkeep.tiers import hindrance

    return {rule.name: why for rule in rules if (why := hindrance(node, rule))}


def _told_plan(node: Node, rules: Sequence[TierRule], moves: Sequence[StudyMove], room: Room) -> dict[str, Any]:
    volumes = {volume.spec.id: volume for volume in node.volumes()}
    waiting = {one.volume_id: one.size_bytes for one in node.releases.waiting()}
    rate, written_bytes = node.rules.bytes_per_s(), room.writing.total()

    def names(ids: Counter[str]) -> list[str]:
        return sorted(volumes[one].spec.name for one in ids)

    return {
        "studies": [
            {
                "rule": one.rule.name,
                "uid": one.study_uid,
                "series": len(one.series),
                "objects": one.objects,
                "size_bytes": one.size_bytes,
                "from_volumes": names(one.leaving),
                "to_volumes": [one.rule.archive] if one.rule.archive else names(one.written),
            }
            for one in moves
        ],
        "hindrances": _hindrances(node, rules),
        "idle_rules": [one.name for one in rules if one.name not in {move.rule.name for move in moves}],
        "staying_objects": dict(room.staying),
        "size_bytes": sum(one.size_bytes for one in moves),
        "written_bytes": written_bytes,
        "duration_s": round(written_bytes / rate, 1) if rate else None,
        "volumes": [_told_room(volume, waiting.get(volume.spec.id, 0), room) for volume in volumes.values()],
    }


def _told_room(volume: Volume, waiting_bytes: int, room: Room) -> dict[str, Any]:
    free_bytes, volume_id = volume.state.free_bytes, volume.spec.id
    gained_bytes = room.leaving[volume_id] + waiting_bytes - room.writing[volume_id]
    return {
        "name": volume.spec.name,
        "tier": volume.spec.tier,
        "free_bytes": free_bytes,
        "free_bytes_after": None if free_bytes is None else free_bytes + gained_bytes,
        "waiting_bytes": waiting_bytes,
    }


def _print_plan(told: dict[str, Any]) -> None:
    studies = told["studies"]
    print_rows([one | {"size": readable_size(one["size_bytes"])} for one in studies], _PLAN_HEADINGS, as_json=False)
    duration = told["duration_s"]
    facts = {
        "studies": len(studies),
        "objects": sum(one["objects"] for one in studies),
        "size": readable_size(told["size_bytes"]),
        "time": "not known yet" if duration is None else f"about {duration:.0f} s, as fast as moves were of late",
        "waiting": f"{readable_size(waits)} to be removed" if (waits := _waiting_bytes(told)) else "",
    }
    print_facts(facts, as_json=False, said=("time", "waiting"))
    click.echo()
    rows = [
        one | {"before": readable_room(one["free_bytes"]), "after": readable_room(one["free_bytes_after"])}
        for one in told["volumes"]
    ]
    print_rows(rows, _ROOM_HEADINGS, as_json=False)
    for name in told["idle_rules"]:
        why = told["hindrances"].get(name, "it means nothing that is there")
        if name in told["hindrances"] or not told["staying_objects"].get(name):
            talk(f"rule {name} moves nothing: {why}")
    for name, number in told["staying_objects"].items():
        if name not in told["hindrances"] and number:
            talk(
                f"rule {name} cannot move {number} objects: too few copies would remain, the target has no room, or a "
                "copy is damaged; to an archive server nothing goes that has other versions"
            )


def _waiting_bytes(told: dict[str, Any]) -> int:
    return sum(one["waiting_bytes"] for one in told["volumes"])


def _waiting_line(waiting: Sequence[Waiting]) -> str:
    if not waiting:
        return "no file waits to be removed"
    files, size = sum(one.files for one in waiting), sum(one.size_bytes for one in waiting)
    first = min(one.first_due_at for one in waiting).astimezone()
    return f"{files} files ({readable_size(size)}) wait to be removed, the first from {first:%Y-%m-%d %H:%M}"
