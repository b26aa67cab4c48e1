"""What is said in Storage Commitment, as pydicom and DCMTK read and write it, and what is not believed."""

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from support.samples import CT, encoded, part10

from pacs_server.dicom.commitment import (
    ALL_COMMITTED,
    SOME_FAILED,
    Failure,
    Reason,
    Reference,
    Report,
    Request,
    read_report,
    read_request,
    reason_in_words,
    write_report,
    write_request,
)
from pacs_server.errors import BadQuery, MissingAttribute, TooLarge
from pacs_server.net.message import CommandField, decode_command, encode_command

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
ONE, TWO, THREE = (Reference(CT, f"1.2.3.{number}") for number in (1, 22, 333))
REPORT = Report(
    transaction_uid="1.2.9",
    committed=(ONE, TWO),
    failed=(Failure(THREE, Reason.NO_SUCH_OBJECT),),
)


def read_by_pydicom(raw: bytes, syntax: str) -> Dataset:
    return dcmread(BytesIO(part10(raw, sop_class=CT, sop_uid="1.2.3", transfer_syntax=syntax)))


def items_of(*references: Reference) -> list[Dataset]:
    items = []
    for one in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class, one.sop_uid
        items.append(item)
    return items


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_is_what_pydicom_reads_and_writes(syntax: str) -> None:
    request = Request(transaction_uid="1.2.9", references=(ONE, TWO))
    asked = read_by_pydicom(write_request(request, syntax), syntax)
    assert asked.TransactionUID == "1.2.9"
    assert [one.ReferencedSOPInstanceUID for one in asked.ReferencedSOPSequence] == ["1.2.3.1", "1.2.3.22"]
    assert read_request(encoded(asked, syntax), syntax) == request


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_report_is_what_pydicom_reads_and_writes(syntax: str) -> None:
    said = read_by_pydicom(write_report(REPORT, syntax, retrieve_aet="PACS"), syntax)
    assert (said.RetrieveAETitle, said.TransactionUID) == ("PACS", "1.2.9")
    assert [one.ReferencedSOPInstanceUID for one in said.ReferencedSOPSequence] == ["1.2.3.1", "1.2.3.22"]
    (failed,) = said.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.333", 0x0112)
    assert read_report(encoded(said, syntax), syntax) == REPORT


def test_a_report_is_one_that_dcmtk_reads(tmp_path: Path) -> None:
    if shutil.which("dcmdump") is None:
        pytest.skip("DCMTK's dcmdump is not installed")
    raw = write_report(REPORT, ExplicitVRLittleEndian, retrieve_aet="PACS")
    path = tmp_path / "report.dcm"
    path.write_bytes(part10(raw, sop_class=CT, sop_uid="1.2.3"))
    done = subprocess.run(["dcmdump", "-q", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [word in done.stdout for word in ("(0008,1198) SQ", "US 274", "[1.2.3.333]", "(0008,0054) AE [PACS]")] == (
        [True] * 4
    )


def test_sequences_of_undefined_length_and_padding_with_spaces_are_read() -> None:
    asked = Dataset()
    asked.TransactionUID = "1.2.9"
    asked.ReferencedSOPSequence = items_of(ONE, ONE, TWO)
    asked["ReferencedSOPSequence"].is_undefined_length = True
    for item in asked.ReferencedSOPSequence:
        item.is_undefined_length_sequence_item = True
    raw = encoded(asked, ExplicitVRLittleEndian).replace(b"1.2.9\0", b"1.2.9 ")
    assert read_request(raw, ExplicitVRLittleEndian) == Request(transaction_uid="1.2.9", references=(ONE, TWO))


def test_the_event_says_whether_every_object_is_kept() -> None:
    assert REPORT.event_type == SOME_FAILED
    assert Report(transaction_uid="1.2.9", committed=(ONE,)).event_type == ALL_COMMITTED


def test_requests_are_the_same_when_they_name_the_same_objects() -> None:
    def digest(*references: Reference) -> str:
        return Request(transaction_uid="1.2.9", references=references).digest()

    assert digest(ONE, TWO) == digest(TWO, ONE)
    assert digest(ONE, TWO) != digest(ONE)
    assert digest(ONE) != digest(Reference("1.2.840.10008.5.1.4.1.1.4", ONE.sop_uid))


def test_what_is_cut_anywhere_is_refused() -> None:
    whole = write_request(Request(transaction_uid="1.2.9", references=(ONE, TWO)), ExplicitVRLittleEndian)
    for end in range(len(whole)):
        with pytest.raises(BadQuery):
            read_request(whole[:end], ExplicitVRLittleEndian)


def test_a_report_about_nothing_is_refused() -> None:
    said = Dataset()
    said.TransactionUID = "1.2.9"
    with pytest.raises(MissingAttribute, match="names no object"):
        read_report(encoded(said), ExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("reason", ["absent", None, 0, [0xFFFF] * 4])
def test_what_is_named_as_failed_without_a_reason_is_not_committed_to(syntax: str, reason: object) -> None:
    said = Dataset()
    said.TransactionUID = "1.2.9"
    said.FailedSOPSequence = items_of(ONE)
    if reason != "absent":
        said.FailedSOPSequence[0].FailureReason = reason
    assert read_report(encoded(said, syntax), syntax).failed == (Failure(ONE, Reason.PROCESSING_FAILURE),)


def test_more_objects_than_are_worked_on_at_once_are_refused() -> None:
    many = tuple(Reference(CT, f"1.2.{number}") for number in range(100_001))
    with pytest.raises(TooLarge, match="more than 100000"):
        read_request(
            write_request(Request(transaction_uid="1.2.9", references=many), ImplicitVRLittleEndian),
            ImplicitVRLittleEndian,
        )


def test_every_reason_has_words_and_an_unknown_one_its_number() -> None:
    assert len({reason_in_words(reason) for reason in Reason}) == len(Reason)
    assert reason_in_words(0xA123) == "reason 0xA123"


def test_action_and_event_types_stand_in_their_commands() -> None:
    action = encode_command(
        CommandField.N_ACTION_RQ, message_id=7, requested_sop_class="1.2.840.10008.1.20.1",
        requested_sop_instance="1.2.840.10008.1.20.1.1", action_type=1, has_data_set=True,
    )  # fmt: skip
    read = decode_command(action, 1)
    assert (read.field, read.action_type, read.requested_sop_instance) == (
        CommandField.N_ACTION_RQ, 1, "1.2.840.10008.1.20.1.1",
    )  # fmt: skip
    event = encode_command(
        CommandField.N_EVENT_REPORT_RQ, message_id=8, affected_sop_class="1.2.840.10008.1.20.1",
        affected_sop_instance="1.2.840.10008.1.20.1.1", event_type=2,
    )  # fmt: skip
    assert decode_command(event, 1).event_type == 2
