"""Threads for destinations: at the end of the server each is waited for."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from pacs_server.service.assemble import Node
from pacs_server.service.per_target import PerTarget, TargetWork


def test_a_thread_that_a_duty_calls_while_the_server_ends_is_waited_for_like_the_others() -> None:
    called_all, done = threading.Event(), list[str]()

    def work(target: str) -> None:
        assert called_all.wait(10)
        done.append(target)

    threads = PerTarget("sending", work)

    def call() -> bool:
        threads.call({"A": 1})
        begun.set()
        assert sender._duties.pause(10)
        time.sleep(0.2)  # its question to the database takes a moment longer than the end of the server
        threads.call({"A": 1, "B": 1})
        called_all.set()
        return False

    begun = threading.Event()
    node = SimpleNamespace(settings=SimpleNamespace(data_dir=Path("/data")), jobs=SimpleNamespace(release=lambda _: 0))
    sender = TargetWork(cast(Node, node), "forwarding", [("senders", call)], threads)
    sender.start()
    assert begun.wait(10)
    sender.stop()
    assert sender.ended(10)
    assert sorted(done) == ["A", "B"]
