"""C-STORE seen from the sender: what is acknowledged is there as it was sent, what is refused leaves nothing."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from support import dcmtk
from support.dcmtk import STUDY_ROOT, Receiver, Station
from support.equality import differences
from support.samples import (
    CT,
    MISLABELLED,
    NATIVE,
    TRUNCATED,
    UNSENDABLE_BY_DCMTK,
    Sample,
    bundled,
    data_set_of,
    encoded,
    part10,
    real_samples,
    tiny,
    uid,
    write,
)
from support.second_client import associate, send, send_file
from support.server import Archive, files_below, wait_for

SUCCESS, INVALID_SOP_INSTANCE, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0x0117, 0xA900, 0xC000
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
MR = "1.2.840.10008.5.1.4.1.1.4"


def counts(archive: Archive) -> dict[str, int]:
    return archive.report("status")["holdings"]


def files_of(archive: Archive, sop_uid: str) -> list[Path]:
    return [path for path in archive.files() if path.name.startswith(f"{sop_uid}-")]


def got(station: Station, sample: Sample) -> Path:
    """The object as getscu receives it in the transfer syntax that it was sent in."""
    keys = {
        "StudyInstanceUID": sample.study_uid,
        "SeriesInstanceUID": sample.series_uid,
        "SOPInstanceUID": sample.sop_uid,
    }
    folder = station.folder / "got" / sample.sop_uid
    done = station.get(STUDY_ROOT, "IMAGE", keys, folder, options=[dcmtk.PREFER[sample.transfer_syntax]])
    assert done.status == SUCCESS, done.output[-2_000:]
    return dcmtk.objects_in(folder)[sample.sop_uid]


def test_storescu_sends_a_folder_of_real_files_and_gets_them_back_element_by_element(
    station: Station, tmp_path: Path, receive: Callable[..., Receiver]
) -> None:
    samples = [
        s for s in real_samples(tmp_path / "all", without=UNSENDABLE_BY_DCMTK) if s.transfer_syntax in NATIVE[:3]
    ]
    folder = tmp_path / "mixed"
    for sample in samples:
        target = folder / sample.series_uid[-8:] / sample.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        sample.path.rename(target)
    done = station.store(folder, options=["+sd", "+r", "--required"])
    assert done.code == 0, done.output[-2_000:]
    assert done.statuses == [SUCCESS] * len(samples)
    receiver = receive("FULL", "+xa")
    station.archive.add_peer("FULL", receiver.port)
    studies = "\\".join({sample.study_uid for sample in samples})
    assert station.move(STUDY_ROOT, "FULL", "STUDY", {"StudyInstanceUID": studies}).status == SUCCESS
    received = receiver.objects()
    for path in files_below(folder, "*.dcm"):
        sop_uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        assert differences(path, received[sop_uid]) == [], path.name


def test_dcmsend_sends_every_real_file_in_its_own_transfer_syntax(
    station: Station, tmp_path: Path, receive: Callable[..., Receiver]
) -> None:
    samples = real_samples(tmp_path / "all", without=UNSENDABLE_BY_DCMTK)
    done = station.send(tmp_path / "all", options=["+sd", "+r"])
    assert done.code == 0, done.output[-2_000:]
    assert done.statuses == [SUCCESS] * len(samples)
    receiver = receive("EVERY", "+xa")
    station.archive.add_peer("EVERY", receiver.port)
    studies = "\\".join({sample.study_uid for sample in samples})
    assert station.move(STUDY_ROOT, "EVERY", "STUDY", {"StudyInstanceUID": studies}).status == SUCCESS
    received = receiver.objects()
    for sample in samples:
        assert differences(sample.path, received[sample.sop_uid]) == [], sample.path.name


def test_every_real_file_is_kept_byte_for_byte(archive: Archive, tmp_path: Path) -> None:
    samples = real_samples(tmp_path / "all")
    for sample in samples:  # other objects than those that DCMTK sent
        content = data_set_of(sample.path)
        renamed = f"{sample.sop_uid[:-2]}{'78' if sample.sop_uid[-2:] != '78' else '87'}"
        sample.path.write_bytes(
            part10(
                content.replace(sample.sop_uid.encode(), renamed.encode()),
                sop_class=sample.sop_class,
                sop_uid=renamed if sample.sop_uid.encode() in content else sample.sop_uid,
                transfer_syntax=sample.transfer_syntax,
            )
        )
    statuses = send(archive, samples)
    assert set(statuses.values()) == {SUCCESS}
    kept = {data_set_of(path) for path in archive.files()}
    assert [sample.path.name for sample in samples if data_set_of(sample.path) not in kept] == []


def test_success_means_that_the_file_and_the_row_are_there(archive: Archive, tmp_path: Path) -> None:
    for number in range(20):
        sample = write(tiny(number, study="promise"), tmp_path / "object.dcm")
        assert set(send(archive, [sample]).values()) == {SUCCESS}
        (file,) = files_of(archive, sample.sop_uid)
        assert data_set_of(file) == sample.data_set
    found = archive.report("find", "instances", f"StudyInstanceUID={sample.study_uid}")
    assert len(found) == 20


def test_the_file_on_the_volume_is_a_dicom_file_with_an_empty_preamble(archive: Archive, tmp_path: Path) -> None:
    sample = write(tiny(1, study="file"), tmp_path / "object.dcm")
    sample.path.write_bytes(b"MZ" + sample.path.read_bytes()[2:])
    send(archive, [sample])
    (file,) = files_of(archive, sample.sop_uid)
    assert file.read_bytes()[:132] == bytes(128) + b"DICM"
    assert subprocess.run([str(dcmtk.program("dcmdump")), file], capture_output=True, check=False).returncode == 0
    assert differences(sample.path, file) == []
    *_, study, series, _ = file.parts
    assert (study, series) == (sample.study_uid, sample.series_uid)


def test_the_same_object_again_is_acknowledged_and_kept_once(archive: Archive, tmp_path: Path) -> None:
    sample = write(tiny(1, study="again"), tmp_path / "object.dcm")
    before = counts(archive)
    for _ in range(3):
        assert set(send(archive, [sample]).values()) == {SUCCESS}
    after = counts(archive)
    assert after["instances"] == before["instances"] + 1
    assert after["copies"] == before["copies"] + 1
    assert after["versions"] == before["versions"]
    assert len(files_of(archive, sample.sop_uid)) == 1


def test_a_resend_brings_back_a_copy_that_was_lost(archive: Archive, station: Station, tmp_path: Path) -> None:
    sample = write(tiny(1, study="rescue"), tmp_path / "object.dcm")
    send(archive, [sample])
    (file,) = files_of(archive, sample.sop_uid)
    file.unlink()
    assert set(send(archive, [sample]).values()) == {SUCCESS}
    assert differences(sample.path, got(station, sample)) == []


def test_the_same_uid_with_other_bytes_is_kept_as_a_version(archive: Archive, station: Station, tmp_path: Path) -> None:
    first = write(tiny(1, study="versions", ImageComments="first"), tmp_path / "first.dcm")
    other = write(tiny(1, study="versions", ImageComments="second"), tmp_path / "other.dcm")
    before = counts(archive)
    assert set(send(archive, [first]).values()) == set(send(archive, [other]).values()) == {SUCCESS}
    after = counts(archive)
    assert after["instances"] == before["instances"] + 1
    assert after["versions"] == before["versions"] + 1
    assert {data_set_of(path) for path in files_of(archive, first.sop_uid)} == {first.data_set, other.data_set}
    assert differences(first.path, got(station, first)) == []
    shown = archive.pacs("show", "study", first.study_uid).stdout
    assert "version" in shown


def test_the_same_values_in_another_uncompressed_syntax_are_no_version(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    dataset = tiny(1, study="encodings", SamplesPerPixel=1, Rows=300, ReferencedImageSequence=[tiny(2)])
    samples = [
        write(dataset, tmp_path / f"{syntax}.dcm", syntax) for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
    ]
    before = counts(archive)
    for sample in samples:
        assert set(send(archive, [sample]).values()) == {SUCCESS}
    after = counts(archive)
    assert after["instances"] == before["instances"] + 1
    assert after["versions"] == before["versions"]
    assert differences(samples[0].path, got(station, samples[0])) == []


def test_what_dcmtk_writes_otherwise_when_it_sends_a_file_is_no_version(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    dataset = tiny(1, study="rewritten", ReferencedImageSequence=[tiny(2)])
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * 20)
    sample = write(dataset, tmp_path / "object.dcm")
    archive.pacs("import", str(sample.path))
    before = counts(archive)
    assert station.store(sample.path).code == 0
    assert len({data_set_of(path) for path in files_of(archive, sample.sop_uid)}) == 2
    after = counts(archive)
    assert (after["instances"], after["versions"]) == (before["instances"], before["versions"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A C-STORE whose parts do not fit: the UIDs of the command, and the data set that comes with it."""

    data_set: bytes
    status: set[int]
    sop_uid: str = uid("wrong")
    sop_class: str = CT


def changed(**values: object) -> bytes:
    return encoded(tiny("wrong", study="wrong", **{"SOPInstanceUID": uid("wrong"), **values}))


def raw(text: str) -> pydicom.DataElement:
    """A UI element that pydicom does not check."""
    return text  # type: ignore[return-value]


WRONG = {
    "another-instance": Wrong(data_set=changed(SOPInstanceUID=uid("another")), status={MISMATCH}),
    "another-class": Wrong(data_set=changed(SOPClassUID=MR), status={MISMATCH}),
    "no-class": Wrong(data_set=changed(SOPClassUID=None), status={MISMATCH}),
    "empty-study": Wrong(data_set=changed(StudyInstanceUID=""), status={MISMATCH}),
    "no-study": Wrong(data_set=changed(StudyInstanceUID=None), status={MISMATCH}),
    "empty-series": Wrong(data_set=changed(SeriesInstanceUID=""), status={MISMATCH}),
    "no-series": Wrong(data_set=changed(SeriesInstanceUID=None), status={MISMATCH}),
    "no-instance": Wrong(data_set=changed(SOPInstanceUID=None), status={INVALID_SOP_INSTANCE, MISMATCH}),
    "letters-in-instance": Wrong(
        data_set=changed(SOPInstanceUID="1.2.x"), sop_uid="1.2.x", status={INVALID_SOP_INSTANCE}
    ),
    "two-dots-in-instance": Wrong(
        data_set=changed(SOPInstanceUID="1..2"), sop_uid="1..2", status={INVALID_SOP_INSTANCE}
    ),
    "path-as-instance": Wrong(
        data_set=changed(SOPInstanceUID="../../x"), sop_uid="../../x", status={INVALID_SOP_INSTANCE}
    ),
    "nothing": Wrong(data_set=b"", status={CANNOT_UNDERSTAND, 0x0110}),
    "noise": Wrong(data_set=bytes(range(256)) * 8, status={CANNOT_UNDERSTAND}),
    "text": Wrong(data_set=b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n", status={CANNOT_UNDERSTAND}),
    "end-cut-off": Wrong(data_set=changed(ImageComments="x" * 400)[:-100], status={CANNOT_UNDERSTAND}),
    "length-past-the-end": Wrong(data_set=changed() + b"\x20\x00\x00\x40LT\xf0\x00short", status={CANNOT_UNDERSTAND}),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_an_object_that_cannot_be_filed_is_refused_and_leaves_nothing(
    archive: Archive, tmp_path: Path, wrong: Wrong
) -> None:
    path = tmp_path / "wrong.dcm"
    path.write_bytes(part10(wrong.data_set, sop_class=wrong.sop_class, sop_uid=wrong.sop_uid))
    before, files = counts(archive), archive.files()
    with associate(archive, [(wrong.sop_class, [EXPLICIT])]) as association:
        answer = send_file(association, path)
        assert answer.Status in wrong.status, hex(answer.Status)
        assert answer.get("ErrorComment"), "the sender is told why"
        sample = write(tiny("good", study="wrong"), tmp_path / "good.dcm")
        assert send_file(association, sample.path).Status == SUCCESS, "the association goes on"
    assert {uid("wrong"), wrong.sop_uid}.isdisjoint(archive.instance_uids())
    new = [file for file in set(archive.files()) - set(files) if not file.name.startswith(sample.sop_uid)]
    assert new == []
    assert counts(archive)["instances"] <= before["instances"] + 1


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_real_file_that_was_cut_off_is_refused(archive: Archive, tmp_path: Path, name: str) -> None:
    (path,) = (path for path in bundled() if path.name == name)
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    cut = tmp_path / name
    cut.write_bytes(
        part10(
            data_set_of(path),
            sop_class=dataset.SOPClassUID,
            sop_uid=dataset.SOPInstanceUID,
            transfer_syntax=dataset.file_meta.TransferSyntaxUID,
        )
    )
    before = archive.files()
    with associate(archive, [(dataset.SOPClassUID, [dataset.file_meta.TransferSyntaxUID])]) as association:
        assert send_file(association, cut).Status == CANNOT_UNDERSTAND
    assert archive.files() == before


def test_a_data_set_in_another_encoding_than_negotiated_is_kept_as_sent_or_refused(
    archive: Archive, tmp_path: Path
) -> None:
    (path,) = (path for path in bundled() if path.name == MISLABELLED)
    meta = pydicom.filereader.read_file_meta_info(path)
    before = set(archive.files())
    with associate(archive, [(meta.MediaStorageSOPClassUID, [meta.TransferSyntaxUID])]) as association:
        status = send_file(association, path).Status
    kept = [data_set_of(file) for file in archive.files() if file not in before]
    assert (status, kept) in [(SUCCESS, [data_set_of(path)]), (MISMATCH, []), (CANNOT_UNDERSTAND, [])]


def test_study_and_series_uids_of_another_form_are_stored_and_never_become_a_path(
    archive: Archive, tmp_path: Path
) -> None:
    dataset = tiny("odd", study="odd")
    dataset.StudyInstanceUID = "../../../outside"
    dataset.SeriesInstanceUID = "/etc/passwd"
    sample = write(dataset, tmp_path / "object.dcm")
    assert set(send(archive, [sample]).values()) == {SUCCESS}
    (file,) = files_of(archive, sample.sop_uid)
    assert archive.volume in file.resolve().parents
    assert [part[:2] for part in file.parts[-3:-1]] == ["h-", "h-"]
    (row,) = archive.report("find", "instances", f"SOPInstanceUID={sample.sop_uid}")
    assert row["uid"] == sample.sop_uid


def test_a_private_storage_class_is_stored(archive: Archive, tmp_path: Path) -> None:
    sample = write(tiny(1, study="private", sop_class="1.3.12.2.1107.5.9.1"), tmp_path / "object.dcm")
    assert set(send(archive, [sample]).values()) == {SUCCESS}
    assert len(files_of(archive, sample.sop_uid)) == 1


def test_a_sender_that_breaks_off_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    sample = write(tiny(1, study="broken-off", ImageComments="x" * 9_000), tmp_path / "object.dcm")
    with associate(archive, [(CT, [EXPLICIT])]) as association:
        association.send_c_store(sample.path)
        association.abort()
    other = write(tiny(2, study="broken-off"), tmp_path / "other.dcm")
    assert set(send(archive, [other]).values()) == {SUCCESS}
    wait_for(lambda: archive.report("status")["server"]["associations"] == [], "the associations to end")
    assert len(files_of(archive, sample.sop_uid)) == 1


def test_senders_side_by_side_are_all_acknowledged(archive: Archive, tmp_path: Path) -> None:
    dcmtk.require()
    folders = [tmp_path / f"sender-{number}" for number in range(4)]
    for folder in folders:
        for number in range(25):
            write(tiny(number, study="senders", series=folder.name), folder / f"{number}.dcm")
    senders = [Station(archive=archive, folder=tmp_path, aet=f"SENDER{number}") for number in range(4)]
    commands = [
        sender.command("storescu", "+sd", files=[folder]) for sender, folder in zip(senders, folders, strict=True)
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dcmtk.environment())
        for command in commands
    ]
    said = [process.communicate(timeout=60)[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert [text.count("0x0000: Success") for text in said] == [25] * 4
    (study,) = archive.report("find", "studies", f"StudyInstanceUID={uid('study', 'senders')}")
    assert (study["NumberOfStudyRelatedSeries"], study["NumberOfStudyRelatedInstances"]) == (4, 100)
