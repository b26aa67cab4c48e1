"""One Japanese name, sent in the ways that devices in the field write it, found in every writing, answered unharmed."""

from pathlib import Path

import pytest
from pydicom import Dataset
from support.dcmtk import STUDY_ROOT, Station
from support.samples import encoded, part10, tiny, uid
from support.server import Archive

EXPLICIT = "1.2.840.10008.1.2.1"
NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"
HALF_WIDTH = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
IR87, IR13_IR87, UTF8 = "\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87", "ISO_IR 192"
# How the data set is labelled, how its text is written, and the name.
SOURCES = {
    "iso2022": (IR87, "iso2022_jp", NAME),
    "half-width": (IR13_IR87, "", HALF_WIDTH),
    "utf8": (UTF8, "utf-8", NAME),
    "shift-jis-as-latin": ("ISO_IR 100", "shift_jis", NAME),
    "shift-jis-as-half-width": ("ISO_IR 13", "shift_jis", NAME),
    "shift-jis-unlabelled": ("", "shift_jis", NAME),
}
PLACEHOLDER = b"@" * 60


@pytest.fixture(scope="module")
def filled(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("japanese")
    for source in SOURCES:
        write(source, folder / f"{source}.dcm")
    done = Station(archive=archive, folder=folder).store(folder, options=["+sd"])
    assert done.statuses == [0x0000] * len(SOURCES)
    return archive


def write(source: str, path: Path) -> None:
    """A file whose name is in exactly these bytes, whatever its label says."""
    label, codec, name = SOURCES[source]
    data_set = tiny(1, study=source, PatientID=f"JP-{source}", PatientName=PLACEHOLDER.decode())
    data_set.SpecificCharacterSet = label.split("\\")
    raw = encoded(data_set, EXPLICIT)
    text = name.encode(codec) if codec else half_width_bytes(name)
    raw = raw.replace(PLACEHOLDER, text.ljust(len(PLACEHOLDER)))
    path.write_bytes(
        part10(raw, sop_class=data_set.SOPClassUID, sop_uid=data_set.SOPInstanceUID, transfer_syntax=EXPLICIT)
    )


def half_width_bytes(name: str) -> bytes:
    """Half-width kana of the first set, the others called by escape sequences. Source: PS3.5 annex H.3.2."""
    alphabetic, rest = name.split("=", 1)
    return alphabetic.encode("shift_jis") + b"=" + rest.encode("iso2022_jp").replace(b"\x1b(B", b"\x1b(J")


def found(station: Station, charset: str, name: str) -> dict[str, Dataset]:
    studies = {uid("study", source): source for source in SOURCES}
    keys = {"PatientID": "JP-*", "PatientName": name, "StudyInstanceUID": ""}
    done = station.find(STUDY_ROOT, "STUDY", keys, charset=charset)
    assert done.status == 0x0000, done.output[-2_000:]
    return {studies[row.StudyInstanceUID]: row for row in done.rows}


WRITINGS = ["山田^太郎", "ヤマダ^タロウ", "やまだ^たろう", "*田*", "山*", "=山田^太郎", "==やまだ^たろう"]


@pytest.mark.parametrize("charset", [IR87, IR13_IR87, UTF8])
@pytest.mark.parametrize("name", WRITINGS)
def test_kanji_and_kana_find_it_from_every_source(filled: Archive, station: Station, charset: str, name: str) -> None:
    assert found(station, charset, name).keys() == SOURCES.keys()


@pytest.mark.parametrize("charset", [IR13_IR87, UTF8])
def test_half_width_kana_finds_it_from_every_source(filled: Archive, station: Station, charset: str) -> None:
    assert found(station, charset, "ﾔﾏﾀﾞ^ﾀﾛｳ").keys() == SOURCES.keys()


@pytest.mark.parametrize("name", ["ﾔﾏﾀﾞ^ﾀﾛｳ", "*ﾀﾛ*", "山田*"])
def test_shift_jis_finds_it_under_the_label_of_latin_1(filled: Archive, station: Station, name: str) -> None:
    as_latin = name.encode("shift_jis").decode("latin-1")
    assert found(station, "ISO_IR 100", as_latin).keys() == SOURCES.keys()


def test_romaji_finds_it_where_it_was_sent(filled: Archive, station: Station) -> None:
    assert found(station, "", "yamada^tarou").keys() == SOURCES.keys() - {"half-width"}


@pytest.mark.parametrize("charset", ["", "ISO_IR 100", IR87, IR13_IR87, UTF8])
def test_the_answer_decodes_to_what_was_sent(filled: Archive, station: Station, charset: str) -> None:
    rows = found(station, charset, "")
    assert {source: str(row.PatientName) for source, row in rows.items()} == {
        source: name for source, (_, _, name) in SOURCES.items()
    }


def test_a_name_outside_jis_x_0208_is_answered_in_utf8(filled: Archive, station: Station, tmp_path: Path) -> None:
    data_set = tiny(1, study="outside", PatientID="OUTSIDE", PatientName="=髙橋①^𠮷子", SpecificCharacterSet=UTF8)
    path = tmp_path / "outside.dcm"
    path.write_bytes(
        part10(
            encoded(data_set, EXPLICIT),
            sop_class=data_set.SOPClassUID,
            sop_uid=data_set.SOPInstanceUID,
            transfer_syntax=EXPLICIT,
        )
    )
    assert station.store(path).status == 0x0000
    keys = {"PatientID": "OUTSIDE", "PatientName": ""}
    (row,) = station.find(STUDY_ROOT, "STUDY", keys, charset=IR87).rows
    assert (row.SpecificCharacterSet, str(row.PatientName)) == (UTF8, "=髙橋①^𠮷子")
