"""Rows of hostile inputs in the structure of data sets: what is none, is cut, lies about lengths, nests, mislabels."""

import random
import re
import zlib
from dataclasses import dataclass, field

import pytest
from support import pictures
from support.raw_objects import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    element,
    held,
    identified,
    storing,
)
from support.samples import CT, encoded, tiny, uid
from support.second_client import Witness, associate, identifier
from support.standing_rules import PAYLOAD, Watched

SUCCESS, INVALID_SOP_INSTANCE, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0x0117, 0xA900, 0xC000
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
SEQUENCE, LATE_SEQUENCE = 0x00081140, 0x00400555
NEVER_ENDS = element(SEQUENCE, "SQ", length=UNDEFINED) + ITEM


@dataclass(frozen=True, slots=True)
class Broken:
    """A data set, what it is answered, and what its flags are when it is stored."""

    data_set: bytes
    status: int = CANNOT_UNDERSTAND
    flags: frozenset[str] = field(default_factory=frozenset)
    syntax: str = EXPLICIT


def stored(data_set: bytes, *flags: str, syntax: str = EXPLICIT) -> Broken:
    return Broken(data_set, SUCCESS, frozenset(flags), syntax)


def nested(depth: int, tag: int, *, defined: bool) -> bytes:
    """A sequence in an item of a sequence, and so on."""
    if not defined:
        opening = element(tag, "SQ", length=UNDEFINED) + ITEM
        return opening * depth + (ITEM_END + SEQUENCE_END) * depth
    sizes = [0]
    for _ in range(depth - 1):
        sizes.append(sizes[-1] + 20)
    return b"".join(element(tag, "SQ", length=size + 8) + element(0xFFFEE000, "", length=size) for size in sizes[::-1])


EMPTY_KEYS = {0x00080020: "DA", 0x00080030: "TM", 0x00080050: "SH", 0x00100010: "PN", 0x00100020: "LO"}
NOISE = random.Random(47)
COMPRESSED = element(0xFFFEE000, "", b"") + element(0xFFFEE000, "", b"\xff\xd8\xff\xd9") + SEQUENCE_END
CASES = {
    "row 47: an empty data set": Broken(b""),
    "row 47: zeros": Broken(bytes(5_000)),
    "row 47: a text": Broken(b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n" * 20),
    **{f"row 47: random bytes {n}": Broken(NOISE.randbytes(1 + 40 * n * n)) for n in range(12)},
    "row 47: a file with its meta information": Broken(bytes(128) + b"DICM" + element(0x00020000, "UL", bytes(4))),
    "row 48: FFFFFFF0 before the UIDs": Broken(identified("a", before=element(0x00091001, "UN", length=0xFFFFFFF0))),
    "row 48: FFFFFFF0 behind the UIDs": Broken(identified("b", after=element(0x7FE00010, "OB", b"xx", 0xFFFFFFF0))),
    "row 48: an odd length": stored(identified("c", before=element(0x00100020, "LO", b"ABC", 3)), "odd-length"),
    "row 48: a length beyond the end": Broken(identified("d", after=element(0x7FE00010, "OW", bytes(8), 10))),
    "row 48: undefined length of an OF": Broken(identified("e", after=element(0x7FE00008, "OF", b"", UNDEFINED))),
    "row 48: undefined length of an ID": Broken(
        identified("f", before=element(0x00100020, "", b"", UNDEFINED), implicit=True), syntax=IMPLICIT
    ),
    "row 48: a VR of a later edition before the UIDs": stored(
        identified("1", before=element(0x00100022, "ZZ", bytes(70_000)) + element(0x00100040, "CS", "F"))
    ),
    "row 48: a VR of a later edition behind the UIDs": stored(
        identified("2", after=element(0x00204000, "ZZ", "later"))
    ),
    "row 48: what is no VR": Broken(identified("3", before=element(0x00100040, "??", "F"))),
    "row 48: what stands in the place of a VR in a private element": stored(
        identified("4", before=b"\x09\x00\x01\x10??\x04\x00abcd"), "no-vr"
    ),
    **{
        f"row 48: {count} zeros behind it": stored(
            identified(f"z{count}", after=element(0x7FE00010, "OW", bytes(8)) + bytes(count)), "zeros-behind"
        )
        for count in (2, 8, 510)
    },
    "row 48: an odd length, and a zero behind it": stored(
        identified("z3", before=element(0x00100020, "LO", b"ABC", 3), after=bytes(1)), "odd-length", "zeros-behind"
    ),
    "row 48: a zero behind it": Broken(identified("z1", after=bytes(1))),
    "row 48: zeros between the UIDs": Broken(identified("z0", before=bytes(8))),
    "row 48: key fields of no length": stored(
        identified("g", before=b"".join(element(tag, vr) for tag, vr in EMPTY_KEYS.items()))
    ),
    "row 48: a SOP Class UID of no length": Broken(
        element(0x00080016, "UI") + identified("h")[len(element(0x00080016, "UI", CT)) :], MISMATCH
    ),
    "row 48: a Study Instance UID of no length": Broken(identified("i", study=""), MISMATCH),
    "row 48: a Series Instance UID of no length": Broken(identified("j", series=""), MISMATCH),
    "row 48: a SOP Instance UID of no length": Broken(identified("k", sop=""), INVALID_SOP_INSTANCE),
    "row 48: an item longer than its sequence": stored(
        identified("l", before=element(0x00081032, "SQ", element(0xFFFEE000, "", b"\x08\0\x00\1SH\x04\0ABCD", 400))),
        "invalid-value:ProcedureCodeSequence",
    ),
    "row 49: 300 sequences before the UIDs": Broken(identified("m", before=nested(300, SEQUENCE, defined=False))),
    "row 49: 30,000 sequences before the UIDs": Broken(identified("n", before=nested(30_000, SEQUENCE, defined=False))),
    "row 49: 300 sequences behind the UIDs": stored(
        identified("o", after=nested(300, LATE_SEQUENCE, defined=False)), "head-cut"
    ),
    "row 49: 30,000 sequences behind the UIDs": stored(
        identified("p", after=nested(30_000, LATE_SEQUENCE, defined=False)), "head-cut"
    ),
    "row 49: 300 sequences of defined length": stored(identified("q", before=nested(300, SEQUENCE, defined=True))),
    "row 49: 30,000 sequences of defined length": stored(
        identified("r", before=nested(30_000, SEQUENCE, defined=True))
    ),
    "row 49: items that never end": Broken(identified("s", before=NEVER_ENDS)),
    "row 49: items that never end, behind the UIDs": Broken(
        identified("t", after=element(LATE_SEQUENCE, "SQ", length=UNDEFINED) + ITEM * 20)
    ),
    "row 49: something else than an item": Broken(
        identified("u", before=element(SEQUENCE, "SQ", element(0x00100010, "PN", "A") + SEQUENCE_END, UNDEFINED))
    ),
    "row 51: no deflated data": Broken(b"\xff" * 400, syntax=DEFLATED),
    "row 51: deflated data that are cut": Broken(
        zlib.compress(identified("v", before=element(0x00100020, "LO", PAYLOAD)), wbits=-15)[:-40], syntax=DEFLATED
    ),
    "row 52: Explicit VR under Implicit VR": Broken(encoded(tiny("w")), MISMATCH, syntax=IMPLICIT),
    "row 52: Implicit VR under Explicit VR": Broken(encoded(tiny("x"), IMPLICIT), MISMATCH),
    "row 52: little endian under big endian": Broken(encoded(tiny("y")), MISMATCH, syntax=BIG_ENDIAN),
    "row 52: big endian under little endian": Broken(encoded(tiny("z"), BIG_ENDIAN), MISMATCH),
    "row 52: compressed pixels under Explicit VR": stored(
        identified("6", after=element(0x7FE00010, "OB", COMPRESSED, UNDEFINED)), "compressed-pixels"
    ),
    "row 52: Implicit VR under JPEG": Broken(encoded(tiny("0"), IMPLICIT), MISMATCH, syntax=pictures.BASELINE),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_data_set_is_refused_or_kept_with_what_is_wrong_with_it(ill_treated: Watched, name: str) -> None:
    broken, sop_uid = CASES[name], uid_in(CASES[name].data_set)
    with (
        ill_treated.case(name, stored=int(broken.status == SUCCESS)) as case,
        storing(case, broken.syntax) as association,
    ):
        answered = association.store(broken.data_set, sop_uid)
        assert answered.status == broken.status, answered
        assert bool(answered.comment) == (broken.status != SUCCESS), "the sender is told why"
    if broken.status == SUCCESS:
        assert held(ill_treated.archive, sop_uid)["flags"] == broken.flags
        (file,) = (path for path in ill_treated.archive.files() if path.name.startswith(sop_uid))
        assert file.read_bytes().endswith(broken.data_set)


def uid_in(data_set: bytes) -> str:
    """The SOP Instance UID of what was made by `identified`, and one of nobody for all else."""
    found = re.match(rb".{,60}?(2\.25\.[0-9]+)", data_set, re.DOTALL)
    return found[1].decode() if found else uid("nobody")


def test_row_47_a_data_set_is_stored_only_where_it_is_cut_between_elements(ill_treated: Watched) -> None:
    comments = element(0x00204000, "LT", PAYLOAD * 90)
    data_set = identified("cut", before=element(0x00104000, "LT", PAYLOAD * 40), after=comments)
    sop_uid = uid("cut")
    ends = boundaries(data_set)
    expected = dict.fromkeys(range(1_000), CANNOT_UNDERSTAND) | {ends[1]: INVALID_SOP_INSTANCE}
    expected |= dict.fromkeys(ends[2:5], MISMATCH) | {ends[5]: SUCCESS}
    assert max(ends[:-1]) < 1_000 < len(data_set)
    with (
        ill_treated.case("row 47: cut at each of the first 1,000 bytes", stored=1) as case,
        storing(case) as association,
    ):
        answered = {cut: association.store(data_set[:cut], sop_uid).status for cut in range(1_000)}
    assert {cut: status for cut, status in answered.items() if status != expected[cut]} == {}


def boundaries(data_set: bytes) -> list[int]:
    """Where the elements of a flat data set with short headers begin, and where it ends."""
    ends = [0]
    while ends[-1] < len(data_set):
        ends.append(ends[-1] + 8 + int.from_bytes(data_set[ends[-1] + 6 : ends[-1] + 8], "little"))
    return ends


def test_row_49_what_is_nested_too_deep_is_not_sent_in_another_syntax_and_the_rest_is(ill_treated: Watched) -> None:
    studies, archive = {"study": uid("study", "deep"), "series": uid("series", "deep")}, ill_treated.archive
    deep = identified("deep", before=nested(30_000, SEQUENCE, defined=True), **studies)
    good = identified("good", **studies)
    with ill_treated.case("row 49: sent on", stored=2) as case, storing(case) as association:
        assert [association.store(deep, uid("deep")).status, association.store(good, uid("good")).status] == [0, 0]
    witness = Witness(aet="IMPLICIT", syntaxes=[IMPLICIT])
    with ill_treated.case("row 49: sent on", has_rows=True, is_audited=False), witness.running():
        archive.add_peer(witness.aet, witness.port)
        with associate(archive, [(MOVE, [IMPLICIT])]) as association:
            *_, (last, failed) = association.send_c_move(
                identifier("STUDY", StudyInstanceUID=studies["study"]), witness.aet, MOVE
            )
    assert failed.FailedSOPInstanceUIDList == uid("deep")
    assert (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (1, 1)
    assert [one.sop_uid for one in witness.received] == [uid("good")]
