"""The places for associations by title, and the connections by address, which all processes of a server share.

Each process writes its own part of the memory and looks at all of them. A kernel lock makes looking and taking one
step; it ends with the process that holds it, and what a dead process held is given back by whoever started it.
"""

from __future__ import annotations

import fcntl
import mmap
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from pacs_server.settings import NetworkLimits

# Connections of a process beyond the places for associations: those that have not sent their request yet.
NEGOTIATING: Final = 64
_WORD_BYTES: Final = 8
_PATIENCE_S: Final = 0.5
_TITLE: Final = "title "  # no address begins so
_LOOK_EVERY_S: Final = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who asks for a place: `most` is how many its title may have, 0 for no limit; `reserved` are the places that are
    kept for titles, its own among them. Who looks whether the server answers `takes_place` from nobody.
    """

    aet: str = ""
    most: int = 0
    reserved: Mapping[str, int] = field(default_factory=dict)
    takes_place: bool = True


NOBODY: Final = Claim()
SELF_CHECK: Final = Claim(takes_place=False)


class Seats:
    """The part of one process. May be used from any of its threads."""

    def __init__(self, limits: NetworkLimits, *, processes: int = 1, listeners: int = 1) -> None:
        self._limits = limits
        self.processes = processes
        # How many sit; the title of each that does; an address for each connection, of which those that were asked to
        # end may still be there.
        connections = 2 * listeners * (limits.max_associations + NEGOTIATING)
        self._part = 1 + limits.max_associations + connections
        self._memory = mmap.mmap(-1, processes * self._part * _WORD_BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._lock_file, path = tempfile.mkstemp()
        Path(path).unlink()
        self.take_part(0)

    def take_part(self, process: int) -> None:
        """Use that part from now on. Called once in each process, before it has threads."""
        self._lock = threading.Lock()
        self._begin = process * self._part
        self._free = list(range(self._begin + 1, self._begin + self._part))
        self._places: dict[str, list[int]] = {}

    def give_back(self, process: int) -> None:
        """Free what a process held that has ended."""
        begin = process * self._part
        self._words[begin : begin + self._part] = memoryview(bytes(self._part * _WORD_BYTES)).cast("Q")

    def arrive(self, address: str) -> bool:
        """Count a connection; False, and not counted, when there are as many from that address as there may be."""
        with self._alone():
            if self._count(address) >= self._limits.max_connections_per_address:
                return False
            self._note(address)
        return True

    def leave(self, address: str, *, seated: Claim | None) -> None:
        """A connection that was counted has ended, and gives back the place that it took with the claim `seated`."""
        with self._alone():
            self._forget(address)
            if seated is not None:
                self._give_up(seated)

    def rise(self, claim: Claim) -> None:
        """Give back the place that was taken with this claim; the connection is still there."""
        with self._alone():
            self._give_up(claim)

    def _give_up(self, claim: Claim) -> None:
        self._forget(_TITLE + claim.aet)
        self._words[self._begin] -= 1

    def sit(self, claim: Claim) -> bool:
        """Take a place for an association; False when all are taken or kept for others, or its caller has as many as it
        may.
        """
        with self._alone():
            taken = sum(self._words[:: self._part])
            own = self._count(_TITLE + claim.aet) if claim.most or claim.reserved else 0
            if claim.most and own >= claim.most:
                return False
            if own >= claim.reserved.get(claim.aet, 0):  # else a place that was kept for it
                taken += sum(
                    max(0, kept - self._count(_TITLE + aet)) for aet, kept in claim.reserved.items() if aet != claim.aet
                )
            if taken >= self._limits.max_associations:
                return False
            self._note(_TITLE + claim.aet)
            self._words[self._begin] += 1
        return True

    def _count(self, name: str) -> int:
        return self._memory[:].count(_word(name))

    def _note(self, name: str) -> None:
        place = self._free.pop()
        self._memory[place * _WORD_BYTES : (place + 1) * _WORD_BYTES] = _word(name)
        self._places.setdefault(name, []).append(place)

    def _forget(self, name: str) -> None:
        places = self._places[name]
        place = places.pop()
        if not places:
            del self._places[name]
        self._words[place] = 0
        self._free.append(place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            self._lock_out_others()
            try:
                yield
            finally:
                fcntl.lockf(self._lock_file, fcntl.LOCK_UN)

    def _lock_out_others(self) -> None:
        """A record lock belongs to the process, whoever opened the file. A process that is frozen while it holds the
        lock does not hold up others for long: they go on without it, and may take one place too many.
        """
        ends_at = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends_at:
            try:
                fcntl.lockf(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOOK_EVERY_S)
            else:
                return


@lru_cache(maxsize=1024)
def _word(name: str) -> bytes:
    """A name in one word, never nought; two of them are the same, or one is found across others, once in 10^19."""
    return blake2b(name.encode(), digest_size=_WORD_BYTES - 1).digest() + b"\1"
