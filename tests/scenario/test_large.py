"""Objects far larger than memory may be: in and out as a stream, byte for byte."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import dcmtk
from support.dcmtk import STUDY_ROOT, Receiver, Station, over_tls
from support.faulty_volume import FaultyVolume, mounted
from support.samples import encoded, tiny, uid
from support.server import LONG, Archive, files_below, resident_bytes, wait_for

from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import ObjectHasher
from pacs_server.net import client
from pacs_server.net.client import Destination
from pacs_server.net.secure import Security
from pacs_server.settings import NetworkLimits, TlsFiles
from pacs_server.storage.layout import is_temporary

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000 if LONG else 600)]

CT = "1.2.840.10008.5.1.4.1.1.2"
FRAME = os.urandom(1 << 20)
SIZE_MIB = 5_000 if LONG else 400
FAILING_MIB = 2_048 if LONG else 200
MAY_HOLD_BYTES = 96 << 20


def large_object(mib: int = SIZE_MIB) -> Iterator[bytes]:
    """A data set of that many MiB: fragments of encapsulated pixel data, as a long video has."""
    yield encoded(tiny("large", study="large"))
    yield b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    for number in range(mib):
        yield b"\xfe\xff\x00\xe0" + len(FRAME).to_bytes(4, "little")
        yield number.to_bytes(4, "little") + FRAME[4:]
    yield b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


def store(archive: Archive, data_set: Iterator[bytes], security: Security | None = None) -> int:
    """Send the object over an association of its own; the status, when there is one."""
    port = archive.tls_port if security else archive.port
    destination = Destination(aet=Archive.aet, host="127.0.0.1", port=port, security=security)
    contexts: list[tuple[str, tuple[str, ...], bool]] = [(CT, (EXPLICIT_LE,), False)]
    association = client.connect(destination, calling_aet="VIDEO", contexts=contexts, limits=NetworkLimits())
    try:
        status = client.store(
            association,
            context_id=next(iter(association.contexts)),
            sop_class=CT,
            sop_instance=uid("object", "large", "series", "large"),
            data_set=data_set,
            originator=None,
        )
        association.release()
        return status
    finally:
        association.close()


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_a_large_object_streams_in_and_out_with_little_memory(
    new_archive: Callable[..., Archive],
    tmp_path: Path,
    evidence: Callable[..., None],
    is_secure: bool,
) -> None:
    free = os.statvfs(tmp_path)
    if free.f_bavail * free.f_frsize < 4 * SIZE_MIB << 20:
        pytest.skip("not enough room on the disk")
    archive = new_archive(tls={"port": 0 if is_secure else None})
    archive.pacs("tls", "init", "--name", "127.0.0.1")
    files = TlsFiles.within(archive.data / "tls")
    archive.start()
    before = resident_bytes(archive.pid)
    hasher = ObjectHasher(EXPLICIT_LE)

    def sent() -> Iterator[bytes]:
        for piece in large_object():
            hasher.update(piece)
            yield piece

    began = time.monotonic()
    assert store(archive, sent(), Security(files=files) if is_secure else None) == 0
    took_s = time.monotonic() - began
    (path,) = archive.files()
    assert path.name.endswith(f"-{hasher.digest()[:16]}.dcm")
    grown = resident_bytes(archive.pid) - before
    assert grown < MAY_HOLD_BYTES
    dcmtk.require()
    with Receiver(
        tmp_path / "received", "+xa", "--ignore", aet="VIDEO", tls=over_tls(files) if is_secure else ()
    ) as receiver:
        archive.add_peer("VIDEO", receiver.port, *(["--tls"] if is_secure else []))
        keys = {"StudyInstanceUID": uid("study", "large")}
        done = Station(archive=archive, folder=tmp_path).move(STUDY_ROOT, "VIDEO", "STUDY", keys)
    assert done.status == 0, done.output[-2_000:]
    wait_for(lambda: resident_bytes(archive.pid) - before < MAY_HOLD_BYTES, "the memory to be given back", timeout_s=60)
    assert archive.stop() == 0
    evidence(mib=SIZE_MIB, stored_in_s=round(took_s), memory_grown_mb=grown // 1_000_000)


def test_the_sender_hanging_up_in_the_middle_leaves_nothing(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive()
    archive.start()

    def cut_off() -> Iterator[bytes]:
        for number, piece in enumerate(large_object()):
            if number > 40:
                raise ConnectionError("the modality is switched off")
            yield piece

    for _ in range(5):
        with pytest.raises(ConnectionError):
            store(archive, cut_off())
    wait_for(lambda: archive.files() == [], "the temporary files to be gone")
    assert archive.instance_uids() == set()
    assert archive.stop() == 0


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyVolume]:
    with ExitStack() as mounts:
        try:
            volume = mounts.enter_context(mounted(tmp_path / "faulty"))
        except OSError as error:
            pytest.skip(str(error))
        yield volume


@pytest.mark.parametrize("fault", ["eio", "hang 30"])
def test_a_volume_that_fails_in_the_middle_is_replaced_before_the_object_is_acknowledged(
    new_archive: Callable[..., Archive],
    tmp_path: Path,
    faulty: FaultyVolume,
    fault: str,
    evidence: Callable[..., None],
) -> None:
    archive = new_archive(storage={"write_timeout_s": 10})
    for name, tier in (("faulty", "hot"), ("good", "hot"), ("spare", "cold")):
        (tmp_path / name).mkdir(exist_ok=True)
        archive.pacs("storage", "add", name, str(tmp_path / name), "--domain", name, "--tier", tier)
    archive.pacs("storage", "remove", "first", "--yes")
    archive.pacs("policy", "set", "--want", "2", "--need", "2", "--degraded", "2")
    archive.start()
    pauses: list[float] = []

    def failing() -> Iterator[bytes]:
        """Each piece, and how long the archive took until it asked for the next."""
        for number, piece in enumerate(large_object(FAILING_MIB)):
            if number == FAILING_MIB // 2:
                faulty.tell(fault)
            began = time.monotonic()
            yield piece
            pauses.append(time.monotonic() - began)

    before, began = resident_bytes(archive.pid), time.monotonic()
    assert store(archive, failing()) == 0
    took_s, grown = time.monotonic() - began, resident_bytes(archive.pid) - before
    assert grown < MAY_HOLD_BYTES
    assert [len(files_below(tmp_path / name / "v1", "*.dcm")) for name in ("good", "spare")] == [1, 1]
    faulty.tell("ok")

    def unfinished() -> list[Path]:
        return [path for path in files_below(faulty.path) if is_temporary(path.name)]

    wait_for(lambda: not unfinished(), "the unfinished file to be gone", timeout_s=120)
    assert "2 good" in archive.pacs("verify", timeout_s=600).stderr
    assert archive.stop() == 0
    evidence(
        mib=FAILING_MIB, took_s=round(took_s), longest_pause_s=round(max(pauses), 2), memory_grown_mb=grown // 1_000_000
    )
