"""One association in either role: commands and data sets in and out, blocking, in one thread.

Source: PS3.8 section 7 (services) and 9.2 (state machine), PS3.7 section 8 and 9.3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import AssociationBroken, PeerAborted, PeerTimedOut, ProtocolViolation, TooLarge
from pacs_server.net.connection import BY_PROVIDER, BY_USER, Connection
from pacs_server.net.message import Command, CommandField
from pacs_server.net.message_reader import MessageReader
from pacs_server.net.negotiate import Agreement
from pacs_server.net.negotiate import Context as Context
from pacs_server.net.sending import Outbox
from pacs_server.net.wire import (
    RELEASE_REPLY,
    RELEASE_REQUEST,
    Abort,
    AbortReason,
    BadPdu,
    Fragment,
    ReleaseReply,
    ReleaseRequest,
)
from pacs_server.settings import NetworkLimits

MAX_STALE_CANCELS: Final = 100
MAX_EMPTY_PARTS: Final = 1_000
# Looking for a C-CANCEL costs a system call, which is a third of what one answer of a query costs.
_LOOK_EVERY_S: Final = 0.01
_NO_REQUEST: Final = 0  # the message IDs of requests begin with 1


class Association:
    """An established association; belongs to one thread.

    Every method that talks to the peer raises PeerAborted when the peer aborted or the connection ended, PeerTimedOut
    and ProtocolViolation after it sent an A-ABORT. After any of them only `close` is of use.
    """

    def __init__(self, connection: Connection, limits: NetworkLimits, agreement: Agreement, number: int = 0) -> None:
        self.calling_aet = agreement.calling_aet
        self.called_aet = agreement.called_aet
        self.peer_address = agreement.peer_address
        self.contexts = agreement.contexts
        self.refused = agreement.refused
        self.implementation = agreement.implementation
        self.number = number
        self._connection = connection
        self._limits = limits
        peer_max = agreement.peer_max_pdu_bytes or limits.max_pdu_bytes
        self._outbox = Outbox(self._write, min(peer_max, limits.max_pdu_bytes))
        self._reader = MessageReader(agreement.contexts, limits.max_command_bytes)
        self._received_bytes = 0  # of the present data set
        self._empty_parts = 0
        self._message_id = 0
        self._asked: dict[int, bool] = {}  # our requests whose responses come out of `receive`; whether several may
        self._ahead: Command | None = None  # a request that came while another one was worked on
        self._release_asked = False
        self._cancels: set[int] = set()
        self._stale_cancels = 0
        self._looked_at = 0.0
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended it, as far as was seen."""
        return self._open

    def context_of(self, abstract_syntax: str) -> Context | None:
        """The accepted presentation context of a SOP class, the first of several; None when there is none."""
        return next((one for one in self.contexts.values() if one.abstract_syntax == abstract_syntax), None)

    # --- receiving ---

    def receive(self, timeout_s: float | None = None) -> Command | None:
        """The next request, or a response to one of `ask`; None after the peer released the association. What is left
        of a data set is skipped.

        `timeout_s` is by default the idle time-out of the settings.
        """
        self.flush()
        self.drain()
        self._cancels.clear()
        self._connection.mark_idle(True)
        while True:
            command = self._ahead or self._next_command(self._limits.idle_timeout_s if timeout_s is None else timeout_s)
            self._ahead = None
            if command is None:
                self._open = False
                self._connection.finish(RELEASE_REPLY)
                return None
            if command.field == CommandField.C_CANCEL_RQ:
                self._count_stale_cancel()
                continue
            self._connection.mark_idle(False)
            if command.is_response and command.responded_to not in self._asked:
                self._violated(f"a {command.field.name} came that answers nothing")
            self._stale_cancels = 0
            if not (command.is_pending and self._asked.get(command.responded_to)):
                self._asked.pop(command.responded_to, None)
            return command

    def stays_quiet(self, wait_s: float) -> bool:
        """Wait until something comes that `receive` would take, at most `wait_s`; whether nothing did.

        What is left of a data set is skipped before.
        """
        self.flush()
        self.drain()
        if self._ahead is not None or self._release_asked:
            return False
        self._connection.mark_idle(True)
        return self._connection.is_quiet(wait_s)

    def receive_response(self, message_id: int, meanwhile: Callable[[], None] | None = None) -> Command:
        """The response to our request with this message ID; a C-CANCEL that comes first is kept for `cancelled`.

        `meanwhile` is called twice a second while it is waited for.
        """
        self.flush()
        while True:
            if self._ahead is not None or self._release_asked:
                self._violated("a request or release came before the response that is due")
            command = self._next_command(self._limits.response_timeout_s, meanwhile)
            if command is None:
                self._violated("a release came before the response that is due")
            if command.field == CommandField.C_CANCEL_RQ:
                self._keep_cancel(command)
            elif command.is_response and command.responded_to == message_id:
                return command
            else:
                self._violated(f"a {command.field.name} came instead of the response that is due")

    def data_set(self) -> Iterator[memoryview]:
        """The data set of the last command as it arrives; each view is valid until the next step.

        It need not be exhausted: `receive` skips the rest.
        """
        while self._reader.expects_data:
            part = self._step(self._limits.pdu_timeout_s)
            if type(part) is not memoryview:
                self._violated("something else came before the data set ended")
            self._received_bytes += len(part)
            if self._received_bytes > self._limits.max_object_bytes:
                self._violated(f"a data set is larger than {self._limits.max_object_bytes} bytes")
            if part:
                yield part
            else:
                self._count_empty_part()

    def _count_empty_part(self) -> None:
        self._empty_parts += 1
        if self._empty_parts > MAX_EMPTY_PARTS:
            self._violated("a data set consists of empty fragments")

    def drain(self) -> None:
        """Skip what is left of the data set of the last command, and nothing of a request that came ahead."""
        for _ in self.data_set() if self._ahead is None else ():
            pass

    def read_identifier(self, max_bytes: int | None = None) -> bytes:
        """The whole data set of the last command; `max_bytes` is by default `max_identifier_bytes` of the settings.

        Raises: TooLarge when it is larger than that; it was read to its end nevertheless.
        """
        most = self._limits.max_identifier_bytes if max_bytes is None else max_bytes
        parts, size = [], 0
        for part in self.data_set():
            size += len(part)
            if size <= most:
                parts.append(bytes(part))
        if size > most:
            raise TooLarge(f"the identifier has {size} bytes; at most {most} are read")
        return b"".join(parts)

    def cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled its request with this message ID; looks without waiting."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._look_around(message_id)
        return message_id in self._cancels

    def is_spent(self) -> bool:
        """Whether nothing more can be asked over an association of ours: its peer has released or ended it, or said
        what answers nothing. Looks without waiting, and answers a release.
        """
        with suppress(AssociationBroken):
            self._look_around(_NO_REQUEST)
        if self._open and self._release_asked:
            self._open = False
            self._connection.finish(RELEASE_REPLY)
        return not self._open or self._ahead is not None

    def _look_around(self, message_id: int) -> None:
        while self._ahead is None and not self._release_asked:
            try:
                event = self._connection.waiting_event()
                if event is None:
                    return
                found = self._understand(event)
            except (ProtocolViolation, PeerAborted) as error:
                self._ended(error)
                raise
            if isinstance(found, Command):
                if found.field != CommandField.C_CANCEL_RQ:
                    self._ahead = found
                elif found.responded_to == message_id:
                    self._cancels.add(message_id)
                else:
                    self._count_stale_cancel()

    def _keep_cancel(self, command: Command) -> None:
        if len(self._cancels) >= MAX_STALE_CANCELS:
            self._count_stale_cancel()
        else:
            self._cancels.add(command.responded_to)

    def _count_stale_cancel(self) -> None:
        self._stale_cancels += 1
        if self._stale_cancels > MAX_STALE_CANCELS:
            self._violated("too many C-CANCEL for requests that are not being worked on")

    def _next_command(self, wait_s: float, meanwhile: Callable[[], None] | None = None) -> Command | None:
        """The next command; None when the peer asks for release."""
        while not self._release_asked:
            found = self._step(self._limits.pdu_timeout_s if self._reader.in_command else wait_s, meanwhile)
            if isinstance(found, Command):
                return found
        return None

    def _step(self, wait_s: float, meanwhile: Callable[[], None] | None = None) -> Command | memoryview | None:
        """What the next event brings. Sends the A-ABORT when it, or its absence, breaks the protocol."""
        if not self._open:
            raise PeerAborted("the association has ended")
        try:
            return self._understand(self._connection.next_event(wait_s, meanwhile=meanwhile))
        except AssociationBroken as error:
            self._ended(error)
            raise

    def _understand(self, event: object) -> Command | memoryview | None:
        if type(event) is Fragment:
            found = self._reader.take(event)
            if isinstance(found, Command):
                self._received_bytes = self._empty_parts = 0
            return found
        if isinstance(event, Abort):
            raise _aborted_by(event)
        if isinstance(event, ReleaseRequest) and not self._reader.expects_data:
            self._release_asked = True
            return None
        raise BadPdu(f"an unexpected {type(event).__name__} came", AbortReason.UNEXPECTED_PDU)

    # --- sending ---

    def respond(self, command: bytes, context_id: int, data_set: bytes | None = None) -> None:
        """Send a command, and after it its data set, in one write together with what is queued."""
        self._outbox.queue(context_id, command, data_set)
        self._outbox.flush()

    def queue(self, context_id: int, command: bytes, data_sets: Sequence[bytes]) -> None:
        """Send a command with each of these data sets in turn, which may wait for `flush` or for more company: many
        small answers go out in few writes.
        """
        self._outbox.queue_each(context_id, command, data_sets)

    def flush(self) -> None:
        """Send what is queued."""
        self._outbox.flush()

    def send(self, context_id: int, command: bytes, data_set: Iterable[Buffer] | None = None) -> None:
        """Send a command and its data set; the pieces are sent as they are, cut to the PDUs that the peer takes."""
        try:
            self._outbox.send(context_id, command, data_set)
        except ProtocolViolation as error:
            self._ended(error)
            raise
        finally:
            if self._outbox.mid_message:  # the pieces could not be read to their end: nobody can go on from here
                self._abort(BY_USER, AbortReason.NOT_SPECIFIED)

    @property
    def is_mid_message(self) -> bool:
        """Whether part of a message is out, so that nothing else may be sent before the rest of it."""
        return self._outbox.mid_message

    def _write(self, buffers: list[Buffer]) -> None:
        if not self._open:
            raise PeerAborted("the association has ended")
        try:
            self._connection.send(buffers)
        except PeerTimedOut as error:
            self._ended(error)
            raise
        except PeerAborted as error:
            self._ended(error)
            if (abort := self._unread_abort()) is not None:
                raise abort from error
            raise

    def _unread_abort(self) -> PeerAborted | None:
        """The A-ABORT that came before the connection broke, while we sent and read nothing; it is why."""
        with suppress(AssociationBroken):
            while (event := self._connection.waiting_event()) is not None:
                if isinstance(event, Abort):
                    return _aborted_by(event)
        return None

    def ask(self, context_id: int, command: bytes, data_set: bytes, message_id: int, *, pends: bool = False) -> None:
        """Send a request whose response comes out of `receive`, whatever the peer sends before it. With `pends`, others
        may come before the final one.
        """
        self._asked[message_id] = pends
        self._connection.mark_idle(False)
        self.respond(command, context_id, data_set)

    def next_message_id(self) -> int:
        """The message ID for our next request, 1 to 65535."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    # --- the end ---

    def release(self) -> None:
        """Release the association in good order and close; data that still comes is skipped."""
        if not self._open:
            return
        self._write([RELEASE_REQUEST])
        deadline = time.monotonic() + self._limits.association_timeout_s
        while self._open:
            try:
                if (left := deadline - time.monotonic()) <= 0:
                    raise PeerTimedOut("the peer did not answer the release request")
                event = self._connection.next_event(left)
            except AssociationBroken as error:
                self._ended(error)
                raise
            if isinstance(event, ReleaseRequest):  # both at once: PS3.8 section 7.2.2.7
                self._write([RELEASE_REPLY])
            elif isinstance(event, (ReleaseReply, Abort)):
                self._open = False
        self._connection.close()

    def abort(self) -> None:
        """Send an A-ABORT and close."""
        self._abort(BY_USER, AbortReason.NOT_SPECIFIED)

    def close(self) -> None:
        """Close the connection, with an A-ABORT when the association was neither released nor aborted."""
        self.abort()
        self._connection.close()
        self._outbox.close()

    def _abort(self, source: int, reason: int) -> None:
        if self._open:
            self._open = False
            self._connection.abort(source, reason)

    def _ended(self, error: Exception) -> None:
        """After this error: the peer is told unless it is gone."""
        if isinstance(error, PeerAborted):
            self._open = False
        reason = error.reason if isinstance(error, BadPdu) else AbortReason.NOT_SPECIFIED
        self._abort(BY_PROVIDER, reason)

    def _violated(self, text: str) -> NoReturn:
        self._abort(BY_PROVIDER, AbortReason.NOT_SPECIFIED)
        raise ProtocolViolation(text)


def _aborted_by(event: Abort) -> PeerAborted:
    return PeerAborted(f"the peer aborted the association (source {event.source}, reason {event.reason})")
