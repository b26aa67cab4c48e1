"""Every pixel survives: what others coded is decoded as they do, and what is coded here is decoded by others."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.encaps import generate_fragments
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from support import pictures
from support.pictures import (
    BASELINE,
    BIG,
    DEFLATED,
    ENCODERS,
    EXPLICIT,
    EXTENDED,
    HTJ2K,
    IMPLICIT,
    J2K,
    KINDS,
    LOSSLESS,
    LS,
    RLE,
    Kind,
    decoded,
    picture,
    pixels_of,
    transcoded,
    values_of,
)
from support.samples import bundled, data_set_of, is_storable, write

from pacs_server.codecs.pool import Pool
from pacs_server.codecs.transcoder import Transcoder
from pacs_server.dicom.pixels.codestream import read_jpeg
from pacs_server.dicom.pixels.transcoding import DECODABLE, ENCODABLE
from pacs_server.errors import Unconvertible, Undecodable
from pacs_server.settings import TranscodingLimits

NATIVE_SOURCES = (EXPLICIT, IMPLICIT, BIG, DEFLATED)


@pytest.fixture(scope="module")
def running() -> Iterator[Pool]:
    with pictures.pool() as pool:
        yield pool


def stored(kind: Kind, syntax: str, folder: Path) -> Path:
    """A file of that kind of image, coded by a program that is not ours."""
    dataset = picture(kind, kind)
    if syntax == BIG and kind.allocated == 16:  # pydicom writes the bytes as they are
        dataset.PixelData = numpy.frombuffer(dataset.PixelData, dtype="u2").byteswap().tobytes()
    plain = write(dataset, folder / "plain.dcm", EXPLICIT if syntax in ENCODERS else syntax).path
    if syntax not in ENCODERS:
        return plain
    ENCODERS[syntax](plain, folder / "coded.dcm")
    assert pydicom.dcmread(folder / "coded.dcm").file_meta.TransferSyntaxUID == syntax
    return folder / "coded.dcm"


@pytest.mark.parametrize("source", [*ENCODERS, *NATIVE_SOURCES])
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_pixel_survives_from_every_lossless_syntax_into_every_other(
    kind: Kind, source: str, tmp_path: Path, running: Pool
) -> None:
    path = stored(kind, source, tmp_path)
    targets = [*ENCODABLE] if source in NATIVE_SOURCES else [EXPLICIT, IMPLICIT, *ENCODABLE]
    for target in targets:
        if target == source:
            continue
        made = transcoded(path, target, tmp_path / "made.dcm", running)
        dataset = decoded(made)
        assert (values_of(dataset) == pixels_of(kind)).all(), target
        assert dataset.PhotometricInterpretation == kind.photometric, target
        assert dataset.get("LossyImageCompression") in (None, "00"), target
        assert "ExtendedOffsetTable" not in pydicom.dcmread(made)


UNUSUAL = {
    "RGB of 16 bits in planes": Kind(stored=16, allocated=16, samples=3, photometric="RGB", planar=1),
    "one pixel": Kind(stored=8, allocated=8, rows=1, columns=1),
    "one pixel of 12 bits": Kind(stored=12, allocated=16, rows=1, columns=1),
    "one column of RGB": Kind(stored=8, allocated=8, samples=3, photometric="RGB", columns=1, frames=3),
}


@pytest.mark.parametrize("kind", UNUSUAL.values(), ids=list(UNUSUAL))
def test_pixels_laid_out_in_an_unusual_way_survive_too(kind: Kind, tmp_path: Path, running: Pool) -> None:
    path = stored(kind, EXPLICIT, tmp_path)
    for target in ENCODABLE:
        made = transcoded(path, target, tmp_path / "made.dcm", running)
        assert (values_of(decoded(made)) == pixels_of(kind)).all(), target
        again = transcoded(made, EXPLICIT, tmp_path / "again.dcm", running)
        assert (values_of(pydicom.dcmread(again)) == pixels_of(kind)).all(), target


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "RGB"])
def test_mere_noise_which_no_codec_makes_smaller_survives_too(kind: str, tmp_path: Path, running: Pool) -> None:
    noisy = replace(KINDS[kind], rows=256, columns=255)
    dataset = picture(noisy, kind)
    dataset.PixelData = random.Random(kind).randbytes(len(dataset.PixelData))
    path = write(dataset, tmp_path / "noise.dcm").path
    for target in ENCODABLE:
        made = transcoded(path, target, tmp_path / "made.dcm", running)
        assert (values_of(decoded(made)) == values_of(pydicom.dcmread(path))).all(), target


@pytest.mark.parametrize("syntax", [RLE, LS, LOSSLESS])
def test_colours_that_come_out_with_all_of_their_samples_are_not_called_subsampled(
    syntax: str, tmp_path: Path, running: Pool
) -> None:
    kind = Kind(stored=8, allocated=8, samples=3, photometric="YBR_FULL")
    dataset = pydicom.dcmread(stored(kind, syntax, tmp_path))
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    path = write(dataset, tmp_path / "called.dcm", syntax).path
    made = pydicom.dcmread(transcoded(path, EXPLICIT, tmp_path / "made.dcm", running))
    assert made.PhotometricInterpretation == "YBR_FULL"
    assert made.PixelData == picture(kind, kind).PixelData


@pytest.mark.parametrize("kind", ["12 bits", "RGB", "three frames"])
def test_openjpeg_reads_the_htj2k_of_these_tests_as_the_archive_does(kind: str, tmp_path: Path) -> None:
    path = stored(KINDS[kind], HTJ2K, tmp_path)
    frames = [frame.reshape(pixels_of(KINDS[kind])[0].shape) for frame in pictures.openjpeg_frames(path)]
    assert (numpy.array(frames) == pixels_of(KINDS[kind])).all()


def test_everything_but_the_pixels_stays_as_it_was(tmp_path: Path, running: Pool) -> None:
    path = stored(KINDS["12 bits"], LOSSLESS, tmp_path)
    before = pydicom.dcmread(path, stop_before_pixels=True)
    for target in (EXPLICIT, IMPLICIT, RLE):
        after = pydicom.dcmread(transcoded(path, target, tmp_path / "made.dcm", running), stop_before_pixels=True)
        assert after == before
        assert after.SOPInstanceUID == before.SOPInstanceUID


LOSSY = [
    path
    for path in bundled()
    if read_file_meta_info(path).get("TransferSyntaxUID") in (BASELINE, EXTENDED) and is_storable(path)
]


@pytest.mark.parametrize("path", LOSSY, ids=lambda path: path.name)
def test_a_lossy_jpeg_is_decoded_like_dcmtk_does_and_says_that_it_was_lossy(
    path: Path, tmp_path: Path, running: Pool
) -> None:
    ours = pydicom.dcmread(transcoded(path, EXPLICIT, tmp_path / "ours.dcm", running))
    pictures.by_dcmtk("dcmdjpeg", "+cp")(path, tmp_path / "theirs.dcm")
    theirs = pydicom.dcmread(tmp_path / "theirs.dcm")
    assert ours.LossyImageCompression == "01"
    assert ours.PhotometricInterpretation == ("RGB" if ours.SamplesPerPixel == 3 else theirs.PhotometricInterpretation)
    # Two decoders of JPEG may round differently, and smooth the colours between pixels or not (ITU-T T.83).
    difference = numpy.abs(values_of(ours).astype(int) - values_of(theirs).astype(int))
    assert difference.mean() < 2


def test_a_lossy_image_goes_to_a_receiver_of_lossless_ones_without_further_loss(tmp_path: Path, running: Pool) -> None:
    path = next(one for one in LOSSY if one.name == "SC_rgb_jpeg_dcmtk.dcm")
    plain = pydicom.dcmread(transcoded(path, EXPLICIT, tmp_path / "plain.dcm", running))
    made = transcoded(path, LOSSLESS, tmp_path / "made.dcm", running)
    assert (values_of(decoded(made)) == values_of(plain)).all()
    assert pydicom.dcmread(made).LossyImageCompression == "01"


@pytest.mark.parametrize("syntax", [LOSSLESS, LS, J2K])
def test_frames_in_many_fragments_without_offset_table_are_put_together(
    syntax: str, tmp_path: Path, running: Pool
) -> None:
    kind = KINDS["three frames"]
    path = stored(kind, syntax, tmp_path)
    dataset = pydicom.dcmread(path)
    frames = list(generate_fragments(dataset.PixelData))[1:]
    dataset.PixelData = b"".join(item(part) for part in (b"", *(part for frame in frames for part in thirds(frame))))
    cut = write(dataset, tmp_path / "cut.dcm", syntax).path
    assert (values_of(decoded(transcoded(cut, EXPLICIT, tmp_path / "made.dcm", running))) == pixels_of(kind)).all()


def test_a_jpeg_of_ycc_pixels_does_not_claim_that_they_are_rgb(tmp_path: Path, running: Pool) -> None:
    kind = Kind(stored=8, allocated=8, samples=3, photometric="YBR_FULL")
    before = write(picture(kind, "ycc"), tmp_path / "ycc.dcm").path
    made = transcoded(before, LOSSLESS, tmp_path / "made.dcm", running)
    assert (values_of(decoded(made)) == values_of(pydicom.dcmread(before))).all()
    assert read_jpeg(pictures.frames(made)[0]).is_ycc is None
    seen, original = pydicom.dcmread(made), pydicom.dcmread(before)
    seen.pixel_array_options(decoding_plugin="gdcm")
    assert (seen.pixel_array == original.pixel_array).all(), "what a viewer shows"


@pytest.mark.parametrize("number", [None, "1", "2", "0", "1A"])
@pytest.mark.parametrize("syntax", [EXPLICIT, LS, J2K, RLE])
def test_no_frame_is_left_out_because_another_number_is_claimed(
    syntax: str, number: str | None, tmp_path: Path, running: Pool
) -> None:
    path = stored(KINDS["three frames"], syntax, tmp_path)
    dataset = pydicom.dcmread(path)
    del dataset.NumberOfFrames
    if number is not None:
        dataset.add(RawDataElement(Tag("NumberOfFrames"), "IS", len(number), number.encode(), 0, False, True))
    wrong = write(dataset, tmp_path / "wrong.dcm", syntax).path
    with pytest.raises(Undecodable):
        transcoded(wrong, LOSSLESS if syntax == RLE else RLE, tmp_path / "made.dcm", running)


def thirds(frame: bytes) -> list[bytes]:
    length = len(frame) // 3 // 2 * 2
    return [frame[:length], frame[length : 2 * length], frame[2 * length :]]


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value


def test_a_wrong_sign_in_a_jpeg_2000_codestream_does_not_count(tmp_path: Path, running: Pool) -> None:
    path = next(one for one in bundled() if one.name == "J2K_pixelrep_mismatch.dcm")
    made = pydicom.dcmread(transcoded(path, EXPLICIT, tmp_path / "made.dcm", running))
    assert values_of(made).min() == -2000  # what is outside of the scanned circle


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "pixels of 1 bits"),
        ({"PhotometricInterpretation": "YBR_FULL_422"}, "YBR_FULL_422"),
        ({"HighBit": 15}, "in this place"),
        ({"PixelData": None}, "no pixel data"),
        ({"BitsStored": 8, "HighBit": 7}, "above those that are stored"),
    ],
    ids=str,
)
def test_what_would_lose_something_is_not_compressed(
    change: dict[str, object], reason: str, tmp_path: Path, running: Pool
) -> None:
    dataset = picture(KINDS["12 bits"], "unsuitable")
    for keyword, value in change.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    path = write(dataset, tmp_path / "plain.dcm").path
    with pytest.raises(Unconvertible, match=reason):
        transcoded(path, LOSSLESS, tmp_path / "made.dcm", running)


def test_a_compressed_icon_is_left_out_and_one_of_an_uncompressed_image_is_not(tmp_path: Path, running: Pool) -> None:
    icon = picture(Kind(stored=8, allocated=8, rows=4, columns=4), "icon")
    dataset = picture(KINDS["12 bits"], "with icon", IconImageSequence=[icon])
    path = write(dataset, tmp_path / "plain.dcm").path
    made = transcoded(path, LOSSLESS, tmp_path / "made.dcm", running)
    assert pydicom.dcmread(made).IconImageSequence[0].PixelData == icon.PixelData
    again = pydicom.dcmread(transcoded(made, EXPLICIT, tmp_path / "again.dcm", running))
    assert "IconImageSequence" not in again


def test_pixels_that_are_not_what_their_syntax_says_are_refused(tmp_path: Path, running: Pool) -> None:
    for syntax in DECODABLE:
        path = write(picture(KINDS["8 bits"], syntax), tmp_path / f"{syntax}.dcm", syntax).path
        with pytest.raises(Undecodable, match="not in fragments"):
            transcoded(path, EXPLICIT, tmp_path / "made.dcm", running)


def large(folder: Path) -> tuple[pydicom.Dataset, bytes]:
    """An image of ten frames, of 20 MiB uncompressed, and a frame of it, which it lacks yet."""
    of_frame = Kind(stored=12, allocated=16, rows=1_024, columns=1_024)
    plain = write(picture(of_frame, "large"), folder / "plain.dcm").path
    ENCODERS[RLE](plain, folder / "coded.dcm")
    dataset = pydicom.dcmread(folder / "coded.dcm")
    *_, frame = generate_fragments(dataset.PixelData)
    dataset.NumberOfFrames = 10
    return dataset, frame


def test_a_receiver_that_takes_a_large_image_slowly_keeps_no_decoder_from_others(tmp_path: Path) -> None:
    dataset, frame = large(tmp_path)
    dataset.PixelData = pydicom.encaps.encapsulate([frame] * 10)
    data_set = data_set_of(write(dataset, tmp_path / "good.dcm", RLE).path)
    gives_up_at = time.monotonic() + 30

    def meanwhile() -> None:
        assert time.monotonic() < gives_up_at, "no decoder was free"

    with closing(Transcoder(TranscodingLimits(processes=1, cache_bytes=0), tmp_path, reserve_bytes=0)) as transcoder:
        slow = transcoder.made("slow", lambda: [data_set], RLE, EXPLICIT, lambda: None)
        taken = 0
        while taken < 5 << 20:
            taken += len(next(slow))
        other = transcoder.made("other", lambda: [data_set], RLE, EXPLICIT, meanwhile)
        assert sum(map(len, other)) > 20 << 20
        assert taken + sum(map(len, slow)) > 20 << 20


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_a_frame_damaged_far_behind_fails_the_object_before_any_of_it_is_answered(
    cache_bytes: int, tmp_path: Path
) -> None:
    dataset, frame = large(tmp_path)
    limits = TranscodingLimits(processes=1, cache_bytes=cache_bytes)
    with closing(Transcoder(limits, tmp_path, reserve_bytes=0)) as transcoder:
        for name, last in (("good", frame), ("broken", frame[:100])):
            dataset.PixelData = pydicom.encaps.encapsulate([*[frame] * 9, last])
            data_set = data_set_of(write(dataset, tmp_path / f"{name}.dcm", RLE).path)
            make = partial(transcoder.made, name, lambda: [data_set], RLE, EXPLICIT, lambda: None)  # noqa: B023
            if last is frame:
                assert sum(map(len, make())) > 20 << 20
            else:
                with pytest.raises(Undecodable):
                    make()
