"""Rows of hostile inputs in texts: labels that are wrong, and kanji whose bytes look like delimiters."""

from collections.abc import Iterator

import pytest
from support.raw_objects import IMPLICIT, Association, element, held, identified, storing
from support.samples import uid
from support.server import wait_for
from support.standing_rules import Case, Watched

SUCCESS = 0x0000
CHARSET, PATIENT_NAME, LEVEL, STUDY = 0x00080005, 0x00100010, 0x00080052, 0x0020000D
NAME = "山田^太郎"
JIS, UTF8, SJIS, EUC = NAME.encode("iso2022_jp"), NAME.encode(), NAME.encode("cp932"), NAME.encode("euc_jp")

# The label, the bytes of the name, and which flag tells of them.
LABELS = {
    "row 67: a set that nobody knows": ("KLINGON", UTF8, "charset-unknown:KLINGON"),
    "row 67: a number that nobody knows": ("ISO_IR 999", UTF8, "charset-unknown:ISO_IR 999"),
    "row 67: 100 values": ("\\".join(["", *["ISO 2022 IR 87"] * 99]), JIS, ""),
    "row 67: 100 values that nobody knows": ("\\".join(f"X{n}" for n in range(100)), JIS, "charset-unknown:X0"),
    "row 67: ISO 2020 IR 87": ("\\ISO 2020 IR 87", JIS, "charset-misspelt"),
    "row 67: ISO IR 192": ("ISO IR 192", UTF8, "charset-misspelt"),
    "row 67: no value": ("", UTF8, "charset-assumed"),
    "row 67: NULs behind it": ("ISO_IR 192\0\0\0", UTF8, ""),
    "row 67: junk behind it": ("ISO_IR 192;x=\x1b[2J", UTF8, "charset-unknown"),
    "row 67: a label of 5,000 characters": ("Z" * 5_000, UTF8, "charset-unknown:ZZZZ"),
    "row 68: UTF-8 without a label": ("", UTF8, "charset-assumed"),
    "row 68: UTF-8 as Latin-1": ("ISO_IR 100", UTF8, "charset-wrong"),
    "row 68: Shift_JIS without a label": ("", SJIS, "charset-assumed"),
    "row 68: Shift_JIS as Latin-1": ("ISO_IR 100", SJIS, "charset-wrong"),
    "row 68: Shift_JIS as UTF-8": ("ISO_IR 192", SJIS, "charset-wrong"),
    "row 68: EUC-JP without a label": ("", EUC, "charset-assumed"),
    "row 68: EUC-JP as UTF-8": ("ISO_IR 192", EUC, "charset-wrong"),
    "row 68: ISO 2022 without a label": ("", JIS, "charset-assumed"),
}
# Who is known to write so.
WRITERS = {SJIS: "SHIFT_JIS", EUC: "EUC-JP", UTF8: "ISO_IR 192", JIS: "\\ISO 2022 IR 87"}


@pytest.fixture(scope="module")
def peers(ill_treated: Watched) -> Watched:
    """The archive, which knows of a peer for each way of writing."""
    for number, charset in enumerate(WRITERS.values()):
        ill_treated.archive.pacs(
            "ae", "add", f"WRITER{number}", "-", "-", "--from", "127.0.0.0/8", "--charset", charset
        )
    ill_treated.archive.pacs("index", "fields", "add", "InstitutionAddress", "--level", "series")
    with storing(Case(name="the field", archive=ill_treated.archive, address="127.0.0.1")) as association:
        # Before the running server matches keys on the field, such a key finds everything; while the server reads what
        # was there before, it is refused.
        wait_for(
            lambda: asked(association, "ISO_IR 192", PLACES["ST"], b"nowhere") == (SUCCESS, set()),
            "the running server to match the field",
            timeout_s=60,
        )
    return ill_treated


def writer(raw: bytes) -> bytes:
    return f"WRITER{list(WRITERS).index(raw)}".encode()


@pytest.mark.parametrize("name", LABELS)
def test_a_name_is_read_whatever_its_label_says_and_kept_as_it_came(peers: Watched, name: str) -> None:
    label, raw, flag = LABELS[name]
    data_set = identified(name, charset=label, before=element(PATIENT_NAME, "", b"=" + raw), implicit=True)
    with peers.case(name, stored=1) as case, storing(case, IMPLICIT, calling=writer(raw)) as association:
        assert association.store(data_set, uid(name)).status == SUCCESS
    row = held(peers.archive, uid(name))
    assert row["patient_name"] == f"={NAME}"
    assert any(one.startswith(flag) for one in row["flags"]) if flag else not row["flags"], row["flags"]
    assert all(one.isprintable() for one in row["flags"])
    (file,) = (path for path in peers.archive.files() if path.name.startswith(uid(name)))
    assert file.read_bytes().endswith(data_set)


def characters(codec: str, special: bytes) -> str:
    """Two kanji of a coded character set with each of these bytes, where there are some."""

    def with_byte(wanted: int) -> Iterator[str]:
        for code in range(0x4E00, 0x9FA0):
            try:
                raw = chr(code).encode(codec).removeprefix(b"\x1b$B").removesuffix(b"\x1b(B")
            except UnicodeEncodeError:
                continue
            if wanted in raw:
                yield chr(code)

    found = [pair for byte in special for pair in zip(with_byte(byte), range(2), strict=False)]
    return "".join(character for character, _ in found)


LOOK_ALIKES = b"\\^=*?"
# Label, codec and who writes so: the sets in which a byte of a character looks like a delimiter or wildcard.
SETS = {
    "row 70: ISO 2022 IR 87": ("\\ISO 2022 IR 87", "iso2022_jp", b"BROKEN"),
    "row 70: Shift_JIS": ("", "cp932", writer(SJIS)),
    "row 70: GB18030": ("GB18030", "gb18030", b"BROKEN"),
    "row 70: GBK": ("GBK", "gbk", b"BROKEN"),
}
PLACES = {"PN": PATIENT_NAME, "LO": 0x00081030, "SH": 0x00080050, "ST": 0x00080081, "LT": 0x00104000}


@pytest.mark.parametrize("name", SETS)
def test_a_byte_of_a_kanji_is_neither_a_delimiter_nor_a_wildcard(peers: Watched, name: str) -> None:
    label, codec, calling = SETS[name]
    text = characters(codec, LOOK_ALIKES)
    assert {byte for byte in text.encode(codec) if byte in LOOK_ALIKES} >= set(b"\\^"), "they are what this is about"

    def written(vr: str, text: str) -> bytes:
        return (f"={text[:2]}^{text[2:]}" if vr == "PN" else text).encode(codec)

    values = {tag: written(vr, text) for vr, tag in PLACES.items()}
    before = b"".join(element(tag, "", values[tag]) for tag in sorted(values))
    with peers.case(name, stored=1) as case, storing(case, IMPLICIT, calling=calling) as association:
        data_set = identified(name, charset=label, before=before, implicit=True)
        assert association.store(data_set, uid(name)).status == SUCCESS
        for vr, tag in PLACES.items():
            for key in (text, text[:-1] + "*", "?" + text[1:]):
                sought = written(vr, key) if vr == "PN" else key.encode(codec)
                assert uid("study", name) in found(association, label, tag, sought), (vr, key)
            other = text[:-1] + "一"
            assert found(association, label, tag, written(vr, other)) == set(), vr
    row = held(peers.archive, uid(name))
    assert row["patient_name"] == f"={text[:2]}^{text[2:]}"
    assert (row["study_description"], row["accession_number"], row["patient_comments"]) == (text, text, text)


def found(association: Association, label: str, tag: int, key: bytes) -> set[str]:
    """The studies that a key of their series finds."""
    status, studies = asked(association, label, tag, key)
    assert status == SUCCESS, hex(status)
    return studies


def asked(association: Association, label: str, tag: int, key: bytes) -> tuple[int, set[str]]:
    """How a question with such a key ends, and the studies that it finds."""
    keys = {CHARSET: label.encode(), LEVEL: b"SERIES", STUDY: b"", tag: key}
    status, rows = association.find(b"".join(element(one, "", keys[one]) for one in sorted(keys)))
    return status, {str(row.StudyInstanceUID) for row in rows}
