"""Objects far larger than memory may be: in and out as a stream, byte for byte."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.dcmtk import STUDY_ROOT, Receiver, Station
from support.samples import encoded, tiny, uid
from support.server import Archive, resident_bytes, wait_for

from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import ObjectHasher
from pacs_server.net import client
from pacs_server.net.client import Destination
from pacs_server.settings import NetworkLimits

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]

CT = "1.2.840.10008.5.1.4.1.1.2"
FRAME = os.urandom(1 << 20)
SIZE_MIB = 5_000 if os.environ.get("PACS_TEST_LONG") else 400
MAY_HOLD_BYTES = 96 << 20


def large_object() -> Iterator[bytes]:
    """A data set of that many MiB: fragments of encapsulated pixel data, as a long video has."""
    yield encoded(tiny("large", study="large"))
    yield b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    for number in range(SIZE_MIB):
        yield b"\xfe\xff\x00\xe0" + len(FRAME).to_bytes(4, "little")
        yield number.to_bytes(4, "little") + FRAME[4:]
    yield b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


def test_a_large_object_streams_in_and_out_with_little_memory(
    new_archive: Callable[..., Archive], tmp_path: Path, receive: Callable[..., Receiver]
) -> None:
    free = os.statvfs(tmp_path)
    if free.f_bavail * free.f_frsize < 4 * SIZE_MIB << 20:
        pytest.skip("not enough room on the disk")
    archive = new_archive()
    archive.start()
    before = resident_bytes(archive.pid)
    hasher = ObjectHasher(EXPLICIT_LE)

    def sent() -> Iterator[bytes]:
        for piece in large_object():
            hasher.update(piece)
            yield piece

    destination = Destination(aet=Archive.aet, host="127.0.0.1", port=archive.port)
    association = client.connect(
        destination, calling_aet="VIDEO", contexts=[(CT, (EXPLICIT_LE,), False)], limits=NetworkLimits()
    )
    status = client.store(
        association,
        context_id=next(iter(association.contexts)),
        sop_class=CT,
        sop_instance=uid("object", "large", "series", "large"),
        data_set=sent(),
        originator=None,
    )
    association.release()
    assert status == 0
    (path,) = archive.files()
    assert path.name.endswith(f"-{hasher.digest()[:16]}.dcm")
    assert resident_bytes(archive.pid) - before < MAY_HOLD_BYTES
    receiver = receive("VIDEO", "+xa", "--ignore")
    archive.add_peer("VIDEO", receiver.port)
    keys = {"StudyInstanceUID": uid("study", "large")}
    done = Station(archive=archive, folder=tmp_path).move(STUDY_ROOT, "VIDEO", "STUDY", keys)
    assert done.status == 0, done.output[-2_000:]
    wait_for(lambda: resident_bytes(archive.pid) - before < MAY_HOLD_BYTES, "the memory to be given back")
    assert archive.stop() == 0


def test_the_sender_hanging_up_in_the_middle_leaves_nothing(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive()
    archive.start()

    def cut_off() -> Iterator[bytes]:
        for number, piece in enumerate(large_object()):
            if number > 40:
                raise ConnectionError("the modality is switched off")
            yield piece

    destination = Destination(aet=Archive.aet, host="127.0.0.1", port=archive.port)
    for _ in range(5):
        association = client.connect(
            destination, calling_aet="VIDEO", contexts=[(CT, (EXPLICIT_LE,), False)], limits=NetworkLimits()
        )
        with pytest.raises(ConnectionError):
            client.store(
                association,
                context_id=next(iter(association.contexts)),
                sop_class=CT,
                sop_instance=uid("object", "large", "series", "large"),
                data_set=cut_off(),
                originator=None,
            )
        association.close()
    wait_for(lambda: archive.files() == [], "the temporary files to be gone")
    assert archive.instance_uids() == set()
    assert archive.stop() == 0
