"""What an admin decided of a peer, as the peer finds it: titles, destinations, room, and how it is let in."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import dcmtk
from support.dcmtk import STUDY_ROOT, Receiver, Station
from support.samples import tiny, write
from support.server import Archive, wait_for

from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.errors import PeerRejected
from pacs_server.net import client
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.settings import NetworkLimits

ELSEWHERE = "192.0.2.77"  # of TEST-NET-1 (RFC 5737), so nobody has it
VERIFICATION = "1.2.840.10008.1.1"
MOVE_DESTINATION_UNKNOWN = 0xA801


def station(archive: Archive, folder: Path, aet: str, called: str = "PACS") -> Station:
    dcmtk.require()
    return Station(archive=archive, folder=folder, aet=aet, called=called)


def test_who_was_turned_away_is_seen_and_let_in_in_one_step(archive: Archive, tmp_path: Path) -> None:
    archive.pacs("ae", "add", "ROVER", ELSEWHERE, "104", "--allow", "echo,store")
    rover = station(archive, tmp_path, "ROVER", called="OLDPACS")
    for _ in range(2):
        assert "Called AE Title Not Recognized" in rover.echo().output
    (seen,) = wait_for(
        lambda: [one for one in archive.report("ae", "seen") if (one["aet"], one["count"]) == ("ROVER", 2)],
        "both calls to be seen",
        timeout_s=60,
    )
    assert (seen["address"], seen["called"], seen["asked"]) == ("127.0.0.1", "OLDPACS", ["echo"])
    assert "OLDPACS" in seen["why"]

    told = archive.pacs("ae", "approve", "ROVER").stderr
    assert f"from {ELSEWHERE} -> {ELSEWHERE}, 127.0.0.1".replace(", ", ",") in told.replace(", ", ",")
    assert rover.echo().code != 0, "it was let in without --yes"
    moved = f"still goes to {ELSEWHERE}; if the device has moved: pacs ae set ROVER --host 127.0.0.1 --from 127.0.0.1"
    assert moved in told
    twice = ("--from", "127.0.0.1") * 2
    assert moved in archive.pacs("ae", "approve", "ROVER", *twice, "--yes").stderr
    assert rover.echo().status == 0x0000
    peer = archive.report("ae", "show", "ROVER")
    assert (peer["from"], peer["called"], peer["allow"]) == ([ELSEWHERE, "127.0.0.1"], ["OLDPACS"], ["echo", "store"])
    archive.pacs(*moved.partition("pacs ")[2].split())
    peer = archive.report("ae", "show", "ROVER")
    assert (peer["host"], peer["from"]) == ("127.0.0.1", ["127.0.0.1"])
    archive.pacs("ae", "approve", "NOBODY", expect=2)


def test_who_tried_an_echo_after_its_objects_were_turned_away_is_let_in_for_both(
    archive: Archive, tmp_path: Path
) -> None:
    scanner = station(archive, tmp_path, "SCANNER", called="OLDPACS")
    sample = write(tiny("scanned"), tmp_path / "scanned.dcm")
    assert scanner.store(sample.path).code != 0
    seen = lambda: [one["asked"] for one in archive.report("ae", "seen") if one["aet"] == "SCANNER"]  # noqa: E731
    wait_for(lambda: seen() == [["store"]], "the objects to be seen", timeout_s=60)
    assert scanner.echo().code != 0
    wait_for(lambda: seen() == [["echo", "store"]], "the echo to be seen beside them", timeout_s=60)
    archive.pacs("ae", "approve", "SCANNER")
    assert scanner.store(sample.path).status == 0x0000


def test_titles_that_nobody_could_register_are_not_kept(archive: Archive, tmp_path: Path) -> None:
    assert station(archive, tmp_path, "OK", called="OTHER\\1").echo().code != 0
    assert station(archive, tmp_path, "BAD\\TITLE").echo().code != 0
    wait_for(lambda: [one for one in archive.report("ae", "seen") if one["aet"] == "OK"], "the call to be seen")
    assert not [one for one in archive.report("ae", "seen") if "BAD" in one["aet"]]


def test_a_peer_moves_only_to_the_destinations_that_it_may(
    archive: Archive, tmp_path: Path, receive: Callable[..., Receiver]
) -> None:
    sample = write(tiny(1, study="destinations"), tmp_path / "object.dcm")
    station(archive, tmp_path, "ANYONE").store(sample.path)
    for aet in ("ALLOWED", "OTHER"):
        archive.add_peer(aet, receive(aet).port)
    archive.pacs("ae", "add", "READER", "127.0.0.1", "104", "--destinations", "ALLOWED")
    for nothing in ("", ","):
        assert "--destinations -" in archive.pacs("ae", "set", "READER", "--destinations", nothing, expect=2).stderr
    reader, keys = station(archive, tmp_path, "READER"), {"StudyInstanceUID": sample.study_uid}
    assert reader.move(STUDY_ROOT, "ALLOWED", "STUDY", keys).status == 0x0000
    assert reader.move(STUDY_ROOT, "OTHER", "STUDY", keys).status == MOVE_DESTINATION_UNKNOWN
    assert station(archive, tmp_path, "ANYONE").move(STUDY_ROOT, "OTHER", "STUDY", keys).status == 0x0000


def call(archive: Archive, aet: str) -> Association:
    return client.connect(
        Destination(aet=archive.aet, host="127.0.0.1", port=archive.port),
        calling_aet=aet,
        contexts=[(VERIFICATION, (IMPLICIT_LE,), False)],
        limits=NetworkLimits(connect_timeout_s=60, association_timeout_s=60),
    )


def test_a_peer_has_as_many_associations_as_it_may_and_they_come_back(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=2)
    archive.start()
    archive.pacs("ae", "add", "BUSY", "127.0.0.1", "104", "--max-associations", "2")
    first, second = call(archive, "BUSY"), call(archive, "BUSY")
    with pytest.raises(PeerRejected, match=r"local limit exceeded.*later"):
        call(archive, "BUSY")
    other = call(archive, "OTHER")
    first.release()

    def comes_in() -> bool:
        try:
            third = call(archive, "BUSY")
        except PeerRejected:
            return False
        third.release()
        return True

    wait_for(comes_in, "the place to be given back")
    second.release()
    other.release()
    assert archive.stop() == 0


def test_a_place_that_is_kept_for_a_peer_is_not_given_to_others(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=2, network={"max_associations": 4})
    archive.pacs("ae", "add", "MODALITY", "127.0.0.1", "104", "--reserved", "2")
    archive.start()
    with ExitStack() as opened:

        def takes_a_place() -> bool:
            """Whoever asked whether the server is up gives its own back a moment after it was released."""
            try:
                opened.callback(call(archive, "CROWD").close)
            except PeerRejected:
                return False
            return True

        for _ in range(2):
            wait_for(takes_a_place, "a place", timeout_s=60)
        with pytest.raises(PeerRejected, match="local limit exceeded"):
            call(archive, "CROWD")
        for _ in range(2):
            opened.callback(call(archive, "MODALITY").close)
        with pytest.raises(PeerRejected, match="local limit exceeded"):
            call(archive, "MODALITY")
    assert archive.stop() == 0
