"""Rows of hostile inputs in the values of a data set: what is shown is escaped, what is none is empty and flagged."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.raw_objects import IMPLICIT, Association, element, held, identified, storing
from support.samples import uid
from support.standing_rules import PAYLOAD, Watched

SUCCESS = 0x0000
IDEOGRAPHIC_SPACE = "\u3000"
PATIENT_ID, PATIENT_NAME, ISSUER = 0x00100020, 0x00100010, 0x00100021
INSTANCE_NUMBER = 0x00200013
DESCRIPTION, SERIES_DESCRIPTION, ACCESSION, STATION = 0x00081030, 0x0008103E, 0x00080050, 0x00081010

TEXTS = {
    "a script": "<script>alert(1)</script>",
    "ANSI escapes": "\x1b[2J\x1b[31m\x1b]0;owned\x07",
    "one-byte escapes": "\x9b2J\x9d0;owned\x9c",
    "line ends": "a\r\nERROR forged=yes",
    "line separators": "a\u2028ERROR\u2029forged\x85\x0b\x0c",
    "reversed text": "\u202egpj.exe\u2066\u200f",
    "a NUL": "before\0behind",
    "formats": "%n%s%x{}{0.__class__}${jndi:ldap://x}",
    "quotes": "'\"`;$(reboot)|&&",
    "64 KB": "x" * 65_000,
}


def texts(name: str, text: str) -> bytes:
    """An object with this text wherever the index keeps a text."""
    raw = f"{text}{PAYLOAD}".encode()
    early = (STATION, ACCESSION, DESCRIPTION, SERIES_DESCRIPTION, PATIENT_NAME, PATIENT_ID)
    return identified(
        name, charset="ISO_IR 192", before=b"".join(element(tag, "", raw) for tag in sorted(early)), implicit=True,
        after=element(0x00420011, "", b"%PDF-1.7 /OpenAction << /S /JavaScript >>"),
    )  # fmt: skip


def printed(ill_treated: Watched, *words: str) -> Iterator[str]:
    """The lines that a command prints, for a person and as JSON."""
    for more in ((), ("--json",)):
        yield from ill_treated.archive.pacs(*words, *more).stdout.split("\n")


def test_rows_57_and_78_whatever_a_value_holds_is_shown_without_a_control_character(ill_treated: Watched) -> None:
    with ill_treated.case("rows 57, 78: texts", stored=len(TEXTS)) as case, storing(case, IMPLICIT) as association:
        for name, text in TEXTS.items():
            assert association.store(texts(name, text), uid(name)).status == SUCCESS, name
    lines = list(printed(ill_treated, "find", "patients"))
    for words in (("find", "studies"), ("find", "series", "StationName="), ("audit", "report"), ("conflicts", "list")):
        lines += printed(ill_treated, *words)
    for name in ("ANSI escapes", "one-byte escapes", "reversed text"):
        lines += printed(ill_treated, "show", "study", uid("study", name))
    wrong = [line for line in lines if not line.replace(IDEOGRAPHIC_SPACE, "").isprintable()]
    assert wrong == []
    assert [line for line in lines if line.startswith("ERROR")] == []
    shown = "\n".join(lines)
    assert "\\x1b[2J" in shown, "a person sees what it is"
    assert "\\u001b[2J" in shown, "and so does a program"


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "64 KB"])
def test_row_57_what_a_program_reads_is_what_was_sent(ill_treated: Watched, name: str) -> None:
    (row,) = ill_treated.archive.report(
        "find", "studies", f"StudyInstanceUID={uid('study', name)}", "StudyDescription="
    )
    assert row["StudyDescription"] == f"{TEXTS[name]}{PAYLOAD}".replace("\0", "")


CALLERS = {"formats": b"%n%s{0}${x}", "quotes": b"a'\"`;|", "spaces inside": b"a  b", "a mail header": b"To: x"}


@pytest.mark.parametrize("name", CALLERS)
def test_row_78_a_title_or_uid_is_one_word_of_the_log(ill_treated: Watched, name: str) -> None:
    rubbish = "1.2\r\nERROR forged\x1b[2J"
    with ill_treated.case(f"row 78: {name}") as case, storing(case, calling=CALLERS[name]) as association:
        assert association.store(identified("x"), rubbish).status == 0x0117
    (line,) = [
        line for line in ill_treated.archive.log_text().split("\n") if "not stored" in line and "forged" in line
    ][-1:]
    assert "1.2\\r\\nERROR forged\\x1b[2J" in line
    assert f"calling={shown(CALLERS[name])}" in line
    told = ill_treated.told(case.address, "0x117")
    assert told["who"] == CALLERS[name].decode()


def shown(title: bytes) -> str:
    text = title.decode().replace('"', '\\"')
    return f'"{text}"' if " " in text else text


@dataclass(frozen=True, slots=True)
class Odd:
    """One element whose value is none of its VR, the column that it would have, and a key that asks for it."""

    tag: int
    value: str
    column: str
    key: str
    expected: str | int | None = None


ODD = {
    "row 58: a date of zeros": Odd(0x00080020, "00000000", "study_date", "00000000"),
    "row 58: a date with points": Odd(0x00080020, "2020.01.01", "study_date", "2020.01.01", "20200101"),
    "row 58: a date of Reiwa": Odd(0x00080020, "令和2年1月1日", "study_date", "19000101-20301231"),
    "row 58: a date of 5,000 digits": Odd(0x00080020, "20200101" * 625, "study_date", "20200101-"),
    "row 58: a time of another day": Odd(0x00080030, "24:00:60", "study_time", "24:00:60"),
    "row 58: a time in other digits": Odd(0x00080030, "١٢", "study_time", "000000-235959"),
    "row 58: an age in words": Odd(0x00101010, "forty", "patient_age", "04?Y"),
    "row 58: a number of 500 digits": Odd(0x00101030, "9" * 500, "patient_weight", "9" * 500),
    "row 58: an integer with an exponent": Odd(INSTANCE_NUMBER, "1e9", "instance_number", "1e9"),
    "row 58: an integer beyond 32 bits": Odd(INSTANCE_NUMBER, "99999999999", "instance_number", "99999999999"),
    "row 58: 100,000 values": Odd(0x00081080, "\\".join(["A"] * 100_000), "admitting_diagnoses", "A\\A"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_value_that_is_none_is_empty_and_flagged_and_may_be_asked_for(ill_treated: Watched, name: str) -> None:
    odd = ODD[name]
    place = {"before" if odd.tag < 0x0020000D else "after": element(odd.tag, "", odd.value)}
    level = "IMAGE " if odd.tag == INSTANCE_NUMBER else "STUDY "
    with ill_treated.case(name, stored=1) as case, storing(case, IMPLICIT) as association:
        data_set = identified(name, implicit=True, **place)
        assert association.store(data_set, uid(name)).status == SUCCESS
        asked = {0x00080052: level, odd.tag: odd.key, 0x0020000D: uid("study", name)}
        status, rows = association.find(b"".join(element(tag, "", asked[tag]) for tag in sorted(asked)))
        assert status == SUCCESS
        assert len(rows) == (odd.expected is not None)
        asked[odd.tag] = ""
        status, rows = association.find(b"".join(element(tag, "", asked[tag]) for tag in sorted(asked)))
        assert (status, len(rows)) == (SUCCESS, 1)
    row = held(ill_treated.archive, uid(name))
    assert row[odd.column] == odd.expected
    assert any(flag.startswith(("invalid-value", "value-too-long")) for flag in row["flags"]), row["flags"]


PATIENTS: dict[str, tuple[bytes, bytes]] = {
    "none": (b"", b""),
    "spaces": (b"    ", b""),
    "64 KB": (b"9" * 65_000, b""),
    "lower case": (b"abc", b""),
    "upper case": (b"ABC", b""),
    "a backslash": (b"a\\b", b""),
    "a caret": (b"a^b", b""),
    "a NUL": (b"a\0c", b""),
    "SQL": (b"x'; DROP TABLE patients;--", b""),
    "wildcards": (b"ab%_", b""),
    "one issuer": (b"4711", b"NORTH"),
    "another issuer": (b"4711", b"SOUTH"),
}


def test_row_60_no_two_patients_become_one(ill_treated: Watched) -> None:
    name = "row 60: patient IDs"
    with ill_treated.case(name, stored=len(PATIENTS)) as case, storing(case, IMPLICIT) as association:
        for one, (patient_id, issuer) in PATIENTS.items():
            values = element(PATIENT_ID, "", patient_id) + element(ISSUER, "", issuer)
            data_set = identified(f"row 60: {one}", before=values, implicit=True)
            assert association.store(data_set, uid(f"row 60: {one}")).status == SUCCESS, one
        found = {one: _found(association, patient_id) for one, (patient_id, _) in PATIENTS.items()}
    rows = {one: held(ill_treated.archive, uid(f"row 60: {one}")) for one in PATIENTS}
    assert len({row["identity"] for row in rows.values()}) == len(PATIENTS)
    assert [rows[one]["patient_id"] for one in ("none", "spaces", "64 KB")] == [None] * 3
    both = {"one issuer", "another issuer"}
    alone = {one: {one} for one in ("lower case", "upper case", "a caret", "SQL", "wildcards")}
    assert found | {one: both for one in both} | alone == found
    assert rows["64 KB"]["flags"] == {"value-too-long:PatientID"}


def _found(association: Association, patient_id: bytes) -> set[str]:
    """The names of the patients here that a key finds."""
    names = {uid("study", f"row 60: {one}"): one for one in PATIENTS}
    keys = {0x00080052: b"STUDY ", PATIENT_ID: patient_id, 0x0020000D: b""}
    status, rows = association.find(b"".join(element(tag, "", keys[tag]) for tag in sorted(keys)))
    assert status == SUCCESS
    return {names[row.StudyInstanceUID] for row in rows if row.StudyInstanceUID in names}


def test_what_is_printed_as_json_is_json(ill_treated: Watched) -> None:
    for level in ("patients", "studies", "series", "instances"):
        assert json.loads(ill_treated.archive.pacs("find", level, "--json").stdout)
