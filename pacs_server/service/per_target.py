"""Threads that work for destinations: as many for each as it takes at once, as long as something is due for it, so that
one that is dead or slow delays no other. And what all who do jobs for destinations have in common.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import Final

from pacs_server import log
from pacs_server.errors import PacsError
from pacs_server.service.assemble import Node
from pacs_server.service.duties import Duties
from pacs_server.service.roll_call import node_name


class PerTarget:
    """Belongs to the thread that calls it."""

    def __init__(self, name: str, work: Callable[[str], None]) -> None:
        """`work` does what is due for one target, until nothing is."""
        self._name: Final = name
        self._work: Final = work
        self._threads: dict[str, list[threading.Thread]] = {}

    def call(self, wanted: Mapping[str, int]) -> None:
        """Have so many threads at work for each target; those that are done end by themselves."""
        for target, number in wanted.items():
            at_work = [thread for thread in self._threads.get(target, ()) if thread.is_alive()]
            for place in range(len(at_work), number):
                name = f"{self._name}-{target}-{place}"
                thread = threading.Thread(target=self._run, args=(target,), name=name, daemon=True)
                at_work.append(thread)
                thread.start()
            self._threads[target] = at_work

    def ended(self, deadline: float) -> bool:
        """Wait for what is under way until a moment of the monotonic clock; whether it ended."""
        for thread in chain.from_iterable(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return False
        return True

    def _run(self, target: str) -> None:
        try:
            self._work(target)
        except PacsError as error:
            log.error(f"{self._name} failed", to=target, why=error)
        except Exception as error:  # noqa: BLE001 - the job loop
            log.unexpected(f"{self._name} failed", error)


class TargetWork:
    """Does jobs for destinations: by duties, and by threads for each destination where those call some."""

    def __init__(
        self,
        node: Node,
        what: str,
        duties: Iterable[tuple[str, Callable[[], bool]]],
        threads: PerTarget | None = None,
        *,
        seldom: Collection[str] = (),
    ) -> None:
        self._node = node
        self._worker = f"{node_name(node.settings)}:{what}"
        self._duties = Duties(what, duties, seldom=seldom)
        self._threads = threads or PerTarget(what, lambda _: None)

    def start(self) -> None:
        """Begin. What this node had under way when it was killed is taken up again.

        Raises: IndexUnavailable.
        """
        self._node.jobs.release(self._worker)
        self._duties.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._duties.stop()

    def ended(self, timeout_s: float) -> bool:
        """Wait for what is under way, and its notes; whether it ended. What did not can be broken off anywhere: what is
        not noted as done is done again.
        """
        deadline = time.monotonic() + timeout_s
        # In this order, because a duty that has not ended may still call threads.
        return self._duties.ended(deadline) and self._threads.ended(deadline)
