"""Every real object to a receiver of each transfer syntax: the same bytes, the same pixels, or a clear failure."""

from pathlib import Path

import numpy
import pydicom
import pytest
from pynetdicom import evt
from support.mixed_study import file_of
from support.pictures import BIG, EXPLICIT, EXTENDED, IMPLICIT, J2K, LOSSLESS, LS, RLE, by_dcmtk
from support.samples import Sample, data_set_of, real_samples
from support.second_client import Received, Witness, associate, identifier, send
from support.server import Archive

MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
UNCOMPRESSED, COMPRESSED = (EXPLICIT, IMPLICIT), (LOSSLESS, LS, J2K, RLE)
LOSSY = [f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91)]
BY_DCMTK = {EXTENDED: ("dcmdjpeg", "+cn"), BIG: ("dcmconv", "+te")}
BAD_NUMBER = "badVR"  # nobody knows how many frames "1A" are
BROKEN = "JPEG2000-embedded-sequence-delimiter"  # its codestream ends in the middle


pytestmark = pytest.mark.filterwarnings(  # of real files
    "ignore:The pixel data is .* excess padding", "ignore:The number of bytes of compressed pixel data matches"
)


@pytest.fixture(scope="module")
def samples(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    made = real_samples(tmp_path_factory.mktemp("real"))
    assert set(send(archive, made).values()) == {0}
    assert len({(one.sop_class, one.transfer_syntax) for one in made}) > 25
    return made


def can_be_sent(sample: Sample, accepted: str) -> bool:
    """Whether a receiver of this syntax can get it at all."""
    if sample.transfer_syntax == accepted:
        return True
    if BROKEN in sample.path.name:
        return False
    if accepted in UNCOMPRESSED:
        return True
    dataset = pydicom.dcmread(sample.path)
    if "PixelData" not in dataset or dataset.BitsAllocated == 1 or BAD_NUMBER in sample.path.name:
        return False
    if sample.transfer_syntax in UNCOMPRESSED and dataset.PhotometricInterpretation == "YBR_FULL_422":
        return False
    return dataset.BitsAllocated <= 16 or accepted == RLE


def pixels(path: Path) -> numpy.ndarray:
    """The pixels, decoded by GDCM where they are compressed; it knows no JPEG of 12 bits, so DCMTK reads that, and it
    tells the bytes of 16-bit words, in which pixels of 32 bits are kept too, the way round (PS3.5 section 7.3).
    """
    dataset = pydicom.dcmread(path)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in BY_DCMTK:
        by_dcmtk(*BY_DCMTK[syntax])(path, path.with_suffix(".raw"))
        dataset = pydicom.dcmread(path.with_suffix(".raw"))
    elif syntax == RLE:
        dataset.pixel_array_options(decoding_plugin="pydicom")
    elif syntax.is_encapsulated:
        dataset.pixel_array_options(decoding_plugin="gdcm")
    return dataset.pixel_array


def elements(dataset: pydicom.Dataset) -> list[pydicom.DataElement]:
    """All but private ones, whose VR Implicit VR does not tell, and lengths of groups."""
    dataset.remove_private_tags()
    return [element for element in dataset if element.tag.element != 0]


def assert_right(sample: Sample, received: Received, folder: Path) -> None:
    if received.transfer_syntax == sample.transfer_syntax:
        assert received.data_set == data_set_of(sample.path), sample.path.name
        return
    path = file_of(received, folder, sample.sop_class)
    before, after = pydicom.dcmread(sample.path), pydicom.dcmread(path)
    if "PixelData" not in before or BAD_NUMBER in sample.path.name:
        assert elements(after) == elements(before), sample.path.name
        return
    expected, seen = pixels(sample.path), pixels(path)
    if sample.transfer_syntax in LOSSY:  # decoders round differently (ITU-T T.83)
        assert numpy.abs(expected.astype(int) - seen.astype(int)).mean() < 2, sample.path.name
        assert after.LossyImageCompression == "01"
    else:
        assert numpy.array_equal(expected, seen), sample.path.name


@pytest.mark.parametrize("accepted", [*UNCOMPRESSED, *COMPRESSED])
def test_c_move_delivers_what_can_be_and_names_the_rest(
    archive: Archive, samples: list[Sample], accepted: str, tmp_path: Path
) -> None:
    witness = Witness(aet=f"M{accepted[-6:]}", syntaxes=[accepted])
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=sorted({one.study_uid for one in samples}))
        *_, (_, failed) = association.send_c_move(asked, witness.aet, MOVE)
    check(samples, accepted, witness, failed, tmp_path)


@pytest.mark.parametrize("accepted", [*UNCOMPRESSED, *COMPRESSED])
def test_c_get_delivers_what_can_be_and_names_the_rest(
    archive: Archive, samples: list[Sample], accepted: str, tmp_path: Path
) -> None:
    witness = Witness()
    classes = sorted({one.sop_class for one in samples})
    contexts = [(GET, [IMPLICIT]), *((one, [accepted]) for one in classes)]
    handlers = [(evt.EVT_C_STORE, witness.take)]
    with associate(archive, contexts, as_receiver=classes, handlers=handlers) as association:
        asked = identifier("STUDY", StudyInstanceUID=sorted({one.study_uid for one in samples}))
        *_, (_, failed) = association.send_c_get(asked, GET)
    check(samples, accepted, witness, failed, tmp_path)


def check(samples: list[Sample], accepted: str, witness: Witness, failed: pydicom.Dataset | None, folder: Path) -> None:
    named = failed.FailedSOPInstanceUIDList if failed else []
    refused = {one.sop_uid for one in samples if not can_be_sent(one, accepted)}
    assert ({named} if isinstance(named, str) else set(named)) == refused
    received = {one.sop_uid: one for one in witness.received}
    assert received.keys() == {one.sop_uid for one in samples} - refused
    for sample in samples:
        if sample.sop_uid in received:
            assert_right(sample, received[sample.sop_uid], folder)
