"""What the processes of a server tell each other in shared memory: what each has counted, that the supervisor turns,
and how the self-check went. No disk and no lock is in it, so that nothing that hangs can hold it up.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
import zlib
from typing import Any, Final

from pacs_server import log, metrics
from pacs_server.metrics import Totals

# A thousand combinations of labels for each of a few families; pages that are not written take no memory.
_HALF_BYTES: Final = 1 << 19
_HEADER: Final = struct.Struct("<QII")  # number of the writing, length, checksum
_TURNED_AT, _ANSWERED_AT, _PORT, _GIVEN_UP = range(4)
# So long Linux keeps the port of a connection that was closed on one side (tcp_fin_timeout): nobody else has it.
_LATE_S: Final = 60.0
# Of those that the self-check gave up, the port and when. It makes four calls of 3 s each before it rests for 5 s.
_PLACES: Final = range(_GIVEN_UP, _GIVEN_UP + 2 * 16, 2)


class Board:
    """Made by the supervisor before it starts the others. Each process writes its own place alone."""

    def __init__(self, processes: int) -> None:
        self._past_place = processes
        self._memory = mmap.mmap(-1, (processes + 1) * 2 * _HALF_BYTES)
        self._words = memoryview(mmap.mmap(-1, _PLACES.stop * 8)).cast("d")
        self._included: dict[str, int] = {}
        self.turn()
        self.answered()

    # --- counts ---

    def post(self, place: int) -> None:
        """Let the others see what this process has counted. Takes 0.3 ms."""
        self._write(place, {"pid": os.getpid(), "totals": _as_json(metrics.totals())})

    def keep(self, place: int, pid: int) -> None:
        """The process that had this place has ended: what it counted is added to what the supervisor has counted."""
        told = self._read(place)
        if told is not None and told["pid"] == pid:
            metrics.take(_from_json(told["totals"]))
            self._included[str(place)] = pid
        self.post_past()

    def post_past(self) -> None:
        """The supervisor lets the others see what it has counted, and what ended processes had."""
        self._write(self._past_place, {"included": self._included, "totals": _as_json(metrics.totals())})

    def totals(self) -> Totals:
        """What all processes have counted since the server was started; of the last second some may lack."""
        # In this order: one that ends meanwhile is then in the past, too, and left out here.
        told = {str(place): self._read(place) for place in range(self._past_place)}
        past = self._read(self._past_place) or {"included": {}, "totals": []}
        living = [one for place, one in told.items() if one is not None and past["included"].get(place) != one["pid"]]
        return metrics.summed(_from_json(one["totals"]) for one in (past, *living))

    def _write(self, place: int, told: dict[str, Any]) -> None:
        """Into the half that was not written last, so that a process that is killed meanwhile leaves the other."""
        text = json.dumps(told, separators=(",", ":")).encode()
        if len(text) > _HALF_BYTES - _HEADER.size:
            log.error("counts do not fit", bytes=len(text), most=_HALF_BYTES)
            return
        number = max(self._number(place, half) for half in (0, 1)) + 1
        begin = self._begin(place, number % 2)
        self._memory[begin : begin + _HEADER.size] = bytes(_HEADER.size)
        self._memory[begin + _HEADER.size : begin + _HEADER.size + len(text)] = text
        self._memory[begin : begin + _HEADER.size] = _HEADER.pack(number, len(text), zlib.crc32(text))

    def _read(self, place: int) -> dict[str, Any] | None:
        """What was written last of what is whole."""
        for half in sorted((0, 1), key=lambda one: -self._number(place, one)):
            begin = self._begin(place, half)
            number, length, checksum = _HEADER.unpack_from(self._memory, begin)
            text = self._memory[begin + _HEADER.size : begin + _HEADER.size + length]
            if number and zlib.crc32(text) == checksum:
                told: dict[str, Any] = json.loads(text)
                return told
        return None

    def _number(self, place: int, half: int) -> int:
        number: int = _HEADER.unpack_from(self._memory, self._begin(place, half))[0]
        return number

    def _begin(self, place: int, half: int) -> int:
        return (2 * place + half) * _HALF_BYTES

    # --- signs of life ---

    def turn(self) -> None:
        """The supervisor looks after its processes."""
        self._words[_TURNED_AT] = time.monotonic()

    def supervisor_age_s(self) -> float:
        """How long ago it did."""
        return time.monotonic() - self._words[_TURNED_AT]

    def answered(self) -> None:
        """A port of the server has answered the self-check, whatever it said: another may call from there now."""
        self._words[_PORT] = 0
        self.excuse()

    def excuse(self) -> None:
        """That no port answers is no fault of the server now. Where the self-check calls from stays as it is."""
        self._words[_ANSWERED_AT] = time.monotonic()

    def unanswered_s(self) -> float:
        """How long no port has, without an excuse."""
        return time.monotonic() - self._words[_ANSWERED_AT]

    def expect(self, port: int) -> None:
        """The self-check calls from this port of its machine."""
        self._words[_PORT] = port

    def give_up(self, port: int) -> None:
        """It no longer waits for an answer there. The call may be let in late, all the same."""
        oldest = min(_PLACES, key=lambda place: self._words[place + 1])
        self._words[oldest], self._words[oldest + 1] = port, time.monotonic()

    def is_expected(self, port: int) -> bool:
        """Whether it does, or gave that up a moment ago."""
        late = (place for place in _PLACES if self._words[place] == port)
        return self._words[_PORT] == port or any(time.monotonic() - self._words[one + 1] < _LATE_S for one in late)


def _as_json(totals: Totals) -> list[Any]:
    return [[name, list(labels), numbers] for name, held in totals.items() for labels, numbers in held.items()]


def _from_json(told: list[Any]) -> Totals:
    totals: Totals = {}
    for name, labels, numbers in told:
        totals.setdefault(name, {})[tuple(labels)] = numbers
    return totals
