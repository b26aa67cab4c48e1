"""What a peer negotiates for its queries beyond their keys, and what an admin decides for it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from support.samples import tiny, uid, write
from support.second_client import DEADLINE_S, identifier, send
from support.server import Archive

FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
IMPLICIT = "1.2.840.10008.1.2"
SUCCESS, PENDING, OUT_OF_RESOURCES = 0x0000, 0xFF00, 0xA700
# Three mornings and an evening; the range of the questions ends on the 3rd at 10 o'clock.
MOMENTS = {"1": ("20260101", "0900"), "2": ("20260102", "2300"), "3": ("20260103", "0930"), "4": ("20260103", "1100")}
BOTH_RANGES = {"StudyDate": "20260101-20260103", "StudyTime": "0900-10"}


@pytest.fixture(scope="module")
def filled(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("moments")
    samples = [
        write(
            tiny(1, study=f"moment-{name}", PatientID="N-1", PatientName="Yamada^Tarou", StudyDate=day, StudyTime=time),
            folder / f"{name}.dcm",
        )
        for name, (day, time) in MOMENTS.items()
    ]
    assert set(send(archive, samples).values()) == {SUCCESS}
    return archive


def ask(archive: Archive, *, options: bytes = b"", aet: str = "ASKING", **keys: object) -> tuple[list[str], int, bytes]:
    """The studies that are answered, the final status, and what was agreed of the `options`."""
    client = AE(aet)
    client.acse_timeout = client.dimse_timeout = DEADLINE_S
    client.add_requested_context(FIND, IMPLICIT)
    wish = SOPClassExtendedNegotiation()
    wish.sop_class_uid, wish.service_class_application_information = FIND, options
    association = client.associate("127.0.0.1", archive.port, ae_title=archive.aet, ext_neg=[wish] if options else [])
    assert association.is_established
    names = {uid("study", f"moment-{name}"): name for name in MOMENTS}
    asked = identifier("STUDY", StudyInstanceUID="", **{"PatientID": "N-1", **keys})
    answers = list(association.send_c_find(asked, FIND))
    agreed: dict[str, bytes] = association.acceptor.sop_class_extended
    association.release()
    found = [names[row.StudyInstanceUID] for status, row in answers if status.Status == PENDING]
    return sorted(found), answers[-1][0].Status, agreed.get(FIND, b"")


def found(archive: Archive, **question: object) -> list[str]:
    studies, status, _ = ask(archive, **question)
    assert status == SUCCESS
    return studies


@pytest.mark.parametrize(
    ("options", "agreed"),
    [(b"\1", b"\1"), (b"\1\1\1", b"\1\1\1"), (b"\0\1\0", b"\0\1\0"), (b"\1\1\1\1\1", b"\1\1\1\0\0"), (b"\2", b"\0")],
)
def test_what_is_asked_for_and_known_is_agreed(filled: Archive, options: bytes, agreed: bytes) -> None:
    assert ask(filled, options=options)[2] == agreed


def test_nothing_is_agreed_that_was_not_asked_for(filled: Archive) -> None:
    assert ask(filled)[2] == b""


def test_dates_and_times_are_matched_separately_unless_negotiated(filled: Archive) -> None:
    assert found(filled, **BOTH_RANGES) == ["1", "3"]
    assert found(filled, options=b"\0\0\0", **BOTH_RANGES) == ["1", "3"]


def test_negotiated_dates_and_times_are_one_range(filled: Archive) -> None:
    assert found(filled, options=b"\0\1", **BOTH_RANGES) == ["1", "2", "3"]
    assert found(filled, options=b"\0\1", StudyDate="20260102-", StudyTime="23-") == ["2", "3", "4"]
    assert found(filled, options=b"\0\1", StudyDate="-20260103", StudyTime="-10") == ["1", "2", "3"]


def test_a_peer_may_have_them_combined_always(filled: Archive) -> None:
    filled.pacs("ae", "add", "COMBINES", "127.0.0.1", "104", "--combined-datetime", "yes")
    assert found(filled, aet="COMBINES", **BOTH_RANGES) == ["1", "2", "3"]
    filled.pacs("ae", "set", "COMBINES", "--combined-datetime", "no")
    assert found(filled, aet="COMBINES", **BOTH_RANGES) == ["1", "3"]


@pytest.mark.parametrize("name", ["tarou yamada", "Tarou^Yamada", "yama", "tar yam"])
def test_fuzzy_names_are_found_in_any_order_and_cut_short_where_negotiated(filled: Archive, name: str) -> None:
    assert found(filled, PatientName=name) == []
    assert found(filled, options=b"\0\0\1", PatientName=name) == list(MOMENTS)


def test_a_fuzzy_name_has_to_be_there_nevertheless(filled: Archive) -> None:
    assert found(filled, options=b"\0\0\1", PatientName="yamada hanako") == []


@pytest.mark.parametrize(("limit", "studies", "status"), [("2", 2, OUT_OF_RESOURCES), ("4", 4, SUCCESS)])
def test_a_limit_of_a_peer_ends_in_a_status_that_says_so(
    filled: Archive, limit: str, studies: int, status: int
) -> None:
    aet = f"LIMITED{limit}"
    filled.pacs("ae", "add", aet, "127.0.0.1", "104", "--max-answers", limit)
    answered, ended, _ = ask(filled, aet=aet)
    assert (len(answered), ended) == (studies, status)


@pytest.mark.parametrize("limit", [5, 6, 15, 17])
def test_a_limit_ends_the_answers_wherever_it_lies_among_those_that_are_read_together(
    filled: Archive, tmp_path: Path, limit: int
) -> None:
    samples = [
        write(tiny(1, study=f"many-{number}", PatientID="N-2"), tmp_path / f"{number}.dcm") for number in range(17)
    ]
    assert set(send(filled, samples).values()) == {SUCCESS}
    aet = f"MOST{limit}"
    filled.pacs("ae", "add", aet, "127.0.0.1", "104", "--max-answers", str(limit))
    client = AE(aet)
    client.acse_timeout = client.dimse_timeout = DEADLINE_S
    client.add_requested_context(FIND, IMPLICIT)
    association = client.associate("127.0.0.1", filled.port, ae_title=filled.aet)
    answers = list(association.send_c_find(identifier("STUDY", StudyInstanceUID="", PatientID="N-2"), FIND))
    association.release()
    ended = OUT_OF_RESOURCES if limit < len(samples) else SUCCESS
    assert [status.Status for status, _ in answers] == [PENDING] * limit + [ended]


def test_a_limit_keeps_the_newest(filled: Archive) -> None:
    filled.pacs("ae", "add", "NEWEST", "127.0.0.1", "104", "--max-answers", "2")
    assert ask(filled, aet="NEWEST")[0] == ["3", "4"]
    assert ask(filled, aet="NEWEST", PatientName="yamada*")[0] == ["3", "4"]


def test_a_query_for_a_lower_level_needs_no_keys_of_those_above(filled: Archive, tmp_path: Path) -> None:
    client = AE("RELATES")
    client.add_requested_context(FIND, IMPLICIT)
    association = client.associate("127.0.0.1", filled.port, ae_title=filled.aet)
    wanted: Sequence[object] = list(
        association.send_c_find(identifier("IMAGE", PatientID="N-1", SOPInstanceUID=""), FIND)
    )
    association.release()
    assert len(wanted) == len(MOMENTS) + 1
