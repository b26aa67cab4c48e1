"""Operations as values: their file, and what follows from them in whichever order they became known."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_server.dicom.deposits import Deposit, Stub, portions
from pacs_server.dicom.operations import Content, Fate, Operation, OperationKind, fate_after, from_text, to_text
from pacs_server.errors import Undecodable

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
NAMES = [Content(sop_uid=f"1.2.{n}", digest=f"{n:064x}", role="current") for n in range(3)]


def operation(counter: int, kind: str, *contents: Content, site_id: str = "aa", reason: str = "why") -> Operation:
    return Operation(
        counter=counter, site_id=site_id, kind=OperationKind(kind), study_uid="1.2", objects=contents, at=AT,
        who="admin@pacs1", reason=reason,
    )  # fmt: skip


def fates(*operations: Operation) -> dict[str, Fate]:
    return {uid: fate for (uid, _), (fate, _, _) in fate_after(operations).objects.items()}


def test_the_file_of_an_operation_can_be_read_by_a_person_and_gives_it_back() -> None:
    one = operation(7, "delete", *NAMES, reason="患者取り違え")
    text = to_text(one)
    assert "患者取り違え" in text
    assert text.count("\n") == 1
    assert from_text(text) == one


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "purge"},
        {"objects": []},
        {"counter": 8},
        {"format": 2},
        {"check": ""},
        {"study": 5},
        {"objects": [["1.2.3", "no digest", ""]]},
    ],
)
def test_a_changed_file_is_no_operation(change: dict[str, object]) -> None:
    told = json.loads(to_text(operation(7, "delete", *NAMES)))
    with pytest.raises(Undecodable):
        from_text(json.dumps(told | change))


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_whatever_lies_there_is_an_operation_or_refused(text: str) -> None:
    with pytest.raises(Undecodable):
        from_text(text)
    with pytest.raises(Undecodable):
        from_text("[" * 100_000 + text)


def test_what_was_deleted_is_restored_and_what_was_purged_is_not() -> None:
    deleted, restored, purged = (
        operation(1, "delete", NAMES[0]),
        operation(3, "restore", NAMES[0]),
        operation(2, "purge", NAMES[0]),
    )
    assert fates(deleted) == {"1.2.0": Fate.TRASHED}
    assert fates(deleted, restored) == {"1.2.0": Fate.KEPT}
    assert fates(deleted, purged, restored) == {"1.2.0": Fate.PURGED}
    assert fates(deleted, purged, operation(4, "readmit", NAMES[0])) == {"1.2.0": Fate.KEPT}


def test_only_what_is_in_the_trash_is_purged() -> None:
    """An object that came back before the purge took effect is not destroyed by it."""
    deleted, again, purged = (
        operation(1, "delete", NAMES[0]),
        operation(2, "readmit", NAMES[0]),
        operation(3, "purge", NAMES[0]),
    )
    assert fates(deleted, again, purged) == {"1.2.0": Fate.KEPT}
    assert fates(purged) == {}


def test_a_hold_beats_a_deletion_before_and_after_it() -> None:
    hold, release = operation(2, "hold"), operation(5, "release")
    assert fates(operation(1, "delete", *NAMES), hold) == {one.sop_uid: Fate.KEPT for one in NAMES}
    assert fates(hold, operation(3, "delete", *NAMES)) == {}
    assert fates(operation(1, "delete", NAMES[0]), hold, operation(3, "purge", NAMES[0])) == {"1.2.0": Fate.KEPT}
    assert fates(hold, release, operation(6, "delete", NAMES[0])) == {"1.2.0": Fate.TRASHED}
    assert fate_after([hold]).hold == hold
    assert fate_after([release, hold]).hold is None


@pytest.mark.parametrize("kind", ["hold", "restore"])
@pytest.mark.parametrize("counter", [2, 3])
def test_what_one_site_brings_back_survives_a_purge_that_it_did_not_know_of(kind: str, counter: int) -> None:
    kept = deposit(1, "FAR", *NAMES)
    deleted, purged = operation(2, "delete", *NAMES, site_id="aa"), operation(3, "purge", *NAMES, site_id="cc")
    back = operation(counter, kind, NAMES[0], site_id="dd")
    for order in itertools.permutations([kept, deleted, purged, back]):
        found = fate_after(order)
        told = {uid: fate for (uid, _), (fate, _, _) in found.objects.items()}
        assert told["1.2.0"] is Fate.KEPT
        if counter == 3:  # the purge came first; what was not named was gone already
            assert (told["1.2.1"], told["1.2.2"]) == (Fate.PURGED, Fate.PURGED)
            assert {uid for uid, _ in found.deposits} == {"1.2.0"}
    own = operation(4, kind, NAMES[0], site_id="cc")
    assert fates(deleted, purged, own)["1.2.0"] is Fate.PURGED


def test_of_two_sites_that_decided_at_once_both_come_to_the_same() -> None:
    decisions = [
        operation(1, "delete", *NAMES),
        operation(2, "hold", site_id="bb"),
        operation(2, "purge", NAMES[0]),
        operation(3, "version", NAMES[1], site_id="bb"),
        operation(4, "release"),
        operation(5, "delete", NAMES[2], site_id="bb"),
    ]
    outcomes = [fate_after(order) for order in itertools.permutations(decisions)]
    assert all(outcome == outcomes[0] for outcome in outcomes)
    # The purge came before the hold, by the site's name; the hold came before what it brought back.
    assert fates(*decisions) == {"1.2.0": Fate.PURGED, "1.2.1": Fate.KEPT, "1.2.2": Fate.TRASHED}
    assert outcomes[0].choices["1.2.1"][0] == NAMES[1].digest


def deposit(counter: int, aet: str, *contents: Content) -> Operation:
    stubs = tuple(
        Stub(
            sop_uid=one.sop_uid, digest=one.digest, transfer_syntax="1.2.840.10008.1.2", size_bytes=10, received_at=AT,
            day=AT.date(), sender="CT1", values=((0x00100010, "山田^太郎".encode()), (0x00200013, b"1 ")),
        )
        for one in contents
    )  # fmt: skip
    return replace(
        operation(counter, "deposit", *contents), deposit=Deposit(aet=aet, transaction_uid="1.2.9", stubs=stubs)
    )


def test_a_deposit_is_given_back_with_the_heads_of_its_objects() -> None:
    one = deposit(7, "FAR", *NAMES)
    assert from_text(to_text(one)) == one
    told = json.loads(to_text(one))
    with pytest.raises(Undecodable):
        from_text(json.dumps(told | {"deposit": told["deposit"] | {"aet": "NEAR"}}))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_who_keeps_an_object_follows_from_its_deposits_until_it_is_purged(order: tuple[int, ...]) -> None:
    kept = [deposit(1, "FAR", *NAMES), deposit(2, "OTHER", NAMES[0]), operation(3, "delete", NAMES[1])]
    found = fate_after(kept[place] for place in order).deposits
    assert {uid: set(archives) for (uid, _), archives in found.items()} == {
        "1.2.0": {"FAR", "OTHER"}, "1.2.1": {"FAR"}, "1.2.2": {"FAR"},
    }  # fmt: skip
    purged = fate_after([*kept, operation(4, "purge", NAMES[0], NAMES[1])]).deposits
    assert {uid for uid, _ in purged} == {"1.2.0", "1.2.2"}, "only what is in the trash is purged"


def test_the_stubs_of_one_operation_are_few_enough_to_be_read_and_none_is_left_out() -> None:
    (small,) = deposit(1, "FAR", NAMES[0]).deposit.stubs  # type: ignore[union-attr]
    large = replace(small, values=((0x00104000, bytes(1 << 18)),))
    assert list(portions([])) == []
    assert list(portions([small] * 1001)) == [(0, 500), (500, 1000), (1000, 1001)]
    assert list(portions([large] * 5)) == [(0, 2), (2, 4), (4, 5)]
