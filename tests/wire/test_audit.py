"""What peers and persons do, and are refused, is in the audit trail of the running archive."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import StoragePresentationContexts
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)
from support import rude
from support.dcmtk import STUDY_ROOT, Receiver, Station
from support.samples import encoded, tiny, uid, write
from support.second_client import UNCOMPRESSED, NotAccepted, associate, identifier
from support.server import Archive, wait_for

from pacs_server.dicom.audit import digest_over

UNREACHABLE_HERE = "192.0.2.77"  # of TEST-NET-1 (RFC 5737), so nobody has it


def reported(archive: Archive, *options: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = archive.report("audit", "report", *options)
    return rows


def told(archive: Archive, *options: str, outcome: str = "", detail: str = "") -> dict[str, Any]:
    """The row that is there within the second in which queries and refusals are written down."""

    def found() -> list[dict[str, Any]]:
        rows = reported(archive, *options)
        return [row for row in rows if outcome in ("", row["outcome"]) and detail in row["detail"]]

    row: dict[str, Any] = wait_for(found, f"a row of {' '.join(options)} {outcome} {detail}", every_s=0.3)[-1]
    return row


def test_a_caller_that_is_not_let_in_is_in_the_trail_with_its_address(archive: Archive) -> None:
    archive.pacs("ae", "add", "ELSEWHERE", UNREACHABLE_HERE, "104")
    for calling, called, why in (
        (b"ELSEWHERE", b"PACS", "calling AE title not recognised; called PACS"),
        (b"LOST", b"OTHER", "called AE title not recognised; called OTHER"),
    ):
        with rude.Peer(("127.0.0.1", archive.port)) as peer:
            kind, body = peer.associate(calling=calling, called=called)
        assert (kind, body[1]) == (rude.ASSOCIATE_RJ, 1)
        row = told(archive, "--event", "association", "--peer", calling.decode(), outcome="refused")
        assert (row["address"], row["detail"], row["count"]) == ("127.0.0.1", why, 1)


def test_a_peer_that_asks_for_what_it_may_not_is_refused_that_and_in_the_trail(archive: Archive) -> None:
    archive.pacs("ae", "add", "ONLYFINDS", "127.0.0.1", "104", "--allow", "echo,find")
    find = StudyRootQueryRetrieveInformationModelFind
    with associate(archive, [(CTImageStorage, UNCOMPRESSED), (find, UNCOMPRESSED)], aet="ONLYFINDS") as association:
        assert [str(one.abstract_syntax) for one in association.accepted_contexts] == [find]
    row = told(archive, "--event", "association", "--peer", "ONLYFINDS", outcome="refused")
    assert row["detail"] == f"not allowed: {CTImageStorage}"


def test_who_may_not_retrieve_is_told_of_that_before_the_classes_it_would_receive(archive: Archive) -> None:
    archive.pacs("ae", "add", "ONLYSTORES", "127.0.0.1", "104", "--allow", "echo,store")
    service = StudyRootQueryRetrieveInformationModelGet
    classes = [str(one.abstract_syntax) for one in StoragePresentationContexts[:100]]
    contexts = [*((one, UNCOMPRESSED) for one in classes), (service, UNCOMPRESSED)]
    with (
        pytest.raises(NotAccepted, match="aborted"),
        associate(archive, contexts, aet="ONLYSTORES", as_receiver=classes),
    ):
        pass
    row = told(archive, "--event", "association", "--peer", "ONLYSTORES", outcome="refused")
    assert row["detail"].startswith(f"not allowed: {service} ")
    (line,) = [one for one in archive.log_text().splitlines() if " not allowed " in one and "ONLYSTORES" in one]
    assert "Study Root Query/Retrieve Information Model - GET" in line
    shown = archive.pacs("audit", "report", "--peer", "ONLYSTORES").stdout
    assert max(map(len, shown.splitlines())) < 400


def test_whoever_breaks_the_protocol_is_in_the_trail(archive: Archive) -> None:
    with rude.Peer(("127.0.0.1", archive.port)) as peer:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        peer.aborted()
    row = told(archive, "--event", "association", outcome="refused", detail="type")
    assert row["address"] == "127.0.0.1"


def test_an_object_that_is_refused_is_in_the_trail_and_what_was_stored_beside_it_too(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    good = [write(tiny(number, study="audited", PatientID="A-1"), tmp_path / f"{number}.dcm") for number in range(3)]
    bad = tiny("bad", study="audited", PatientID="A-1")
    bad.StudyInstanceUID = ""
    bad_file = write(bad, tmp_path / "bad.dcm")
    assert station.store(*(sample.path for sample in good)).status == 0x0000
    assert station.store(bad_file.path).status == 0xA900
    rows = [row for row in reported(archive, "--patient", "A-1") if row["event"] == "store"]
    assert sum(row["count"] for row in rows) == 3
    assert {row["study_uid"] for row in rows} == {uid("study", "audited")}
    assert {row["who"] for row in rows} == {station.aet}
    refused = told(archive, "--event", "store", outcome="refused", detail="0xa900")
    assert refused["count"] == 1


def test_an_object_that_is_sent_again_is_in_the_trail_again(archive: Archive, station: Station, tmp_path: Path) -> None:
    sample = write(tiny(1, study="twice", PatientID="A-2"), tmp_path / "object.dcm")
    assert station.store(sample.path).status == station.store(sample.path).status == 0x0000
    row = told(archive, "--patient", "A-2", "--event", "store", detail="held before")
    assert (row["count"], row["uid_digest"]) == (1, digest_over([sample.sop_uid]))


def test_a_query_is_in_the_trail_with_its_keys_and_not_in_the_log(archive: Archive, station: Station) -> None:
    station.find(STUDY_ROOT, "STUDY", {"PatientName": "SECRET*", "StudyDate": "20260101-"})
    row = told(archive, "--event", "query", detail="SECRET")
    assert (row["outcome"], row["count"]) == ("done", 0)
    assert row["detail"].startswith("STUDY StudyDate=20260101- PatientName=SECRET*; association ")
    assert "SECRET" not in archive.log_text()


def test_a_query_whose_peer_leaves_before_its_end_is_in_the_trail(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    sample = write(tiny(1, study="left", PatientID="A-9"), tmp_path / "object.dcm")
    assert station.store(sample.path).status == 0x0000
    asked = encoded(identifier("STUDY", PatientID="A-9"), rude.IMPLICIT_LE)
    query = rude.message(1, rude.query_request(rude.FIND, rude.STUDY_FIND), asked)
    with rude.Peer(("127.0.0.1", archive.port)) as peer:
        peer.associate(rude.context(1, rude.STUDY_FIND, rude.IMPLICIT_LE), calling=b"LEAVES")
        peer.send(query + rude.pdu(rude.ABORT, bytes(4)))
        row = told(archive, "--event", "query", "--peer", "LEAVES")
    assert (row["outcome"], row["target"]) == ("failed", rude.STUDY_FIND)
    assert row["detail"].startswith("STUDY PatientID=A-9; the peer aborted the association")
    (line,) = [one for one in archive.log_text().splitlines() if " find " in one and "LEAVES" in one]
    assert "the peer aborted" in line


def test_what_is_retrieved_is_in_the_trail_for_each_study_before_and_after(
    archive: Archive, station: Station, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    samples = [
        write(tiny(number, study=f"moved-{number % 2}", PatientID="A-3"), tmp_path / f"{number}.dcm")
        for number in range(4)
    ]
    assert station.store(*(sample.path for sample in samples)).status == 0x0000
    receiver = receive("AUDITED", "+xa")
    archive.add_peer("AUDITED", receiver.port)
    uids = [uid("study", f"moved-{number}") for number in range(2)]
    done = station.move(STUDY_ROOT, "AUDITED", "STUDY", {"StudyInstanceUID": "\\".join(uids)})
    assert done.status == 0x0000, done.output[-2_000:]

    def are_told() -> bool:
        return len(reported(archive, "--patient", "A-3", "--event", "send")) == len(uids)

    wait_for(are_told, "both studies to be told of", every_s=0.3)
    for study in (0, 1):
        of_study = [row for row in reported(archive, "--peer", "AUDITED") if row["study_uid"] == uids[study]]
        assert sorted(row["event"] for row in of_study) == ["begin", "send"]
        digest = digest_over(sample.sop_uid for sample in samples[study::2])
        assert {(row["count"], row["uid_digest"], row["patient_id"]) for row in of_study} == {(2, digest, "A-3")}


def test_a_move_that_is_refused_is_in_the_trail_for_each_study_and_for_whom_it_names(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    samples = [
        write(tiny(number, study=f"refused-{number % 2}", PatientID="A-6"), tmp_path / f"{number}.dcm")
        for number in range(4)
    ]
    assert station.store(*(sample.path for sample in samples)).status == 0x0000
    uids = sorted({sample.study_uid for sample in samples})
    for target, keys, rows in (
        ("NOBODY1", {"StudyInstanceUID": uids[0]}, {("A-6", uids[0], 2)}),
        ("NOBODY2", {"StudyInstanceUID": "\\".join(uids)}, {("A-6", one, 2) for one in uids}),
        ("NOBODY3", {"StudyInstanceUID": "1.2.3", "PatientID": "A-7"}, {("A-7", "1.2.3", 0)}),
        ("NOBODY4", {"StudyInstanceUID": "1.2.3\\1.2.4", "PatientID": "A-8"}, {("A-8", "", 0)}),
    ):
        assert station.move(STUDY_ROOT, target, "STUDY", keys).status == 0xA801

        def refused(target: str = target) -> list[dict[str, Any]]:
            return reported(archive, "--event", "send", "--peer", target)

        found = wait_for(refused, f"the refusal of {target} to be told", every_s=0.3)
        assert {(row["patient_id"], row["study_uid"], row["count"]) for row in found} == rows
        assert {row["outcome"] for row in found} == {"refused"}
        assert all(row["detail"].startswith(f"Move destination {target} unknown") for row in found)
    done = station.move(STUDY_ROOT, "NOBODY5", "SERIES", {"StudyInstanceUID": uids[0], "SeriesInstanceUID": "*"})
    assert done.status == 0xA900
    assert told(archive, "--patient", "A-6", "--event", "send", detail="wildcards")["study_uid"] == uids[0]
    assert "A-7" not in archive.log_text()


def test_what_a_person_changes_is_in_the_trail_with_the_words_and_what_is_only_shown_is_not(
    archive: Archive, tmp_path: Path
) -> None:
    archive.pacs("ae", "add", "BYPERSON", UNREACHABLE_HERE, "104", "--allow", "echo")
    archive.pacs("ae", "list")
    archive.pacs("ae", "show", "BYPERSON")
    archive.pacs("ae", "remove", "BYPERSON")  # a dry run
    archive.pacs("ae", "remove", "BYPERSON", "--yes")
    rows = [row for row in reported(archive, "--event", "command") if "BYPERSON" in row["detail"]]
    words = [row["detail"].partition(str(archive.config))[2].strip() for row in rows]
    assert words == ["ae add BYPERSON 192.0.2.77 104 --allow echo", "ae remove BYPERSON --yes"]
    assert all("@" in row["who"] for row in rows)


def test_what_changes_something_outside_of_the_database_is_in_the_trail(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive()
    archive.pacs("tls", "init", "--name", "pacs1")
    details = [row["detail"] for row in reported(archive, "--event", "command")]
    assert details[0].startswith(f"pacs init --data {archive.data}")
    assert details[1].endswith("tls init --name pacs1")
    assert len(details) == 2


def test_what_a_person_is_refused_is_in_the_trail(archive: Archive, station: Station, tmp_path: Path) -> None:
    sample = write(tiny(1, study="held", PatientID="A-4"), tmp_path / "object.dcm")
    assert station.store(sample.path).status == 0x0000
    archive.pacs("hold", "add", "PatientID=A-4", "--reason", "court case")
    archive.pacs("delete", "PatientID=A-4", "--reason", "no more wanted", "--yes", expect=2)
    hold = told(archive, "--patient", "A-4", "--event", "hold")
    assert (hold["detail"], hold["study_uid"]) == ("court case", sample.study_uid)
    refused = told(archive, "--event", "command", outcome="refused", detail="no more wanted")
    assert "are on hold" in refused["detail"]
    assert not [row for row in reported(archive, "--event", "delete") if row["patient_id"] == "A-4"]


def test_what_is_imported_and_exported_is_in_the_trail_with_the_person(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    samples = [write(tiny(number, study="carried", PatientID="A-5"), folder / f"{number}.dcm") for number in range(3)]
    archive.pacs("import", str(folder))
    archive.pacs("import", str(folder))
    archive.pacs("export", "PatientID=A-5", "--to", str(tmp_path / "out"))
    rows = reported(archive, "--patient", "A-5")
    digest = digest_over(sample.sop_uid for sample in samples)
    assert sum(row["count"] for row in rows if row["event"] == "import" and not row["detail"]) == 3
    assert [row["count"] for row in rows if row["detail"] == "held before"] == [3]
    (exported,) = [row for row in rows if row["event"] == "export"]
    assert (exported["count"], exported["uid_digest"], exported["target"]) == (3, digest, str(tmp_path / "out"))
    assert {"@" in row["who"] for row in rows} == {True}


def test_who_looks_into_the_trail_is_in_it(archive: Archive) -> None:
    archive.pacs("audit", "report", "--patient", "A-LOOK")
    archive.pacs("audit", "verify")
    rows = [row["detail"] for row in reported(archive, "--event", "audit")]
    assert any(row.endswith("audit report --patient A-LOOK") for row in rows)
    assert any(row.endswith("audit verify") for row in rows)


def test_the_trail_of_a_running_archive_is_whole_and_a_changed_byte_is_found(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    archive.start()
    station = Station(archive=archive, folder=tmp_path)
    assert station.store(write(tiny(1, PatientName="YAMADA"), tmp_path / "object.dcm").path).status == 0x0000
    assert archive.stop() == 0
    kinds = [row["event"] for row in reported(archive)]
    assert kinds.count("start") == kinds.count("stop") >= 2
    assert archive.report("audit", "verify") == []
    with sqlite3.connect(archive.data / "index.db") as connection:
        connection.execute("UPDATE audit SET who = 'SOMEBODY' WHERE event = 'store'")
    connection.close()
    (found,) = archive.report("audit", "verify", expect=12)
    assert found["problem"] == "the row was edited, or put in the place of another"
