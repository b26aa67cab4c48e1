"""What goes out on an association: messages as P-DATA PDUs of the size that the peer takes, in few writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import ProtocolViolation
from pacs_server.net.wire import PDV_HEADER_BYTES, data_header, data_pdus

# A peer that takes only tiny PDUs would make us spend a header and a view on every few bytes of an object.
LEAST_PDU_FOR_OBJECTS_BYTES: Final = 4_096

_QUEUE_BYTES: Final = 1 << 17
_SEND_BYTES: Final = 1 << 20


class Outbox:
    """Cuts messages into PDUs and hands them to `write`: small ones joined, large ones as views of what was given."""

    def __init__(self, write: Callable[[list[Buffer]], None], max_pdu_bytes: int) -> None:
        self._write = write
        self._room = max_pdu_bytes - PDV_HEADER_BYTES
        self._queue: list[Buffer] = []
        self._queued_bytes = 0
        self.mid_message = False  # whether a message was begun and could not be finished

    def queue(self, context_id: int, command: bytes, data_set: bytes | None) -> None:
        """Keep a message until `flush`, or until enough have come together."""
        queue, room = self._queue, self._room
        if len(command) <= room and (data_set is None or len(data_set) <= room):
            queue.append(data_header(context_id, len(command), is_command=True, is_last=True))
            queue.append(command)
            if data_set is not None:
                queue.append(data_header(context_id, len(data_set), is_command=False, is_last=True))
                queue.append(data_set)
        else:
            queue.extend(chain.from_iterable(data_pdus(context_id, (command,), room, is_command=True)))
            if data_set is not None:
                queue.extend(chain.from_iterable(data_pdus(context_id, (data_set,), room, is_command=False)))
        self._queued_bytes += len(command) + len(data_set or b"")
        if self._queued_bytes >= _QUEUE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is queued, at once."""
        if self._queue:
            buffers, self._queue, self._queued_bytes = self._queue, [], 0
            self._write([b"".join(buffers)])

    def send(self, context_id: int, command: bytes, data_set: Iterable[Buffer] | None) -> None:
        """Write what is queued, a command and the pieces of its data set.

        Raises: ProtocolViolation when the peer takes PDUs that are too small for objects.
        """
        self.flush()
        batch = list(chain.from_iterable(data_pdus(context_id, (command,), self._room, is_command=True)))
        if data_set is None:
            self._write(batch)
            return
        largest = self._room + PDV_HEADER_BYTES
        if largest < LEAST_PDU_FOR_OBJECTS_BYTES:
            raise ProtocolViolation(
                f"the peer takes PDUs of at most {largest} bytes; objects are sent in {LEAST_PDU_FOR_OBJECTS_BYTES} "
                "or more: raise its maximum PDU length"
            )
        size = 0
        for pdu in data_pdus(context_id, data_set, self._room, is_command=False):
            batch += pdu
            size += largest
            if size >= _SEND_BYTES:
                self.mid_message = True
                self._write(batch)
                batch, size = [], 0
        self._write(batch)
        self.mid_message = False
