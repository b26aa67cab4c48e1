"""A modality stores while others do all they can to keep it from that: silent, dripping and deaf by the hundred."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import pytest
from pydicom.dataset import Dataset
from support import rude
from support.rude import EXPLICIT_LE, IMPLICIT_LE, Peer, context, message, query_request, role, user_information
from support.samples import CT, encoded, tiny, uid
from support.server import LONG, Archive, wait_for

from pacs_server.net import client
from pacs_server.net.client import Destination
from pacs_server.settings import NetworkLimits

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_200)]

SILENT = 2_000 if LONG else 300
DRIPPING = 100 if LONG else 30
DEAF = 20 if LONG else 5
MEASURED_S = 20.0 if LONG else 2.0
# What is left of its rate; without --long other tests run beside this one, so that only a standstill tells anything.
AT_LEAST = 0.5 if LONG else 0.1
# Less than the minute and a half after which those who are silent are ended.
CROWDED_S = 40.0
_PLACE = b"2.25.1111111111111111111111111"
_numbers = count(10**27)


def objects() -> Iterator[tuple[str, bytes]]:
    """CT slices of 512 KiB, which differ in their SOP Instance UID."""
    dataset = tiny("slice", study="crowded", PixelData=bytes(512 << 10), Rows=512, Columns=512, BitsAllocated=16)
    dataset["PixelData"].VR, dataset.SOPInstanceUID = "OW", _PLACE.decode()
    template = encoded(dataset)
    while True:
        name = f"2.{next(_numbers)}"
        assert len(name) == len(_PLACE)
        yield name, template.replace(_PLACE, name.encode())


def rate(archive: Archive, seconds: float) -> float:
    """How many objects a second a registered modality stores."""
    destination = Destination(aet=archive.aet, host="127.0.0.1", port=archive.port)
    association = client.connect(
        destination, calling_aet="CT1", contexts=[(CT, (EXPLICIT_LE,), False)], limits=NetworkLimits()
    )
    (context_id,) = association.contexts
    began, stored = time.monotonic(), 0
    for name, data_set in objects():
        status = client.store(
            association, context_id=context_id, sop_class=CT, sop_instance=name, data_set=(data_set,), originator=None
        )
        assert status == 0x0000
        stored += 1
        if time.monotonic() - began >= seconds:
            break
    association.release()
    return stored / (time.monotonic() - began)


@contextmanager
def crowd(archive: Archive) -> Iterator[None]:
    """Connections from many addresses: silent ones, some that send a byte now and then, some that read nothing."""
    address = ("127.0.0.1", archive.port)
    sources = ((f"127.210.{number // 200}.{1 + number % 200}", 0) for number in count())
    over = threading.Event()
    with ExitStack() as opened:
        for _ in range(SILENT):
            opened.enter_context(Peer(address, source=next(sources)))
        drips = [opened.enter_context(Peer(address, source=next(sources))) for _ in range(DRIPPING)]
        for _ in range(DEAF):
            ask_and_be_deaf(opened.enter_context(Peer(address, source=next(sources), receive_bytes=4096)))
        dripping = threading.Thread(target=drip, args=(drips, over))
        dripping.start()
        try:
            yield
        finally:
            over.set()
            dripping.join()


def drip(peers: list[Peer], over: threading.Event) -> None:
    """Send a byte of a request over each of them, four times a second."""
    request = rude.associate_request(context(1, rude.VERIFICATION, IMPLICIT_LE))
    for byte in request:
        for peer in peers:
            peer.send_what_is_taken(bytes((byte,)))
        if over.wait(0.25):
            return


def ask_and_be_deaf(peer: Peer) -> None:
    """Ask for what the modality has stored, and read nothing of it."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", uid("study", "crowded")
    contexts = (context(1, rude.STUDY_GET, IMPLICIT_LE), context(3, CT, EXPLICIT_LE))
    peer.associate(*contexts, user=user_information(role(CT, 0, 1)))
    get = query_request(rude.GET, rude.STUDY_GET)
    peer.send(message(1, get, encoded(identifier, IMPLICIT_LE)))


def test_a_modality_keeps_its_rate_in_a_crowd_of_rude_ones(
    new_archive: Callable[..., Archive], evidence: Callable[..., Any]
) -> None:
    archive = new_archive(network={"association_timeout_s": 90.0, "send_timeout_s": 90.0})
    archive.add_peer("CT1", 104)
    archive.start()
    rate(archive, MEASURED_S / 4)
    alone = rate(archive, MEASURED_S)
    crowded = 0.0
    with crowd(archive):
        ends_at = time.monotonic() + CROWDED_S
        while crowded < AT_LEAST * alone and time.monotonic() < ends_at:  # what else runs has its moments
            crowded = rate(archive, MEASURED_S)
    again = rate(archive, MEASURED_S)
    told = {"alone": f"{alone:.0f}/s", "crowded": f"{crowded:.0f}/s", "again": f"{again:.0f}/s"}
    evidence(silent=SILENT, dripping=DRIPPING, deaf=DEAF, **told)
    print(told)
    assert crowded >= AT_LEAST * min(alone, again)
    wait_for(lambda: "Traceback" not in archive.log_text(), "no surprise")
    assert archive.stop() == 0
