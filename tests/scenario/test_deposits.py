"""An archive server as the coldest tier: two archives as whole processes, of which the far one keeps what the near one
sends away.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove
from support.dcmtk import Receiver, Station
from support.deposits import kept
from support.orthanc import Orthanc
from support.samples import NATIVE, Sample, data_set_of, tiny, write
from support.server import Archive, wait_for

from pacs_server.service.assemble import Node
from pacs_server.settings import load

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

COUNT = 4
DEADLINE_S = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How a C-MOVE ended."""

    status: int
    failed: set[str]


def objects_here(archive: Archive) -> set[str]:
    """The objects that have a file on the volume of an archive; the server may remove directories meanwhile."""
    names = (name for _, _, some in os.walk(archive.volume) for name in some)
    return {name.rpartition("-")[0] for name in names if name.endswith(".dcm")}


def stores(archive: Archive, aet: str) -> bool:
    """Whether a peer has stored something over an association that it requested."""
    return re.search(rf" calling={aet} .* stored=", archive.log_text()) is not None


class Pair:
    """The archive NEAR with a rule that sends everything to the archive FAR, where it has the rights `allow`."""

    def __init__(self, new_archive: Callable[..., Archive], folder: Path, allow: str) -> None:
        self.allow = allow
        self.near = new_archive(aet="NEAR", storage={"release_delay_s": 0.0})
        self.far = new_archive(aet="FAR", storage={"commitment_wait_s": 0.0})
        self.folder = folder
        self.samples: list[Sample] = []

    def allows(self, right: str) -> bool:
        return right in self.allow.split(",")

    def start(self) -> None:
        self.far.start()
        self.near.add_peer("FAR", self.far.port)
        self.near.pacs(
            "tier", "rule", "add", "old", "--from", "hot", "--to-archive", "FAR", "--older-than", "30",
            "--not-read-for", "0",
        )  # fmt: skip
        self.near.start()
        self.far.add_peer("NEAR", self.near.port, "--allow", self.allow)

    def take_in(self, study: str = "one", count: int = COUNT) -> list[Sample]:
        into = self.folder / study
        into.mkdir()
        taken = [write(tiny(n, study=study), into / f"{n}.dcm", NATIVE[n % len(NATIVE)]) for n in range(count)]
        self.near.pacs("import", str(into))
        self.samples += taken
        return taken

    def files(self, archive: Archive) -> dict[str, bytes]:
        """What is on the volume of an archive, by SOP Instance UID."""
        return {path.name.rpartition("-")[0]: data_set_of(path) for path in archive.files() if path.suffix == ".dcm"}

    @property
    def sent(self) -> dict[str, bytes]:
        return {sample.sop_uid: sample.data_set for sample in self.samples}

    def send_away(self) -> None:
        self.near.pacs("tier", "run", "--yes")
        self.wait_until_far()

    def wait_until_far(self) -> None:
        """Until every object is far, whole, and nothing of it is here or owed."""
        wait_for(lambda: not objects_here(self.near), "everything to be given up here", timeout_s=DEADLINE_S)
        wait_for(lambda: self.near.report("jobs", "list") == [], "nothing to be owed", timeout_s=DEADLINE_S)
        assert self.files(self.far) == self.sent
        assert self.near.instance_uids() == self.sent.keys()
        assert self.near.report("tier", "plan")["studies"] == []
        assert self.near.report("reconcile") == []

    def move(self, viewer: Receiver) -> Moved:
        """Have the whole study moved to a viewer."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", self.samples[0].study_uid
        client = AE("CALLER")
        client.dimse_timeout = client.acse_timeout = DEADLINE_S
        client.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
        association = client.associate("127.0.0.1", self.near.port, ae_title="NEAR")
        try:
            answers = association.send_c_move(identifier, viewer.aet, StudyRootQueryRetrieveInformationModelMove)
            status, failed = list(answers)[-1]
            uids = failed.FailedSOPInstanceUIDList if failed else []
            return Moved(status=status.Status, failed={uids} if isinstance(uids, str) else set(uids))
        finally:
            association.release()

    def archives(self) -> list[dict[str, object]]:
        told: list[dict[str, object]] = self.near.report("status")["backlog"]["archives"]
        return told


# Without the right `get` there, no context for C-GET is accepted, and everything comes back by C-MOVE.
EITHER_WAY = pytest.mark.parametrize(
    "pair", ["store,find,commit,get", "store,find,commit,move"], indirect=True, ids=["by C-GET", "by C-MOVE"]
)


@pytest.fixture
def pair(request: pytest.FixtureRequest, new_archive: Callable[..., Archive], tmp_path: Path) -> Iterator[Pair]:
    both = Pair(new_archive, tmp_path, getattr(request, "param", "store,find,commit,get"))
    yield both
    both.near.kill()
    both.far.kill()


@EITHER_WAY
def test_a_study_is_sent_committed_to_and_given_back_before_it_is_given_up_and_a_retrieve_fetches_it(
    pair: Pair, tmp_path: Path
) -> None:
    pair.start()
    pair.take_in()
    (planned,) = pair.near.report("tier", "plan")["studies"]
    assert (planned["objects"], planned["from_volumes"], planned["to_volumes"]) == (COUNT, ["first"], ["FAR"])
    (queued,) = pair.near.report("tier", "run", "--yes")
    assert (queued["queued"], queued["objects"]) == (COUNT, 0)
    pair.wait_until_far()
    assert pair.archives() == [{"aet": "FAR", "objects": COUNT, "only_there": COUNT, "not_given_back": 0}]
    assert pair.near.report("status")["backlog"]["lacking_copies"] == 0
    (asked,) = pair.near.report("commit", "list")
    pair.near.pacs("ae", "remove", "FAR", "--yes", expect=2)
    with Receiver(tmp_path / "viewer", aet="VIEWER") as viewer:
        pair.near.add_peer("VIEWER", viewer.port)
        assert pair.move(viewer) == Moved(status=0x0000, failed=set())
        assert {uid: data_set_of(path) for uid, path in viewer.objects().items()} == pair.sent
    assert pair.files(pair.near) == pair.sent, "what was fetched are ordinary copies"
    assert pair.archives()[0]["only_there"] == 0
    before = wait_for(lambda: pair.far.log_text().count(f"stored={COUNT}"), "the association to be logged")
    pair.send_away()
    assert pair.far.log_text().count(f"stored={COUNT}") == before == 1, "it was not sent anew"
    assert pair.near.report("commit", "list") == [asked]
    exported = tmp_path / "exported"
    pair.near.pacs("export", f"StudyInstanceUID={pair.samples[0].study_uid}", "--to", str(exported))
    assert {path.stem: data_set_of(path) for path in exported.rglob("*.dcm")} == pair.sent
    if pair.allows("move"):
        wait_for(lambda: stores(pair.near, "FAR"), "the association to be logged")
    assert stores(pair.near, "FAR") == pair.allows("move"), "what is fetched came in the other way"


def test_whatever_step_it_is_killed_at_everything_goes_on_and_ends_the_same(pair: Pair) -> None:
    pair.start()
    pair.near.kill()
    pair.take_in()
    pair.near.pacs("tier", "run", "--yes")
    for step in ("deposited", "asked", "answered", "decided", "given up"):
        pair.near.start(dies_at=(step, 1))
        pair.near.wait_for_death()
        assert pair.near.instance_uids() == pair.sent.keys()
        assert pair.files(pair.near) == pair.sent or step == "given up"
    pair.near.start()
    pair.wait_until_far()


def test_what_the_archive_server_does_not_vouch_for_stays_until_it_does(pair: Pair) -> None:
    pair.start()
    pair.take_in()
    pair.far.pacs("policy", "set", "--want", "2")
    pair.near.pacs("tier", "run", "--yes")

    def error() -> str:
        return "".join(row["error"] for row in pair.near.report("jobs", "list"))

    told = wait_for(
        lambda: "FAR does not vouch for" in (told := error()) and told, "the refusal to be told", timeout_s=DEADLINE_S
    )
    assert "it has fewer copies than wanted; it stays, and is sent anew" in told
    assert "does not vouch for" in pair.near.pacs("doctor", expect=12).stdout
    assert pair.files(pair.near) == pair.sent
    pair.far.pacs("policy", "set", "--want", "1")
    pair.near.pacs("jobs", "retry", "--all")
    pair.wait_until_far()


@EITHER_WAY
def test_an_archive_server_that_is_away_or_lost_something_fails_only_what_it_keeps(pair: Pair, tmp_path: Path) -> None:
    pair.start()
    pair.take_in()
    pair.send_away()
    pair.far.kill()
    with Receiver(tmp_path / "viewer", aet="VIEWER") as viewer:
        pair.near.add_peer("VIEWER", viewer.port)
        everything = set(pair.sent)
        assert pair.move(viewer) == Moved(status=0xA702, failed=everything)
        assert pair.archives()[0]["not_given_back"] == 0, "who is away has lost nothing"
        pair.far.start()
        pair.near.pacs("ae", "set", "FAR", "--port", str(pair.far.port))
        gone, changed = pair.samples[:2]
        pair.far.pacs("delete", f"SOPInstanceUID={gone.sop_uid}", "--reason", "a test", "--yes")
        write(tiny(1, study="one", ImageComments="other"), tmp_path / "other" / "1.dcm")
        pair.far.pacs("import", str(tmp_path / "other"))
        rows = pair.far.report("conflicts", "show", changed.sop_uid)
        (other,) = [row["digest"] for row in rows if row["role"] == "version"]
        pair.far.pacs("version", "use", changed.sop_uid, other, "--reason", "a test")
        assert pair.move(viewer) == Moved(status=0xB000, failed={gone.sop_uid, changed.sop_uid})
        assert viewer.objects().keys() == everything - {gone.sop_uid, changed.sop_uid}
        assert pair.archives()[0]["not_given_back"] == 2
        assert pair.near.report("conflicts", "list") == [], "what came is no version of what went"
        assert "FAR did not give back 2 objects that it keeps" in pair.near.pacs("doctor", expect=12).stdout
        assert pair.near.instance_uids() == everything, "a person sees what is lost"
        pair.far.pacs("restore", f"SOPInstanceUID={gone.sop_uid}", "--reason", "a test", "--yes")
        assert pair.move(viewer) == Moved(status=0xB000, failed={changed.sop_uid})
    assert pair.archives()[0]["not_given_back"] == 1
    pair.near.pacs("import", str(tmp_path / "one"))
    assert pair.files(pair.near) == pair.sent, "a resend is the rescue"


def test_two_archives_never_give_up_an_object_for_each_other(pair: Pair) -> None:
    pair.start()
    pair.take_in()
    pair.send_away()
    words = ("--from", "hot", "--to-archive", "NEAR", "--older-than", "30", "--not-read-for", "0")
    pair.far.pacs("tier", "rule", "add", "old", *words)
    pair.far.pacs("tier", "run", "--yes")

    def error() -> str:
        return "".join(row["error"] for row in pair.far.report("jobs", "list"))

    wait_for(lambda: "NEAR does not vouch for" in error(), "the refusal to be told", timeout_s=DEADLINE_S)
    pair.near.pacs("tier", "run", "--yes")
    wait_for(lambda: not objects_here(pair.near), "what came back to be given up again", timeout_s=DEADLINE_S)
    assert pair.files(pair.far) == pair.sent
    assert "an archive server keeps them for this archive" in pair.near.log_text()


def given_up(archive: Archive, samples: Sequence[Sample], aet: str) -> None:
    """Note that an archive server keeps objects of one series, and give up what is here of them."""
    with Node.open(load(archive.config)) as node:
        kept(samples, node.deposits, node.instances, node.volumes(), aet)
        rows = [one.row for one in node.deposits.of_series(samples[0].study_uid, samples[0].series_uid, aet)]
        ids = [volume.spec.id for volume in node.volumes()]
        assert node.deposits.give_up(rows, ids, aet, due_at=datetime.now(UTC)) == len(samples)


@EITHER_WAY
def test_two_archives_that_each_take_the_other_for_the_keeper_do_not_ask_each_other_without_end(
    pair: Pair, tmp_path: Path
) -> None:
    samples = [write(tiny(n), tmp_path / "in" / f"{n}.dcm") for n in range(2)]
    for each, other in ((pair.near, "FAR"), (pair.far, "NEAR")):
        each.pacs("import", str(tmp_path / "in"))
        each.add_peer(other, 1)
        given_up(each, samples, other)
        each.start()
    for each, other in ((pair.near, pair.far), (pair.far, pair.near)):
        each.pacs("ae", "set", other.aet, "--port", str(other.port), "--allow", pair.allow)
        each.add_peer("VIEWER", 1)
    pair.samples = samples
    assert pair.move(Receiver(tmp_path / "viewer", aet="VIEWER")) == Moved(
        status=0xA702, failed={one.sop_uid for one in samples}
    )
    told = lambda: [line for line in pair.far.log_text().splitlines() if " retrieve " in line]  # noqa: E731
    asked = wait_for(told, "the retrieve to be logged, after its answer")
    assert len(asked) == 1
    assert "only NEAR keeps it, who asks for it" in asked[0]


def test_an_archive_server_that_says_nothing_holds_up_nobody_and_a_cancel_is_answered_at_once(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    near = new_archive(network={"association_timeout_s": 15.0})
    samples = [write(tiny(n), tmp_path / "in" / f"{n}.dcm") for n in range(2)]
    near.pacs("import", str(tmp_path / "in"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        near.add_peer("FAR", silent.getsockname()[1])
        near.add_peer("VIEWER", 1)
        given_up(near, samples, "FAR")
        near.start()
        station = Station(archive=near, folder=tmp_path)
        keys = {"StudyInstanceUID": samples[0].study_uid}
        cancelled = station.move("-S", "VIEWER", "STUDY", keys, options=["--cancel", "1"])
        assert "0xfe00" in cancelled.output.lower(), cancelled.output
        assert station.echo().code == 0
        failed = station.move("-S", "VIEWER", "STUDY", keys)
        assert "0xa702" in failed.output.lower(), failed.output
        assert "0xff00" in failed.output.lower(), "it was told that it goes on"


def with_sequence(number: int, *, is_undefined_length: bool) -> Dataset:
    dataset = tiny(number)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D1100", "SRT", "Head"
    dataset.ProcedureCodeSequence = [code]
    dataset["ProcedureCodeSequence"].is_undefined_length = is_undefined_length
    code.is_undefined_length_sequence_item = is_undefined_length
    return dataset


@pytest.mark.parametrize("allows_get", [True, False], ids=["by C-GET", "by C-MOVE"])
def test_orthanc_keeps_what_it_gives_back_as_it_was_and_can_be_compared_with(
    new_archive: Callable[..., Archive], tmp_path: Path, allows_get: bool
) -> None:
    near = new_archive(aet="NEAR", storage={"release_delay_s": 0.0})
    near.start()
    datasets = [
        tiny(0),
        tiny(1),
        with_sequence(2, is_undefined_length=False),
        with_sequence(3, is_undefined_length=True),
    ]
    samples = [write(one, tmp_path / "in" / f"{n}.dcm") for n, one in enumerate(datasets)]
    near.pacs("import", str(tmp_path / "in"))
    with Orthanc(tmp_path / "orthanc", near, allows_get=allows_get) as orthanc:
        near.add_peer(orthanc.aet, orthanc.port)
        since = ("--since", "2026-01-01")
        rows = near.report("reconcile", "--with", orthanc.aet, *since, expect=3)
        assert {row["uid"] for row in rows} == {one.sop_uid for one in samples}
        near.pacs("tier", "rule", "add", "old", "--from", "hot", "--to-archive", orthanc.aet, "--older-than", "30")
        near.pacs("tier", "run", "--yes")

        wait_for(lambda: len(objects_here(near)) <= 1, "what comes back as it was to be given up", timeout_s=DEADLINE_S)
        assert objects_here(near) == {samples[3].sop_uid}, "its sequence comes back with a defined length"
        doctor = lambda: near.pacs("doctor", expect=(0, 12)).stdout  # noqa: E731
        wait_for(lambda: "comes back with other bytes" in doctor(), "the difference to be told", timeout_s=DEADLINE_S)
        near.pacs("doctor", expect=12)
        assert near.report("reconcile", "--with", orthanc.aet, "--thorough", *since) == []
        assert near.report("conflicts", "list") == []
        if not allows_get:
            wait_for(lambda: stores(near, orthanc.aet), "the association to be logged")
        assert stores(near, orthanc.aet) != allows_get
        near.pacs("export", f"StudyInstanceUID={samples[0].study_uid}", "--to", str(tmp_path / "out"))
    exported = {path.stem: data_set_of(path) for path in (tmp_path / "out").rglob("*.dcm")}
    assert exported == {one.sop_uid: one.data_set for one in samples}
