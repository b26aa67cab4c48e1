"""Processes that do whatever an archive allows to the same few studies at the same moments. Each notes what it was
told, so that what is left can be compared with that, though one of them is killed.
"""

import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian
from support.held_model import PATIENTS, SERIES, SOPS, STUDIES, Content, content
from support.samples import CT
from support.server import wait_for

from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared, Origin
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.operations import Operation
from pacs_server.errors import PacsError
from pacs_server.service.assemble import Node
from pacs_server.service.runner import _KEEPING, Runner
from pacs_server.service.upkeep import decisions
from pacs_server.service.upkeep.reconciling import reconcile_volumes
from pacs_server.settings import load

_THREADS = 2
_START_S = 60.0
_WEIGHTS = {
    "store": 20, "delete": 2, "restore": 2, "purge": 1, "hold": 0.5, "release": 1, "use": 1, "reconcile": 0.3
}  # fmt: skip
# Which of two contents is current depends on who comes first; whatever it is, the same is found.
CONTENTS = {
    one.name: one
    for study, patient in zip(STUDIES, PATIENTS, strict=False)
    for number, sop in enumerate(SOPS)
    for comment in ("one", "two", "three")
    for one in [content(study, SERIES[number % len(SERIES)], sop, patient, comment)]
}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What somebody was told had been done, by the monotonic clock of the machine: an object that was stored, by its
    study, UID and digest, or a decision, by its stamp.
    """

    began: float
    ended: float
    stored: tuple[str, str, str] | None = None
    decided: tuple[int, str] | None = None


def crowd(configs: Sequence[Path], folder: Path, *, processes: int, seconds: float, seed: int) -> list[Told]:
    """What so many processes, of the nodes of these settings, were told in so many seconds; the last one is killed in
    the middle of that.
    """
    context = multiprocessing.get_context("spawn")
    ready = [context.Event() for _ in range(processes)]
    notes = [folder / f"told-{number}" for number in range(processes)]
    runners = [
        context.Process(
            target=_take_part,
            args=(configs[number % len(configs)], notes[number], f"{seed} {number}", number < len(configs), seconds),
            kwargs={"ready": ready},
            daemon=True,
        )
        for number in range(processes)
    ]
    for runner in runners:
        runner.start()
    wait_for(lambda: all(one.is_set() for one in ready), "the processes to begin", timeout_s=_START_S)
    time.sleep(seconds / 2)
    runners[-1].kill()
    for runner in runners:
        runner.join(_START_S)
    assert [runner.exitcode for runner in runners[:-1]] == [0] * (processes - 1)
    return list(chain.from_iterable(map(_read, notes)))


def _read(notes: Path) -> Iterable[Told]:
    for line in notes.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        yield Told(**told | {name: tuple(told[name]) for name in ("stored", "decided") if told[name]})


def _take_part(config: Path, notes: Path, seed: str, does_jobs: bool, seconds: float, *, ready: list[Any]) -> None:
    with Node.open(load(config)) as node, notes.open("a", encoding="utf-8") as file:
        descriptor = file.fileno()
        ready[int(seed.split()[1])].set()
        for one in ready:
            one.wait(_START_S)
        deadline = time.monotonic() + seconds

        def keep_on(do: Callable[[], object]) -> None:
            while time.monotonic() < deadline:
                do()

        deeds = [_Deeds(node, descriptor, f"{seed} {number}").any for number in range(_THREADS)]
        errors: list[BaseException] = []
        threading.excepthook = lambda args: errors.append(args.exc_value or SystemExit())
        jobs = [lambda: Runner(node)._do_job(_KEEPING) or time.sleep(0.05)] if does_jobs else []
        threads = [threading.Thread(target=keep_on, args=(do,)) for do in [*deeds, *jobs]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []


class _Deeds:
    """What one thread does."""

    def __init__(self, node: Node, notes: int, seed: str) -> None:
        self._node, self._notes, self._chance = node, notes, random.Random(seed)

    def any(self) -> None:
        """Do something; what is refused was not done."""
        (name,) = self._chance.choices([*_WEIGHTS], [*_WEIGHTS.values()])
        one = self._chance.choice([*CONTENTS.values()])
        keys = {"StudyInstanceUID": one.study} | ({"SOPInstanceUID": one.sop} if self._chance.random() < 0.6 else {})
        try:
            getattr(self, f"_{name}")(one, keys)
        except PacsError:
            return

    def _store(self, one: Content, _: dict[str, str]) -> None:
        declared = Declared(sop_class=CT, sop_instance=Uid(one.sop), transfer_syntax=ExplicitVRLittleEndian)
        began, reception = time.monotonic(), self._node.reception(declared, Origin(aet="CT1"))
        try:
            reception.feed(memoryview(one.data_set))
            ingest(reception)
        finally:
            reception.abandon()
        self._note(Told(began=began, ended=time.monotonic(), stored=one.name))

    def _delete(self, _: Content, keys: dict[str, str]) -> None:
        self._decide(lambda: decisions.delete(self._node, decisions.to_delete(self._node, keys), "r"))

    def _restore(self, _: Content, keys: dict[str, str]) -> None:
        self._decide(lambda: decisions.restore(self._node, decisions.in_trash(self._node, keys), "r"))

    def _purge(self, _: Content, keys: dict[str, str]) -> None:
        self._decide(lambda: decisions.purge(self._node, decisions.in_trash(self._node, keys), "r"))

    def _hold(self, one: Content, _: dict[str, str]) -> None:
        self._decide(lambda: decisions.hold(self._node, {"StudyInstanceUID": one.study}, "r"))

    def _release(self, one: Content, _: dict[str, str]) -> None:
        keys = {"StudyInstanceUID": one.study}
        self._decide(lambda: decisions.release(self._node, decisions.on_hold(self._node, keys), "r"))

    def _use(self, one: Content, _: dict[str, str]) -> None:
        self._decide(lambda: [decisions.use_version(self._node, one.sop, one.digest, "r")])

    def _reconcile(self, _: Content, __: dict[str, str]) -> None:
        list(reconcile_volumes(self._node, since=None, repair=True))

    def _decide(self, deed: Callable[[], Iterable[Operation]]) -> None:
        began = time.monotonic()
        for operation in deed():
            self._note(Told(began=began, ended=time.monotonic(), decided=operation.stamp))

    def _note(self, told: Told) -> None:
        os.write(self._notes, (json.dumps(asdict(told)) + "\n").encode())
