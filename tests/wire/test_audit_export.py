"""The audit trail reaches a receiver of audit messages, whatever happens to it meanwhile."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.audit_schema import in_words, violations
from support.dcmtk import Station, free_port
from support.samples import tiny, write
from support.server import Archive, wait_for
from support.syslog import Receiver, message_in

from pacs_server.cluster.certificates import make
from pacs_server.errors import PeerAborted
from pacs_server.net.syslog import receiver_context, send_over_tls
from pacs_server.settings import TlsFiles

pytestmark = pytest.mark.timeout(600)

DEADLINE_S = 120.0


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    """A certificate of this machine, and the authority that signed it."""
    made = TlsFiles.within(tmp_path / "tls")
    make(made, ["localhost", "127.0.0.1"], days=30, now=datetime.now(UTC))
    return made


def exporting(new_archive: Callable[..., Archive], port: int, **values: Any) -> Archive:
    archive = new_archive(
        tls={"directory": str(Path("..", "..", "tls"))}, audit={"syslog": {"host": "127.0.0.1", "port": port} | values}
    )
    archive.start()
    return archive


def of_kind(messages: list[ET.Element], code: str) -> list[ET.Element]:
    return [one for one in messages if one[0][0].attrib["csd-code"] == code]


def told_all(archive: Archive, receiver: Receiver) -> Callable[[], bool]:
    """Whether the receiver has at least as many messages as there are rows now, since it was set up."""
    count = sum(not row["detail"].startswith("pacs init") for row in archive.report("audit", "report"))
    return lambda: len(set(receiver.texts)) >= count


def test_everything_in_the_trail_comes_as_messages_of_the_schema(
    new_archive: Callable[..., Archive], files: TlsFiles, tmp_path: Path
) -> None:
    with Receiver(files).running() as receiver:
        archive = exporting(new_archive, receiver.port)
        station = Station(archive=archive, folder=tmp_path)
        sample = write(tiny(1, study="exported", PatientID="E-1"), tmp_path / "object.dcm")
        assert station.store(sample.path).status == 0x0000
        station.echo()
        archive.pacs("ae", "add", "CT9", "192.0.2.77", "104")
        wait_for(told_all(archive, receiver), "every row to be sent", timeout_s=DEADLINE_S)
    messages = receiver.messages()
    assert [one for message in messages for one in violations(message)] == []
    (stored,) = of_kind(messages, "110104")
    named = [one.attrib["ParticipantObjectID"] for one in stored.iter("ParticipantObjectIdentification")]
    assert named == [sample.study_uid, "E-1"]
    assert of_kind(messages, "110100")
    assert any("ae add CT9" in in_words(one).get("Alert Description", "") for one in of_kind(messages, "110113"))


def test_a_receiver_that_is_away_or_breaks_off_loses_nothing(
    new_archive: Callable[..., Archive], files: TlsFiles, tmp_path: Path
) -> None:
    port = free_port()
    archive = exporting(new_archive, port)
    station = Station(archive=archive, folder=tmp_path)
    assert station.store(write(tiny(1, study="away"), tmp_path / "1.dcm").path).status == 0x0000

    def waits() -> bool:
        return any(job["kind"] == "audit" and job["error"] for job in archive.report("jobs", "list"))

    wait_for(waits, "a job that says why", timeout_s=DEADLINE_S, every_s=0.3)
    archive.kill()
    archive.start()
    receiver = Receiver(files, port)
    receiver.breaks_off = 100
    with receiver.running():
        has_all = told_all(archive, receiver)

        def came() -> bool:
            """Without the pause after a failure, which is longer each time."""
            archive.pacs("jobs", "retry", "--all")
            return has_all()

        wait_for(came, "every row to be sent", timeout_s=DEADLINE_S, every_s=0.5)
    assert receiver.connections >= 2
    assert len(of_kind([message_in(text) for text in set(receiver.texts)], "110104")) == 1


def test_a_receiver_that_never_says_that_it_has_read_is_told_of_with_what_does(files: TlsFiles) -> None:
    receiver = Receiver(files)
    receiver.confirms = False
    with receiver.running(), pytest.raises(PeerAborted, match="of rsyslog take the driver ossl"):
        send_over_tls("127.0.0.1", receiver.port, [b"a message"], receiver_context(files.ca, files), timeout_s=10.0)


def test_a_receiver_whose_certificate_is_from_somebody_else_gets_nothing(
    new_archive: Callable[..., Archive], files: TlsFiles, tmp_path: Path
) -> None:
    other = TlsFiles.within(tmp_path / "other")
    make(other, ["127.0.0.1"], days=30, now=datetime.now(UTC))
    with Receiver(other).running() as receiver:
        archive = exporting(new_archive, receiver.port)

        def says_why() -> bool:
            return any("CERTIFICATE_VERIFY_FAILED" in job["error"] for job in archive.report("jobs", "list"))

        wait_for(says_why, "the refusal", timeout_s=DEADLINE_S, every_s=0.3)
    assert receiver.texts == []


def test_datagrams_are_sent_where_that_was_chosen(new_archive: Callable[..., Archive]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.bind(("127.0.0.1", 0))
        receiving.settimeout(DEADLINE_S)
        exporting(new_archive, receiving.getsockname()[1], udp=True)
        first = message_in(receiving.recv(65_536))
    assert violations(first) == []
