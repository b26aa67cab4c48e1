"""The DICOMDIR of a medium: which patients, studies, series and objects lie on it, and in which files.

Only records are written here: pydicom's FileSet reads each object whole, and writes it anew in an encoding of its own.

Source: PS3.3 annex F, PS3.10 section 8.6.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

from pacs_server.dicom.attributes import BY_KEYWORD, SPECIFIC_CHARACTER_SET
from pacs_server.dicom.charset import declared, decode
from pacs_server.dicom.describe import Description
from pacs_server.dicom.elements import EXPLICIT, EXPLICIT_LE, TEXT_VRS
from pacs_server.dicom.identity import new_uid
from pacs_server.dicom.names import may_be_same
from pacs_server.dicom.part10 import MEDIA_DIRECTORY, file_meta
from pacs_server.dicom.values import Value

if TYPE_CHECKING:
    from pydicom import Dataset

_IN_USE: Final = 0xFFFF
_UL: Final = struct.Struct("<L")

# No value that is right is as long, and no element takes more than 65,534 bytes.
_MAX_CHARACTERS: Final = 10_240

# What stands for a value that a record has to have and its objects do not.
_PATIENT: Final = {"PatientName": "", "PatientID": "NONE", "PatientBirthDate": None, "PatientSex": None}
_STUDY: Final = {
    "StudyDate": "19000101", "StudyTime": "000000", "AccessionNumber": "", "StudyDescription": "",
    "StudyInstanceUID": "", "StudyID": "NONE",
}  # fmt: skip
_SERIES: Final = {"Modality": "OT", "SeriesDescription": None, "SeriesInstanceUID": "", "SeriesNumber": "0"}

# Of storage classes by the beginning of what follows in their UID; all others are images. The longest that fits counts.
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_TYPES: Final = {
    "4.2": "SPECTROSCOPY", "9.": "WAVEFORM", "11.": "PRESENTATION", "66": "RAW DATA", "66.1": "REGISTRATION",
    "66.2": "FIDUCIAL", "66.3": "REGISTRATION", "66.4": "IMAGE", "66.5": "SURFACE", "66.6": "TRACT",
    "66.7": "IMAGE", "67": "VALUE MAP", "68.": "SURFACE SCAN", "77.1.5.3": "STEREOMETRIC", "78.": "MEASUREMENT",
    "88.": "SR DOCUMENT", "88.59": "KEY OBJECT DOC", "90.1": "ASSESSMENT", "104.": "ENCAP DOC", "481.2": "RT DOSE",
    "481.3": "RT STRUCTURE SET", "481.4": "RT TREAT RECORD", "481.5": "RT PLAN", "481.6": "RT TREAT RECORD",
    "481.7": "RT TREAT RECORD", "481.8": "RT PLAN", "481.9": "RT TREAT RECORD",
}  # fmt: skip


def record_type(sop_class: str) -> str:
    """The type of the directory record of an object. Source: PS3.3 section F.5."""
    rest = sop_class.removeprefix(_STORAGE) if sop_class.startswith(_STORAGE) else ""
    fitting = [known for known in _TYPES if rest == known or (known.endswith(".") and rest.startswith(known))]
    return _TYPES[max(fitting, key=len)] if fitting else "IMAGE"


@dataclass(slots=True)
class _Record:
    """One directory record: its type, its elements behind the links to others, and the records below it."""

    type: str
    elements: bytes
    below: dict[str, _Record] = field(default_factory=dict)
    offset: int = 0

    def encoded(self, following: int) -> bytes:
        """The item of this record; `following` is the offset of the next one on its level."""
        lower = next(iter(self.below.values())).offset if self.below else 0
        content = b"".join(
            (
                EXPLICIT.write_element(0x00041400, b"UL", _UL.pack(following)),
                EXPLICIT.write_element(0x00041410, b"US", _IN_USE.to_bytes(2, "little")),
                EXPLICIT.write_element(0x00041420, b"UL", _UL.pack(lower)),
                _text(0x00041430, b"CS", self.type),
                self.elements,
            )
        )
        return EXPLICIT.write_header(0xFFFEE000, b"", len(content)) + content


class MediumDirectory:
    """What is on a medium so far. Its texts are decoded, and written in Unicode."""

    def __init__(self) -> None:
        self._patients: dict[str, _Record] = {}
        self._names: dict[str, list[str]] = {}

    def add(
        self,
        one: Description,
        transfer_syntax: str,
        file_id: tuple[str, ...],
        file: BinaryIO,
        *,
        assumed_charset: str = "",
    ) -> None:
        """An object that was written to the file of that name, by its folders; only the first under a UID counts.

        `assumed_charset` is how its texts are written where it does not say, as for its description.
        """
        patient = self._found(self._patients, self._whose(one), "PATIENT", _keys(_PATIENT, one.patient))
        study = self._found(patient.below, one.study_uid, "STUDY", _keys(_STUDY, one.study))
        series = self._found(study.below, one.series_uid, "SERIES", _keys(_SERIES, one.series))
        kind = record_type(one.sop_class)
        number = {"InstanceNumber": str(len(series.below) + 1)}
        keys = _leaf(kind, file, assumed_charset) or _CHARACTER_SET + _keys(number, one.instance)
        told = (
            _text(0x00041500, b"CS", "\\".join(file_id)),
            _text(0x00041510, b"UI", one.sop_class),
            _text(0x00041511, b"UI", str(one.sop_uid)),
            _text(0x00041512, b"UI", transfer_syntax),
            keys,
        )
        series.below.setdefault(str(one.sop_uid), _Record(kind, b"".join(told)))

    def _whose(self, one: Description) -> str:
        """By what his record is known: under one ID two may have come, and neither is to be read as the other."""
        identity, name = str(one.patient["identity"]), str(one.patient["patient_name"] or "")
        names = self._names.setdefault(identity, [])
        known = next((known for known in names if may_be_same(known, name)), None)
        if known is None:
            names.append(known := name)
        return f"{identity}\x1f{known}"

    def _found(self, records: dict[str, _Record], key: str, kind: str, elements: bytes) -> _Record:
        return records.setdefault(key, _Record(kind, _CHARACTER_SET + elements))

    def encoded(self) -> bytes:
        """The file DICOMDIR."""
        meta = file_meta(sop_class=MEDIA_DIRECTORY, sop_instance=new_uid(), transfer_syntax=EXPLICIT_LE)
        records = list(_all(self._patients))
        at = len(meta) + len(self._before(0))
        for record in records:
            record.offset = at
            at += len(record.encoded(0))
        items = b"".join(
            record.encoded(following) for record, following in zip(records, _following(self._patients), strict=True)
        )
        return meta + self._before(len(items)) + items

    def _before(self, length: int) -> bytes:
        roots = [record.offset for record in self._patients.values()] or [0]
        return b"".join(
            (
                EXPLICIT.write_element(0x00041130, b"CS", b""),
                EXPLICIT.write_element(0x00041200, b"UL", _UL.pack(roots[0])),
                EXPLICIT.write_element(0x00041202, b"UL", _UL.pack(roots[-1])),
                EXPLICIT.write_element(0x00041212, b"US", b"\0\0"),
                EXPLICIT.write_header(0x00041220, b"SQ", length),
            )
        )


def _all(records: Mapping[str, _Record]) -> Iterator[_Record]:
    for record in records.values():
        yield record
        yield from _all(record.below)


def _following(records: Mapping[str, _Record]) -> Iterator[int]:
    """The offset of the next record on its level for each of `_all`; 0 for the last."""
    offsets = [record.offset for record in records.values()]
    for record, following in zip(records.values(), chain(offsets[1:], (0,)), strict=False):
        yield following
        yield from _following(record.below)


def _keys(usual: Mapping[str, str | None], values: Mapping[str, Value]) -> bytes:
    """The elements of these keywords; one that has no value gets the usual one, or is left out where that is None."""
    elements: list[tuple[int, bytes]] = []
    for keyword, stands_for in usual.items():
        attribute = BY_KEYWORD[keyword]
        told = values.get(attribute.column)
        text = stands_for if told in (None, "") else str(told)[:_MAX_CHARACTERS]
        if text is not None:
            elements.append((attribute.tag, _text(attribute.tag, attribute.vr.encode(), text)))
    return b"".join(element for _, element in sorted(elements))


def _leaf(kind: str, file: BinaryIO, assumed_charset: str) -> bytes:
    """What the record of an object that is no image says of it; nothing where the object lacks what it has to say."""
    if kind == "IMAGE":
        return b""
    from pydicom import config, dcmread
    from pydicom.errors import BytesLengthException, InvalidDicomError
    from pydicom.filebase import DicomIO
    from pydicom.fileset import DIRECTORY_RECORDERS
    from pydicom.filewriter import write_dataset

    try:
        with config.disable_value_validation():
            dataset = dcmread(file, stop_before_pixels=True)
            _decode_texts(dataset, (), assumed_charset)
            record = DIRECTORY_RECORDERS[kind](dataset)
            record.SpecificCharacterSet = "ISO_IR 192"
            content = BytesIO()
            written = DicomIO(content)
            written.is_little_endian, written.is_implicit_VR = True, False
            write_dataset(written, record)
            return content.getvalue()
    except OSError as error:
        if error.errno is not None:  # of the file; pydicom raises it too
            raise
        return b""
    except (
        InvalidDicomError, BytesLengthException, struct.error, zlib.error, ValueError, LookupError, TypeError,
        AttributeError, ArithmeticError, RuntimeError, EOFError,
    ):  # fmt: skip
        return b""  # a value that is not valid makes pydicom raise any of these


def _decode_texts(dataset: Dataset, charset: tuple[str, ...], assumed: str) -> None:
    """Have the texts of a data set, and of all items in it, be as the index reads them: pydicom puts question marks,
    and parts values within a kanji, where the label of the character set is wrong or missing.
    """
    from pydicom.datadict import dictionary_has_tag, dictionary_VR
    from pydicom.dataelem import DataElement

    if SPECIFIC_CHARACTER_SET in dataset:
        label = dataset[SPECIFIC_CHARACTER_SET].value
        charset = declared("\\".join([label] if isinstance(label, str) else label or []).encode())
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        vr = element.VR
        if vr in (None, "UN") and dictionary_has_tag(tag):
            vr = dictionary_VR(tag)
        if vr == "SQ":
            for item in dataset[tag].value:
                _decode_texts(item, charset, assumed)
        elif vr in TEXT_VRS and isinstance(element.value, bytes):
            text = decode(element.value, charset, vr=vr, assumed=assumed).text
            dataset[tag] = DataElement(tag, vr, text.rstrip(" "))


def _text(tag: int, vr: bytes, text: str) -> bytes:
    return EXPLICIT.write_element(tag, vr, text.encode("utf-8", "replace"))


_CHARACTER_SET: Final = _text(0x00080005, b"CS", "ISO_IR 192")
