"""What goes out on an association: messages as P-DATA PDUs of the size that the peer takes, in few writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, NoReturn

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import PeerAborted, ProtocolViolation
from pacs_server.net.wire import PDV_HEADER_BYTES, data_header, data_pdus

# A peer that takes only tiny PDUs would make us spend a header and a view on every few bytes of an object.
LEAST_PDU_FOR_OBJECTS_BYTES: Final = 4_096

_QUEUE_BYTES: Final = 1 << 17
SEND_BYTES: Final = 1 << 20  # nothing of an object that is smaller is sent before all of it is there


class Outbox:
    """Cuts messages into PDUs and hands them to `write`: small ones joined, large ones as views of what was given."""

    def __init__(self, write: Callable[[list[Buffer]], None], max_pdu_bytes: int) -> None:
        self._write = write
        self._room = max_pdu_bytes - PDV_HEADER_BYTES
        self._queue: list[Buffer] = []
        self._queued_bytes = 0
        self.mid_message = False  # whether a message was begun and could not be finished

    def close(self) -> None:
        """Write nothing any more. Who writes has this outbox: together they would keep their buffers until garbage is
        collected, long after the connection has ended.
        """
        self._write = _refuse

    def queue(self, context_id: int, command: bytes, data_set: bytes | None) -> None:
        """Keep a message until `flush`, or until enough have come together."""
        self._add(context_id, command, is_command=True)
        if data_set is not None:
            self._add(context_id, data_set, is_command=False)
        self._queued(len(command) + len(data_set or b""))

    def _add(self, context_id: int, content: bytes, *, is_command: bool) -> None:
        if len(content) <= self._room:
            self._queue += (data_header(context_id, len(content), is_command=is_command, is_last=True), content)
        else:
            self._queue += chain.from_iterable(data_pdus(context_id, (content,), self._room, is_command=is_command))

    def queue_each(self, context_id: int, command: bytes, data_sets: Sequence[bytes]) -> None:
        """The same for a message of each data set, all with the same command; headers are made once for a length."""
        sizes = [*map(len, data_sets)]
        if max([len(command), *sizes]) > self._room:
            for data_set in data_sets:
                self.queue(context_id, command, data_set)
            return
        before = data_header(context_id, len(command), is_command=True, is_last=True) + command
        headers = {size: before + data_header(context_id, size, is_command=False, is_last=True) for size in set(sizes)}
        self._queue += chain.from_iterable(zip(map(headers.__getitem__, sizes), data_sets, strict=True))
        self._queued(sum(sizes) + len(sizes) * len(before))

    def _queued(self, size_bytes: int) -> None:
        self._queued_bytes += size_bytes
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
            if size >= SEND_BYTES:
                self.mid_message = True
                self._write(batch)
                batch, size = [], 0
        self._write(batch)
        self.mid_message = False


def _refuse(_: list[Buffer]) -> NoReturn:
    """In the place of what writes, once nothing is to be written."""
    raise PeerAborted("the association has ended")
