"""Damaged associations: some of the first seeds, and those that once broke a rule. ./scripts/fuzz plays more."""

from itertools import count
from pathlib import Path

import pytest
from support.fuzzing import BATCH, failures
from support.mutator import ENDS, Script, script
from support.recordings import RECORDINGS
from support.server import LONG
from support.standing_rules import Watched, watched

SEEDS = 10_000 if LONG else 300
KEPT = sorted(Path(__file__).with_name("kept").glob("*.json"))

pytestmark = pytest.mark.timeout(3_000 if LONG else 900)


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    """Short deadlines: many that are damaged leave an association open, which has to end within them."""
    return {}


@pytest.fixture(scope="module")
def numbers() -> count:  # type: ignore[type-arg]
    """A number for each script that is played to the archive of the module."""
    return count()


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_damaged_association_breaks_a_rule(ill_treated: Watched, numbers: count, first: int) -> None:  # type: ignore[type-arg]
    scripts = [(next(numbers), script(seed)) for seed in range(first, min(first + BATCH, SEEDS))]
    assert failures(ill_treated, scripts) == []


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_what_once_broke_a_rule_does_so_no_more(ill_treated: Watched, numbers: count, kept: Path) -> None:  # type: ignore[type-arg]
    assert failures(ill_treated, [(next(numbers), Script.load(kept))]) == []


def test_a_recorded_association_as_it_is_breaks_no_rule(tmp_path: Path, numbers: count) -> None:  # type: ignore[type-arg]
    """Else nothing would be learnt from those that are damaged. Whoever is late with a request is not heard, so that
    there is time for it.
    """
    whole = []
    for name, steps in RECORDINGS.items():
        actions = [one for step in steps for one in (("send", step.sent.hex()), ("read", ""))]
        whole.append((next(numbers), Script(name, (*actions, ("watch", "")))))
    patient = {"association_timeout_s": 60.0, "pdu_timeout_s": 60.0}
    with watched(tmp_path / "outside", network=patient) as archive:
        begin = archive.archive.log.stat().st_size
        assert failures(archive, whole) == []
        told = archive.archive.log.read_bytes()[begin:].decode()
        assert told.count("calling=CT1") >= len(RECORDINGS)


def test_a_script_is_the_same_for_the_same_seed_and_outlives_a_file(tmp_path: Path) -> None:
    made = [script(seed) for seed in range(200)]
    assert made == [script(seed) for seed in range(200)]
    assert len({one.actions for one in made}) > 190
    assert {one.actions[-1][0] for one in made} == set(ENDS)
    made[7].save(tmp_path / "kept.json")
    assert Script.load(tmp_path / "kept.json") == made[7]
