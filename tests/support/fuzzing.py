"""Plays damaged associations to a running archive, some at a time, and asserts the standing rules after each batch.

./scripts/fuzz runs this for as long as one wants.
"""

import argparse
import os
import re
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from support.mutator import Script, script
from support.server import wait_for
from support.standing_rules import LIMITS, PATIENCE, SETTLE_S, Watched, watched

AT_ONCE = 12
BATCH = 250
# What an archive may take to end an association on which nothing more comes: every phase in turn, and its last PDU.
DEADLINE_S = PATIENCE * 30 + LIMITS.association_timeout_s + LIMITS.pdu_timeout_s + LIMITS.idle_timeout_s
_ANSWER_S = 0.15 * PATIENCE
# Each process remembers how it answers so many different queries: after 40,000 associations it had grown by 36 MiB,
# and after 65,000 by no more.
MAY_GROW_BYTES = (48 << 20) * (1 + (os.cpu_count() or 1))
_ENDED = re.compile(r" (?:connection|association) number=.* address=(127\.[\d.]+) .*ended=")


class NotEnded(Exception):
    """The archive has left an association open beyond its deadlines."""


def address_of(number: int) -> str:
    """An address of this machine for each of 4 million callers, so that the log tells them apart."""
    return f"127.{100 + number // 40_000 % 100}.{number // 200 % 200}.{1 + number % 200}"


def play(one: Script, port: int, address: str) -> None:
    """Do what a script says, as long as the archive takes it. Raises: NotEnded."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        peer.bind((address, 0))
        peer.settimeout(30 * PATIENCE)
        peer.connect(("127.0.0.1", port))
        with suppress(BrokenPipeError, ConnectionResetError):
            for kind, what in one.actions:
                _act(peer, kind, what)


def _act(peer: socket.socket, kind: str, what: str) -> None:
    if kind == "send":
        peer.sendall(bytes.fromhex(what))
    elif kind == "wait":
        time.sleep(float(what))
    elif kind == "read":
        _read(peer)
    elif kind == "reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif kind == "watch":
        deadline = time.monotonic() + DEADLINE_S
        peer.settimeout(DEADLINE_S)
        try:
            while peer.recv(65_536):
                if time.monotonic() > deadline:
                    raise NotEnded(f"it is still sent to after {DEADLINE_S:g} s")
        except TimeoutError:
            raise NotEnded(f"it is still open after {DEADLINE_S:g} s") from None


def _read(peer: socket.socket) -> None:
    """What the archive answers, if it does so soon."""
    peer.settimeout(_ANSWER_S)
    with suppress(TimeoutError):
        if not peer.recv(65_536):
            raise BrokenPipeError
    peer.settimeout(30 * PATIENCE)


def failures(archive: Watched, scripts: Sequence[tuple[int, Script]]) -> list[tuple[Script, str]]:
    """Play scripts side by side, each under a number; those that broke a rule, with what was broken."""
    broken = _broken(archive, scripts)
    if broken and len(scripts) > 1:  # of a rule that holds of all of them: which was it?
        found = [failure for one in scripts for failure in failures(archive, [one])]
        return found or broken
    return broken


def _broken(archive: Watched, scripts: Sequence[tuple[int, Script]]) -> list[tuple[Script, str]]:
    port, log = archive.archive.port, archive.archive.log
    names = f"{scripts[0][1].name} to {scripts[-1][1].name}"
    begin = log.stat().st_size
    by_address = {address_of(number): one for number, one in scripts}
    found: dict[Script, str] = {}

    def lines() -> Counter[str]:
        return Counter(_ENDED.findall(log.read_bytes()[begin:].decode(errors="replace")))

    try:
        with archive.case(names, is_audited=False, has_a_line_each=False, stored=None):
            with ThreadPoolExecutor(AT_ONCE) as threads:
                for one, outcome in zip(scripts, threads.map(lambda one: _outcome(one, port), scripts), strict=True):
                    if outcome:
                        found[one[1]] = outcome
            with suppress(AssertionError):
                wait_for(lambda: by_address.keys() <= lines().keys(), "a line for each", timeout_s=SETTLE_S)
            told = lines()
            found |= {one: f"{told[at]} lines in the log" for at, one in by_address.items() if told[at] != 1}
    except AssertionError as error:
        found[scripts[0][1]] = str(error)[:2_000]
    return list(found.items())


def _outcome(numbered: tuple[int, Script], port: int) -> str:
    number, one = numbered
    try:
        play(one, port, address_of(number))
    except (NotEnded, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def minimised(archive: Watched, one: Script, numbers: Iterator[int]) -> Script:
    """The script without the actions that it does not need to break a rule."""
    place = 0
    while place < len(one.actions) - 1:
        shorter = Script(one.name, one.actions[:place] + one.actions[place + 1 :])
        if failures(archive, [(next(numbers), shorter)]):
            one = shorter
        else:
            place += 1
    return one


# --- from the command line ---


def _seeds(chosen: argparse.Namespace) -> Iterator[int]:
    if chosen.seed is not None:
        yield chosen.seed
    elif chosen.minutes:
        ends_at = time.monotonic() + 60 * chosen.minutes
        seed = time.time_ns() % (1 << 40)  # others than the last time
        while time.monotonic() < ends_at:
            yield seed
            seed += 1
    else:
        yield from range(chosen.first, chosen.first + chosen.runs)


def _play_all(seeds: Iterable[int], keep: Path | None) -> int:
    played, failed = 0, 0
    numbers, seeds = count(), iter(seeds)
    with (
        TemporaryDirectory(prefix="fuzz-") as folder,
        watched(Path(folder, "outside"), may_grow_bytes=MAY_GROW_BYTES) as archive,
    ):
        while batch := list(islice(seeds, BATCH)):
            for one, why in failures(archive, [(next(numbers), script(seed)) for seed in batch]):
                failed += 1
                print(f"FAILED {one.name}\n    {why}", flush=True)
                if keep:
                    minimised(archive, one, numbers).save(keep / f"{one.name.partition(':')[0].replace(' ', '-')}.json")
            played += len(batch)
            print(f"{played} played, {failed} failed", flush=True)
    return 1 if failed else 0


def main() -> int:
    """Parse what ./scripts/fuzz was given, and play."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--runs", type=int, default=1_000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long, with other seeds each time")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument(
        "--keep", type=Path, help="a directory for what is needed of those that failed (tests/fuzz/kept)"
    )
    chosen = parser.parse_args()
    return _play_all(_seeds(chosen), chosen.keep)


if __name__ == "__main__":
    sys.exit(main())
