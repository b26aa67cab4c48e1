"""How the losses that a site survives are told: a few lines for a person, or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from pacs_server.cli.output import counted, in_their_language, listed, print_facts

if TYPE_CHECKING:
    from pacs_server.cluster.advice import Advice
    from pacs_server.cluster.survive import Aspect, Loss, Part, Placement, Site, Survey


def as_facts(tried: Survey, advice: Iterable[Advice]) -> dict[str, object]:
    """Everything that was found, for JSON."""
    return {
        "parts": [_named(part) for part in tried.parts],
        "sizes": [{"lost_parts": one.parts, "losses": one.losses, "ending": one.ending} for one in tried.sizes],
        "survived": {aspect: tried.survived(aspect) for aspect in tried.sizes[0].ending},
        "first": {aspect: _loss(loss) for aspect, loss in tried.first.items()},
        "advice": [{"change": one.change, "survived": one.survives} for one in advice],
    }


def _named(part: Part) -> dict[str, object]:
    return {"kind": part.kind, "name": part.name, "holds": part.holds}


def _loss(loss: Loss) -> dict[str, object]:
    return {
        "lost_parts": [_named(part) for part in loss.parts],
        "lost_objects": sum(one.objects for one in loss.lost),
        "lost_with": [sorted(one.volumes) for one in loss.lost],
        "unreached_objects": sum(one.objects for one in loss.unreached),
        "index": loss.index.value,
    }


def print_survey(site: Site, tried: Survey, advice: Iterable[Advice]) -> None:
    """Print what was tried, what is survived, the first losses that are not, and what would help."""
    largest = tried.sizes[-1]
    kinds = [part.kind for part in tried.parts]
    numbers = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    parts = listed(counted(number, f"{kind}s" if number > 1 else kind) for kind, number in numbers.items())
    ending = listed(counted(number, f"end {aspect}") for aspect, number in largest.ending.items())
    of_parts = f"{largest.parts} of {len(kinds)} parts ({parts}): {ending}"
    told = f"1 loss of {of_parts}" if largest.losses == 1 else f"{largest.losses:,} losses of {of_parts}"
    facts = {"tried": in_their_language(told)}
    facts |= {aspect.value: _told(site, tried, aspect) for aspect in largest.ending}
    print_facts(facts, as_json=False)
    for one in advice:
        gains = listed(f"{in_their_language(aspect)} {_survived(number)}" for aspect, number in one.survives.items())
        click.echo(in_their_language(f"helps: {in_their_language(one.change)}; then {gains}"))


def _survived(number: int) -> str:
    """A number of losses, as it follows what survives them, in the language of the person."""
    told = "does not even go on now" if number < 0 else f"survives any {number}" if number else "survives no loss"
    return in_their_language(told)


def _told(site: Site, tried: Survey, aspect: Aspect) -> str:
    number = tried.survived(aspect)
    if (loss := tried.first.get(aspect)) is None:
        return _survived(number)
    if tried.is_past(aspect):
        count = sum(one.objects for one in loss.lost)
        return f"{_survived(number)}; {in_their_language(f'{count:,} objects have no copy that can be read')}"
    names = listed((f"{in_their_language(one.kind)} {one.name_and_content}" for one in loss.parts), " and ")
    without = f"without {names or in_their_language('any loss')}, {in_their_language(_reason(site, loss, aspect))}"
    return f"{_survived(number)}; {in_their_language(without)}"


def _reason(site: Site, loss: Loss, aspect: Aspect) -> str:
    if aspect == "data" or (aspect == "retrieving" and loss.lost):
        return f"{_objects(loss.lost)} are lost"
    if loss.index == "no server":
        return "no server is left; the index can be made anew on another one, from the files"
    if loss.index != "served":
        return "no server has its index; it can be made anew from the files"
    if aspect == "retrieving":
        return f"{_objects(loss.unreached)} are out of reach of the servers that are left"
    return f"no server that takes new objects has degraded {site.policy.degraded} volumes to write to"


def _objects(placements: Sequence[Placement]) -> str:
    """The objects of some placements, and where those of the first one lie, in the language of the person."""
    count = sum(one.objects for one in placements)
    objects = in_their_language(f"{count:,} objects" if count else "objects")
    told = in_their_language(f"{objects} that lie on {listed(sorted(placements[0].volumes), ' and ')} alone")
    return in_their_language(f"{told} or in {len(placements) - 1} other such ways") if len(placements) > 1 else told
