"""A server that has been called by everybody, and killed, for some time is what it was before."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import dcmtk
from support.server import LONG
from support.soak.course import soak
from support.soak.crowd import KINDS

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_600 if LONG else 1_800)]

SECONDS = 600.0 if LONG else 30.0


def test_a_crowd_of_good_and_rude_callers_and_kills_leave_a_server_as_it_was(
    tmp_path: Path, evidence: Callable[..., None]
) -> None:
    dcmtk.require()
    outcome = soak(tmp_path, SECONDS)
    assert outcome.problems == (), str(outcome)
    done = outcome.counts
    assert min(done[name] for name in KINDS) > 5
    assert done["kills"] > 1
    assert outcome.acknowledged > 100
    evidence(acknowledged=outcome.acknowledged, kills=done["kills"], lost=0, end_mb=outcome.end.memory_bytes // 10**6)
