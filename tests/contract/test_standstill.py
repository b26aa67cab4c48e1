"""A process that was not let run, as a virtual machine while it is moved: its volumes are not to blame for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import cast

import pytest

from pacs_server.storage import standstill
from pacs_server.storage.standstill import Standstills

STOPPED_S = 4.5
WAITED_S = ANSWERED_AFTER_S = 0.2
# Two pieces of work at a volume, each of which ends when it gets a byte, and who waits for them then, or comes to wait
# when nobody has noticed that the process stood still.
WORK = f"""
import os, sys, time
from pacs_server.storage.threads import Overdue, Threads

threads, how = Threads("nas"), dict(silence_s=2.0) if sys.argv[2] == "silence" else dict()
tasks = [threads.start(lambda _: os.read(0, 1), float(sys.argv[1])) for _ in range(2)]
print("asked", flush=True)
time.sleep({STOPPED_S / 2} if sys.argv[2] == "belated" else 0)
try:
    print(*(threads.wait(task, **how).decode() for task in tasks), flush=True)
except Overdue:
    print("overdue", flush=True)
"""


@pytest.mark.parametrize(("timeout_s", "reason"), [(3.0, "deadline"), (600.0, "silence"), (3.0, "belated")])
@pytest.mark.parametrize(("answer", "told"), [(b"ab", {"a b", "b a"}), (b"", {"overdue"})], ids=["answers", "hangs"])
def test_a_volume_has_the_rest_of_its_time_when_the_process_is_let_run_again(
    timeout_s: float, reason: str, answer: bytes, told: set[str]
) -> None:
    command = [sys.executable, "-c", WORK, str(timeout_s), reason]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        time.sleep(WAITED_S)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(ANSWERED_AFTER_S)
        process.stdin.write(answer)
        process.stdin.flush()
        assert process.stdout.readline().decode().strip() in told


def test_of_a_standstill_counts_what_came_after_a_moment_and_once_whoever_notices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(standstill, "time", SimpleNamespace(monotonic=lambda: now))
    standstills = Standstills()

    def stand_still(timeout: float) -> bool:
        nonlocal now
        now += 30.0
        return False

    def stand_still_with_another(timeout: float) -> bool:
        return standstills.acquire(cast(threading.Lock, SimpleNamespace(acquire=stand_still)), 5.0)

    for acquire in (stand_still, stand_still_with_another):
        begin = now
        assert not standstills.acquire(cast(threading.Lock, SimpleNamespace(acquire=acquire)), 5.0)
        assert [standstills.since(begin + after) for after in (0.0, 10.0, 30.0, 900.0)] == [30.0, 20.0, 0.0, 0.0]
    for _ in range(9):
        stand_still_with_another(5.0)
    assert standstills.since(0.0) == 8 * 30.0, "the latest are remembered"
