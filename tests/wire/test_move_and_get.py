"""C-MOVE and C-GET with DCMTK's clients: every level, conversions, failures told by name."""

import socket
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import evt
from support import dcmtk
from support.dcmtk import PATIENT_ROOT, STUDY_ROOT, Receiver, Station
from support.equality import differences
from support.raw_objects import element, identified
from support.samples import CT, Sample, part10, tiny, uid, write
from support.second_client import DEADLINE_S, Squeamish, Witness, associate, identifier, send
from support.server import Archive

from pacs_server.dicom.part10 import IMPLEMENTATION_VERSION

SUCCESS, SOME_FAILED, NONE_SENT, UNKNOWN, MISMATCH = 0x0000, 0xB000, 0xA702, 0xA801, 0xA900
OUT_OF_RESOURCES, PENDING, CANCEL = 0xA700, 0xFF00, 0xFE00
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.fixture(scope="module")
def study(archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    """One study of two series: three objects in explicit, one in implicit, one in big endian."""
    folder = tmp_path_factory.mktemp("move")
    common = {"study": "move", "PatientID": "M-1", "Rows": 512, "ReferencedImageSequence": [tiny("inner")]}
    samples = {
        name: write(tiny(name, series=series, **common), folder / f"{name}.dcm", syntax)
        for name, series, syntax in (
            ("one", "a", EXPLICIT), ("two", "a", EXPLICIT), ("three", "a", EXPLICIT), ("four", "b", IMPLICIT),
            ("five", "b", BIG),
        )
    }  # fmt: skip
    done = Station(archive=archive, folder=folder).send(folder, options=["+sd"])
    assert done.code == 0, done.output[-2_000:]
    return samples


def keys_of(level: str) -> dict[str, str]:
    keys = {"PatientID": "M-1", "StudyInstanceUID": uid("study", "move")}
    keys |= {"SeriesInstanceUID": uid("series", "move", "a"), "SOPInstanceUID": uid("object", "move", "a", "one")}
    names = {"PATIENT": 1, "STUDY": 2, "SERIES": 3, "IMAGE": 4}
    return dict(list(keys.items())[: names[level]])


LEVELS = [("PATIENT", 5), ("STUDY", 5), ("SERIES", 3), ("IMAGE", 1)]


@pytest.mark.parametrize(("level", "count"), LEVELS)
def test_getscu_receives_each_level(
    study: dict[str, Sample], station: Station, tmp_path: Path, level: str, count: int
) -> None:
    done = station.get(PATIENT_ROOT, level, keys_of(level), tmp_path / "got")
    assert done.status == SUCCESS, done.output[-2_000:]
    received = dcmtk.objects_in(tmp_path / "got")
    assert len(received) == count
    for sample in study.values():
        if sample.sop_uid in received:
            assert differences(sample.path, received[sample.sop_uid]) == []


@pytest.mark.parametrize(("level", "count"), LEVELS)
def test_movescu_sends_each_level_to_a_third_party(
    study: dict[str, Sample], station: Station, receive: Callable[..., Receiver], level: str, count: int
) -> None:
    receiver = receive(f"LEVEL{level}", "+xa")
    station.archive.add_peer(f"LEVEL{level}", receiver.port)
    done = station.move(PATIENT_ROOT, f"LEVEL{level}", level, keys_of(level))
    assert done.status == SUCCESS, done.output[-2_000:]
    assert done.count("Completed")[-1] == count
    assert len(receiver.objects()) == count


@pytest.mark.parametrize("option", ["+xi", "+xe"])
def test_a_receiver_of_one_uncompressed_syntax_gets_every_uncompressed_object(
    study: dict[str, Sample], station: Station, receive: Callable[..., Receiver], option: str
) -> None:
    aet = f"ONLY{option[1:].upper()}"
    receiver = receive(aet, option)
    station.archive.add_peer(aet, receiver.port)
    assert station.move(STUDY_ROOT, aet, "STUDY", keys_of("STUDY")).status == SUCCESS
    received = receiver.objects()
    assert len(received) == 5
    for sample in study.values():
        assert differences(sample.path, received[sample.sop_uid]) == []


def test_an_unknown_destination_is_named_and_works_at_once_when_it_is_added(
    study: dict[str, Sample], station: Station, receive: Callable[..., Receiver]
) -> None:
    receiver = receive("NEWCOMER", "+xa")
    done = station.move(STUDY_ROOT, "NEWCOMER", "STUDY", keys_of("STUDY"))
    assert done.status == UNKNOWN
    assert "NEWCOMER" in done.output.rpartition("ErrorComment")[0][-200:]
    station.archive.add_peer("NEWCOMER", receiver.port)
    assert station.move(STUDY_ROOT, "NEWCOMER", "STUDY", keys_of("STUDY")).status == SUCCESS
    assert len(receiver.objects()) == 5


def test_a_move_without_a_destination_is_told_that_it_lacks_one(study: dict[str, Sample], station: Station) -> None:
    done = station.move(STUDY_ROOT, "", "STUDY", keys_of("STUDY"))
    assert done.status == UNKNOWN
    assert "[the C-MOVE has no Move Destination: give the AE title of a peer]" in done.output


def test_a_destination_that_is_down_is_told_apart_from_an_unknown_one(
    study: dict[str, Sample], station: Station
) -> None:
    station.archive.add_peer("DOWN", dcmtk.free_port())
    done = station.move(STUDY_ROOT, "DOWN", "STUDY", keys_of("STUDY"))
    assert done.status == NONE_SENT
    assert done.count("Failed")[-1] == 5
    assert "[refused the connection: nothing listens on that port" in done.output


def test_what_a_destination_rejects_an_association_for_is_told_to_who_asked(
    study: dict[str, Sample], station: Station
) -> None:
    station.archive.add_peer("MISTAKEN", station.archive.port)  # somebody listens there, under another title
    done = station.move(STUDY_ROOT, "MISTAKEN", "STUDY", keys_of("STUDY"))
    assert done.status == NONE_SENT
    assert "[rejected the association of PACS: called AE title not recognised]" in done.output


def undecodable(study: str, folder: Path) -> Sample:
    """One that can be sent to nobody but who takes JPEG."""
    dataset = tiny("compressed", study=study, Rows=1, Columns=1, BitsAllocated=8, SamplesPerPixel=1)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    return write(dataset, folder / "compressed.dcm", JPEG)


def test_what_cannot_be_sent_is_named_and_the_rest_arrives(
    archive, station: Station, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    good = write(tiny("good", study="mixed"), tmp_path / "in" / "good.dcm")
    compressed = undecodable("mixed", tmp_path / "in")
    assert station.send(tmp_path / "in", options=["+sd"]).code == 0
    receiver = receive("PLAIN", "+xe")
    station.archive.add_peer("PLAIN", receiver.port)
    done = station.move(STUDY_ROOT, "PLAIN", "STUDY", {"StudyInstanceUID": uid("study", "mixed")})
    assert done.status == SOME_FAILED
    assert (done.count("Completed")[-1], done.count("Failed")[-1]) == (1, 1)
    assert done.failed_uids == [compressed.sop_uid]
    assert list(receiver.objects()) == [good.sop_uid]


def test_getscu_is_sent_no_list_of_what_failed_which_it_would_take_for_the_next_answer(
    station: Station, tmp_path: Path
) -> None:
    good = write(tiny("good", study="unread"), tmp_path / "in" / "good.dcm")
    undecodable("unread", tmp_path / "in")
    assert station.send(tmp_path / "in", options=["+sd"]).code == 0
    done = station.get(STUDY_ROOT, "STUDY", {"StudyInstanceUID": good.study_uid}, tmp_path / "got")
    assert (done.status, done.count("Failed")[-1]) == (SOME_FAILED, 1)
    assert "P-Data PDU arrived" not in done.output


def test_a_client_that_reads_it_is_told_what_it_could_not_be_sent_by_get(archive, tmp_path: Path) -> None:
    root = "1.2.840.10008.5.1.4.1.2.2.3"
    bad = undecodable("read", tmp_path / "in")
    assert Station(archive=archive, folder=tmp_path).send(tmp_path / "in", options=["+sd"]).code == 0
    with associate(archive, [(root, [IMPLICIT])]) as association:
        *_, (last, failed) = association.send_c_get(identifier("STUDY", StudyInstanceUID=bad.study_uid), root)
    assert (last.Status, failed.FailedSOPInstanceUIDList) == (NONE_SENT, bad.sop_uid)
    assert last.ErrorComment == "the destination accepted no context for CT Image Storage"


DEFLATED = "1.2.840.10008.1.2.1.99"
ODD_STUDY = uid("study", "odd lengths")


def of_odd_length(syntax: str) -> bytes:
    """A data set of odd length, because of a text, of a fragment behind a whole one, or of the deflated stream."""
    comment = element(0x00204000, "" if syntax == IMPLICIT else "LT", b"odd", 3)
    pixels = element(0x7FE00010, "OB", length=0xFFFFFFFF) if syntax == JPEG else b""
    for tag, value in (0xFFFEE000, b""), (0xFFFEE000, b"even"), (0xFFFEE000, b"\xff\xd8\xff"), (0xFFFEE0DD, b""):
        pixels += element(tag, value=value, length=len(value)) if syntax == JPEG else b""
    names = {"study": ODD_STUDY, "series": uid("series", "odd lengths")}
    behind = pixels if syntax == JPEG else comment
    data_set = identified(f"odd {syntax}", after=behind, implicit=syntax == IMPLICIT, **names)
    if syntax != DEFLATED:
        return data_set
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = stream.compress(data_set) + stream.flush()
    return deflated + b"\0" * (1 - len(deflated) % 2)


@pytest.fixture(scope="module")
def odd_lengths(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The SOP Instance UIDs of objects of odd length, by transfer syntax, which pynetdicom sends as they are."""
    folder = tmp_path_factory.mktemp("odd")
    sop_uids = {syntax: uid(f"odd {syntax}") for syntax in (EXPLICIT, IMPLICIT, JPEG, DEFLATED)}
    for syntax, sop_uid in sop_uids.items():
        data_set, path = of_odd_length(syntax), folder / f"{syntax}.dcm"
        assert len(data_set) % 2 == 1
        path.write_bytes(part10(data_set, sop_class=CT, sop_uid=sop_uid, transfer_syntax=syntax))
        sample = Sample(path=path, sop_class=CT, sop_uid=sop_uid, series_uid="", study_uid="", transfer_syntax=syntax)
        assert send(archive, [sample]) == {sop_uid: SUCCESS}
    return sop_uids


def assert_padded(received: dict[str, Path], odd_lengths: dict[str, str]) -> None:
    assert set(received) == set(odd_lengths.values())
    assert pydicom.dcmread(received[odd_lengths[EXPLICIT]]).ImageComments == "odd"
    assert pydicom.dcmread(received[odd_lengths[IMPLICIT]])["ImageComments"].value == "odd"
    assert pydicom.dcmread(received[odd_lengths[DEFLATED]])["ImageComments"].value == "odd"
    fragments = pydicom.encaps.generate_fragments(pydicom.dcmread(received[odd_lengths[JPEG]]).PixelData)
    assert list(fragments) == [b"", b"even", b"\xff\xd8\xff\0"]


def test_a_destination_that_takes_no_odd_length_is_sent_objects_of_odd_length_padded(
    odd_lengths: dict[str, str], station: Station, receive: Callable[..., Receiver]
) -> None:
    receiver = receive("EVEN", "+xa")
    station.archive.add_peer("EVEN", receiver.port)
    done = station.move(STUDY_ROOT, "EVEN", "STUDY", {"StudyInstanceUID": ODD_STUDY})
    assert done.status == SUCCESS, done.output[-2_000:]
    assert_padded(receiver.objects(), odd_lengths)


@pytest.mark.parametrize(("implementation", "is_exact"), [(IMPLEMENTATION_VERSION, True), ("ANOTHER", False)])
def test_another_archive_of_ours_gets_an_object_of_odd_length_as_it_came(
    odd_lengths: dict[str, str], archive: Archive, implementation: str, is_exact: bool
) -> None:
    keys = {"StudyInstanceUID": ODD_STUDY, "SeriesInstanceUID": uid("series", "odd lengths")}
    asked = identifier("IMAGE", **keys, SOPInstanceUID=odd_lengths[EXPLICIT])
    witness, contexts = Witness(), [(GET, [IMPLICIT]), (CT, [EXPLICIT])]
    handlers = [(evt.EVT_C_STORE, witness.take)]
    with associate(
        archive, contexts, as_receiver=[CT], handlers=handlers, implementation=implementation
    ) as association:
        *_, (last, _) = association.send_c_get(asked, GET)
    assert last.Status == SUCCESS
    (got,) = witness.received
    assert (got.data_set == of_odd_length(EXPLICIT)) == is_exact
    assert len(got.data_set) % 2 == is_exact


def damaged_far_behind(name: str, study: str) -> bytes:
    """A data set that is whole at its top level; behind two megabytes an item is longer than its sequence."""
    too_long = struct.pack("<HHL", 0xFFFE, 0xE000, 4_000)
    after = element(0x00420011, "OB", bytes(2_000_000)) + element(0x04000561, "SQ", too_long)
    return identified(name, study=uid("study", study), series=uid("series", study), after=after)


@pytest.mark.parametrize("how", ["move", "get"])
def test_objects_damaged_far_behind_their_head_fail_by_name_and_the_rest_arrives(
    archive: Archive, tmp_path: Path, how: str
) -> None:
    study = f"damaged-{how}"
    bad = [uid(f"{study}-{number}") for number in range(3)]
    for number, sop_uid in enumerate(bad):
        path = tmp_path / f"bad-{number}.dcm"
        path.write_bytes(part10(damaged_far_behind(f"{study}-{number}", study), sop_class=CT, sop_uid=sop_uid))
        sample = Sample(path=path, sop_class=CT, sop_uid=sop_uid, series_uid="", study_uid="", transfer_syntax=EXPLICIT)
        assert send(archive, [sample]) == {sop_uid: SUCCESS}
    good = [write(tiny(number, study=study), tmp_path / f"good-{number}.dcm") for number in range(5)]
    send(archive, good)
    witness = Witness(aet=f"DAMAGED{how.upper()}", syntaxes=[IMPLICIT])
    asked = identifier("STUDY", StudyInstanceUID=good[0].study_uid)
    if how == "move":
        with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
            archive.add_peer(witness.aet, witness.port)
            *_, (last, failed) = association.send_c_move(asked, witness.aet, MOVE)
    else:
        contexts, handlers = [(GET, [IMPLICIT]), (CT, [IMPLICIT])], [(evt.EVT_C_STORE, witness.take)]
        with associate(archive, contexts, as_receiver=[CT], handlers=handlers) as association:
            *_, (last, failed) = association.send_c_get(asked, GET)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SOME_FAILED, 5)
    assert sorted(failed.FailedSOPInstanceUIDList) == sorted(bad)
    assert {one.sop_uid for one in witness.received} == {one.sop_uid for one in good}


def test_a_move_while_the_peers_cannot_be_read_is_told_to_come_later_and_the_association_stays(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    archive.start()
    sample = write(tiny(1, study="later"), tmp_path / "object.dcm")
    send(archive, [sample])
    root = "1.2.840.10008.5.1.4.1.2.2.2"
    asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)
    with associate(archive, [(root, [IMPLICIT])]) as association:
        with closing(sqlite3.connect(archive.data / "index.db", isolation_level=None, timeout=60)) as other:
            other.execute("ALTER TABLE peers RENAME TO peers_away")
            *_, (last, _) = association.send_c_move(asked, "ANYONE", root)
            other.execute("ALTER TABLE peers_away RENAME TO peers")
        *_, (again, _) = association.send_c_move(asked, "ANYONE", root)
    assert (last.Status, again.Status) == (OUT_OF_RESOURCES, UNKNOWN)


def test_several_studies_in_one_request_arrive(
    station: Station, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    samples = [write(tiny(1, study=f"several-{n}"), tmp_path / "in" / f"{n}.dcm") for n in range(3)]
    assert station.store(tmp_path / "in", options=["+sd"]).code == 0
    receiver = receive("SEVERAL", "+xa")
    station.archive.add_peer("SEVERAL", receiver.port)
    wanted = "\\".join(sample.study_uid for sample in samples[:2])
    assert station.move(STUDY_ROOT, "SEVERAL", "STUDY", {"StudyInstanceUID": wanted}).status == SUCCESS
    assert sorted(receiver.objects()) == sorted(sample.sop_uid for sample in samples[:2])


def test_a_patient_id_beside_a_study_stands_for_itself(
    station: Station, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    patient_id = "A*B?1"
    sample = write(tiny(1, study="asterisk", PatientID=patient_id), tmp_path / "in" / "1.dcm")
    assert station.store(tmp_path / "in", options=["+sd"]).code == 0
    receiver = receive("ITSELF", "+xa")
    station.archive.add_peer("ITSELF", receiver.port)
    keys = {"PatientID": patient_id, "StudyInstanceUID": sample.study_uid}
    assert station.move(STUDY_ROOT, "ITSELF", "STUDY", keys).status == SUCCESS
    assert list(receiver.objects()) == [sample.sop_uid]
    assert station.move(STUDY_ROOT, "ITSELF", "STUDY", keys | {"PatientID": "A*"}).status == SUCCESS
    assert list(receiver.objects()) == [sample.sop_uid]


@pytest.mark.parametrize(
    "keys",
    [
        {"StudyInstanceUID": ""},
        {"StudyInstanceUID": "*"},
        {"StudyInstanceUID": "1.2.?"},
        {"PatientName": "A"},
        {"PatientID": "*", "StudyInstanceUID": "1.2.3"},
    ],
    ids=str,
)
def test_a_retrieve_without_a_certain_unique_key_moves_nothing(
    study: dict[str, Sample], station: Station, tmp_path: Path, keys: dict[str, str]
) -> None:
    assert station.get(STUDY_ROOT, "STUDY", keys, tmp_path / "got").status == MISMATCH
    assert dcmtk.objects_in(tmp_path / "got") == {}


def test_empty_keys_beside_the_unique_one_are_ignored(
    study: dict[str, Sample], station: Station, tmp_path: Path
) -> None:
    keys = {"PatientID": "", "PatientName": "", "StudyDate": "", "StudyID": "", **keys_of("STUDY")}
    assert station.get(STUDY_ROOT, "STUDY", keys | {"PatientID": ""}, tmp_path / "got").status == SUCCESS
    assert len(dcmtk.objects_in(tmp_path / "got")) == 5


def test_a_study_that_is_not_held_is_success_with_nothing_sent(
    study: dict[str, Sample], station: Station, tmp_path: Path
) -> None:
    done = station.get(STUDY_ROOT, "STUDY", {"StudyInstanceUID": "9.9.9"}, tmp_path / "got")
    assert (done.status, done.count("Completed")[-1]) == (SUCCESS, 0)


def test_the_receiver_is_told_who_asked(study: dict[str, Sample], station: Station) -> None:
    witness = Witness(aet="ASKED")
    with witness.running():
        station.archive.add_peer(witness.aet, witness.port)
        assert station.move(STUDY_ROOT, witness.aet, "SERIES", keys_of("SERIES")).status == SUCCESS
        assert {(one.originator_aet, one.originator_id) for one in witness.received} == {("STATION", 1)}


def test_what_a_destination_refuses_is_told_to_who_asked_and_to_the_log(study: dict[str, Sample], archive) -> None:
    root, refused = "1.2.840.10008.5.1.4.1.2.2.2", study["two"].sop_uid
    witness = Witness(aet="CHOOSY", statuses={refused: MISMATCH})
    with witness.running(), associate(archive, [(root, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        *_, (last, failed) = association.send_c_move(asked, witness.aet, root)
    assert (last.Status, failed.FailedSOPInstanceUIDList) == (SOME_FAILED, refused)
    assert last.ErrorComment == "the destination answered status A900"
    assert f'not sent sop={refused} to=CHOOSY why="the destination answered status A900"' in archive.log_text()


class Meeting(Witness):
    """A receiver that takes the first objects of so many associations only when all of them have come."""

    def __init__(self, aet: str, associations: int, *, aborts_one: bool = False) -> None:
        super().__init__(aet=aet)
        self._all_here = threading.Barrier(associations)
        self._met: list[object] = []
        self._aborts_one = aborts_one

    def take(self, event: Any) -> int:
        if event.assoc not in self._met and len(self._met) < self._all_here.parties:
            self._met.append(event.assoc)
            self._all_here.wait(DEADLINE_S)
            if self._aborts_one and event.assoc is self._met[0]:
                event.assoc.abort()
        return super().take(event)


@pytest.mark.parametrize("aborts_one", [False, True])
def test_a_destination_that_takes_several_associations_gets_objects_on_all_of_them(
    study: dict[str, Sample], archive, *, aborts_one: bool
) -> None:
    root = "1.2.840.10008.5.1.4.1.2.2.2"
    receiver = Meeting(f"MEETING{int(aborts_one)}", 3, aborts_one=aborts_one)
    with receiver.running(), associate(archive, [(root, [IMPLICIT])]) as association:
        archive.add_peer(receiver.aet, receiver.port, "--associations", "3")
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        responses = [status for status, _ in association.send_c_move(asked, receiver.aet, root)]
    assert responses[-1].Status == SUCCESS
    assert responses[-1].NumberOfCompletedSuboperations == 5
    assert {one.sop_uid for one in receiver.received} == {sample.sop_uid for sample in study.values()}


@pytest.mark.parametrize(
    ("associations", "names"),
    [("1", ["two"]), ("3", ["two"]), ("1", ["one", "two"]), ("1", ["two", "three", "four"])],
)
def test_objects_at_which_a_destination_always_aborts_take_no_other_along(
    study: dict[str, Sample], archive, associations: str, names: list[str]
) -> None:
    poison = {study[name].sop_uid for name in names}
    receiver = Squeamish(f"SQUEAMISH{associations}{len(names)}", poison)
    with receiver.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(receiver.aet, receiver.port, "--associations", associations)
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        *_, (last, failed) = association.send_c_move(asked, receiver.aet, MOVE)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SOME_FAILED, 5 - len(names))
    failed_count = failed["FailedSOPInstanceUIDList"].VM
    assert failed_count == len(names)
    assert {one.sop_uid for one in receiver.received} == {one.sop_uid for one in study.values()} - poison
    assert receiver.aborted == 2 * len(names)


def test_a_destination_that_aborts_at_whatever_it_is_sent_is_called_three_times(
    study: dict[str, Sample], archive
) -> None:
    receiver = Squeamish("ABORTING")
    with receiver.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(receiver.aet, receiver.port)
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        *_, (last, failed) = association.send_c_move(asked, receiver.aet, MOVE)
    assert (last.Status, len(failed.FailedSOPInstanceUIDList)) == (NONE_SENT, 5)
    assert receiver.aborted == 3


def test_while_a_destination_is_silent_its_requester_is_told_that_it_goes_on_and_may_cancel(
    study: dict[str, Sample], archive
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer("SILENT", silent.getsockname()[1])
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        responses = association.send_c_move(asked, "SILENT", MOVE, msg_id=7)
        first, _ = next(responses)
        assert (first.Status, first.NumberOfRemainingSuboperations) == (PENDING, 5)
        association.send_c_cancel(7, query_model=MOVE)
        *_, (last, _) = responses
    assert (last.Status, last.NumberOfRemainingSuboperations) == (CANCEL, 5)


class Holding(Witness):
    """A receiver that takes the first object at once, and the others when it may go on, no two of them in the hundredth
    of a second in which the server looks once whether it was cancelled.
    """

    def __init__(self, aet: str) -> None:
        super().__init__(aet=aet)
        self.goes_on = threading.Event()

    def take(self, event: Any) -> int:
        if self.received:
            self.goes_on.wait(DEADLINE_S)
            time.sleep(0.05)
        return super().take(event)


@pytest.mark.parametrize(("associations", "at_least"), [("1", 3), ("3", 0)])
def test_a_move_that_is_cancelled_in_the_middle_sends_no_more_and_tells_how_far_it_came(
    study: dict[str, Sample], archive, associations: str, at_least: int
) -> None:
    receiver = Holding(f"HOLDING{associations}")
    with receiver.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(receiver.aet, receiver.port, "--associations", associations)
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        responses = association.send_c_move(asked, receiver.aet, MOVE, msg_id=7)
        assert next(responses)[0].Status == PENDING
        association.bind(evt.EVT_DATA_SENT, lambda _: receiver.goes_on.set())
        association.send_c_cancel(7, query_model=MOVE)
        *_, (last, _) = responses
    assert last.Status == CANCEL
    assert last.NumberOfRemainingSuboperations == 5 - len(receiver.received) >= at_least
    assert last.NumberOfCompletedSuboperations == len(receiver.received)


def test_a_get_that_is_cancelled_in_the_middle_sends_no_more_and_tells_how_far_it_came(
    study: dict[str, Sample], archive
) -> None:
    receiver = Witness()

    def take(event: Any) -> int:
        event.assoc.send_c_cancel(7, query_model=GET)
        return receiver.take(event)

    contexts, handlers = [(GET, [IMPLICIT]), (CT, [IMPLICIT])], [(evt.EVT_C_STORE, take)]
    with associate(archive, contexts, as_receiver=[CT], handlers=handlers) as association:
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        *_, (last, _) = association.send_c_get(asked, GET, msg_id=7)
    assert (last.Status, len(receiver.received)) == (CANCEL, 1)
    assert (last.NumberOfRemainingSuboperations, last.NumberOfCompletedSuboperations) == (4, 1)


def test_pending_responses_count_down(study: dict[str, Sample], archive) -> None:
    root = "1.2.840.10008.5.1.4.1.2.2.2"
    witness = Witness()
    with witness.running(), associate(archive, [(root, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=uid("study", "move"))
        responses = [status for status, _ in association.send_c_move(asked, witness.aet, root)]
    assert responses[0].Status == 0xFF00
    assert responses[-1].Status == SUCCESS
    first = responses[0]
    assert first.NumberOfRemainingSuboperations + first.NumberOfCompletedSuboperations == 5
    assert responses[-1].NumberOfCompletedSuboperations == 5
