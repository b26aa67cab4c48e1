"""A crowd calls a real server for some time: first to warm it up, then while its processes are killed, then while they
are left alone, so that what living processes gather is seen. In the end it is as it was, and has all it acknowledged.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from support.dcmtk import Receiver
from support.kept import assert_kept, assert_no_row_lies
from support.samples import Sample, tiny, write
from support.senders import Sender
from support.server import Archive, children, descendants, files_below, resident_of, wait_for
from support.soak.crowd import Crowd

from pacs_server.storage.layout import is_temporary

# The parts of the time that the first two phases take; the last takes the rest.
WARMING_PART, KILLING_PART = 0.25, 0.35
KILL_EVERY_S = (1.0, 4.0)
MOST_GROWTH = 0.1
# Of 128 studies, to fill what is kept open; two are enough, if no more than that grows.
MOST_WAVES = 8
REST_S = 120.0
# How often at least callers of each kind come, and processes are killed, however long that takes.
LEAST_TURNS, LEAST_KILLS = 6, 2
# What is unfinished for so long, while nobody calls, nobody writes to.
STAYS_S = 10.0
SETTINGS = {
    "workers": 2,
    # So short that those who are silent come and go while one looks, so long that no good caller is late; larger
    # objects stream to a file.
    "network": {"association_timeout_s": 8.0, "pdu_timeout_s": 8.0, "idle_timeout_s": 8.0},
    "storage": {"memory_per_object_bytes": 65_536},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What all processes of a server hold together."""

    threads: int
    descriptors: int
    memory_bytes: int

    @classmethod
    def of(cls, pid: int) -> Self:
        family = [pid, *descendants(pid)]
        return cls(
            threads=sum(_entries(Path(f"/proc/{one}/task")) for one in family),
            descriptors=sum(_entries(Path(f"/proc/{one}/fd")) for one in family),
            memory_bytes=sum(map(resident_of, family)),
        )

    def growth_since(self, start: "Footprint") -> list[str]:
        """What is more than a tenth above what it was."""
        pairs = [
            ("threads", start.threads, self.threads),
            ("descriptors", start.descriptors, self.descriptors),
            ("memory", start.memory_bytes, self.memory_bytes),
        ]
        return [f"{name} grew from {a:,} to {b:,}" for name, a, b in pairs if b > a * (1 + MOST_GROWTH)]


def _entries(folder: Path) -> int:
    """How much is in a folder of /proc; nothing when its process has just ended."""
    with suppress(OSError):
        return len(list(folder.iterdir()))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a soak has shown; clean if there are no `problems`."""

    seconds: float
    acknowledged: int
    counts: Counter[str]
    start: Footprint
    end: Footprint
    left_by_kills: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        done = ", ".join(f"{name} {number:,}" for name, number in sorted(self.counts.items()))
        rows = [
            ("threads", self.start.threads, self.end.threads),
            ("descriptors", self.start.descriptors, self.end.descriptors),
            ("memory, MB", self.start.memory_bytes // 1_000_000, self.end.memory_bytes // 1_000_000),
        ]
        return "\n".join(
            [
                f"{self.seconds:.0f} s, {self.acknowledged:,} objects acknowledged: {done}",
                *(f"{name:<12}{start:>8,} at the start{end:>8,} at the end" for name, start, end in rows),
                f"unfinished files of killed processes, removed by reconcile: {self.left_by_kills}",
                *(f"NOT CLEAN: {problem}" for problem in self.problems),
                *([] if self.problems else ["clean: all of them are there byte for byte, the audit trail is whole"]),
            ]
        )


def soak(folder: Path, seconds: float) -> Outcome:
    """Let a crowd call a new archive in a folder for so long, and see what it leaves.

    Raises: AssertionError where that cannot be done, because the server does not start, say.
    """
    archive = Archive(folder / "archive", settings=SETTINGS)
    receiver_folder, sent = folder / "receiver", folder / "crowd"
    sent.mkdir()
    with Receiver(receiver_folder) as receiver:
        try:
            archive.add_peer(receiver.aet, receiver.port)
            archive.start()
            return _run(archive, Crowd(archive, receiver, sent), sent, seconds)
        finally:
            archive.kill()


def _run(archive: Archive, crowd: Crowd, folder: Path, seconds: float) -> Outcome:
    crowd.acknowledged += _fill(archive, folder, "early")
    problems: list[str] = []
    with crowd.present(may_fail=False):
        time.sleep(seconds * WARMING_PART)
    start = _at_rest(archive)
    left_early = _unfinished(archive)
    with crowd.present(may_fail=True):
        kills = _kill_now_and_then(archive, seconds * KILLING_PART)
    left_by_kills = _unfinished(archive)
    crowd.acknowledged += _fill(archive, folder, "late")
    replaced = _at_rest(archive)
    with crowd.present(may_fail=False):
        time.sleep(seconds * (1 - WARMING_PART - KILLING_PART))
        with suppress(AssertionError):  # the outcome tells how often they came
            wait_for(lambda: min(crowd.turns()) >= LEAST_TURNS, "each to come often enough", timeout_s=REST_S)
    end = _at_rest(archive, start, replaced)
    problems += [*end.growth_since(start), *(f"without kills, {one}" for one in end.growth_since(replaced))]
    if early := left_early | _unfinished(archive, left_by_kills):
        problems.append(f"files that no kill explains are unfinished: {', '.join(sorted(map(str, early)))}")
    problems += _seen_in(archive, crowd)
    return Outcome(
        seconds=seconds,
        acknowledged=len(crowd.acknowledged),
        counts=crowd.counts | Counter(kills=kills),
        start=start,
        end=end,
        left_by_kills=len(left_by_kills),
        problems=tuple(problems),
    )


def _fill(archive: Archive, folder: Path, when: str) -> list[Sample]:
    """Store into ever more studies until the server keeps no more directories open: it does so of the latest 128. Two
    waves in turn have to open none, because of one most may come to the process that has its own already.
    """
    stored: list[Sample] = []
    most = without_more = 0
    for _ in range(MOST_WAVES):
        now = Footprint.of(archive.pid).descriptors
        without_more = without_more + 1 if now <= most else 0
        if without_more == 2:
            break
        most = max(most, now)
        names = [f"{when}-{len(stored)}-{number}" for number in range(128)]
        samples = [write(tiny(name, study=f"warm-{name}"), folder / f"warm-{name}.dcm") for name in names]
        senders = [Sender(archive, samples[number::8]) for number in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
            stored += sender.acknowledged
    return stored


def _kill_now_and_then(archive: Archive, seconds: float) -> int:
    """Kill one process after the other, never the supervisor; how many."""
    chance, kills, ends_at = random.Random(), 0, time.monotonic() + seconds
    crew = len(children(archive.pid))
    while time.monotonic() < ends_at or kills < LEAST_KILLS:
        time.sleep(chance.uniform(*KILL_EVERY_S))
        killed = chance.choice(children(archive.pid))
        os.kill(killed, signal.SIGKILL)
        kills += 1

        def is_replaced(killed: int = killed) -> bool:
            there = children(archive.pid)
            return killed not in there and len(there) == crew

        wait_for(is_replaced, "the process to be replaced", timeout_s=REST_S)
    return kills


def _at_rest(archive: Archive, *before: Footprint) -> Footprint:
    """What the server holds once nobody calls any more and nothing is owed. Where that is more than `before`, there is
    time to give it back: some threads wait for more work.
    """
    found: list[Footprint] = []

    def rests() -> bool:
        if archive.report("status")["server"]["associations"]:
            return False
        found.append(Footprint.of(archive.pid))
        return len(found) > 1 and found[-1].threads == found[-2].threads

    def has_little() -> bool:
        found.append(Footprint.of(archive.pid))
        return not any(found[-1].growth_since(one) for one in before)

    wait_for(rests, "the server to come to rest", timeout_s=REST_S, every_s=1.0)
    with suppress(AssertionError):  # what has grown is a problem of its own
        wait_for(has_little, "it to be given back", timeout_s=REST_S, every_s=1.0)
    return found[-1]


def _unfinished(archive: Archive, explained: Collection[Path] = ()) -> set[Path]:
    """The unfinished files that stay: the server may write one at this moment."""
    found: set[Path] = set()

    def is_none() -> bool:
        nonlocal found
        found = {path for path in files_below(archive.volume) if is_temporary(path.name)} - set(explained)
        return not found

    with suppress(AssertionError):
        wait_for(is_none, "no unfinished file", timeout_s=STAYS_S, every_s=0.5)
    return found


def _seen_in(archive: Archive, crowd: Crowd) -> list[str]:
    """What is wrong with what the archive holds and with what it wrote."""
    problems = sorted(set(crowd.complaints))
    try:
        assert_kept(archive, crowd.acknowledged)
        assert_no_row_lies(archive)
    except AssertionError as error:
        problems.append(f"not kept: {error}")
    audit = archive.pacs("audit", "verify", expect=range(256))
    if audit.returncode:
        problems.append(f"audit verify ended with {audit.returncode}: {audit.stdout}{audit.stderr}")
    archive.pacs("reconcile", "--repair", expect=(0, 12), timeout_s=REST_S * 10)
    if litter := _unfinished(archive):
        problems.append(f"reconcile left {len(litter)} unfinished files")
    if "Traceback" in archive.log_text():
        problems.append(f"the log has a traceback:\n{archive.log_text().partition('Traceback')[2][:2_000]}")
    if (code := archive.stop()) != 0:
        problems.append(f"the server ended with {code}")
    return problems
