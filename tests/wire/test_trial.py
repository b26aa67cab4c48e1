"""An archive that is tried out over DICOM: what is stored, found and got back leaves nothing behind."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import SecondaryCaptureImageStorage
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet
from support.server import Archive, wait_for

from pacs_server.cluster.trial import try_out
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID
from pacs_server.errors import PeerRejected
from pacs_server.index.maintenance.schema import open_current
from pacs_server.index.retiring import forget_study
from pacs_server.net.client import Destination
from pacs_server.settings import NetworkLimits

LIMITS = NetworkLimits(connect_timeout_s=60, association_timeout_s=60, response_timeout_s=60)


def try_(archive: Archive, calling: str = "TRYING") -> None:
    destination = Destination(aet=archive.aet, host="127.0.0.1", port=archive.port)
    try_out(destination, calling_aet=calling, limits=LIMITS)


def test_an_archive_that_works_is_tried_out_and_forgets_it_without_a_trace(archive: Archive) -> None:
    archive.add_peer("VIEWER", 11113)
    archive.pacs("route", "add", "everything", "--to", "VIEWER")
    before = archive.report("status")["holdings"]
    try_(archive)
    assert [job for job in archive.report("jobs", "list") if job["kind"] == "route"] == []
    (found,) = archive.report("find", "studies")
    assert found["uid"] == TRIAL_STUDY_UID
    (file,) = archive.files()
    with closing(open_current(f"sqlite:///{archive.data}/index.db")) as index:
        assert forget_study(index, TRIAL_STUDY_UID, datetime.now(UTC)) == 1
    wait_for(lambda: not file.exists(), "the file to be removed")
    assert archive.report("status")["holdings"] == before
    assert archive.report("find", "patients") == archive.report("trash", "list") == archive.report("send", "list") == []
    wait_for(lambda: archive.report("jobs", "list") == [], "nothing to be owed")


@pytest.mark.parametrize(("allowed", "told"), [("echo,find,get", "to store"), ("echo,store,get", "to find"),
                                               ("echo,store,find", "to get objects back")])  # fmt: skip
def test_what_is_not_allowed_there_is_said_with_what_to_change(archive: Archive, allowed: str, told: str) -> None:
    archive.pacs("ae", "add", "LIMITED", "127.0.0.1", "11199", "--allow", allowed)
    with pytest.raises(PeerRejected, match=f"does not allow LIMITED {told}; there: pacs ae set LIMITED --allow"):
        try_(archive, "LIMITED")
    archive.pacs("ae", "remove", "LIMITED", "--yes")


class OddArchive:
    """An archive that keeps what it gets, but answers `status` to a C-STORE, finds only `finds`, and gives `gives`."""

    def __init__(self, *, status: int = 0, finds: int = 1, gives: str = "the same") -> None:
        self._status, self._finds, self._gives = status, finds, gives
        self._kept = Dataset()

    @contextmanager
    def serving(self) -> Iterator[Destination]:
        provider = AE("ODD")
        for kind in (SecondaryCaptureImageStorage, StudyRootFind, StudyRootGet):
            provider.add_supported_context(kind, [ExplicitVRLittleEndian], scu_role=True, scp_role=True)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get)]
        server = provider.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        try:
            yield Destination(aet="ODD", host="127.0.0.1", port=int(server.server_address[1]))
        finally:
            server.shutdown()

    def _store(self, event: evt.Event) -> int:
        self._kept = event.dataset
        self._kept.file_meta = event.file_meta
        return self._status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        answer = Dataset()
        answer.SOPInstanceUID = event.identifier.SOPInstanceUID
        for _ in range(self._finds):
            yield 0xFF00, answer
        yield 0x0000, None

    def _get(self, event: evt.Event) -> Iterator[object]:
        yield 1 if self._gives else 0
        if self._gives:
            if self._gives == "another":
                self._kept.PatientID = "ANOTHER"
            yield 0xFF00, self._kept


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"status": 0xA700}, "did not store a test object: it answered A700"),
        ({"finds": 0}, "did not find the test object that it had stored: 0 answers"),
        ({"finds": 2}, "2 answers"),
        ({"gives": ""}, "gave the test object back not at all"),
        ({"gives": "another"}, "gave the test object back with other bytes"),
    ],
)
def test_an_archive_that_does_not_do_what_it_should_is_found_out(odd: dict[str, Any], told: str) -> None:
    with OddArchive(**odd).serving() as destination, pytest.raises(PeerRejected, match=told):
        try_out(destination, calling_aet="TRYING", limits=LIMITS)


def test_an_archive_of_another_make_that_works_is_tried_out_too() -> None:
    with OddArchive().serving() as destination:
        try_out(destination, calling_aet="TRYING", limits=LIMITS)
