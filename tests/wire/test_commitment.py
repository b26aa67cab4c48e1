"""Storage Commitment as consoles see it: quick answers, one honest report, on this association or on a new one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from support.console import Console, named, request, transaction
from support.dcmtk import free_port
from support.samples import CT, Sample, tiny, write
from support.second_client import UNCOMPRESSED, associate, send
from support.server import Archive, wait_for

from pacs_server.dicom.commitment import Reference, Request, write_request
from pacs_server.net import client
from pacs_server.settings import NetworkLimits

pytestmark = pytest.mark.timeout(900)

LONG_S = 240.0
MISSING, CONFLICT, UNSUPPORTED, LIMITED = 0x0112, 0x0119, 0x0122, 0x0213


def stored(archive: Archive, folder: Path, study: str, number: int, **values: object) -> list[Sample]:
    made = [write(tiny(n, study=study, **values), folder / f"{study}-{n}.dcm") for n in range(number)]
    assert set(send(archive, made).values()) == {0x0000}
    return made


def settled(archive: Archive, transaction_uid: str) -> str:
    """The state that the archive lists for a transaction."""
    (state,) = [row["state"] for row in archive.report("commit", "list") if row["uid"] == transaction_uid]
    return str(state)


def test_a_console_that_waits_is_told_on_its_own_association(archive: Archive, tmp_path: Path) -> None:
    console = Console("WAITING")  # not registered: it can be told nowhere else
    samples = stored(archive, tmp_path, "waiting", 3)
    with console.associated(archive) as association:
        assert request(association, transaction("1.2.3.1", named(samples))) == 0x0000
        told = console.first_report("1.2.3.1")
        assert association.is_established
    assert (told.event_type, set(told.committed), told.failed) == (1, {one.sop_uid for one in samples}, {})
    assert told.data_set.RetrieveAETitle == "PACS"
    wait_for(lambda: settled(archive, "1.2.3.1") == "reported", "the transaction to be over", timeout_s=LONG_S)
    wait_for(lambda: archive.report("jobs", "list") == [], "nothing to be owed any more", timeout_s=LONG_S)


def test_a_console_may_go_on_storing_while_it_waits(archive: Archive, tmp_path: Path) -> None:
    console = Console("BUSYONE")
    first, *rest = [write(tiny(n, study="storing"), tmp_path / f"{n}.dcm") for n in range(8)]
    with console.associated(archive, CTImageStorage) as association:
        assert association.send_c_store(first.path).Status == 0x0000
        for number, sample in enumerate(rest):
            asked = transaction(f"1.2.3.2.{number}", named([first]))
            assert request(association, asked) == 0x0000
            console.first_report(f"1.2.3.2.{number}")
            wait_for(lambda: console.has_answered, "the report to be answered", timeout_s=LONG_S)
            assert association.send_c_store(sample.path).Status == 0x0000
    assert len(console.reports) == len(rest)


def asked_and_left(console: Console, archive: Archive, name: str, samples: list[Sample]) -> str:
    """A transaction that a console asked for, and left before it was told: the archive may be quicker."""
    for transaction_uid in (f"{name}.{number}" for number in range(1, 100)):
        assert console.ask(archive, transaction_uid, named(samples)) == 0x0000
        if all(told.calling_aet != console.aet for told in console.of(transaction_uid)):
            return transaction_uid
    raise AssertionError("it was told a hundred times before it left")


def test_a_console_that_leaves_at_once_is_called(archive: Archive, tmp_path: Path) -> None:
    samples = stored(archive, tmp_path, "leaving", 3)
    with Console("LEAVING").listening() as console:
        archive.add_peer(console.aet, console.port)
        asked = asked_and_left(console, archive, "1.2.3.3", samples)
        told = console.first_report(asked)
        wait_for(lambda: settled(archive, asked) == "reported", "the transaction to be over", timeout_s=LONG_S)
    assert (told.calling_aet, told.event_type, len(told.committed)) == ("PACS", 1, 3)
    assert len(console.of(asked)) == 1


def test_what_is_not_so_is_listed_with_its_reason(archive: Archive, tmp_path: Path) -> None:
    samples = stored(archive, tmp_path, "reasons", 3)
    (trashed,) = stored(archive, tmp_path, "reasons-trash", 1)
    archive.pacs("delete", f"StudyInstanceUID={trashed.study_uid}", "--reason", "a test", "--yes")
    asked = [
        *named(samples[:2]),
        ("1.2.840.10008.5.1.4.1.1.4", samples[2].sop_uid),
        *named([trashed]),
        (CT, "1.2.3.4.5"),
        ("1.2.840.10008.5.1.4.31", "1.2.3.4.6"),
    ]
    console = Console("REASONS")
    with console.associated(archive) as association:
        assert request(association, transaction("1.2.3.4", asked)) == 0x0000
        told = console.first_report("1.2.3.4")
    assert (told.event_type, set(told.committed)) == (2, {one.sop_uid for one in samples[:2]})
    assert told.failed == {
        samples[2].sop_uid: CONFLICT, trashed.sop_uid: MISSING, "1.2.3.4.5": MISSING, "1.2.3.4.6": UNSUPPORTED,
    }  # fmt: skip
    wait_for(lambda: settled(archive, "1.2.3.4") == "reported", "the transaction to be over", timeout_s=LONG_S)
    shown = {row["uid"]: row["reason"] for row in archive.report("commit", "show", "1.2.3.4")}
    assert shown.keys() == told.failed.keys()
    assert shown["1.2.3.4.5"] == "it is not held"


def test_a_console_that_asks_the_same_again_is_told_again_and_another_request_is_refused(
    archive: Archive, tmp_path: Path
) -> None:
    samples = stored(archive, tmp_path, "again", 2)
    with Console("AGAIN").listening() as console, Console("AGAIN2").listening() as other:
        archive.add_peer(console.aet, console.port)
        archive.add_peer(other.aet, other.port)
        assert console.ask(archive, "1.2.3.5", named(samples)) == 0x0000
        wait_for(lambda: settled(archive, "1.2.3.5") == "reported", "the transaction to be over", timeout_s=LONG_S)
        assert console.ask(archive, "1.2.3.5", named(samples[::-1])) == 0x0000
        wait_for(lambda: len(console.of("1.2.3.5")) == 2, "the second report", timeout_s=LONG_S)
        assert console.ask(archive, "1.2.3.5", named(samples[:1])) == 0x0131
        assert other.ask(archive, "1.2.3.5", named(samples[:1])) == 0x0000  # its own, whatever others chose
        assert len(other.first_report("1.2.3.5").committed) == 1
    assert len(console.of("1.2.3.5")) == 2


def test_a_report_that_is_not_acknowledged_with_success_is_sent_again(archive: Archive, tmp_path: Path) -> None:
    samples = stored(archive, tmp_path, "refusing", 1)
    with Console("REFUSING", status=0x0110).listening() as console:
        archive.add_peer(console.aet, console.port)
        assert console.ask(archive, "1.2.3.6", named(samples)) == 0x0000
        console.first_report("1.2.3.6")
        wait_for(
            lambda: "0x0110" in "".join(row["error"] for row in archive.report("jobs", "list")),
            "the job to fail",
            timeout_s=LONG_S,
        )
        console.status = 0x0000
        archive.pacs("jobs", "retry", "--all")
        wait_for(lambda: settled(archive, "1.2.3.6") == "reported", "the transaction to be over", timeout_s=LONG_S)
    *refused, last = [one.answered for one in console.of("1.2.3.6")]
    assert (set(refused), last) == ({0x0110}, 0x0000)


def test_a_report_whose_acknowledgement_was_lost_comes_again_on_another_association(
    archive: Archive, tmp_path: Path
) -> None:
    samples = stored(archive, tmp_path, "losing", 1)
    with Console("LOSING", loses=1).listening() as console:
        archive.add_peer(console.aet, console.port)
        with console.associated(archive) as association:
            assert request(association, transaction("1.2.3.11", named(samples))) == 0x0000
            wait_for(lambda: len(console.of("1.2.3.11")) == 2, "the second report", timeout_s=LONG_S)
        wait_for(lambda: settled(archive, "1.2.3.11") == "reported", "the transaction to be over", timeout_s=LONG_S)
    lost, again = console.of("1.2.3.11")
    assert (lost.calling_aet, again.calling_aet) == ("LOSING", "PACS")
    assert (lost.committed, again.committed) == ((samples[0].sop_uid,),) * 2


def test_the_jobs_tell_what_to_do_for_a_console_without_an_address(archive: Archive, tmp_path: Path) -> None:
    samples = stored(archive, tmp_path, "nowhere", 1)
    console = Console("NOWHERE")
    archive.pacs("ae", "add", console.aet, "-", "-", "--from", "127.0.0.1")
    asked = asked_and_left(console, archive, "1.2.3.7", samples)
    remedy = "pacs ae set NOWHERE --host H --port P"
    wait_for(
        lambda: any(remedy in row["error"] for row in archive.report("jobs", "list")), "the remedy", timeout_s=LONG_S
    )
    with console.listening():
        archive.pacs("ae", "set", console.aet, "--host", "127.0.0.1", "--port", str(console.port))
        archive.pacs("jobs", "retry", "--all")
        assert len(console.first_report(asked).committed) == 1


def test_ten_thousand_objects_are_one_request(archive: Archive, tmp_path: Path) -> None:
    samples = stored(archive, tmp_path, "many", 1)
    console = Console("MANY")
    absent = [(CT, f"1.2.3.8.{number}.{'9' * 40}") for number in range(9_999)]
    with console.associated(archive) as association:
        assert request(association, transaction("1.2.3.8", [*named(samples), *absent])) == 0x0000
        told = console.first_report("1.2.3.8")
    assert (told.committed, set(told.failed.values()), len(told.failed)) == ((samples[0].sop_uid,), {MISSING}, 9_999)


def without(keyword: str) -> Dataset:
    asked = transaction("1.2.3.9", [(CT, "1.2.3")])
    if keyword in asked:
        del asked[keyword]
    else:
        del asked.ReferencedSOPSequence[0][keyword]
    return asked


@pytest.mark.parametrize(
    ("asked", "other", "status"),
    [
        (without("TransactionUID"), {}, 0x0120),
        (without("ReferencedSOPSequence"), {}, 0x0120),
        (transaction("1.2.3.9", []), {}, 0x0120),
        (without("ReferencedSOPClassUID"), {}, 0x0120),
        (without("ReferencedSOPInstanceUID"), {}, 0x0120),
        (transaction("1.2.3.9", [(CT, "1.2.three")]), {}, 0x0115),
        (transaction("1.2.3.9", [(CT, "1.2.3")]), {"action_type": 2}, 0x0123),
        (transaction("1.2.3.9", [(CT, "1.2.3")]), {"instance_uid": "1.2.3"}, 0x0112),
        (transaction("1.2.3.9", [(CT, "1.2.3")]), {"class_uid": "1.2.3"}, 0x0118),
    ],
)
def test_a_request_that_says_nothing_is_refused_with_what_is_wrong(
    archive: Archive, asked: Dataset, other: dict[str, object], status: int
) -> None:
    with Console("HOSTILE").associated(archive) as association:
        assert request(association, asked, **other) == status
        good = transaction("1.2.3.9.1", [(CT, "1.2.3")])
        assert request(association, good) == 0x0000
    assert all(row["uid"] != "1.2.3.9" for row in archive.report("commit", "list"))


def too_many() -> bytes:
    references = tuple(Reference(CT, f"1.2.{number}") for number in range(100_001))
    return write_request(Request(transaction_uid="1.2.3.10", references=references), UNCOMPRESSED[0])


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda: b"garbage!", 0x0115),
        (lambda: b"\x08\x00\x95\x11UI\xff\x7f1.2", 0x0115),
        (lambda: b"\xff" * 4_000, 0x0115),
        (too_many, LIMITED),
        (lambda: bytes(17 << 20), LIMITED),
    ],
    ids=["garbage", "cut", "ones", "too-many", "too-large"],
)
def test_a_data_set_that_is_damaged_or_too_large_is_refused_and_the_association_goes_on(
    archive: Archive, make: Callable[[], bytes], status: int
) -> None:
    data_set = make()
    destination = client.Destination(aet=archive.aet, host="127.0.0.1", port=archive.port)
    proposed = [(StorageCommitmentPushModel, UNCOMPRESSED[:1], False)]
    association = client.connect(destination, calling_aet="RUDE", contexts=proposed, limits=NetworkLimits())
    for _ in range(2):
        answered = client.action(
            association,
            context_id=1,
            sop_class=StorageCommitmentPushModel,
            sop_instance=StorageCommitmentPushModelInstance,
            action_type=1,
            data_set=data_set,
        )
        assert answered == status
    association.release()


def test_a_peer_without_the_right_cannot_ask(archive: Archive) -> None:
    archive.pacs("ae", "add", "NORIGHT", "127.0.0.1", "104", "--allow", "echo,store")
    contexts = [(StorageCommitmentPushModel, UNCOMPRESSED), (CTImageStorage, UNCOMPRESSED)]
    with associate(archive, contexts, aet="NORIGHT") as association:
        assert [str(one.abstract_syntax) for one in association.rejected_contexts] == [StorageCommitmentPushModel]
        assert association.rejected_contexts[0].result == 1


# --- we ask ---


class OtherArchive:
    """An archive that is asked and calls back when the test says so; `missing` it does not have."""

    def __init__(self, aet: str, *, missing: str = "") -> None:
        self.aet, self.missing = aet, missing
        self.asked = Dataset()

    def serve(self) -> Iterator[int]:
        provider = AE(self.aet)
        provider.add_supported_context(StorageCommitmentPushModel, list(UNCOMPRESSED))
        handlers = [(evt.EVT_N_ACTION, self.take)]
        server = provider.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()

    def take(self, event: evt.Event) -> tuple[int, None]:
        self.asked = event.action_information
        return 0x0000, None

    def report(self, transaction_uid: str = "") -> Dataset:
        said = Dataset()
        said.TransactionUID = transaction_uid or self.asked.TransactionUID
        items = list(self.asked.ReferencedSOPSequence)
        failed = [item for item in items if item.ReferencedSOPInstanceUID == self.missing]
        said.ReferencedSOPSequence = [item for item in items if item not in failed]
        for item in failed:
            item.FailureReason = MISSING
        if failed:
            said.FailedSOPSequence = failed
        return said

    def call(self, archive: Archive, said: Dataset) -> int:
        caller = AE(self.aet)
        caller.add_requested_context(StorageCommitmentPushModel, list(UNCOMPRESSED))
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
        association = caller.associate("127.0.0.1", archive.port, ae_title=archive.aet, ext_neg=roles)
        assert association.is_established
        event_type = 2 if "FailedSOPSequence" in said else 1
        status, _ = association.send_n_event_report(
            said, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()
        return int(status.Status)


def test_a_report_that_comes_later_is_taken_in_by_the_server_and_only_from_whom_was_asked(
    archive: Archive, tmp_path: Path
) -> None:
    samples = stored(archive, tmp_path, "asking", 3)
    other = OtherArchive("OTHER1", missing=samples[0].sop_uid)
    serving = other.serve()
    archive.add_peer(other.aet, next(serving))
    asked = ("commit", "study", samples[0].study_uid, "--with", other.aet)
    (row,) = archive.report(*asked, "--wait", "0", expect=3)
    assert (row["state"], row["objects"]) == ("asked", 3)
    assert {item.ReferencedSOPInstanceUID for item in other.asked.ReferencedSOPSequence} == {
        one.sop_uid for one in samples
    }
    stranger = OtherArchive("STRANGER")
    stranger.asked = other.asked
    assert stranger.call(archive, stranger.report()) == 0x0115
    assert settled(archive, row["uid"]) == "asked"
    assert other.call(archive, other.report("1.2.3")) == 0x0115
    said = other.report()
    assert other.call(archive, said) == 0x0000
    assert settled(archive, row["uid"]) == "answered"
    assert other.call(archive, said) == 0x0000
    (failure,) = archive.report("commit", "show", row["uid"])
    assert (failure["uid"], failure["reason"]) == (samples[0].sop_uid, "it is not held")
    serving.close()


class SecondArchive(Archive):
    aet = "SECONDPACS"


@pytest.fixture
def second(tmp_path: Path) -> Iterator[SecondArchive]:
    running = SecondArchive(tmp_path / "second")
    running.start()
    yield running
    running.kill()


def test_one_archive_vouches_for_the_objects_of_another(
    archive: Archive, second: SecondArchive, tmp_path: Path
) -> None:
    samples = stored(archive, tmp_path, "vouching", 4)
    archive.add_peer(second.aet, second.port)
    second.add_peer(archive.aet, archive.port)
    asked = ("commit", "study", samples[0].study_uid, "--with", second.aet)
    send(second, samples[:3])
    (row,) = archive.report(*asked, "--wait", "100", expect=3)
    assert (row["state"], row["objects"], row["failed"]) == ("answered", 4, 1)
    send(second, samples[3:])
    (row,) = archive.report(*asked, "--wait", "100")
    assert (row["state"], row["objects"], row["failed"]) == ("answered", 4, 0)


def test_whom_nobody_can_ask_is_named(archive: Archive, tmp_path: Path) -> None:
    samples = stored(archive, tmp_path, "nobody", 1)
    archive.add_peer("SILENT", free_port())
    assert "no study 1.2.3" in archive.pacs("commit", "study", "1.2.3", "--with", "SILENT", expect=2).stderr
    done = archive.pacs("commit", "study", samples[0].study_uid, "--with", "SILENT", expect=13)
    assert "nothing listens on that port" in done.stderr
    assert (
        "pacs ae add UNKNOWN"
        in archive.pacs("commit", "study", samples[0].study_uid, "--with", "UNKNOWN", expect=2).stderr
    )
