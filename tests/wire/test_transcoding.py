"""Every destination gets what it can read: one mixed study for receivers of one transfer syntax each."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from support import dcmtk, pictures
from support.dcmtk import STUDY_ROOT, Receiver, Station
from support.mixed_study import COMPRESSED, UNCOMPRESSED, coded, file_of, is_right, mixed_study
from support.pictures import (
    BASELINE,
    BIG,
    ENCODERS,
    EXPLICIT,
    IMPLICIT,
    KINDS,
    LOSSLESS,
    LS,
    RLE,
    Kind,
    picture,
    pixels_of,
    values_of,
)
from support.samples import SECONDARY_CAPTURE, Sample, bundled, tiny, uid, write
from support.second_client import Witness, associate, identifier, send
from support.server import Archive, children, descendants, resident_bytes, wait_for

MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
REPORT, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.6.1"
SUCCESS, SOME_FAILED, NONE_SENT = 0x0000, 0xB000, 0xA702


@pytest.fixture(scope="module")
def study(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    """By transfer syntax: an object of each, all in one study."""
    folder = tmp_path_factory.mktemp("mixed")
    samples = mixed_study(folder)
    assert set(send(archive, list(samples.values())).values()) == {SUCCESS}
    return samples


@pytest.mark.parametrize("accepted", [*UNCOMPRESSED, *COMPRESSED])
def test_c_move_to_a_receiver_of_one_syntax_delivers_every_object_in_it(
    study: dict[str, Sample], archive: Archive, accepted: str, tmp_path: Path
) -> None:
    witness = Witness(aet=f"ONLY{accepted[-4:]}", syntaxes=[accepted])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "mixed"))
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, len(study))
    assert {one.transfer_syntax for one in witness.received} == {accepted}
    received = {one.sop_uid: file_of(one, tmp_path) for one in witness.received}
    for sample in study.values():
        assert is_right(sample, received[sample.sop_uid]), sample.transfer_syntax


@pytest.mark.parametrize("accepted", [*UNCOMPRESSED, *COMPRESSED])
def test_c_get_by_a_receiver_of_one_syntax_delivers_every_object_in_it(
    study: dict[str, Sample], archive: Archive, accepted: str, tmp_path: Path
) -> None:
    witness = Witness()
    contexts = [(GET, [IMPLICIT]), (SECONDARY_CAPTURE, [accepted])]
    handlers = [(evt.EVT_C_STORE, witness.take)]
    with associate(archive, contexts, as_receiver=[SECONDARY_CAPTURE], handlers=handlers) as association:
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "mixed"))
        *_, (last, _) = association.send_c_get(asked, GET)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, len(study))
    received = {one.sop_uid: file_of(one, tmp_path) for one in witness.received}
    for sample in study.values():
        assert is_right(sample, received[sample.sop_uid]), sample.transfer_syntax


def test_c_get_delivers_at_once_what_is_the_first_of_its_class_to_be_uncompressed(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive(workers=1)
    archive.start()

    def stored(syntax: str) -> Sample:
        dataset = pydicom.dcmread(coded(syntax, "8 bits", tmp_path, study=syntax).path)
        dataset.SOPClassUID = ULTRASOUND
        sample = write(dataset, tmp_path / f"{syntax}-ultrasound.dcm", syntax)
        assert send(archive, [sample]) == {sample.sop_uid: SUCCESS}
        return sample

    def got(sample: Sample) -> list[str]:
        witness = Witness()
        contexts = [(GET, [IMPLICIT]), (ULTRASOUND, [EXPLICIT, IMPLICIT, BASELINE])]
        handlers = [(evt.EVT_C_STORE, witness.take)]
        with associate(archive, contexts, as_receiver=[ULTRASOUND], handlers=handlers) as association:
            *_, (last, _) = association.send_c_get(identifier("STUDY", StudyInstanceUID=sample.study_uid), GET)
        return [one.transfer_syntax for one in witness.received] if last.Status == SUCCESS else []

    assert wait_for(partial(got, stored(BASELINE)), "the compressed one") == [BASELINE]
    plain = stored(EXPLICIT)
    assert wait_for(partial(got, plain), "the uncompressed one", timeout_s=10) == [EXPLICIT]


@pytest.mark.parametrize("option", ["+xi", "+xe", "+xb", "+xs", "+xt", "+xv", "+xr", "+xy", "+xa"])
def test_each_variant_of_storescp_receives_the_mixed_study(
    study: dict[str, Sample], station: Station, receive: Callable[..., Receiver], option: str
) -> None:
    aet = f"DCMTK{option[1:].upper()}"
    receiver = receive(aet, option)
    station.archive.add_peer(aet, receiver.port)
    done = station.move(STUDY_ROOT, aet, "STUDY", {"StudyInstanceUID": uid("study", "mixed")})
    assert done.status == SUCCESS, done.output[-2_000:]
    received = receiver.objects()
    for sample in study.values():
        assert is_right(sample, received[sample.sop_uid]), sample.transfer_syntax


@pytest.mark.parametrize("option", ["+xi", "+xe", "+xs", "+xr"])
def test_each_variant_of_getscu_receives_the_mixed_study(
    study: dict[str, Sample], station: Station, tmp_path: Path, option: str
) -> None:
    keys = {"StudyInstanceUID": uid("study", "mixed")}
    done = station.get(STUDY_ROOT, "STUDY", keys, tmp_path / "got", options=[option])
    assert done.status == SUCCESS, done.output[-2_000:]
    received = dcmtk.objects_in(tmp_path / "got")
    for sample in study.values():
        assert is_right(sample, received[sample.sop_uid]), sample.transfer_syntax


def test_what_cannot_be_transcoded_fails_by_name_and_the_rest_arrives(
    archive: Archive, tmp_path: Path, study: dict[str, Sample]
) -> None:
    good = coded(LS, "8 bits", tmp_path, study="partly")
    whole = coded(RLE, "8 bits", tmp_path, study="partly")
    dataset = pydicom.dcmread(whole.path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\1\0\0\0" + bytes(200)])
    dataset["PixelData"].is_undefined_length = True
    broken = write(dataset, tmp_path / "broken.dcm", RLE)
    film = picture(KINDS["8 bits"], "film", study="partly")
    film.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    film.PixelData = pydicom.encaps.encapsulate([b"\0\0\1\xba" + bytes(200)])
    film["PixelData"].is_undefined_length = True
    film["PixelData"].VR = "OB"
    video = write(film, tmp_path / "video.dcm", "1.2.840.10008.1.2.4.102")
    assert set(send(archive, [good, broken, video]).values()) == {SUCCESS}
    witness = Witness(aet="PARTLY", syntaxes=[IMPLICIT])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=good.study_uid)
        *_, (last, failed) = association.send_c_move(asked, witness.aet, MOVE)
    assert last.Status == SOME_FAILED
    assert (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (1, 2)
    assert sorted(failed.FailedSOPInstanceUIDList) == sorted([broken.sop_uid, video.sop_uid])
    assert [one.sop_uid for one in witness.received] == [good.sop_uid]
    for sample in (broken, video):
        assert len(re.findall(rf"not sent.*{sample.sop_uid}", archive.log_text())) == 1


def test_a_report_reaches_a_receiver_that_takes_images_compressed(archive: Archive, tmp_path: Path) -> None:
    """What has no pixels is not compressed, whatever the receiver prefers."""
    report = write(tiny("report", study="report", sop_class=REPORT), tmp_path / "report.dcm")
    image = coded(EXPLICIT, "16 bits", tmp_path, study="report")
    assert set(send(archive, [report, image]).values()) == {SUCCESS}
    witness = Witness(aet="PREFERS", syntaxes=[EXPLICIT, IMPLICIT, LS])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port, "--syntax", "jpeg-ls")
        asked = identifier("STUDY", StudyInstanceUID=report.study_uid)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
        archive.pacs("ae", "set", witness.aet, "--syntax", "-")
        *_, (again, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert (last.Status, again.Status) == (SUCCESS, SUCCESS)
    syntaxes = [(one.sop_uid, one.transfer_syntax) for one in witness.received]
    assert sorted(syntaxes[:2]) == sorted([(report.sop_uid, EXPLICIT), (image.sop_uid, LS)])
    assert sorted(syntaxes[2:]) == sorted([(report.sop_uid, EXPLICIT), (image.sop_uid, EXPLICIT)])


@pytest.fixture(scope="module")
def mislabelled(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Of one study: uncompressed pixels under syntaxes that say otherwise, one of them lossy."""
    folder = tmp_path_factory.mktemp("mislabelled")
    samples = [
        write(picture(KINDS["RGB"], syntax, study="mislabelled"), folder / f"{syntax}.dcm", syntax)
        for syntax in (LOSSLESS, RLE, BASELINE)
    ]
    assert set(send(archive, samples).values()) == {SUCCESS}
    return samples


@pytest.mark.parametrize("accepted", [[EXPLICIT], [IMPLICIT], [LOSSLESS], [LOSSLESS, RLE, BASELINE, EXPLICIT]])
def test_uncompressed_pixels_under_a_compressed_syntax_reach_every_receiver_as_what_they_are(
    archive: Archive, mislabelled: list[Sample], tmp_path: Path, accepted: list[str]
) -> None:
    witness = Witness(aet=f"KNOWS{len(accepted)}{accepted[0][-3:]}", syntaxes=accepted)
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=mislabelled[0].study_uid)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, len(mislabelled))
    for received in witness.received:
        assert received.transfer_syntax == accepted[-1]
        path = file_of(received, tmp_path)
        seen = pydicom.dcmread(path) if accepted[-1] in UNCOMPRESSED else pictures.decoded(path)
        assert (values_of(seen) == pixels_of(KINDS["RGB"])).all()
        assert "LossyImageCompression" not in seen


def test_uncompressed_pixels_under_a_compressed_syntax_break_no_association_of_dcmtk(
    mislabelled: list[Sample], station: Station, receive: Callable[..., Receiver]
) -> None:
    receiver = receive("ANYSYNTAX", "+xa")
    station.archive.add_peer("ANYSYNTAX", receiver.port)
    done = station.move(STUDY_ROOT, "ANYSYNTAX", "STUDY", {"StudyInstanceUID": mislabelled[0].study_uid})
    assert done.status == SUCCESS, done.output[-2_000:]
    assert set(receiver.objects()) == {one.sop_uid for one in mislabelled}


def test_an_image_that_cannot_be_compressed_goes_as_it_is_to_who_prefers_it_compressed(
    archive: Archive, tmp_path: Path
) -> None:
    """Its pixel data are shorter than its attributes say; the receiver may know what to do with that."""
    samples = []
    for length in (0, 100):
        dataset = picture(KINDS["16 bits"], f"short-{length}", study="short")
        dataset.PixelData = bytes(length)
        samples.append(write(dataset, tmp_path / f"short-{length}.dcm"))
    assert set(send(archive, samples).values()) == {SUCCESS}
    witness = Witness(aet="LIKESLS", syntaxes=[EXPLICIT, IMPLICIT, LS])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port, "--syntax", "jpeg-ls")
        asked = identifier("STUDY", StudyInstanceUID=samples[0].study_uid)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert last.Status == SUCCESS
    received = {one.sop_uid: (one.transfer_syntax, one.data_set) for one in witness.received}
    assert received == {one.sop_uid: (EXPLICIT, one.data_set) for one in samples}


def test_a_syntax_that_nothing_is_compressed_into_is_refused(archive: Archive) -> None:
    for syntax in (BASELINE, "jpeg", EXPLICIT):
        done = archive.pacs("ae", "add", "WRONG", "127.0.0.1", "104", "--syntax", syntax, expect=2)
        assert "jpeg-lossless" in done.stderr


def test_a_lossy_image_stays_marked_when_it_is_sent_uncompressed(archive: Archive, tmp_path: Path) -> None:
    source = next(path for path in bundled() if path.name == "SC_rgb_jpeg_dcmtk.dcm")
    dataset = pydicom.dcmread(source)
    del dataset.LossyImageCompression
    sample = write(dataset, tmp_path / "lossy.dcm", BASELINE)
    assert set(send(archive, [sample]).values()) == {SUCCESS}
    witness = Witness(aet="MARKED", syntaxes=[EXPLICIT])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert last.Status == SUCCESS
    (received,) = witness.received
    seen = pydicom.dcmread(file_of(received, tmp_path))
    assert (seen.LossyImageCompression, seen.PhotometricInterpretation) == ("01", "RGB")
    assert seen.SOPInstanceUID == sample.sop_uid


def test_what_was_transcoded_is_taken_from_the_cache_unless_it_is_damaged(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    archive.start()
    sample = coded(LS, "16 bits", tmp_path, study="cached")
    send(archive, [sample])
    witness = Witness(aet="CACHED", syntaxes=[IMPLICIT])
    cache = archive.data / "cache" / "transcoded"
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)

        def move() -> bytes:
            *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
            assert last.Status == SUCCESS
            return witness.received[-1].data_set

        first = move()
        (kept,) = cache.iterdir()
        made = kept.stat().st_ino
        assert move() == first
        assert kept.stat().st_ino == made
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(content)
        assert move() == first
        assert kept.read_bytes() != bytes(content)
        assert "damaged file in the transcoding cache" in archive.log_text()


@pytest.mark.parametrize("obstacle", ["no cache", "no room"])
def test_a_cache_that_takes_nothing_fails_no_delivery(
    obstacle: str, new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive(transcoding={"cache_bytes": 0} if obstacle == "no cache" else {"cache_bytes": 100})
    archive.start()
    sample = coded(LS, "16 bits", tmp_path, study="uncached")
    send(archive, [sample])
    witness = Witness(aet="UNCACHED", syntaxes=[IMPLICIT])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert last.Status == SUCCESS
    assert (values_of(pydicom.dcmread(file_of(witness.received[0], tmp_path))) == pixels_of(KINDS["16 bits"])).all()
    assert list((archive.data / "cache" / "transcoded").iterdir()) == []


def codec_processes(archive: Archive) -> set[int]:
    """The processes that decode for those that serve."""
    return set(descendants(archive.pid)) - set(children(archive.pid))


@contextmanager
def no_decoder_starting(archive: Archive) -> Iterator[None]:
    """The first process that is to decode is killed; it loads for 0.4 s before it takes a frame."""

    def kill() -> None:
        (child,) = wait_for(lambda: codec_processes(archive), "a decoder")
        os.kill(child, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    yield
    killing.join()


def test_what_is_forwarded_waits_for_a_decoder_that_could_not_be_started(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    archive.start()
    sample = coded(LS, "16 bits", tmp_path, study="forwarded late")
    send(archive, [sample])
    witness = Witness(aet="WAITS", syntaxes=[IMPLICIT])
    with witness.running():
        archive.add_peer(witness.aet, witness.port)
        with no_decoder_starting(archive):
            archive.pacs("send", "study", sample.study_uid, "--to", witness.aet)
        wait_for(lambda: witness.received, "the object")
    assert "no decoder can be started" in archive.log_text()
    assert archive.report("send", "list", "--dead") == []


def test_a_decoder_that_could_not_be_started_fails_a_retrieve_and_not_the_association(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    archive.start()
    sample = coded(LS, "16 bits", tmp_path, study="moved late")
    send(archive, [sample])
    witness = Witness(aet="ASKSAGAIN", syntaxes=[IMPLICIT])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)
        with no_decoder_starting(archive):
            *_, (failed, _) = association.send_c_move(asked, witness.aet, MOVE)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert (failed.Status, last.Status) == (NONE_SENT, SUCCESS)


@pytest.mark.scenario
def test_pending_goes_out_while_one_object_takes_long(new_archive: Callable[..., Archive], tmp_path: Path) -> None:
    archive = new_archive(transcoding={"frame_timeout_s": 25.0})
    archive.start()
    first = coded(LS, "8 bits", tmp_path, study="first")
    slow = coded(LS, "12 bits", tmp_path, study="slow", InstanceNumber=1)
    good = coded(LS, "16 bits", tmp_path, study="slow", InstanceNumber=2)
    send(archive, [first, slow, good])
    witness = Witness(aet="PATIENT", syntaxes=[IMPLICIT])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)

        def move(sample: Sample) -> list[Dataset]:
            asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)
            return [status for status, _ in association.send_c_move(asked, witness.aet, MOVE)]

        move(first)
        (child,) = codec_processes(archive)
        os.kill(child, signal.SIGSTOP)  # as if it were lost in a codestream
        *pending, last = move(slow)
    assert len([one for one in pending if one.NumberOfRemainingSuboperations == 2]) >= 2
    assert (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (1, 1)
    assert "longer than 25 s" in archive.log_text()


@pytest.mark.scenario
def test_memory_is_that_of_frames_however_large_the_object_is(
    new_archive: Callable[..., Archive], receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    kind = Kind(stored=12, allocated=16, frames=80, rows=1_024, columns=1_024)
    plain = write(picture(kind, "long", study="long"), tmp_path / "plain.dcm").path
    ENCODERS[RLE](plain, tmp_path / "coded.dcm")
    archive = new_archive()
    archive.start()
    station = Station(archive=archive, folder=tmp_path)
    assert station.send(tmp_path / "coded.dcm").code == 0
    receiver = receive("LONG", "+xi")
    archive.add_peer("LONG", receiver.port)
    before, samples, done = resident_bytes(archive.pid), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            samples.append(resident_bytes(archive.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    moved = station.move(STUDY_ROOT, "LONG", "STUDY", {"StudyInstanceUID": uid("study", "long")})
    done.set()
    watching.join()
    assert moved.status == SUCCESS
    (received,) = receiver.objects().values()
    assert pydicom.dcmread(received, stop_before_pixels=True).NumberOfFrames == 80
    assert received.stat().st_size > 160 << 20
    assert max(samples) - before < 48 << 20


class Dropper(Witness):
    """Aborts the association at the second object, the first time only."""

    def take(self, event: evt.Event) -> int:
        if len(self.received) == 1 and not hasattr(self, "dropped"):
            self.dropped = True
            event.assoc.abort()
            return 0xA700
        return super().take(event)


def test_a_destination_that_drops_the_association_is_called_again_once(
    archive: Archive, study: dict[str, Sample]
) -> None:
    dropper = Dropper(aet="DROPPER", syntaxes=[IMPLICIT])
    with dropper.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(dropper.aet, dropper.port)
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "mixed"))
        *_, (last, _) = association.send_c_move(asked, dropper.aet, MOVE)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, len(study))
    assert {one.sop_uid for one in dropper.received} == {sample.sop_uid for sample in study.values()}


def test_the_server_itself_loads_no_codec_and_its_children_end_with_it(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    archive.start()
    sample = coded(LS, "16 bits", tmp_path, study="children")
    send(archive, [sample])
    witness = Witness(aet="CHILDREN", syntaxes=[IMPLICIT])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        list(association.send_c_move(identifier("STUDY", StudyInstanceUID=sample.study_uid), witness.aet, MOVE))
    assert len(witness.received) == 1
    served_by = (archive.pid, *children(archive.pid))
    mapped = "".join(Path(f"/proc/{pid}/maps").read_text(encoding="utf-8") for pid in served_by)
    assert "numpy" not in mapped
    assert "imagecodecs" not in mapped
    (child,) = codec_processes(archive)
    assert archive.stop() == 0
    wait_for(lambda: not Path(f"/proc/{child}").exists(), "the child to end")


def test_a_big_endian_object_is_compressed_with_its_numbers_the_right_way_round(
    archive: Archive, tmp_path: Path
) -> None:
    dataset = picture(KINDS["16 bits"], "big", study="big endian")
    dataset.PixelData = pixels_of(KINDS["16 bits"]).byteswap().tobytes() + b"\0" * (len(dataset.PixelData) % 2)
    sample = write(dataset, tmp_path / "big.dcm", BIG)
    send(archive, [sample])
    witness = Witness(aet="BIGTORLE", syntaxes=[RLE])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert last.Status == SUCCESS
    assert (values_of(pictures.decoded(file_of(witness.received[0], tmp_path))) == pixels_of(KINDS["16 bits"])).all()
