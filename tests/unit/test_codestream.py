"""What a codestream claims is read without decoding it, and rubbish is refused."""

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import get_frame
from support.samples import bundled, is_storable

from pacs_server.dicom.pixels.codestream import Codestream, read_jpeg, read_jpeg_2000
from pacs_server.errors import Undecodable

JPEG, JPEG_2000 = "1.2.840.10008.1.2.4.", ("90", "91")
# Its size marker is not that of its image.
ABSURD = "JPEG2000-embedded-sequence-delimiter.dcm"


def bundled_frames():
    for path in filter(is_storable, bundled()):
        dataset = pydicom.dcmread(path)
        syntax = dataset.file_meta.get("TransferSyntaxUID", "")
        if not syntax.startswith(JPEG) or path.name == ABSURD:
            continue
        yield path.name, syntax, dataset, get_frame(dataset.PixelData, 0, number_of_frames=1)


def test_every_bundled_codestream_claims_what_its_data_set_says() -> None:
    seen = 0
    for name, syntax, dataset, frame in bundled_frames():
        read = read_jpeg_2000 if syntax.endswith(JPEG_2000) else read_jpeg
        found = read(frame)
        said = (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
        assert (found.rows, found.columns, found.components) == said, name
        assert 1 < found.precision <= dataset.BitsAllocated, name
        seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    ("segment", "names", "is_ycc"),
    [
        (b"", b"\1\2\3", None),
        (b"", b"RGB", False),
        (b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", b"\1\2\3", True),
        (b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0", b"\1\2\3", False),
        (b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1", b"\1\2\3", True),
        (b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0", b"\1\2\3", False),
    ],
    ids=["nothing tells", "component names", "JFIF", "Adobe none", "Adobe YCC", "Adobe beats JFIF"],
)
def test_markers_tell_the_colours_of_a_jpeg(segment: bytes, names: bytes, is_ycc: bool | None) -> None:
    components = b"".join(bytes((name, 0x11, 0)) for name in names)
    header = b"\xff\xc0\0\x11\x08\0\x10\0\x20\3" + components
    expected = Codestream(rows=16, columns=32, components=3, precision=8, is_ycc=is_ycc)
    assert read_jpeg(b"\xff\xd8" + segment + header + b"\xff\xda") == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\x4f\xff\x51"]))
def test_rubbish_is_read_or_refused_and_nothing_else(rubbish: bytes, beginning: bytes) -> None:
    for read in (read_jpeg, read_jpeg_2000):
        try:
            read(beginning + rubbish)
        except Undecodable:
            continue
