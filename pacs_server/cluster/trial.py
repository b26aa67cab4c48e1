"""Tries out over DICOM whether an archive works: stores an object there, finds it and gets it back, byte for byte.

What was stored lies in the study that is set apart for that (dicom/tiny_object.py); who tries it out has it removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identifier import read_identifier
from pacs_server.dicom.tiny_object import (
    SECONDARY_CAPTURE,
    new_uid,
    trial_identifier,
    trial_object,
)
from pacs_server.errors import BadQuery, PeerRejected
from pacs_server.net import client
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.net.message import Command
from pacs_server.net.negotiate import Context
from pacs_server.settings import NetworkLimits

_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root (PS3.4 section C.6.2)
_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)
_SOP_INSTANCE_UID: Final = 0x00080018


def try_out(destination: Destination, *, calling_aet: str, limits: NetworkLimits) -> None:
    """Store an object in the trial study, find it, and get it back.

    Raises: PeerRejected with the first of these that did not work; PeerUnreachable, PeerAborted, PeerTimedOut,
    ProtocolViolation.
    """
    contexts = [(_FIND, _SYNTAXES, False), (SECONDARY_CAPTURE, (EXPLICIT_LE,), False)]
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
    contexts = [(_GET, _SYNTAXES, False), (SECONDARY_CAPTURE, (EXPLICIT_LE,), True)]
    association = client.connect(destination, calling_aet=calling_aet, contexts=contexts, limits=limits)
    try:
        _get(association, instance, sent)
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
    context = _context(association, _FIND, "to find")
    asked = trial_identifier(context.transfer_syntax, instance)
    status, answers = client.find(association, context_id=context.id, sop_class=_FIND, identifier=asked)
    try:
        found = [read_identifier(one, context.transfer_syntax).text(_SOP_INSTANCE_UID) for one in answers]
    except BadQuery as error:
        raise PeerRejected(f"{association.called_aet} gave an answer that cannot be read: {error}") from error
    if status or found != [instance]:
        raise PeerRejected(
            f"{association.called_aet} did not find the test object that it had stored: "
            f"{len(found)} answers, status {status:04X}"
        )


def _get(association: Association, instance: str, sent: bytes) -> None:
    came: list[bytes] = []

    def take(command: Command, pieces: Iterator[memoryview]) -> int:
        came.append(b"".join(map(bytes, pieces)))
        return 0 if command.affected_sop_instance == instance else 0xA900  # PS3.4 section B.2.3: not what was asked for

    context = _context(association, _GET, "to get objects back")
    asked = trial_identifier(context.transfer_syntax, instance)
    status = client.get(association, context_id=context.id, sop_class=_GET, identifier=asked, take=take)
    if status or came != [sent]:
        what = "with other bytes" if came else "not at all"
        raise PeerRejected(f"{association.called_aet} gave the test object back {what}, with status {status:04X}")


def _context(association: Association, abstract_syntax: str, deed: str) -> Context:
    found = next((one for one in association.contexts.values() if one.abstract_syntax == abstract_syntax), None)
    if found is None:
        raise PeerRejected(
            f"{association.called_aet} does not allow {association.calling_aet} {deed}; there: "
            f"pacs ae set {association.calling_aet} --allow echo,store,find,get"
        )
    return found
