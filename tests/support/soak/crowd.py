"""Callers of every kind, who come again and again until they are sent away: modalities and workstations, and what else
is found on the network of a hospital: scanners of ports, devices that break off, go silent or send a byte at a time.
"""

import random
import shutil
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from support import rude
from support.dcmtk import STUDY_ROOT, Receiver, Station, objects_in
from support.rude import Peer
from support.samples import Sample
from support.senders import Sender, objects
from support.server import Archive

from pacs_server.errors import PacsError

OBJECTS_A_TURN = 8
SIZES_BYTES = (200, 4_000, 60_000, 200_000)
PAUSE_S = (0.2, 0.8)
# Far above the deadlines of the server that is called, far below for ever.
ENDED_WITHIN_S = 60.0
DRIP_S, LOOK_S = 0.05, 0.25
# Those who come to stay for a moment; senders stay until all is taken.
KINDS = ("finds", "gets", "moves", "probes", "broken off", "half-open", "drips")

NOT_DICOM = (
    b"",
    b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # a TLS ClientHello
    b"SSH-2.0-OpenSSH_9.0\r\n",
    rude.pdu(0x99, bytes(10)),
    rude.pdu(rude.ASSOCIATE_RQ, bytes(1_000), 0xFFFFFFFF),
    rude.p_data(rude.value(1, 3, rude.echo_request())),
)
REQUEST = rude.associate_request(*rude.ECHO_AND_CT)


class Crowd:
    """The callers of one archive. `acknowledged`, `counts` and `complaints` are to be read when they are away.

    What goes wrong for a good caller, and who is not got rid of, is a complaint, unless processes are being killed.
    """

    def __init__(self, archive: Archive, receiver: Receiver, folder: Path) -> None:
        self.acknowledged: list[Sample] = []
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._archive = archive
        self._receiver = receiver
        self._folder = folder
        self._station = Station(archive=archive, folder=folder)
        self._studies: defaultdict[str, list[Sample]] = defaultdict(list)  # those that were acknowledged, all of it
        self._numbers = count()
        self._lock = threading.Lock()
        self._gone = threading.Event()  # they are sent away

    @contextmanager
    def present(self, *, may_fail: bool) -> Iterator[None]:
        """Have them call while the block runs. `may_fail`: processes of the server are killed meanwhile."""
        self._gone.clear()
        kinds: list[tuple[str, Callable[[random.Random], None]]] = [
            *[("senders", self._store)] * 3,
            ("finds", self._find),
            ("gets", self._get),
            ("moves", self._move),
            *[("probes", self._probe)] * 2,
            *[("broken off", self._break_off)] * 2,
            *[("half-open", self._wait_in_vain)] * 8,
            *[("drips", self._drip)] * 2,
        ]
        threads = [
            threading.Thread(target=self._take_part, args=(name, turn), kwargs={"may_fail": may_fail})
            for name, turn in kinds
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._gone.set()
            for thread in threads:
                thread.join()

    def _take_part(self, name: str, turn: Callable[[random.Random], None], *, may_fail: bool) -> None:
        try:
            self._come_again(name, turn, may_fail=may_fail)
        finally:
            if not self._gone.is_set():
                self.complaints.append(f"{name}: one of them came no more")

    def _come_again(self, name: str, turn: Callable[[random.Random], None], *, may_fail: bool) -> None:
        chance = random.Random(next(self._numbers))
        while not self._gone.wait(chance.uniform(*PAUSE_S)):
            complaint = ""
            try:
                turn(chance)
            except (OSError, PacsError, AssertionError, subprocess.TimeoutExpired) as error:
                complaint = f"{name}: {error or type(error).__name__}"
            with self._lock:
                self.counts[name] += 1
                if complaint and may_fail:
                    self.counts[f"{name}, in vain"] += 1
                elif complaint:
                    self.complaints.append(complaint)

    def turns(self) -> list[int]:
        """How often callers of each kind have come so far."""
        with self._lock:
            return [self.counts[name] for name in KINDS]

    # --- good callers ---

    def _store(self, _: random.Random) -> None:
        """A study, sent again until all of it is acknowledged."""
        number = next(self._numbers)
        folder = self._folder / f"sent-{number}"
        folder.mkdir()
        sender = Sender(self._archive, objects(folder, number, OBJECTS_A_TURN, sizes_bytes=SIZES_BYTES))
        sender.run()
        with self._lock:
            self.acknowledged += sender.acknowledged
            if not sender.waiting:
                self._studies[sender.acknowledged[0].study_uid] += sender.acknowledged
        assert not sender.waiting, "a study was not taken"

    def _chosen(self, chance: random.Random) -> tuple[str, list[Sample]]:
        """A study that was acknowledged; a UID that there is not before there is one."""
        with self._lock:
            return chance.choice(list(self._studies.items())) if self._studies else ("1.2.3", [])

    def _find(self, chance: random.Random) -> None:
        study_uid, samples = self._chosen(chance)
        done = self._station.find(STUDY_ROOT, "STUDY", {"StudyInstanceUID": study_uid})
        assert len(done.rows) == bool(samples), f"{len(done.rows)} answers: {done.output[-500:]}"

    def _get(self, chance: random.Random) -> None:
        study_uid, samples = self._chosen(chance)
        into = self._folder / f"got-{next(self._numbers)}"
        try:
            done = self._station.get(STUDY_ROOT, "STUDY", {"StudyInstanceUID": study_uid}, into)
            _compare(into, samples, done.output)
        finally:
            shutil.rmtree(into, ignore_errors=True)

    def _move(self, chance: random.Random) -> None:
        for path in self._receiver.folder.iterdir():
            path.unlink()
        study_uid, samples = self._chosen(chance)
        done = self._station.move(STUDY_ROOT, self._receiver.aet, "STUDY", {"StudyInstanceUID": study_uid})
        _compare(self._receiver.folder, samples, done.output)

    # --- others ---

    def _called(self) -> Peer:
        return Peer(("127.0.0.1", self._archive.port))

    def _probe(self, chance: random.Random) -> None:
        with self._called() as peer, suppress(OSError):
            peer.send(chance.choice((*NOT_DICOM, chance.randbytes(chance.randrange(1, 2_000)))))
            if chance.random() < 0.5:
                self._wait_for_end(peer)
            elif chance.random() < 0.5:
                peer.reset()

    def _break_off(self, chance: random.Random) -> None:
        """In the middle of an object, in each way in which a connection ends."""
        with self._called() as peer, suppress(OSError):
            peer.associate(*rude.ECHO_AND_CT)
            peer.send(rude.STORE)
            for _ in range(chance.randrange(30)):
                peer.send(rude.p_data(rude.value(3, 0, chance.randbytes(16_000))))
            if (how := chance.randrange(3)) == 0:
                peer.send(rude.pdu(rude.ABORT, bytes(4)))
                self._wait_for_end(peer)
            elif how == 1:
                peer.reset()

    def _wait_in_vain(self, chance: random.Random) -> None:
        """Silent from the first byte, within the request, after it, or in the middle of an object."""
        with self._called() as peer, suppress(OSError):
            if (how := chance.randrange(4)) == 1:
                peer.send(REQUEST[: chance.randrange(1, len(REQUEST))])
            elif how > 1:
                peer.associate(*rude.ECHO_AND_CT)
            if how == 3:
                peer.send(rude.STORE + rude.p_data(rude.value(3, 0, bytes(1_000)))[: chance.randrange(1, 1_000)])
            self._wait_for_end(peer)

    def _drip(self, chance: random.Random) -> None:
        with self._called() as peer, suppress(OSError):
            begin = time.monotonic()
            if chance.random() < 0.5:
                peer.associate(*rude.ECHO_AND_CT)
            for byte in rude.STORE + bytes(10_000):
                peer.send(bytes((byte,)))
                assert time.monotonic() - begin < ENDED_WITHIN_S, "one that drips was not ended"
                if self._gone.wait(DRIP_S):
                    return

    def _wait_for_end(self, peer: Peer) -> None:
        """Until the other side ends the connection, whatever it says before, or all are sent away."""
        peer.socket.settimeout(LOOK_S)
        ends_at = time.monotonic() + ENDED_WITHIN_S
        while not self._gone.is_set():
            with suppress(TimeoutError):
                if not peer.socket.recv(65_536):
                    return
            assert time.monotonic() < ends_at, "a silent one was not ended"


def _compare(folder: Path, samples: list[Sample], told: str) -> None:
    """What was received is what was sent, all of it."""
    received = objects_in(folder)
    assert sorted(received) == sorted(one.sop_uid for one in samples), f"received {len(received)}: {told[-500:]}"
    changed = [one.sop_uid for one in samples if not received[one.sop_uid].read_bytes().endswith(one.data_set)]
    assert not changed, f"received otherwise than sent: {', '.join(changed)}"
