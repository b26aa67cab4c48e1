"""Two servers on two networks, and the cable between them pulled while both take in the same studies."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.namespaces import Cable
from support.pair import PairOnCable
from support.samples import Sample, data_set_of, tiny, write
from support.senders import Sender
from support.server import LONG, Archive, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_200)]

CUT_S = 60.0 if LONG else 10.0
COUNT = 300 if LONG else 60
HEALED_S = 300.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PairOnCable]:
    with Cable() as cable:
        joined = PairOnCable(tmp_path_factory.mktemp("cable"), cable)
        try:
            yield joined
        finally:
            joined.close()
        for each in joined.both:
            assert "Traceback" not in each.log_text(), each.log_text()[-6_000:]


def shared(folder: Path, sender: str, part: str) -> list[Sample]:
    """Objects of the same three studies and their series, whoever sends them; every third is sent by both."""
    names = [f"{part}-{number}" if number % 3 == 0 else f"{part}-{number}-{sender}" for number in range(COUNT)]
    return [
        write(
            tiny(name, study=f"shared-{number % 3}", series=number % 2, ImageComments="x" * 50 * number),
            folder / f"{sender}-{name}.dcm",
        )
        for number, name in enumerate(names)
    ]


def held(archive: Archive) -> dict[str, bytes]:
    return {path.name.rpartition("-")[0]: data_set_of(path) for path in archive.files() if path.suffix == ".dcm"}


def test_what_both_took_in_of_the_same_studies_while_they_were_cut_off_is_the_same_on_both_afterwards(
    pair: PairOnCable, tmp_path: Path, evidence: Callable[..., None]
) -> None:
    before, across, apart = (
        [Sender(each, shared(tmp_path, each.aet, part)) for each in pair.both] for part in ("before", "across", "apart")
    )
    for sender in before:
        sender.run()
    for each in pair.both:
        wait_for(lambda each=each: " replicated " in each.log_text(), "something to go over", timeout_s=HEALED_S)  # type: ignore[misc]
    for sender in across:
        sender.start()
    wait_for(lambda: all(sender.acknowledged for sender in across), "both to take in more", timeout_s=HEALED_S)
    pair.cut()
    cut_at = time.monotonic()
    for sender in apart:
        sender.start()
    senders = *before, *across, *apart
    wait_for(lambda: not any(sender.is_alive() for sender in senders), "the senders", timeout_s=HEALED_S)
    for each in pair.both:
        wait_for(
            lambda each=each: pair.partner(each)["state"] == "not reachable", "the cut to be seen", timeout_s=HEALED_S  # type: ignore[misc]
        )  # fmt: skip
    assert not any(pair.compared(each) for each in pair.both), "something went over a cable that was pulled"
    time.sleep(max(0.0, CUT_S - (time.monotonic() - cut_at)))
    pair.mend()
    mended_at = time.monotonic()
    wait_for(pair.are_equal, "both to hold the same", timeout_s=HEALED_S, every_s=0.5)
    sent = {one.sop_uid: one.data_set for sender in senders for one in sender.acknowledged}
    assert len(sent) == 3 * (COUNT + 2 * COUNT // 3)
    evidence(cut_s=round(mended_at - cut_at), objects=len(sent), equal_after_s=round(time.monotonic() - mended_at))
    for each in pair.both:
        assert each.instance_uids() == sent.keys()
        assert held(each) == sent
        assert each.report("conflicts", "list") == []
