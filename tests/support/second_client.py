"""pynetdicom's own client and receiver: the second independent peer, which tells more of what it saw than DCMTK."""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation, UserIdentityNegotiation
from pynetdicom.presentation import build_role
from support.samples import STORAGE_CLASSES, Sample
from support.server import Archive

DEADLINE_S = 90
# How long pynetdicom is waited for to release an association: where it does not after a second, it never will.
_RELEASE_S = 30
_ATTEMPTS = 3

UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")

# Files are sent as they are, without being decoded; what is received is kept as it came.
_config.STORE_SEND_CHUNKED_DATASET = True

Contexts = Iterable[tuple[str, Sequence[str]]]


class _Checkpoint(threading.Event):
    """Where the reactor of an association pauses. That of pynetdicom 3.0.4 says that it has paused before it looks
    whether it has to, so that whoever pauses it in between believes that it stands while it runs, and takes responses
    for requests of the peer ("Received unexpected C-STORE service message").
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self._looking = threading.Lock()
        self.set()

    def clear(self) -> None:
        with self._looking:
            super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        while super().wait(timeout):
            with self._looking:
                if self.is_set():
                    self._association._is_paused = False
                    return True
        return False


_begin = Association.__init__


def _begin_with_checkpoint(association: Association, *arguments: Any, **named: Any) -> None:
    _begin(association, *arguments, **named)
    association._reactor_checkpoint = _Checkpoint(association)


Association.__init__ = _begin_with_checkpoint  # type: ignore[assignment, method-assign]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One C-STORE that reached the receiver."""

    calling_aet: str
    sop_uid: str
    transfer_syntax: str
    data_set: bytes
    originator_aet: str
    originator_id: int | None


class Witness:
    """A storage provider that tells what reached it; answers `statuses` for the objects named there, else success."""

    def __init__(
        self,
        *,
        aet: str = "WITNESS",
        syntaxes: Sequence[str] = UNCOMPRESSED,
        statuses: Mapping[str, int] | None = None,
    ) -> None:
        self.aet = aet
        self.received: list[Received] = []
        self._syntaxes = syntaxes
        self._statuses = statuses or {}

    @contextmanager
    def running(self) -> Iterator["Witness"]:
        """Listen while the block runs."""
        provider = AE(self.aet)
        for sop_class in STORAGE_CLASSES.values():
            provider.add_supported_context(sop_class, list(self._syntaxes))
        handlers = [(evt.EVT_C_STORE, self.take)]
        server = provider.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.port = int(server.server_address[1])
        try:
            yield self
        finally:
            server.shutdown()

    def take(self, event: evt.Event) -> int:
        """Keep an object that arrives, also as a handler of an association that gets with C-GET."""
        request = event.request
        self.received.append(
            Received(
                calling_aet=event.assoc.requestor.ae_title,
                sop_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax=str(event.context.transfer_syntax),
                data_set=request.DataSet.getvalue(),
                originator_aet=request.MoveOriginatorApplicationEntityTitle or "",
                originator_id=request.MoveOriginatorMessageID,
            )
        )
        return self._statuses.get(str(request.AffectedSOPInstanceUID), 0x0000)


class Squeamish(Witness):
    """A receiver that aborts the association whenever it is sent one of some objects, or any."""

    def __init__(self, aet: str, poison: Collection[str] = ()) -> None:
        super().__init__(aet=aet)
        self._poison = poison
        self.aborted = 0

    def take(self, event: evt.Event) -> int:
        """Keep an object that arrives, or abort."""
        if self._poison and event.request.AffectedSOPInstanceUID not in self._poison:
            return super().take(event)
        self.aborted += 1
        event.assoc.abort()
        return 0xA700


class NotAccepted(AssertionError):
    """The archive did not accept an association."""


@contextmanager
def associate(
    archive: Archive,
    contexts: Contexts,
    *,
    aet: str = "SECOND",
    as_receiver: Iterable[str] = (),
    tells_roles: bool = True,
    handlers: Any = (),
    tls: SSLContext | None = None,
    user: UserIdentityNegotiation | None = None,
    source: str = "127.0.0.1",
    implementation: str = "",
) -> Iterator[Association]:
    """An association with the archive, released at the end. `as_receiver`: SOP classes that we are to be the SCP of,
    said in role items or, as Horos and Ginkgo CADx do, not; `user`: who logs in; `source`: the address from which it is
    called; `implementation`: the version name that we tell. Raises: NotAccepted.
    """
    client = AE(aet)
    client.implementation_version_name = implementation or client.implementation_version_name
    client.acse_timeout = client.dimse_timeout = client.network_timeout = DEADLINE_S
    for abstract_syntax, syntaxes in contexts:
        client.add_requested_context(abstract_syntax, list(syntaxes))
    received = set(as_receiver)
    roles: list[SCP_SCU_RoleSelectionNegotiation] = []
    if tells_roles:
        roles = [build_role(uid, scp_role=True) for uid in received]
    association = client.associate(
        "127.0.0.1",
        archive.tls_port if tls else archive.port,
        ae_title=archive.aet,
        ext_neg=[*roles, *([user] if user else [])],
        bind_address=(source, 0),
        evt_handlers=list(handlers),
        tls_args=(tls, "localhost") if tls else None,
    )
    if not association.is_established:
        raise NotAccepted(f"{_refusal(association)}; the archive told\n{archive.log_text()[-2_000:]}")
    if not tells_roles:
        for context in association.accepted_contexts:
            context._as_scp = context.abstract_syntax in received
    try:
        yield association
    finally:
        if association.is_established:
            _release(association)


def _refusal(association: Association) -> str:
    """How an association that was asked for has failed, as far as pynetdicom keeps it; its log has the rest."""
    if association.is_rejected and (answer := association.acceptor.primitive) is not None:
        return f"rejected as {answer.result_str}: {answer.reason_str}"
    return "aborted" if association.is_aborted else "no answer"


def _release(association: Association) -> None:
    """Release it, or abort it where pynetdicom waits in vain for its own thread to pause, as it does under load."""
    releasing = threading.Thread(target=association.release, daemon=True)
    releasing.start()
    releasing.join(_RELEASE_S)
    if releasing.is_alive():
        association.abort()


def send(archive: Archive, samples: Sequence[Sample], *, aet: str = "SECOND") -> dict[str, int]:
    """Send files byte for byte, on as few associations as their kinds need; the status of each by SOP Instance UID."""
    kinds = sorted({(sample.sop_class, sample.transfer_syntax) for sample in samples})
    statuses: dict[str, int] = {}
    for start in range(0, len(kinds), 128):
        some = kinds[start : start + 128]
        chosen = [sample for sample in samples if (sample.sop_class, sample.transfer_syntax) in some]
        for _ in range(_ATTEMPTS):
            left = [sample for sample in chosen if sample.sop_uid not in statuses]
            if not left:
                break
            with associate(archive, [(sop_class, [syntax]) for sop_class, syntax in some], aet=aet) as association:
                statuses |= _send_each(association, left)
    return statuses


def _send_each(association: Association, samples: Sequence[Sample]) -> dict[str, int]:
    """The statuses, up to a response that the client lost: its reactor takes one that comes at once for a request of
    the peer ("Received unexpected C-STORE service message"), now and then on a busy machine.
    """
    statuses: dict[str, int] = {}
    for sample in samples:
        answer = send_file(association, sample.path)
        if "Status" not in answer:
            break
        statuses[sample.sop_uid] = answer.Status
    return statuses


def send_file(association: Association, path: Path) -> Dataset:
    """Send what stands after the file meta information, under the UIDs that this names, whether they agree or not."""
    return association.send_c_store(path)


def identifier(level: str, **keys: object) -> Dataset:
    """The identifier of a query or a retrieve."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset
