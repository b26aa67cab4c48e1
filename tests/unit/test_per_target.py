"""Threads for destinations: at the end of the server each is waited for."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pacs_server.service.assemble import Node
from pacs_server.service.per_target import PerTarget, TargetWork


def test_a_thread_that_a_duty_calls_while_the_server_ends_is_waited_for_like_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, ending, called_all, done = threading.Event(), threading.Event(), threading.Event(), list[str]()

    def work(target: str) -> None:
        assert called_all.wait(10)
        done.append(target)

    threads = PerTarget("sending", work)

    def call() -> bool:
        threads.call({"A": 1})
        begun.set()
        assert ending.wait(10)  # its question to the database takes a moment longer than the end of the server
        threads.call({"A": 1, "B": 1})
        called_all.set()
        return False

    node = SimpleNamespace(settings=SimpleNamespace(data_dir=Path("/data")), jobs=SimpleNamespace(release=lambda _: 0))
    sender = TargetWork(cast(Node, node), "forwarding", [("senders", call)], threads)

    def noting(ended: Callable[[float], bool]) -> Callable[[float], bool]:
        def noted(deadline: float) -> bool:
            ending.set()
            return ended(deadline)

        return noted

    for part in (threads, sender._duties):
        monkeypatch.setattr(part, "ended", noting(part.ended))
    sender.start()
    assert begun.wait(10)
    sender.stop()
    assert sender.ended(10)
    assert sorted(done) == ["A", "B"]
