"""A modality's console, on pynetdicom: it asks for Storage Commitment and takes reports on whatever association."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from support.dcmtk import free_port
from support.second_client import UNCOMPRESSED, associate
from support.server import Archive, wait_for

Named = tuple[str, str]  # SOP class and instance

_COMMAND_FIELD_OF_ANSWER = b"\0\0\0\1\2\0\0\0\0\x81"  # N-EVENT-REPORT-RSP


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One report as it arrived, and the status that it was answered with."""

    calling_aet: str
    event_type: int
    transaction_uid: str
    committed: tuple[str, ...]
    failed: dict[str, int]
    data_set: Dataset
    answered: int


class Console:
    """`reports` are those that arrived; each is answered with `status`, the first `loses` by a broken association."""

    def __init__(self, aet: str = "CONSOLE", *, status: int = 0x0000, loses: int = 0) -> None:
        self.aet = aet
        self.status = status
        self.loses = loses
        self.port = free_port()
        self.reports: list[Told] = []
        self._owes = 0
        self._lock = threading.Lock()

    def take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        said = event.event_information
        failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in said.get("FailedSOPSequence", [])}
        committed = tuple(item.ReferencedSOPInstanceUID for item in said.get("ReferencedSOPSequence", []))
        told = Told(
            calling_aet=event.assoc.requestor.ae_title,
            event_type=event.event_type,
            transaction_uid=said.TransactionUID,
            committed=committed,
            failed=failed,
            data_set=said,
            answered=self.status,
        )
        with self._lock:
            self.reports.append(told)
            if len(self.reports) <= self.loses:
                event.assoc.abort()
            else:
                self._owes += 1
        return told.answered, None

    @contextmanager
    def listening(self) -> Iterator["Console"]:
        """Take associations for reports on its port while the block runs."""
        provider = AE(self.aet)
        provider.add_supported_context(StorageCommitmentPushModel, list(UNCOMPRESSED), scu_role=False, scp_role=True)
        server = provider.start_server(("127.0.0.1", self.port), block=False, evt_handlers=self._handlers())
        assert server is not None
        try:
            yield self
        finally:
            server.shutdown()

    @contextmanager
    def associated(self, archive: Archive, *also: str) -> Iterator[Association]:
        """An association on which it can ask, and be told, and use the SOP classes that are named. It is released when
        what it was told is answered: pynetdicom fails when it is to send an answer behind its own request for release.
        """
        contexts = [(one, list(UNCOMPRESSED)) for one in (StorageCommitmentPushModel, *also)]
        with associate(archive, contexts, aet=self.aet, handlers=self._handlers()) as association:
            yield association
            wait_for(lambda: self.has_answered or not association.is_established, "answers to the reports")

    def _handlers(self) -> list[evt.EventHandlerType]:
        return [(evt.EVT_N_EVENT_REPORT, self.take), (evt.EVT_PDU_SENT, self._note_sent)]

    def _note_sent(self, event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            for item in event.pdu.presentation_data_value_items:
                with self._lock:
                    self._owes -= _COMMAND_FIELD_OF_ANSWER in item.presentation_data_value

    @property
    def has_answered(self) -> bool:
        """Whether each report that came is answered. pynetdicom answers in another thread, into the middle of what this
        one sends: between the command of a C-STORE and its data set, say.
        """
        return not self._owes

    def ask(self, archive: Archive, transaction_uid: str, objects: Iterable[Named]) -> int:
        """Ask, and release at once; the status of the response."""
        with self.associated(archive) as association:
            return request(association, transaction(transaction_uid, objects))

    def first_report(self, transaction_uid: str, *, timeout_s: float = 240.0) -> Told:
        """The first report of a transaction, as soon as it is here."""
        wait_for(lambda: self.of(transaction_uid), f"a report of {transaction_uid}", timeout_s=timeout_s)
        return self.of(transaction_uid)[0]

    def of(self, transaction_uid: str) -> list[Told]:
        """The reports of a transaction that are here."""
        return [one for one in self.reports if one.transaction_uid == transaction_uid]


def transaction(transaction_uid: str | None, objects: Iterable[Named]) -> Dataset:
    """The action information of a request."""
    asked = Dataset()
    if transaction_uid is not None:
        asked.TransactionUID = transaction_uid
    asked.ReferencedSOPSequence = list(references(objects))
    return asked


def references(objects: Iterable[Named]) -> Iterator[Dataset]:
    for sop_class, sop_uid in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
        yield item


def request(association: Association, asked: Dataset, **named: Any) -> int:
    """Send an N-ACTION; the status of its response."""
    told = {"action_type": 1, "class_uid": StorageCommitmentPushModel} | named
    status, _ = association.send_n_action(
        asked, told["action_type"], told["class_uid"], named.get("instance_uid", StorageCommitmentPushModelInstance),
        meta_uid=StorageCommitmentPushModel,
    )  # fmt: skip
    assert "Status" in status, "there was no response"
    return int(status.Status)


def named(samples: Sequence[Any]) -> list[Named]:
    return [(sample.sop_class, sample.sop_uid) for sample in samples]
