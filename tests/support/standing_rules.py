"""A running archive that is ill-treated, and what has to hold each time: the standing rules.

The server answers with a defined refusal or closes within its deadline; a good peer is served meanwhile and afterwards;
no temp file, row, thread, descriptor or memory is left over; nothing is written outside of the volumes; the log has a
line for each connection, without raw control characters and without what was sent; the attempt is in the audit trail.
"""

import os
import re
import sqlite3
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from support.consumption import Held, cpu_s, forget_peak, peak_bytes
from support.rude import IMPLICIT_LE, VERIFICATION, Peer
from support.samples import Sample, tiny, write
from support.server import Archive, resident_bytes, wait_for

from pacs_server.errors import PacsError
from pacs_server.net import client
from pacs_server.net.client import Destination
from pacs_server.settings import NetworkLimits

# How many times slower than a quiet one the machine may be on which this runs.
PATIENCE = float(os.environ.get("PACS_TEST_PATIENCE", "1"))
ECHO_S = 5.0 * PATIENCE
SERVED_S = 30.0 * PATIENCE
SETTLE_S = 60.0 * PATIENCE
# So that what waits for them comes soon; a case may tell from them when it has to be over.
LIMITS = NetworkLimits(
    association_timeout_s=1.0, pdu_timeout_s=1.0, idle_timeout_s=2.0, send_timeout_s=1.0, response_timeout_s=2.0
)
# Where no case waits for a deadline: who is late because the machine is busy is not cut off.
PATIENT = {name: 60.0 for name in LIMITS.__slots__ if name.endswith("_timeout_s")}
# What is sent holds this word wherever it may, so that it would show in the log.
PAYLOAD = "Zq7xPayload"
GOOD = "GOOD"
# Threads that wait some seconds for the next connection, and those that a volume or an index begins when it needs them.
_SPARE_THREADS = 24
_SPARE_DESCRIPTORS = 40
_SPARE_BYTES = 48 << 20
_TABLES = (
    *("patients", "studies", "series", "instances", "copies", "flags", "name_grams"),
    *("commitments", "commitment_items", "sendings", "depositing", "operations"),
)
_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) \S")
_RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_UNFORESEEN = re.compile(r"Traceback|association failed|unexpected error")

Answer = TypeVar("Answer")


@dataclass
class Case:
    """One ill-treatment: who calls, from an address of its own, and what the archive is expected to make of it."""

    name: str
    archive: Archive
    address: str
    callers: int = 0
    stored: int | None = 0  # objects that are kept, and rightly; None when that may be any number
    is_audited: bool = True
    has_a_line_each: bool = True
    has_rows: bool = False  # rows beyond those of objects, and rightly
    echoes_s: list[float] = field(default_factory=list)

    def connect(self, *, host: str = "127.0.0.1", port: int = 0, receive_bytes: int = 0) -> Peer:
        """One more connection of the ill-mannered peer."""
        self.callers += 1
        return Peer((host, port or self.archive.port), receive_bytes=receive_bytes, source=(self.address, 0))


class Watched:
    """An archive under the standing rules. `outside` is a directory with all that it may write to, and more."""

    def __init__(self, outside: Path, **settings: object) -> None:
        """`settings` are those of pacs.yaml; besides, `host` is where it listens, and `may_grow_bytes` how much more
        memory it may hold in the end than at first.
        """
        self._may_grow_bytes = int(settings.pop("may_grow_bytes", _SPARE_BYTES))  # type: ignore[call-overload]
        limits = {name: getattr(LIMITS, name) for name in LIMITS.__slots__ if name.endswith("_timeout_s")}
        network = {**limits, **dict(settings.pop("network", {}))}  # type: ignore[call-overload]
        self._deadline_s = min(float(network[name]) for name in limits)
        self.outside = outside
        host = str(settings.pop("host", "127.0.0.1"))
        self.archive = Archive(outside / "archive", host=host, settings={"network": network, **settings})
        self._speaks_tls = "tls" in settings
        self._cases: list[Case] = []
        self._addresses = (f"127.{7 + number // 60_000}.{number // 240 % 250}.{1 + number % 240}" for number in count())

    def start(self) -> None:
        """Serve, and do everything once that a server does later the first time."""
        if self._speaks_tls:
            self.archive.pacs("tls", "init", "--name", "localhost", "--name", "127.0.0.1")
        self.archive.add_peer(GOOD, 104)
        self.archive.start(calling=GOOD)
        for number in range(4):
            assert self.store(tiny(number, study="good")) == 0
        for _ in range(20):
            self.echo()
        self._at_first = Held.by(self.archive.pid)
        self._bytes_at_first = resident_bytes(self.archive.pid)

    # --- the good peer ---

    def echo(self) -> float:
        """How long a registered peer waits from its connection to the end of a C-ECHO. Raises: PacsError."""
        began = time.monotonic()
        self._served(self._echo)
        return time.monotonic() - began

    def store(self, dataset: object) -> int:
        """The status that a registered peer gets for an object."""
        sample = write(dataset, self.outside.parent / f"{self.outside.name}-sent.dcm")  # type: ignore[arg-type]
        return self._served(lambda: self._store(sample))

    def _served(self, call: Callable[[], Answer]) -> Answer:
        """What a good peer is answered. It calls again where one of the short deadlines may have ended its call: on a
        busy machine it was late itself then.
        """
        ends_at = time.monotonic() + SERVED_S
        while True:
            began = time.monotonic()
            try:
                return call()
            except PacsError:
                if (now := time.monotonic()) - began < self._deadline_s or now > ends_at:
                    raise

    def _echo(self) -> None:
        association = self._call(VERIFICATION)
        try:
            assert client.echo(association) == 0
            association.release()
        finally:
            association.close()

    def _store(self, sample: Sample) -> int:
        association = self._call(sample.sop_class, "1.2.840.10008.1.2.1")
        try:
            (context,) = association.contexts
            status = client.store(
                association, context_id=context, sop_class=sample.sop_class, sop_instance=sample.sop_uid,
                data_set=(sample.data_set,), originator=None,
            )  # fmt: skip
            association.release()
        finally:
            association.close()
        return status

    def _call(self, sop_class: str, syntax: str = IMPLICIT_LE) -> client.Association:
        limits = NetworkLimits(connect_timeout_s=SERVED_S, association_timeout_s=SERVED_S, response_timeout_s=SERVED_S)
        destination = Destination(aet=self.archive.aet, host="127.0.0.1", port=self.archive.port)
        return client.connect(destination, calling_aet=GOOD, contexts=[(sop_class, (syntax,), False)], limits=limits)

    # --- one ill-treatment ---

    @contextmanager
    def case(self, name: str, *, address: str = "", **expected: object) -> Iterator[Case]:
        """The block ill-treats the archive; afterwards the rules are asserted. `expected`: fields of Case."""
        case = Case(name=name, archive=self.archive, address=address or next(self._addresses), **expected)  # type: ignore[arg-type]
        begin, rows, listing = self.archive.log.stat().st_size, self.rows(), self._listing()
        over = threading.Event()
        good = threading.Thread(target=self._echo_until, args=(over, case.echoes_s), name="good peer")
        good.start()
        try:
            yield case
        finally:
            over.set()
            good.join()
        case.echoes_s.append(self._echo_or_never())
        self._cases.append(case)
        self._assert_nothing_is_left(case, rows, listing)
        self._assert_lines(case, begin)
        assert statistics.median(case.echoes_s) < ECHO_S, f"{name}: a good peer waited {case.echoes_s} s"
        assert max(case.echoes_s) < 2 * SERVED_S, f"{name}: a good peer was not served"

    def _echo_until(self, over: threading.Event, seconds: list[float]) -> None:
        while not over.wait(0.0 if not seconds else 0.25):
            seconds.append(self._echo_or_never())

    def _echo_or_never(self) -> float:
        try:
            return self.echo()
        except PacsError:
            return float("inf")

    def _assert_nothing_is_left(self, case: Case, rows: Mapping[str, int], listing: Counter[str]) -> None:
        """No socket, open object, temp file or row, nothing outside of the volumes."""
        self.wait_for_quiet(case.name)
        after = self.rows()
        if not case.has_rows and case.stored == 0:
            assert after == rows, f"{case.name}: rows are left over: {rows} {after}"
        objects, others = self._new(listing)

        def is_removed() -> bool:
            nonlocal objects, others
            objects, others = self._new(listing)
            return not others

        # A file that was begun is closed before it is removed, by a thread of its volume. A volume that failed is tried
        # once a second, in each process, with a file that goes again.
        with suppress(AssertionError):
            wait_for(is_removed, "what was begun to be removed", timeout_s=SETTLE_S)
        assert not others, f"{case.name}: these were written: {others}"
        assert len(objects) == after["copies"] - rows["copies"], f"{case.name}: {objects}"
        if case.stored is not None:
            assert after["instances"] - rows["instances"] == len(objects) == case.stored, f"{case.name}: {objects}"

    def wait_for_quiet(self, what: str) -> None:
        """Wait until every connection and every object that was being written is closed."""

        def is_settled() -> bool:
            held = Held.by(self.archive.pid)
            return held.sockets <= self._at_first.sockets and not held.objects

        wait_for(is_settled, f"{what}: its sockets and files to be closed", timeout_s=SETTLE_S)

    def rows(self) -> dict[str, int]:
        """How many rows each table has that tells of objects and what is to be done with them."""
        path = self.archive.data / "index.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            found = ((table, connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in _TABLES)
            return dict(found)
        finally:
            connection.close()

    def _new(self, listing: Counter[str]) -> tuple[list[str], set[str]]:
        """The objects that were not there before, and what else is new but their directories."""
        new = self._listing() - listing
        objects = [path for path in new if path.startswith("archive/data/volumes/first/v1/") and path.endswith(".dcm")]
        folders = {str(parent) for path in objects for parent in Path(path).parents}
        return objects, set(new) - {*objects, *folders}

    def _listing(self) -> Counter[str]:
        """Every path below `outside`, without the files of the database and of the audit trail, which change at any
        time.
        """
        walked = ((top, name) for top, folders, names in os.walk(self.outside) for name in (*folders, *names))
        found = (os.path.relpath(Path(top, name), self.outside) for top, name in walked)
        return Counter(path for path in found if not re.search(r"/data/[^/]+$|/first/v1/audit(/|$)|/v1/ops(/|$)", path))

    def _assert_lines(self, case: Case, begin: int) -> None:
        """A line for each connection of the case, whole, without raw control characters and without what was sent."""

        def lines() -> list[str]:
            return self.archive.log.read_bytes()[begin:].decode().split("\n")

        def ends() -> int:
            told = re.compile(rf"(connection|association) number=.* address={re.escape(case.address)} .*ended=")
            return sum(bool(told.search(line)) for line in lines())

        if case.has_a_line_each:
            wait_for(lambda: ends() >= case.callers, f"{case.name}: the lines of its connections", timeout_s=SETTLE_S)
            assert ends() == case.callers, case.name
        for line in lines()[:-1]:
            assert _LINE.match(line), f"{case.name}: {line!r}"
            assert not _RAW.search(line), f"{case.name}: {line!r}"
            assert not _UNFORESEEN.search(line), f"{case.name}: {line!r}"
            assert PAYLOAD not in line, f"{case.name}: {line!r}"

    # --- all of them together ---

    def assert_rules_of_all(self) -> None:
        """What is only asserted of many cases together: threads, descriptors and memory, and the audit trail."""

        def has_little() -> bool:
            held, first = Held.by(self.archive.pid), self._at_first
            return (
                held.threads <= first.threads + _SPARE_THREADS
                and held.descriptors <= first.descriptors + _SPARE_DESCRIPTORS
            )

        wait_for(has_little, f"the threads to end: {self._at_first} {Held.by(self.archive.pid)}", timeout_s=SETTLE_S)

        def grown() -> int:
            return resident_bytes(self.archive.pid) - self._bytes_at_first

        told = f"memory to be given back; it grew by {grown() >> 20} MiB"
        wait_for(lambda: grown() < self._may_grow_bytes, told, timeout_s=SETTLE_S, every_s=0.5)
        wanted = {case.address: case.name for case in self._cases if case.is_audited}

        def untold() -> list[str]:
            told = {row["address"] for row in self.archive.report("audit", "report")}
            return [name for address, name in wanted.items() if address not in told]

        # What is refused is written down within a second.
        deadline = time.monotonic() + SETTLE_S
        while (missing := untold()) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert not missing, f"not in the audit trail: {missing}"
        assert self.archive.report("audit", "verify") == []

    def told(self, address: str, detail: str) -> dict[str, Any]:
        """The row of the audit trail of what an address did, once it is there."""

        def found() -> list[dict[str, Any]]:
            rows = self.archive.report("audit", "report")
            return [row for row in rows if row["address"] == address and detail in row["detail"]]

        row: dict[str, Any] = wait_for(found, f"a row of {address}: {detail}", timeout_s=SETTLE_S, every_s=0.3)[-1]
        return row

    def peak_bytes(self) -> int:
        """The most memory that its processes have had at once since the last `forget_peak`."""
        return peak_bytes(self.archive.pid)

    def forget_peak(self) -> None:
        """Begin to look for the most memory anew."""
        forget_peak(self.archive.pid)

    def cpu_s(self) -> float:
        """The processor time that its processes have taken so far."""
        return cpu_s(self.archive.pid)


@contextmanager
def watched(outside: Path, **settings: object) -> Iterator[Watched]:
    """An archive at work; when all was done to it that is to be done, the rules that hold of all of it are asserted."""
    one = Watched(outside, **settings)
    try:
        one.start()
        yield one
        one.assert_rules_of_all()
        assert one.archive.stop() == 0, one.archive.log_text()[-4_000:]
    finally:
        one.archive.kill()
