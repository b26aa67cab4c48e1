"""Releases of the codecs that are not those which were tried are noticed where they do otherwise."""

from pathlib import Path

import pytest

from pacs_server.codecs.trial import failures
from pacs_server.settings import TranscodingLimits

# Python runs this first in the process of a codec, which imports them by name.
OTHER_RELEASE = """
import imagecodecs

encode, _ = imagecodecs.jpegls_encode, imagecodecs.jpeg2k_encode  # loaded, which sets them
imagecodecs.jpegls_encode = lambda pixels: encode(pixels ^ 1)

def refuse(pixels, **how):
    raise ValueError("no such option")

imagecodecs.jpeg2k_encode = refuse
"""


def test_the_codecs_that_are_installed_keep_every_picture() -> None:
    assert list(failures(TranscodingLimits())) == []


def test_a_codec_that_refuses_a_picture_or_changes_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(OTHER_RELEASE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = dict(failures(TranscodingLimits()))
    assert {picture.partition(",")[0] for picture in found} == {"jpeg-ls", "jpeg-2000"}
    assert found["jpeg-ls, 12 of 16 bits"] == "its pixels are others afterwards"
    assert found["jpeg-2000, 8 of 16 bits with a sign"].endswith("ValueError: no such option")
