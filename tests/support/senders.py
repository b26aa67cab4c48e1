"""Senders that go on until the archive has acknowledged everything, whatever happens to it meanwhile."""

import random
import threading
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from support.namespaces import entered
from support.samples import Sample, tiny, write
from support.server import LONG, Archive

from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.errors import PacsError
from pacs_server.net import client
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.settings import NetworkLimits

CT = "1.2.840.10008.5.1.4.1.1.2"
GIVE_UP_S = 2_000 if LONG else 600
_TURN = 7
OUT_OF_RESOURCES = 0xA700
LIMITS = NetworkLimits(connect_timeout_s=2, response_timeout_s=20)


def objects(
    folder: Path, sender: int, count: int, *, sizes_bytes: Sequence[int] = (200, 4_000, 60_000)
) -> list[Sample]:
    """Objects of different sizes, in several studies and series, as files."""
    chance = random.Random(sender)
    made = []
    for number in range(count):
        values = {"PixelData": chance.randbytes(chance.choice(sizes_bytes)), "BitsAllocated": 8}
        values |= {"Rows": 1, "Columns": 1, "SamplesPerPixel": 1}
        dataset = tiny(number, study=f"study-{sender}-{number // 50}", series=number // 10, **values)
        dataset["PixelData"].VR = "OB"
        made.append(write(dataset, folder / f"{sender}-{number}.dcm"))
    return made


def calling(archive: Archive) -> Association:
    """An association with an archive, over which CT may be sent. Raises: PacsError."""
    destination = Destination(aet=archive.aet, host="127.0.0.1", port=archive.port)
    return client.connect(destination, calling_aet="SENDER", contexts=[(CT, (EXPLICIT_LE,), False)], limits=LIMITS)


def send_one(association: Association, sample: Sample) -> int:
    """Send a CT; its status. Raises: PacsError."""
    return client.store(
        association,
        context_id=next(iter(association.contexts)),
        sop_class=CT,
        sop_instance=sample.sop_uid,
        data_set=(sample.data_set,),
        originator=None,
    )


class Sender(threading.Thread):
    """Sends its objects one after the other, connecting again whenever the archive is gone; notes each success,
    and the longest time that one object took, answered or not. With `others`, it goes from one node of the archive to
    the next after a few objects, and when one is gone."""

    def __init__(self, archive: Archive, samples: list[Sample], *, others: Sequence[Archive] = ()) -> None:
        super().__init__(daemon=True)
        self.archive = archive
        self._turns = cycle((archive, *others))
        self._at_once = _TURN if others else len(samples)
        self.waiting = list(samples)
        self.acknowledged: list[Sample] = []
        self.statuses: set[int] = set()
        self.longest_s = 0.0
        self._gives_up = False

    def give_up(self) -> None:
        """Send no more; the archive is gone for good."""
        self._gives_up = True
        self.join(GIVE_UP_S)

    def run(self) -> None:
        deadline = time.monotonic() + GIVE_UP_S
        while self.waiting and time.monotonic() < deadline and not self._gives_up:
            try:
                self.send_some()
            except PacsError:
                time.sleep(0.05)

    def send_some(self) -> None:
        """Send what waits over one association, or a part of that."""
        self.archive = next(self._turns)
        ends_with = len(self.waiting) - self._at_once
        with entered(self.archive.network):
            association = calling(self.archive)
        try:
            while len(self.waiting) > max(ends_with, 0) and not self._gives_up:
                sample = self.waiting[0]
                began = time.monotonic()
                try:
                    status = send_one(association, sample)
                finally:
                    self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.statuses.add(status)
                if status == 0:
                    self.acknowledged.append(self.waiting.pop(0))
            association.release()
        finally:
            association.close()


def acknowledged_by(senders: Sequence[Sender]) -> list[Sample]:
    """Everything, because the senders do not give up; what failed meanwhile was told as what may be tried again."""
    for sender in senders:
        sender.join(GIVE_UP_S)
    assert not [sample for sender in senders for sample in sender.waiting]
    assert set().union(*(sender.statuses for sender in senders)) <= {0, OUT_OF_RESOURCES}
    return [sample for sender in senders for sample in sender.acknowledged]
