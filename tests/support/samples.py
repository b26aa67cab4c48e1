"""Files to send: the real ones that come with pydicom, one for each transfer syntax, one for each storage class.

They are written and compared by pydicom and DCMTK only, so that a fault of ours cannot hide itself.
"""

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UID_dictionary,
)
from pynetdicom.sop_class import _STORAGE_CLASSES as STORAGE_CLASSES

CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
# JPIP deflated: no pixel data, the whole data set deflated (PS3.5 section A.7 and A.13).
_DEFLATED = (DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
_WITHOUT_PIXELS = (
    *("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205"),
    *("1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.7.2", "1.2.840.10008.1.2.7.3"),
)
# Not encodings of a data set (MIME and XML), a format of its own (Papyrus), or live video (PS3.22).
_NO_DATA_SET = (
    "1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2", "1.2.840.10008.1.20",
    "1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.7.2", "1.2.840.10008.1.2.7.3",
)  # fmt: skip

# Their pixel data or last sequence ends early, so that no whole object can be made of them.
TRUNCATED = ("MR_truncated.dcm", "rtplan_truncated.dcm")
# Their UIDs have the VR UN, which DCMTK does not take for UIDs, so that it cannot send them.
UNSENDABLE_BY_DCMTK = ("rtdose_rle.dcm", "rtdose_rle_1frame.dcm")
# Implicit VR under the label of JPEG Baseline.
MISLABELLED = "SC_rgb_jpeg.dcm"

# Real files have values that are not as they should be; they are to be sent as they are.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One DICOM file that an archive has to be able to keep."""

    path: Path
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    transfer_syntax: str

    @property
    def data_set(self) -> bytes:
        """The bytes after the file meta information."""
        return data_set_of(self.path)


def uid(*parts: object) -> str:
    """A UID that is always the same for the same parts. Source: PS3.5 section B.2."""
    return f"2.25.{uuid5(NAMESPACE_OID, '/'.join(map(str, parts))).int}"


def tiny(name: object, *, sop_class: str = CT, study: object = "study", series: object = "series", **values: object):
    """A small but complete data set; `values` are keywords that it gets or, as None, loses."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid("object", study, series, name)
    dataset.SeriesInstanceUID = uid("series", study, series)
    dataset.StudyInstanceUID = uid("study", study)
    dataset.PatientID = "T-1"
    dataset.PatientName = "Test^Tiny"
    dataset.StudyDate = "20260102"
    dataset.StudyTime = "101500"
    dataset.Modality = "OT"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
        if value is None:
            delattr(dataset, keyword)
    return dataset


def encoded(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The bytes of a data set in a transfer syntax."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = transfer_syntax != ExplicitVRBigEndian
    buffer.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    write_dataset(buffer, dataset)
    if transfer_syntax not in _DEFLATED:
        return buffer.getvalue()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(buffer.getvalue()) + deflater.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def part10(data_set: bytes, *, sop_class: str, sop_uid: str, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A file around the bytes of a data set, whatever these are. Source: PS3.10 section 7.1."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = "1.2.826.0.1.3680043.8.498"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_file_meta_info(buffer, meta)
    return b"\0" * 128 + b"DICM" + buffer.getvalue() + data_set


def write(dataset: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> Sample:
    """Write a data set as a file and describe it."""
    return _write_bytes(path, dataset, encoded(dataset, transfer_syntax), transfer_syntax)


@cache
def bundled() -> tuple[Path, ...]:
    """Every file with file meta information inside the installed pydicom package; nothing is fetched."""
    root = Path(pydicom.__file__).parent / "data"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return tuple(path for path in files if path.read_bytes()[128:132] == b"DICM")


def is_storable(path: Path) -> bool:
    """Whether a file is a whole object with a transfer syntax and the four UIDs that an archive files it by."""
    if path.name in (*TRUNCATED, MISLABELLED):
        return False
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    uids = (dataset.get(name) for name in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"))
    return "TransferSyntaxUID" in dataset.file_meta and all(uids)


def real_samples(folder: Path, *, without: Collection[str] = ()) -> list[Sample]:
    """Copies of the bundled files that are whole objects: their data sets as they are, under new file meta information.

    Where several share a SOP Instance UID (an image in several transfer syntaxes), the later ones get another of equal
    length, so that each is an object of its own.
    """
    samples: list[Sample] = []
    taken: set[str] = set()
    for path in filter(is_storable, bundled()):
        if path.name in without:
            continue
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        old, data_set = dataset.SOPInstanceUID, data_set_of(path)
        if old in taken:
            dataset.SOPInstanceUID = f"{old[:-3]}{len(samples) + 100}"
            data_set = data_set.replace(old.encode(), dataset.SOPInstanceUID.encode())
        taken.add(dataset.SOPInstanceUID)
        target = folder / f"{len(samples):03}-{path.name.removesuffix('.dcm')}.dcm"
        samples.append(_write_bytes(target, dataset, data_set, dataset.file_meta.TransferSyntaxUID))
    return samples


def syntax_samples(folder: Path) -> list[Sample]:
    """One object for each transfer syntax of the standard; compressed pixel data are two opaque fragments."""
    samples = []
    for syntax, (name, kind, *_) in UID_dictionary.items():
        if kind != "Transfer Syntax" or syntax in _NO_DATA_SET:
            continue
        dataset = tiny(syntax, study="syntaxes", sop_class=SECONDARY_CAPTURE, StudyDescription="One of each syntax")
        dataset.SeriesDescription = name[:64]
        if syntax in _WITHOUT_PIXELS:
            dataset.PixelDataProviderURL = "http://127.0.0.1/none"
        else:
            _add_pixels(dataset, is_native=syntax in NATIVE)
        samples.append(write(dataset, folder / f"{syntax}.dcm", syntax))
    return samples


def _add_pixels(dataset: Dataset, *, is_native: bool) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    pixels = bytes(range(32))
    if is_native:
        dataset.PixelData = pixels
        dataset["PixelData"].VR = "OW"
    else:
        dataset.PixelData = encapsulate([pixels, pixels[::-1]], has_bot=False)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True


def class_samples(folder: Path) -> list[Sample]:
    """One small object for each storage SOP class that pynetdicom knows."""
    samples = []
    for name, sop_class in sorted(STORAGE_CLASSES.items()):
        dataset = tiny(sop_class, study="classes", sop_class=sop_class, SeriesDescription=name[:64])
        samples.append(write(dataset, folder / f"{name}.dcm"))
    return samples


def data_set_of(path: Path) -> bytes:
    """The bytes of a file after its file meta information, which ends where group 2 ends."""
    content = path.read_bytes()
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        return content[file.tell() :]


def _write_bytes(path: Path, dataset: Dataset, data_set: bytes, transfer_syntax: str) -> Sample:
    sample = Sample(
        path=path,
        sop_class=str(dataset.SOPClassUID),
        sop_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        study_uid=str(dataset.StudyInstanceUID),
        transfer_syntax=str(transfer_syntax),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        part10(data_set, sop_class=sample.sop_class, sop_uid=sample.sop_uid, transfer_syntax=transfer_syntax)
    )
    return sample
