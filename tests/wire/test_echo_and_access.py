"""Who is let in, from where, and to which services: seen from the peers."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    CTImageStorage,
    ModalityWorklistInformationFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from support import dcmtk, rude, samples
from support.dcmtk import STUDY_ROOT, Station
from support.samples import tiny, write
from support.second_client import UNCOMPRESSED, associate
from support.server import Archive, wait_for

FIND, MOVE, GET = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)
USER_REJECTION, ABSTRACT_SYNTAX_NOT_SUPPORTED = 1, 3
UNRECOGNISED_OPERATION = 0x0211
UNREACHABLE_HERE = "192.0.2.77"  # of TEST-NET-1 (RFC 5737), so nobody has it


def station_called(archive: Archive, folder: Path, aet: str, called: str = "PACS") -> Station:
    dcmtk.require()
    return Station(archive=archive, folder=folder, aet=aet, called=called)


def results(association: Association) -> dict[str, int]:
    """The result of each presentation context. Source: PS3.8 table 9-18."""
    contexts = [*association.accepted_contexts, *association.rejected_contexts]
    return {str(context.abstract_syntax): context.result for context in contexts}


def test_any_caller_on_this_machine_is_answered(station: Station) -> None:
    done = station.echo()
    assert (done.code, done.statuses) == (0, [0x0000])


def test_one_association_carries_many_echoes(station: Station) -> None:
    assert station.echo("--repeat", "25").statuses == [0x0000] * 25


def test_an_association_with_every_context_and_many_syntaxes_is_accepted(station: Station) -> None:
    done = station.echo("-ppc", "128", "-pts", "38")
    assert (done.code, done.status) == (0, 0x0000)


def test_associations_side_by_side_are_served(archive: Archive) -> None:
    contexts = [(Verification, UNCOMPRESSED)]
    with associate(archive, contexts) as first, associate(archive, contexts) as second:
        assert first.send_c_echo().Status == second.send_c_echo().Status == first.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("called", ["OTHER", "pacs", "PACS1"])
def test_a_wrong_called_title_is_rejected(archive: Archive, tmp_path: Path, called: str) -> None:
    done = station_called(archive, tmp_path, "STATION", called).echo()
    assert done.code != 0
    assert "Called AE Title Not Recognized" in done.output
    assert "Rejected Permanent, Source: Service User" in done.output


def test_the_numbers_of_a_rejection_are_those_of_the_standard(archive: Archive) -> None:
    archive.pacs("ae", "add", "ELSEWHERE", UNREACHABLE_HERE, "104")
    with rude.Peer(("127.0.0.1", archive.port)) as peer:
        kind, body = peer.associate(calling=b"ELSEWHERE", called=archive.aet.encode())
    assert kind == rude.ASSOCIATE_RJ
    assert tuple(body[1:]) == (1, 1, 3)  # PS3.8 table 9-21


def test_the_called_title_does_not_matter_when_the_site_says_so(new_archive, tmp_path: Path) -> None:
    archive = new_archive(check_called=False)
    archive.start()
    assert station_called(archive, tmp_path, "STATION", "WHATEVER").echo().status == 0x0000


def test_a_registered_title_is_let_in_only_from_its_addresses(archive: Archive, tmp_path: Path) -> None:
    station = station_called(archive, tmp_path, "ROVER")
    assert station.echo().status == 0x0000
    archive.pacs("ae", "add", "ROVER", UNREACHABLE_HERE, "104")
    done = station.echo()
    assert "Calling AE Title Not Recognized" in done.output
    archive.pacs("ae", "set", "ROVER", "--from", "192.0.2.0/24", "--from", "127.0.0.0/8")
    assert station.echo().status == 0x0000
    archive.pacs("ae", "remove", "ROVER", "--yes")
    assert station.echo().status == 0x0000


def test_a_peer_may_be_registered_by_its_host_name(archive: Archive, tmp_path: Path) -> None:
    archive.pacs("ae", "add", "BYNAME", "localhost", "104")
    assert station_called(archive, tmp_path, "BYNAME").echo().status == 0x0000


def test_a_peer_that_may_only_store_cannot_query_or_retrieve(archive: Archive, tmp_path: Path) -> None:
    archive.pacs("ae", "add", "MODALITY", "127.0.0.1", "104", "--allow", "echo,store")
    station = station_called(archive, tmp_path, "MODALITY")
    sample = write(tiny(1, study="access"), tmp_path / "object.dcm")
    assert station.echo().status == 0x0000
    assert station.store(sample.path).status == 0x0000
    keys = {"StudyInstanceUID": sample.study_uid}
    for done in (
        station.find(STUDY_ROOT, "STUDY", keys),
        station.move(STUDY_ROOT, "MODALITY", "STUDY", keys),
        station.get(STUDY_ROOT, "STUDY", keys, tmp_path / "got"),
    ):
        assert done.statuses == []
        assert not done.rows
        assert "No Acceptable Presentation Contexts" in done.output or "No presentation context" in done.output


def test_each_right_opens_its_own_service_and_no_other(archive: Archive) -> None:
    services = {"echo": Verification, "store": CTImageStorage, "find": FIND, "move": MOVE, "get": GET}
    for right, service in services.items():
        aet = f"ONLY_{right.upper()}"
        archive.pacs("ae", "add", aet, "127.0.0.1", "104", "--allow", right)
        with associate(archive, [(uid, UNCOMPRESSED) for uid in services.values()], aet=aet) as association:
            accepted = {uid for uid, result in results(association).items() if result == 0}
            refused = {result for result in results(association).values() if result != 0}
        assert accepted == ({service, CTImageStorage} if service == GET else {service})  # on that it only receives
        assert refused == {USER_REJECTION}


def test_a_peer_that_may_get_receives_without_the_right_to_store(archive: Archive, tmp_path: Path) -> None:
    sample = write(tiny(2, study="access"), tmp_path / "object.dcm")
    with associate(archive, [(sample.sop_class, UNCOMPRESSED)]) as association:
        assert association.send_c_store(sample.path).Status == 0x0000
    archive.pacs("ae", "add", "VIEWER", "127.0.0.1", "104", "--allow", "find,get")
    viewer = station_called(archive, tmp_path, "VIEWER")
    assert viewer.get(STUDY_ROOT, "IMAGE", {"SOPInstanceUID": sample.sop_uid}, tmp_path / "got").status == 0x0000
    assert list(dcmtk.objects_in(tmp_path / "got")) == [sample.sop_uid]
    stored = viewer.store(sample.path)
    assert stored.code != 0
    assert 0x0000 not in stored.statuses
    contexts = [(GET, UNCOMPRESSED), (sample.sop_class, UNCOMPRESSED)]
    with associate(archive, contexts, aet="VIEWER", as_receiver=[sample.sop_class], tells_roles=False) as association:
        assert association.send_c_store(sample.path).Status == UNRECOGNISED_OPERATION


def test_a_service_that_is_not_offered_is_refused_as_such_and_the_others_stay(archive: Archive) -> None:
    with associate(
        archive, [(ModalityWorklistInformationFind, UNCOMPRESSED), (Verification, UNCOMPRESSED)]
    ) as association:
        assert results(association) == {ModalityWorklistInformationFind: ABSTRACT_SYNTAX_NOT_SUPPORTED, Verification: 0}
        assert association.send_c_echo().Status == 0x0000


@pytest.fixture
def network(tmp_path: Path) -> Iterator["Network"]:
    dcmtk.require()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and iproute2")
    network = Network(f"pacs{os.getpid() % 100_000}", os.getpid() % 250)
    try:
        network.make()
        yield network
    finally:
        network.remove()


class Network:
    """Another machine on the network: a network namespace behind a pair of virtual interfaces."""

    def __init__(self, name: str, number: int) -> None:
        # 198.18.0.0/15 is for tests between networks (RFC 2544).
        self.name, self.ours, self.theirs = name, f"198.18.{number}.1", f"198.18.{number}.2"
        self.prefix = ("ip", "netns", "exec", name)

    def make(self) -> None:
        here, there = f"{self.name}a", f"{self.name}b"
        commands = (
            f"ip netns add {self.name}",
            f"ip link add {here} type veth peer name {there} netns {self.name}",
            f"ip addr add {self.ours}/30 dev {here}",
            f"ip link set {here} up",
            f"ip -n {self.name} addr add {self.theirs}/30 dev {there}",
            f"ip -n {self.name} link set {there} up",
        )
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespace here: {command}: {done.stderr.strip()}")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"{self.name}a"], capture_output=True, check=False)


@pytest.fixture
def open_archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "open", host="0.0.0.0")
    archive.start()
    yield archive
    archive.kill()


def test_from_the_network_only_registered_peers_are_let_in(
    network: Network, open_archive: Archive, tmp_path: Path
) -> None:
    def calling(aet: str) -> Station:
        return Station(archive=open_archive, folder=tmp_path, aet=aet, host=network.ours, prefix=network.prefix)

    stranger = calling("STRANGER").echo()
    assert "Rejected Permanent, Source: Service User" in stranger.output
    assert "Calling AE Title Not Recognized" in stranger.output

    (seen,) = wait_for(lambda: open_archive.report("ae", "seen"), "the stranger to be seen")
    assert (seen["aet"], seen["address"], seen["asked"]) == ("STRANGER", network.theirs, ["echo"])
    open_archive.pacs("ae", "approve", "STRANGER")
    assert calling("STRANGER").echo().status == 0x0000
    assert open_archive.report("ae", "show", "STRANGER")["allow"] == ["echo"]
    assert open_archive.report("ae", "seen") == []

    open_archive.pacs("ae", "add", "CT1", network.theirs, "104", "--allow", "echo,store")
    open_archive.pacs("ae", "add", "CT2", "-", "-", "--from", f"{network.theirs}/30")
    open_archive.pacs("ae", "add", "CT3", "127.0.0.1", "104")
    assert calling("CT1").echo().status == 0x0000
    assert calling("CT2").echo().status == 0x0000
    assert "Calling AE Title Not Recognized" in calling("CT3").echo().output
    assert calling("CT1").store(write(tiny(1), tmp_path / "object.dcm").path).status == 0x0000
    assert open_archive.instance_uids() == {samples.uid("object", "study", "series", 1)}
