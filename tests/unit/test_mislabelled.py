"""What has uncompressed pixels under a compressed transfer syntax is told from all else that may stand there."""

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1, RLELossless
from support.samples import encoded, tiny

from pacs_server.dicom.pixels.mislabelled import is_mislabelled


def image(pixels: bytes, **values: object) -> Dataset:
    described = {"Rows": 3, "Columns": 5, "SamplesPerPixel": 1, "BitsAllocated": 8, "PixelData": pixels}
    dataset = tiny("image", **(described | values))
    dataset["PixelData"].VR = "OB"
    return dataset


@pytest.mark.parametrize(
    ("dataset", "is_so"),
    [
        (image(bytes(16)), True),
        (image(bytes(16), NumberOfFrames=1), True),
        (image(bytes(30), NumberOfFrames=2), True),
        (image(bytes(90), SamplesPerPixel=3, BitsAllocated=16), True),
        (image(bytes(16), EncapsulatedDocument=bytes(100_000)), True),
        (image(bytes(14)), False),
        (image(b"\xff\xd8" + bytes(98)), False),
        (image(bytes(16), NumberOfFrames=2), False),
        (tiny("report"), False),
    ],
)
@pytest.mark.parametrize("piece_bytes", [50, 1 << 20])
def test_only_as_many_bytes_as_the_attributes_say_are_uncompressed_pixels(
    dataset: Dataset, is_so: bool, piece_bytes: int
) -> None:
    data_set = memoryview(encoded(dataset))
    pieces = [data_set[start : start + piece_bytes] for start in range(0, len(data_set), piece_bytes)]
    assert is_mislabelled(pieces, JPEGLosslessSV1) is is_so
    assert not is_mislabelled([], JPEGLosslessSV1)


@pytest.mark.parametrize("head_bytes", [2, 100_000])
def test_pixels_in_fragments_and_what_is_cut_are_not(head_bytes: int) -> None:
    dataset = image(encapsulate([bytes(16)]), EncapsulatedDocument=bytes(head_bytes))
    dataset["PixelData"].is_undefined_length = True
    data_set = encoded(dataset, RLELossless)
    assert not is_mislabelled([data_set], RLELossless)
    assert not is_mislabelled([data_set[: len(data_set) // 2]], RLELossless)
