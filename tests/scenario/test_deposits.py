"""An archive server as the coldest tier: two archives as whole processes, of which the far one keeps what the near one
sends away.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.dcmtk import Receiver, Station
from support.samples import Sample, data_set_of, tiny, write
from support.server import Archive, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

COUNT = 4
DEADLINE_S = 60


class Pair:
    """The archive NEAR with a rule that sends everything to the archive FAR."""

    def __init__(self, new_archive: Callable[..., Archive], folder: Path) -> None:
        self.near = new_archive(aet="NEAR", storage={"release_delay_s": 0.0})
        self.far = new_archive(aet="FAR")
        self.folder = folder
        self.samples: list[Sample] = []

    def start(self) -> None:
        self.far.start()
        self.near.add_peer("FAR", self.far.port)
        self.near.pacs("tier", "rule", "add", "old", "--from", "hot", "--to-archive", "FAR", "--older-than", "30")
        self.near.start()
        self.far.add_peer("NEAR", self.near.port)

    def take_in(self, study: str = "one", count: int = COUNT) -> list[Sample]:
        into = self.folder / study
        into.mkdir()
        taken = [write(tiny(n, study=study), into / f"{n}.dcm") for n in range(count)]
        self.near.pacs("import", str(into))
        self.samples += taken
        return taken

    def files(self, archive: Archive) -> dict[str, bytes]:
        """What is on the volume of an archive, by SOP Instance UID."""
        return {path.name.rpartition("-")[0]: data_set_of(path) for path in archive.files() if path.suffix == ".dcm"}

    @property
    def sent(self) -> dict[str, bytes]:
        return {sample.sop_uid: sample.data_set for sample in self.samples}

    def wait_until_far(self) -> None:
        wait_for(lambda: not self.files(self.near), "everything to be given up here", timeout_s=DEADLINE_S)


@pytest.fixture
def pair(new_archive: Callable[..., Archive], tmp_path: Path) -> Iterator[Pair]:
    both = Pair(new_archive, tmp_path)
    yield both
    both.near.kill()
    both.far.kill()


def test_a_study_is_sent_committed_to_given_back_and_only_then_given_up(pair: Pair) -> None:
    pair.start()
    pair.take_in()
    (planned,) = pair.near.report("tier", "plan")["studies"]
    assert (planned["objects"], planned["from_volumes"], planned["to_volumes"]) == (COUNT, ["first"], ["FAR"])
    (queued,) = pair.near.report("tier", "run", "--yes")
    assert (queued["queued"], queued["objects"]) == (COUNT, 0)
    pair.wait_until_far()
    assert pair.files(pair.far) == pair.sent
    assert pair.near.instance_uids() == pair.sent.keys()
    wait_for(lambda: pair.near.report("jobs", "list") == [], "nothing to be owed", timeout_s=DEADLINE_S)
    assert pair.near.report("tier", "plan")["studies"] == []
    assert pair.near.report("reconcile") == []
    assert pair.near.report("status")["backlog"]["lacking_copies"] == 0


def test_a_retrieve_fetches_what_is_only_far_and_it_goes_again_without_being_sent_anew(
    pair: Pair, tmp_path: Path
) -> None:
    pair.start()
    pair.take_in()
    pair.near.pacs("tier", "run", "--yes")
    pair.wait_until_far()
    with Receiver(tmp_path / "viewer", aet="VIEWER") as viewer:
        pair.near.add_peer("VIEWER", viewer.port)
        station = Station(archive=pair.near, folder=tmp_path, called="NEAR")
        moved = station.move("-S", "VIEWER", "STUDY", {"StudyInstanceUID": pair.samples[0].study_uid})
        assert moved.code == 0, moved.output
        assert {uid: data_set_of(path) for uid, path in viewer.objects().items()} == pair.sent
    assert pair.files(pair.near) == pair.sent
