"""The object that is sent to try something out: an image of one pixel, named for what it is.

One study is set apart for trying a server out: what is stored in it is found and sent like anything else, but goes
nowhere by itself, and is forgotten without a trace.
"""

from __future__ import annotations

import uuid
from typing import Final

from pacs_server.dicom.elements import PIXEL_DATA, encoding_of

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
TEST_PATIENT_ID: Final = "PACS-TEST"


def _uid(part: str) -> str:
    """A UID that stays the same in every release. Source: PS3.5 section B.2."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'pacs_server test object {part}').int}"


TEST_INSTANCE_UID: Final = _uid("instance")
TEST_STUDY_UID: Final = _uid("study")
TEST_SERIES_UID: Final = _uid("series")
# The study that is set apart, on every server.
TRIAL_STUDY_UID: Final = _uid("trial study")
TRIAL_SERIES_UID: Final = _uid("trial series")


def tiny_object(
    transfer_syntax: str,
    *,
    instance: str = TEST_INSTANCE_UID,
    study: str = TEST_STUDY_UID,
    series: str = TEST_SERIES_UID,
) -> bytes:
    """A complete Secondary Capture image of one pixel. Source: PS3.3 section A.8.1."""
    uids = {0x00080018: instance.encode(), 0x0020000D: study.encode(), 0x0020000E: series.encode()}
    write = encoding_of(transfer_syntax).write_element
    return b"".join(write(tag, vr, uids.get(tag, value)) for tag, vr, value in _ELEMENTS)


def trial_object(transfer_syntax: str, instance: str) -> bytes:
    """The same in the study that is set apart."""
    return tiny_object(transfer_syntax, instance=instance, study=TRIAL_STUDY_UID, series=TRIAL_SERIES_UID)


def _us(number: int) -> bytes:
    return number.to_bytes(2, "little")


_ELEMENTS: Final = (
    (0x00080016, b"UI", SECONDARY_CAPTURE.encode()),
    (0x00080018, b"UI", TEST_INSTANCE_UID.encode()),
    (0x00080020, b"DA", b""),
    (0x00080030, b"TM", b""),
    (0x00080050, b"SH", b""),
    (0x00080060, b"CS", b"OT"),
    (0x00080064, b"CS", b"SYN"),
    (0x00080090, b"PN", b""),
    (0x00100010, b"PN", b"PACS^TEST"),
    (0x00100020, b"LO", TEST_PATIENT_ID.encode()),
    (0x00100030, b"DA", b""),
    (0x00100040, b"CS", b""),
    (0x0020000D, b"UI", TEST_STUDY_UID.encode()),
    (0x0020000E, b"UI", TEST_SERIES_UID.encode()),
    (0x00200010, b"SH", b""),
    (0x00200011, b"IS", b"1"),
    (0x00200013, b"IS", b"1"),
    (0x00280002, b"US", _us(1)),
    (0x00280004, b"CS", b"MONOCHROME2"),
    (0x00280010, b"US", _us(1)),
    (0x00280011, b"US", _us(1)),
    (0x00280100, b"US", _us(8)),
    (0x00280101, b"US", _us(8)),
    (0x00280102, b"US", _us(7)),
    (0x00280103, b"US", _us(0)),
    (PIXEL_DATA, b"OB", b"\0"),
)
