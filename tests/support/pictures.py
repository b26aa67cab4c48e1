"""Images of known pixels, coded and decoded by programs that share no line with the archive's codecs."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gdcm
import imagecodecs
import numpy
import pydicom
import pytest
from openjpeg.utils import decode_pixel_data
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from support.dcmtk import program
from support.samples import SECONDARY_CAPTURE, part10, tiny, write

from pacs_server.codecs.pool import Pool
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.pixels.transcoding import transcode
from pacs_server.settings import TranscodingLimits

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
LOSSLESS, LOSSLESS_57, LS, J2K = (f"1.2.840.10008.1.2.4.{number}" for number in (70, 57, 80, 90))
HTJ2K, RLE = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5"
BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
MAX_FRAME_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of image. Its sides are odd, so that nothing fits by chance."""

    stored: int
    allocated: int
    signed: bool = False
    samples: int = 1
    frames: int = 1
    photometric: str = "MONOCHROME2"
    planar: int = 0
    rows: int = 33
    columns: int = 47


KINDS = {
    "8 bits": Kind(stored=8, allocated=8),
    "8 of 16 bits": Kind(stored=8, allocated=16),
    "8 of 16 bits, signed": Kind(stored=8, allocated=16, signed=True),
    "12 bits": Kind(stored=12, allocated=16),
    "16 bits": Kind(stored=16, allocated=16),
    "16 bits, signed": Kind(stored=16, allocated=16, signed=True),
    "12 bits, signed": Kind(stored=12, allocated=16, signed=True),
    "three frames": Kind(stored=12, allocated=16, frames=3),
    "palette": Kind(stored=8, allocated=8, photometric="PALETTE COLOR"),
    "RGB": Kind(stored=8, allocated=8, samples=3, photometric="RGB"),
    "RGB in planes": Kind(stored=8, allocated=8, samples=3, photometric="RGB", planar=1),
    "RGB, two frames": Kind(stored=8, allocated=8, samples=3, photometric="RGB", frames=2),
}


def pixels_of(kind: Kind) -> numpy.ndarray:
    """The known pixels: (frame, row, column, sample), a smooth image with noise and both extremes."""
    chance = numpy.random.default_rng(kind.stored + kind.samples)
    shape = (kind.frames, kind.rows, kind.columns, kind.samples)
    low, high = (-(1 << kind.stored - 1), (1 << kind.stored - 1) - 1) if kind.signed else (0, (1 << kind.stored) - 1)
    slope = numpy.linspace(low, high, kind.columns)[None, None, :, None]
    values = numpy.clip(slope + chance.normal(0, high / 50, shape), low, high)
    values[:, 0, :2], values[:, 1:2, :2] = low, high
    return values.astype(f"{'i' if kind.signed else 'u'}{kind.allocated // 8}")


def picture(kind: Kind, name: object, **values: object) -> Dataset:
    """A data set with these pixels, not compressed."""
    dataset = tiny(name, sop_class=SECONDARY_CAPTURE, **{"study": "pictures", **values})
    dataset.ConversionType = "WSD"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = kind.samples, kind.photometric
    if kind.samples > 1:
        dataset.PlanarConfiguration = kind.planar
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    dataset.Rows, dataset.Columns = kind.rows, kind.columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = kind.allocated, kind.stored, kind.stored - 1
    dataset.PixelRepresentation = int(kind.signed)
    if kind.photometric == "PALETTE COLOR":
        for colour in ("Red", "Green", "Blue"):
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(dataset, f"{colour}PaletteColorLookupTableData", bytes(512))
    pixels = pixels_of(kind)
    content = (numpy.moveaxis(pixels, -1, 1) if kind.planar else pixels).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if kind.allocated > 8 else "OB"
    return dataset


def values_of(dataset: Dataset) -> numpy.ndarray:
    """The pixels of an uncompressed data set as the numbers in their stored bits: (frame, row, column, sample)."""
    array = dataset.pixel_array
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    array = array.reshape(frames, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    free = dataset.BitsAllocated - dataset.BitsStored
    return (array << free) >> free


def by_dcmtk(name: str, *options: str) -> Callable[[Path, Path], None]:
    def run(source: Path, target: Path) -> None:
        if program(name) is None:
            pytest.skip(f"DCMTK is not installed: no {name}")
        done = subprocess.run(
            [str(program(name)), *options, str(source), str(target)], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    return run


def _by_gdcm(source: Path, target: Path, *, syntax: int) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def _into_htj2k(source: Path, target: Path) -> None:
    """Nobody else writes it here; what OpenJPEG reads again is compared in the test of its own."""
    dataset = pydicom.dcmread(source)
    pixels = values_of(dataset)
    if dataset.get("PlanarConfiguration"):
        dataset.PlanarConfiguration = 0
    frames = [imagecodecs.htj2k_encode(frame.squeeze(), reversible=True) for frame in pixels]
    dataset.PixelData = encapsulate([bytes(frame) for frame in frames])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.PhotometricInterpretation = "YBR_RCT" if pixels.shape[-1] == 3 else dataset.PhotometricInterpretation
    write(dataset, target, HTJ2K)


ENCODERS: dict[str, Callable[[Path, Path], None]] = {
    LOSSLESS: by_dcmtk("dcmcjpeg", "+e1"),
    LOSSLESS_57: by_dcmtk("dcmcjpeg", "+el", "+sv", "6"),
    LS: by_dcmtk("dcmcjpls"),
    RLE: by_dcmtk("dcmcrle"),
    J2K: partial(_by_gdcm, syntax=gdcm.TransferSyntax.JPEG2000Lossless),
    HTJ2K: _into_htj2k,
}
DECODERS: dict[str, Callable[[Path, Path], None]] = {
    LOSSLESS: by_dcmtk("dcmdjpeg", "+cn"),
    LOSSLESS_57: by_dcmtk("dcmdjpeg", "+cn"),
    LS: by_dcmtk("dcmdjpls"),
    RLE: by_dcmtk("dcmdrle"),
    J2K: partial(_by_gdcm, syntax=gdcm.TransferSyntax.ExplicitVRLittleEndian),
    EXPLICIT: lambda source, target: shutil.copy(source, target) and None,
    IMPLICIT: lambda source, target: shutil.copy(source, target) and None,
}


def decoded(path: Path) -> Dataset:
    """The data set of a file, uncompressed by an independent program."""
    syntax = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    target = path.with_suffix(".raw")
    DECODERS[syntax](path, target)
    return pydicom.dcmread(target)


def openjpeg_frames(path: Path) -> Iterator[numpy.ndarray]:
    """The frames of a JPEG 2000 or HTJ2K file as OpenJPEG reads them."""
    dataset = pydicom.dcmread(path)
    for frame in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1))):
        content = decode_pixel_data(frame, version=2)
        array = numpy.frombuffer(content, dtype=f"u{dataset.BitsAllocated // 8}")
        yield array.reshape(dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)


@contextmanager
def pool(**limits: float) -> Iterator[Pool]:
    """Processes of the archive's own that decode and encode."""
    running = Pool(TranscodingLimits(**{"processes": 1, **limits}))  # type: ignore[arg-type]
    try:
        yield running
    finally:
        running.close()


def transcoded(path: Path, target_syntax: str, target: Path, running: Pool) -> Path:
    """A file of what the archive makes of another one."""
    content = path.read_bytes()
    meta = read_file_meta(content)
    with running.child(lambda: None) as child:
        pieces = transcode(
            (content[meta.data_set_offset :],),
            meta.transfer_syntax,
            target_syntax,
            partial(child.recode, meanwhile=lambda: None),
            max_frame_bytes=MAX_FRAME_BYTES,
        )
        data_set = b"".join(bytes(piece) for piece in pieces)
    target.write_bytes(
        part10(data_set, sop_class=meta.sop_class, sop_uid=meta.sop_instance, transfer_syntax=target_syntax)
    )
    return target


def frames(path: Path) -> list[bytes]:
    """The codestreams of a file."""
    dataset = pydicom.dcmread(path)
    return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1))))


def with_frames(path: Path | None, codestreams: list[bytes]) -> Dataset:
    """The data set of a file, or one of its own kind, with other codestreams in it."""
    dataset = picture(KINDS["8 bits"], "other frames") if path is None else pydicom.dcmread(path)
    dataset.PixelData = encapsulate(codestreams)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset
