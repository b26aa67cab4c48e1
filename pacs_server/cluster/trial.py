"""Tries out over DICOM whether an archive works: stores an object there, finds it and gets it back, byte for byte.

What was stored lies in the study that is set apart for that (dicom/tiny_object.py); who tries it out has it removed.
"""

from __future__ import annotations

from typing import Final

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import new_uid
from pacs_server.dicom.queries.asking import answered, identifier
from pacs_server.dicom.tiny_object import SECONDARY_CAPTURE, TRIAL_SERIES_UID, TRIAL_STUDY_UID, trial_object
from pacs_server.errors import BadQuery, PeerRejected
from pacs_server.net import client
from pacs_server.net.asking import STUDY_ROOT_FIND, STUDY_ROOT_GET, find, get
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.net.message import Command
from pacs_server.net.negotiate import Context
from pacs_server.settings import NetworkLimits

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)


def try_out(destination: Destination, *, calling_aet: str, limits: NetworkLimits) -> None:
    """Store an object in the trial study, find it, and get it back.

    Raises: PeerRejected with the first of these that did not work; PeerUnreachable, PeerAborted, PeerTimedOut,
    ProtocolViolation.
    """
    contexts = [(STUDY_ROOT_FIND, _SYNTAXES, False), (SECONDARY_CAPTURE, (EXPLICIT_LE,), False)]
    instance = new_uid()
    sent = trial_object(EXPLICIT_LE, instance)
    association = client.connect(destination, calling_aet=calling_aet, contexts=contexts, limits=limits)
    try:
        _store(association, instance, sent)
        _find(association, instance)
        association.release()
    finally:
        association.close()
    # In the role of SCP of its storage, which is another negotiation (PS3.4 section C.5.3).
    contexts = [(STUDY_ROOT_GET, _SYNTAXES, False), (SECONDARY_CAPTURE, (EXPLICIT_LE,), True)]
    association = client.connect(destination, calling_aet=calling_aet, contexts=contexts, limits=limits)
    try:
        _get(association, instance, sent, limits.response_timeout_s)
        association.release()
    finally:
        association.close()


def _store(association: Association, instance: str, sent: bytes) -> None:
    status = client.store(
        association,
        context_id=_context(association, SECONDARY_CAPTURE, "to store").id,
        sop_class=SECONDARY_CAPTURE,
        sop_instance=instance,
        data_set=(sent,),
    )
    if status:
        raise PeerRejected(f"{association.called_aet} did not store a test object: it answered {status:04X}")


def _find(association: Association, instance: str) -> None:
    context = _context(association, STUDY_ROOT_FIND, "to find")
    asked = _identifier(instance, context.transfer_syntax)
    try:
        answers = [
            answered(one, ["SOPInstanceUID"], context.transfer_syntax) for one in find(association, context, asked)
        ]
    except BadQuery as error:
        raise PeerRejected(f"{association.called_aet} gave an answer that cannot be read: {error}") from error
    if [one["SOPInstanceUID"] for one in answers] != [instance]:
        raise PeerRejected(
            f"{association.called_aet} did not find the test object that it had stored: {len(answers)} answers"
        )


def _get(association: Association, instance: str, sent: bytes, timeout_s: float) -> None:
    came: list[bytes] = []

    def take(command: Command) -> int:
        came.append(b"".join(map(bytes, association.data_set())))
        return 0 if command.affected_sop_instance == instance else 0xA900  # PS3.4 section B.2.3: not what was asked for

    context = _context(association, STUDY_ROOT_GET, "to get objects back")
    asked = _identifier(instance, context.transfer_syntax)
    final, _ = get(association, context, asked, take, timeout_s=timeout_s)
    if final.status or came != [sent]:
        what = "with other bytes" if came else "not at all"
        raise PeerRejected(f"{association.called_aet} gave the test object back {what}, with status {final.status:04X}")


def _identifier(instance: str, transfer_syntax: str) -> bytes:
    keys = {"StudyInstanceUID": TRIAL_STUDY_UID, "SeriesInstanceUID": TRIAL_SERIES_UID, "SOPInstanceUID": instance}
    return identifier(Level.IMAGE, keys, transfer_syntax)


def _context(association: Association, abstract_syntax: str, deed: str) -> Context:
    found = association.context_of(abstract_syntax)
    if found is None:
        raise PeerRejected(
            f"{association.called_aet} does not allow {association.calling_aet} {deed}; there: "
            f"pacs ae set {association.calling_aet} --allow echo,store,find,get"
        )
    return found
