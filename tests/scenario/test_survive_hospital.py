"""Losses of three of twelve made real for config/layouts/hospital.yaml, and compared with what the model says of them:
two databases, four servers, six storages.

Servers and databases are killed, and storages are FUSE file systems of which every call fails. Then the loss is undone,
and the next one is made with the same processes. Of the 220 losses two of each mix of kinds are made in an ordinary
run, all of them by ./scripts/test --long.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
from support.hospital import Hospital
from support.losses import given_back
from support.samples import Sample
from support.server import LONG, wait_for

from pacs_server.cluster.survive import Aspect, Part, Site, lose

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(7_200 if LONG else 600)]

TAKEN_S = 90.0
# Of what was taken during the losses before, so many are looked for after each; all of them at the end.
LATEST = 8


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    with ExitStack() as running:
        made = Hospital(tmp_path, running)
        made.fill()
        yield made


def chosen(site: Site) -> list[tuple[Part, ...]]:
    """Every loss of three, or of each mix of kinds two, so that each part is lost at some time."""
    mixes: dict[tuple[str, ...], list[tuple[Part, ...]]] = {}
    for parts in combinations(site.parts, 3):
        mixes.setdefault(tuple(part.kind for part in parts), []).append(parts)
    if LONG:
        return [parts for mix in mixes.values() for parts in mix]
    some = [mix[at % len(mix)] for number, mix in enumerate(mixes.values()) for at in (number * 7, number * 7 + 3)]
    assert set().union(*some) == set(site.parts)
    return some


def goes_on(hospital: Hospital, parts: Sequence[Part], samples: Sequence[Sample]) -> set[Aspect]:
    """What really goes on. What one server does, every other one that is left has to do too."""
    names = {part.name for part in parts}
    everything = {sample.sop_uid for sample in samples}
    living = sorted(hospital.servers.keys() - names)
    lying = hospital.lying(hospital.storages.keys() - names, samples)
    found = {Aspect.DATA} if set().union(*lying.values()) == everything else set()
    if hospital.databases.keys() <= names:
        assert [name for name in living if hospital.stores(name)] == [], "taken without a database"
        return found
    for name in living:
        wait_for(partial(hospital.stores, name), f"{name} to take an object", timeout_s=TAKEN_S)
    if all(given_back(hospital.servers[name], samples) == everything for name in living):
        found.add(Aspect.RETRIEVING)
    return found | {Aspect.STORING}


def test_a_hospital_of_twelve_parts_ends_what_the_model_says_with_losses_of_three(
    hospital: Hospital, evidence: Callable[..., None]
) -> None:
    first = list(hospital.samples)
    losses = chosen(hospital.site(first))
    for parts in losses:
        samples = first + hospital.samples[len(first) :][-LATEST:]
        said, what = lose(hospital.site(samples), parts), " and ".join(map(str, parts))
        hospital.lose(parts)
        assert set(Aspect) - goes_on(hospital, parts, samples) == said.ends, f"ended with {what}"
        hospital.put_back(parts)
        hospital.become_whole()
    everything = {sample.sop_uid for sample in hospital.samples}
    site = hospital.site(hospital.samples)
    assert min(len(one.volumes) for one in site.placements) == site.policy.want, "what lacked copies has got them"
    found, *others = [server.instance_uids() for server in hospital.servers.values()]
    assert everything <= found
    assert all(other == found for other in others)
    for name in ("verify", "reconcile"):
        hospital.one.pacs(name)
    evidence(losses=len(losses), acknowledged=len(everything), lost=0)
