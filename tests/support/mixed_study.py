"""One study with an object of each transfer syntax: what a destination has to get whatever it can read."""

from pathlib import Path

import pydicom
from support import pictures
from support.pictures import (
    DEFLATED,
    ENCODERS,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    J2K,
    KINDS,
    LOSSLESS,
    LS,
    RLE,
    picture,
    pixels_of,
    values_of,
)
from support.samples import SECONDARY_CAPTURE, Sample, data_set_of, part10, write
from support.second_client import Received

CODED = {EXPLICIT: "12 bits", IMPLICIT: "RGB", LOSSLESS: "12 bits", LS: "16 bits", RLE: "RGB", J2K: "three frames"}
CODED |= {HTJ2K: "RGB", DEFLATED: "8 bits"}
UNCOMPRESSED = (EXPLICIT, IMPLICIT, DEFLATED)
COMPRESSED = (LOSSLESS, LS, J2K, RLE)


def coded(syntax: str, kind: str, folder: Path, **values: object) -> Sample:
    """An object of a kind of image in a syntax, coded by a program that is not ours."""
    name = f"{syntax}-{kind}"
    dataset = picture(KINDS[kind], name, series=syntax, **values)
    path = folder / f"{name}.dcm"
    if syntax not in ENCODERS:
        return write(dataset, path, syntax)
    plain = write(dataset, folder / "plain" / f"{name}.dcm")
    ENCODERS[syntax](plain.path, path)
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = SECONDARY_CAPTURE  # GDCM makes another of it where there are several frames
    return write(dataset, path, syntax)


def mixed_study(folder: Path, study: str = "mixed") -> dict[str, Sample]:
    """By transfer syntax: an object of each."""
    return {syntax: coded(syntax, kind, folder, study=study) for syntax, kind in CODED.items()}


def file_of(received: Received, folder: Path, sop_class: str = SECONDARY_CAPTURE) -> Path:
    path = folder / f"{received.sop_uid}.dcm"
    path.write_bytes(
        part10(
            received.data_set,
            sop_class=sop_class,
            sop_uid=received.sop_uid,
            transfer_syntax=received.transfer_syntax,
        )
    )
    return path


def is_right(sample: Sample, path: Path, *, rewritten: bool = False) -> bool:
    """Whether a received file is the object as it was, or has all of its pixels. With `rewritten`, the receiver wrote
    what it understood, not the bytes.
    """
    syntax = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    if syntax == sample.transfer_syntax:
        return data_set_of(path) == sample.data_set or (
            rewritten and pydicom.dcmread(path) == pydicom.dcmread(sample.path)
        )
    seen = pydicom.dcmread(path) if syntax in UNCOMPRESSED else pictures.decoded(path)
    return bool((values_of(seen) == pixels_of(KINDS[CODED[sample.transfer_syntax]])).all())
