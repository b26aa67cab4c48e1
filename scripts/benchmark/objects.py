"""Makes the objects that are sent, from a fixed seed: CT 527 KB, MR 21 KB, XA 105 MB; each with its own UID."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

_SOP_PLACE: Final = f"2.25.{9 * 10**30}"
_NUMBER_PLACE: Final = "90000009"
_DESCRIPTIONS: Final = {"CT": "BRAIN W/O CONTRAST", "MR": "KNEE", "XA": "CORONARY ANGIOGRAPHY"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its modality and the shape of its pixels."""

    modality: str
    sop_class: str
    rows: int
    columns: int
    bits: int
    frames: int = 1

    @property
    def pixel_bytes(self) -> int:
        """The size of Pixel Data."""
        return self.rows * self.columns * self.frames * self.bits // 8


CT: Final = Kind("CT", "1.2.840.10008.5.1.4.1.1.2", 512, 512, 16)
MR: Final = Kind("MR", "1.2.840.10008.5.1.4.1.1.4", 98, 98, 16)
XA: Final = Kind("XA", "1.2.840.10008.5.1.4.1.1.12.1", 1024, 1024, 8, frames=100)


def study_uid(seed: int, kind: Kind, study: int) -> str:
    """The UID of the n-th study of a kind."""
    return _uid(seed, kind, study, 0)


def make_study(directory: Path, kind: Kind, *, seed: int, study: int, images: int) -> list[Path]:
    """Write one study of one series into `directory`, unless a run before has written it; answers its files."""
    files = [directory / f"{number:06d}.dcm" for number in range(1, images + 1)]
    complete = directory.with_suffix(".complete")
    if complete.exists():
        return files
    directory.mkdir(parents=True, exist_ok=True)
    template = _template(kind, seed, study)
    for number, file in enumerate(files, start=1):
        pixels = random.Random(f"{seed}-{kind.modality}-{study}-{number}").randbytes(kind.pixel_bytes)
        header = template.replace(_SOP_PLACE.encode(), _uid(seed, kind, study, 1_000 + number).encode())
        file.write_bytes(header.replace(_NUMBER_PLACE.encode(), b"%08d" % number) + pixels)
    complete.touch()
    return files


def _uid(seed: int, kind: Kind, study: int, within: int) -> str:
    """A UID of always the same length. Source: PS3.5 section B.2 (2.25 and a number)."""
    kinds = {"CT": 1, "MR": 2, "XA": 3}
    return f"2.25.{10**30 + seed % 10**6 * 10**20 + kinds[kind.modality] * 10**18 + study * 10**9 + within}"


def _template(kind: Kind, seed: int, study: int) -> bytes:
    """A Part 10 file without its pixels. The header is as long and as mixed as that of a usual modality."""
    chance = random.Random(f"{seed}-{kind.modality}-{study}")
    data_set = Dataset()
    _describe_study(data_set, kind, chance)
    _describe_image(data_set, kind)
    data_set.SOPClassUID, data_set.SOPInstanceUID = kind.sop_class, _SOP_PLACE
    data_set.StudyInstanceUID = _uid(seed, kind, study, 0)
    data_set.SeriesInstanceUID = _uid(seed, kind, study, 1)
    data_set.FrameOfReferenceUID = _uid(seed, kind, study, 2)
    data_set.InstanceNumber = _NUMBER_PLACE
    data_set.add_new(0x7FE00010, "OB" if kind.bits == 8 else "OW", b"\0" * kind.pixel_bytes)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()[: -kind.pixel_bytes]


def _describe_study(data_set: Dataset, kind: Kind, chance: random.Random) -> None:
    date, time = f"2025{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}", f"{chance.randint(7, 18):02d}1502.250"
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.PatientName = f"Bench{chance.randint(1, 9999)}^{chance.choice(('Anna', 'Jörg', 'Marie'))}"
    data_set.PatientID = f"B{chance.randint(10**6, 10**7 - 1)}"
    data_set.PatientBirthDate, data_set.PatientSex, data_set.PatientAge = "19600229", "O", "065Y"
    data_set.PatientWeight = "71.5"
    data_set.StudyDate = data_set.SeriesDate = data_set.AcquisitionDate = data_set.ContentDate = date
    data_set.StudyTime = data_set.SeriesTime = data_set.AcquisitionTime = data_set.ContentTime = time
    data_set.AccessionNumber, data_set.StudyID = f"A{chance.randint(10**7, 10**8 - 1)}", "1"
    data_set.StudyDescription = data_set.SeriesDescription = data_set.ProtocolName = _DESCRIPTIONS[kind.modality]
    data_set.ReferringPhysicianName, data_set.OperatorsName = "Refer^Rita", "Tech^Tom"
    data_set.Modality, data_set.SeriesNumber, data_set.Laterality = kind.modality, 2, ""
    data_set.Manufacturer, data_set.ManufacturerModelName = "BENCH MEDICAL SYSTEMS", "Floor 9000"
    data_set.InstitutionName, data_set.StationName = "General Hospital", "BENCH01"
    data_set.DeviceSerialNumber, data_set.SoftwareVersions = "0815", ["v1.0", "build 42"]
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "24725-4", "LN", "Head"
    data_set.ProcedureCodeSequence = [procedure]
    data_set.PerformedProcedureStepStartDate, data_set.PerformedProcedureStepStartTime = date, time
    data_set.PerformedProcedureStepID = "PPS1"


def _describe_image(data_set: Dataset, kind: Kind) -> None:
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.AcquisitionNumber, data_set.BodyPartExamined, data_set.PatientPosition = 1, "HEAD", "HFS"
    data_set.KVP, data_set.ExposureTime, data_set.XRayTubeCurrent, data_set.Exposure = "120", 1000, 250, 250
    data_set.SliceThickness, data_set.SliceLocation, data_set.ConvolutionKernel = "1.25", "-107.5", "STANDARD"
    data_set.ImagePositionPatient, data_set.ImageOrientationPatient = [-125, -125, -107.5], [1, 0, 0, 0, 1, 0]
    data_set.PixelSpacing, data_set.SamplesPerPixel = [0.488281, 0.488281], 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows, data_set.Columns = kind.rows, kind.columns
    data_set.BitsAllocated = data_set.BitsStored = kind.bits
    data_set.HighBit, data_set.PixelRepresentation = kind.bits - 1, 0
    data_set.WindowCenter, data_set.WindowWidth = [40, 300], [80, 1500]
    data_set.RescaleIntercept, data_set.RescaleSlope, data_set.RescaleType = "-1024", "1", "HU"
    if kind.frames > 1:
        data_set.NumberOfFrames, data_set.FrameTime = kind.frames, "33.33"
    block = data_set.private_block(0x0019, "BENCH_ACQ_01", create=True)
    for offset in range(32):
        block.add_new(offset, "LO" if offset % 2 else "DS", "PRIVATE VALUE" if offset % 2 else f"{offset}.125")
    block = data_set.private_block(0x0043, "BENCH_PARM_01", create=True)
    block.add_new(0x10, "OB", bytes(range(256)) * 2)
