"""Rows of hostile inputs that are small and become large, or large in the wrong place: memory and processor time."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from struct import pack

import pytest
from pynetdicom import evt
from support import pictures
from support.raw_objects import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    element,
    held,
    identified,
    storing,
)
from support.samples import CT, uid
from support.second_client import Witness, associate, identifier
from support.server import LONG
from support.standing_rules import PATIENCE, Watched

MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
SUCCESS, CANNOT_UNDERSTAND, SOME_FAILED, CANNOT_PERFORM = 0x0000, 0xC000, 0xB000, 0xA702
EARLY, LATE = 0x0009, 0x0021  # groups before the UIDs of study and series, and behind them
ELEMENTS = (5 if LONG else 1) << 20
LARGE_BYTES = 2 << 30 if LONG else 128 << 20
BOMB_MIB = 1_024
MAY_GROW_BYTES = 64 << 20
MAY_TAKE_S = 8.0 * PATIENCE
EMPTY_ITEM = element(0xFFFEE000)
OPEN_ITEM = element(0xFFFEE000, length=UNDEFINED) + ITEM_END
SEQUENCE = 0x00081140


@contextmanager
def bounded(ill_treated: Watched) -> Iterator[None]:
    """The block costs the archive little memory at any moment, and little processor time."""
    ill_treated.forget_peak()
    peak, took_s = ill_treated.peak_bytes(), ill_treated.cpu_s()
    yield
    assert ill_treated.peak_bytes() - peak < MAY_GROW_BYTES
    assert ill_treated.cpu_s() - took_s < MAY_TAKE_S * (LARGE_BYTES / (128 << 20) if LONG else 1)


def tiny_elements(group: int) -> bytes:
    """Empty elements with ascending tags, of the groups from `group` on."""
    each = [pack("<H", number) + b"LO\0\0" for number in range(1, 1 << 16)]
    groups = range(group, group + (ELEMENTS >> 16))
    return b"".join(
        pack("<H", one) + pack("<H", 0) + b"UL\4\0" + bytes(4) + pack("<H", one) + pack("<H", one).join(each)
        for one in groups
    )


def sequence(content: bytes, *, tag: int = SEQUENCE, defined: bool = False) -> bytes:
    ending = b"" if defined else SEQUENCE_END
    return element(tag, "SQ", content + ending, len(content) if defined else UNDEFINED)


MANY: dict[str, tuple[Callable[[], bytes], int, set[str]]] = {
    "row 50: tiny elements before the UIDs": (
        lambda: identified("a", before=tiny_elements(EARLY)), CANNOT_UNDERSTAND, set()
    ),
    "row 50: tiny elements behind the UIDs": (
        lambda: identified("b", after=tiny_elements(LATE)), SUCCESS, {"head-cut"}
    ),
    "row 50: one tiny element again and again": (
        lambda: identified("c", after=element(0x00204000, "LT") * ELEMENTS), SUCCESS, {"head-cut", "tags-out-of-order"}
    ),
    "row 50: empty items before the UIDs": (
        lambda: identified("d", before=sequence(EMPTY_ITEM * ELEMENTS)), CANNOT_UNDERSTAND, set()
    ),
    "row 50: empty items behind the UIDs": (
        lambda: identified("e", after=sequence(OPEN_ITEM * ELEMENTS, tag=0x00400555)),
        SUCCESS, {"head-cut"},
    ),
    "row 50: empty items in a sequence of defined length": (
        lambda: identified("f", before=sequence(EMPTY_ITEM * ELEMENTS, defined=True)), SUCCESS, set()
    ),
    "row 50: empty items of a sequence that is indexed": (
        lambda: identified("g", after=element(0x00400275, "SQ", EMPTY_ITEM * ELEMENTS)),
        SUCCESS, {"value-too-long:RequestAttributesSequence"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
def test_a_million_of_anything_costs_little(ill_treated: Watched, name: str) -> None:
    make, status, flags = MANY[name]
    data_set = make()
    sop_uid = next(uid(one) for one in "abcdefg" if uid(one).encode() in data_set[:120])
    with (
        bounded(ill_treated),
        ill_treated.case(name, stored=int(status == SUCCESS)) as case,
        storing(case) as association,
    ):
        answered = association.store(data_set, sop_uid)
        assert answered.status == status, answered
    if status == SUCCESS:
        assert held(ill_treated.archive, sop_uid)["flags"] == flags


def test_row_50_two_million_elements_are_not_compared_to_tell_an_encoding_from_a_version(ill_treated: Watched) -> None:
    name = "row 50: tiny elements in two syntaxes"
    many = {EXPLICIT: element(0x00204000, "LT"), IMPLICIT: element(0x00204000)}
    with bounded(ill_treated), ill_treated.case(name, stored=2) as case, storing(case, *many) as association:
        for number, (syntax, one) in enumerate(many.items()):
            data_set = identified(name, after=one * ELEMENTS, implicit=syntax == IMPLICIT)
            assert association.store(data_set, uid(name), context_id=1 + 2 * number).status == SUCCESS


@pytest.mark.parametrize("place", ["before", "after"])
def test_row_50_a_huge_text_is_streamed_or_refused(ill_treated: Watched, place: str) -> None:
    name, tag = (
        f"row 50: {LARGE_BYTES >> 20} MiB of text {place} the UIDs",
        0x00104000 if place == "before" else 0x00204000,
    )
    text = element(tag, "", length=LARGE_BYTES)
    data_set = identified(name, **{place: text}, implicit=True)
    start = data_set.index(text) + len(text)

    def sent() -> Iterator[bytes]:
        yield data_set[:start]
        yield from [b"x" * (1 << 20)] * (LARGE_BYTES >> 20)
        yield data_set[start:]

    is_stored = place == "after"
    with (
        bounded(ill_treated),
        ill_treated.case(name, stored=int(is_stored)) as case,
        storing(case, IMPLICIT) as association,
    ):
        answered = association.store(sent(), uid(name))
        assert answered.status == (SUCCESS if is_stored else CANNOT_UNDERSTAND), answered
    if is_stored:
        assert held(ill_treated.archive, uid(name))["flags"] == {"value-too-long:ImageComments"}


@cache
def bomb(name: str) -> bytes:
    """A megabyte of deflated data that are a gigabyte."""
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = identified(name, study=uid("study", "bomb"), after=element(0x7FE00010, "OW", length=BOMB_MIB << 20))
    deflated = squeeze.compress(head) + squeeze.flush(zlib.Z_FULL_FLUSH)
    some = squeeze.compress(bytes(16 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)  # the same each time, so made once
    return deflated + some * (BOMB_MIB // 16) + squeeze.flush()


def test_row_51_a_deflate_bomb_is_stored_without_being_inflated(ill_treated: Watched) -> None:
    assert len(bomb("bomb")) < 2 << 20
    name = "row 51: a deflate bomb"
    with (
        bounded(ill_treated),
        ill_treated.case(name, stored=2) as case,
        storing(case, DEFLATED, EXPLICIT) as association,
    ):
        assert association.store(bomb("bomb"), uid("bomb")).status == SUCCESS
        good = identified("good", study=uid("study", "bomb"))
        assert association.store(good, uid("good"), context_id=3).status == SUCCESS


@pytest.mark.parametrize("how", ["C-MOVE", "C-GET"])
def test_row_51_a_deflate_bomb_is_not_inflated_for_who_takes_no_deflated_data(ill_treated: Watched, how: str) -> None:
    archive, asked = ill_treated.archive, identifier("STUDY", StudyInstanceUID=uid("study", "bomb"))
    witness = Witness(aet="EXPLICIT", syntaxes=[EXPLICIT])
    with (
        bounded(ill_treated),
        ill_treated.case(f"row 51: {how} of a bomb", has_rows=True, is_audited=False),
    ):
        if how == "C-GET":
            contexts, handlers = [(GET, [IMPLICIT]), (CT, [EXPLICIT])], [(evt.EVT_C_STORE, witness.take)]
            with associate(archive, contexts, as_receiver=[CT], handlers=handlers) as association:
                *_, (last, failed) = association.send_c_get(asked, GET)
        else:
            with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
                archive.add_peer(witness.aet, witness.port)
                *_, (last, failed) = association.send_c_move(asked, witness.aet, MOVE)
    assert (last.Status, failed.FailedSOPInstanceUIDList) == (SOME_FAILED, uid("bomb"))
    assert [one.sop_uid for one in witness.received] == [uid("good")]
    assert "are a bomb" in archive.log_text()


FRAME = {0x00280002: pack("<H", 1), 0x00280100: pack("<H", 16), 0x00280101: pack("<H", 16), 0x00280103: pack("<H", 0)}
HUGE = pack("<H", 65_535)
IMAGES: dict[str, dict[int, bytes]] = {
    "65,535 rows and columns": {0x00280010: HUGE, 0x00280011: HUGE},
    "Rows and Columns as UL": {0x00280010: pack("<L", 65_535), 0x00280011: pack("<L", 65_535)},
    "2,147,483,647 frames": {0x00280008: b"2147483647"},
    "-1 frames": {0x00280008: b"-1"},
    "frames in words": {0x00280008: b"many"},
    "0 bits": {0x00280100: pack("<H", 0)},
    "1 bit": {0x00280100: pack("<H", 1), 0x00280101: pack("<H", 1)},
    "64 bits": {0x00280100: pack("<H", 64)},
}


def image(name: str, study: str, *, encapsulated: bool) -> bytes:
    """An image of 10 bytes that claims to be another one."""
    values = FRAME | {0x00280010: pack("<H", 4), 0x00280011: pack("<H", 4), 0x00280008: b"1 "} | IMAGES[name]
    vrs = {0x00280008: "IS"}
    described = b"".join(
        element(tag, vrs.get(tag, "UL" if len(value) == 4 else "US"), value) for tag, value in sorted(values.items())
    )
    pixels = element(0x7FE00010, "OW", bytes(10))
    if encapsulated:
        fragments = element(0xFFFEE000) + element(0xFFFEE000, "", bytes(10))
        pixels = element(0x7FE00010, "OB", fragments + SEQUENCE_END, UNDEFINED)
    return identified(f"{study} {name}", study=uid(study), after=described + pixels)


@pytest.mark.parametrize("stored_in", [pictures.RLE, pictures.LS, EXPLICIT])
def test_row_54_an_image_that_claims_too_much_is_stored_and_transcoded_for_nobody(
    ill_treated: Watched, stored_in: str
) -> None:
    """What is not compressed is sent to who takes compressed images alone, so that it has to be made of the claim."""
    wanted = pictures.RLE if stored_in == EXPLICIT else IMPLICIT
    study, archive = f"claims in {stored_in}", ill_treated.archive
    name = f"row 54: images in {stored_in} that claim too much"
    with ill_treated.case(name, stored=len(IMAGES)) as case, storing(case, stored_in) as association:
        for one in IMAGES:
            data_set = image(one, study, encapsulated=stored_in != EXPLICIT)
            assert association.store(data_set, uid(f"{study} {one}")).status == SUCCESS, one
    (archive.data / "cache" / "transcoded").mkdir(parents=True, exist_ok=True)  # made with the first that is transcoded
    witness = Witness(aet="CLAIMS", syntaxes=[wanted])
    with (
        bounded(ill_treated),
        ill_treated.case(f"{name}, sent on", has_rows=True, is_audited=False),
        witness.running(),
    ):
        archive.pacs("ae", "remove", witness.aet, "--yes", expect=(0, 2))
        archive.add_peer(witness.aet, witness.port)
        with associate(archive, [(MOVE, [IMPLICIT])]) as association:
            *_, (last, failed) = association.send_c_move(
                identifier("STUDY", StudyInstanceUID=uid(study)), witness.aet, MOVE
            )
    assert witness.received == []
    assert set(failed.FailedSOPInstanceUIDList) == {uid(f"{study} {one}") for one in IMAGES}
    assert last.Status == CANNOT_PERFORM
