"""Codestreams are touched in processes of their own: what breaks there breaks one frame."""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import imagecodecs
import numpy
import pytest
from pydicom import dcmread
from support import pictures
from support.pictures import BASELINE, EXPLICIT, HTJ2K, J2K, KINDS, LOSSLESS, LS, RLE, by_dcmtk, picture, transcoded
from support.samples import data_set_of, write
from support.server import lives, wait_for

from pacs_server.codecs.pool import Pool
from pacs_server.dicom.pixels.recoding import Codec, Recoding
from pacs_server.errors import DecoderUnavailable, Undecodable

SMALL = Recoding(
    decode=Codec.JPEG_LS,
    encode=Codec.NATIVE,
    rows=16,
    columns=16,
    samples=1,
    bits_allocated=16,
    bits_stored=16,
    is_signed=False,
    precision=16,
)
PIXELS = numpy.arange(256, dtype="<u2").reshape(16, 16)
FRAME = bytes(imagecodecs.jpegls_encode(PIXELS))
WIDE = 8_000  # 128 MB of pixels


def nothing() -> None:
    pass


@pytest.fixture
def running() -> Iterator[Pool]:
    with pictures.pool() as pool:
        yield pool


def recode(running: Pool, recoding: Recoding = SMALL, frame: bytes = FRAME, meanwhile: Callable[[], None] = nothing):
    with running.child(meanwhile) as child:
        return child.recode(recoding, frame, meanwhile)


def pid_of(running: Pool) -> int:
    with running.child(nothing) as child:
        return child._process.pid


def test_a_warm_child_serves_one_frame_after_the_other(running: Pool) -> None:
    pids = set()
    for _ in range(3):
        assert recode(running) == PIXELS.tobytes()
        pids.add(pid_of(running))
    assert len(pids) == 1


@pytest.mark.parametrize("near", [1, 3, 9])
@pytest.mark.parametrize("bits", [6, 7])
def test_what_dcmtk_coded_near_lossless_in_fewer_than_8_bits_is_decoded(
    bits: int, near: int, running: Pool, tmp_path: Path
) -> None:
    plain = write(picture(replace(KINDS["8 bits"], stored=bits), "near"), tmp_path / "plain.dcm").path
    by_dcmtk("dcmcjpls", "+en", "+md", str(near))(plain, tmp_path / "coded.dcm")
    transcoded(tmp_path / "coded.dcm", EXPLICIT, tmp_path / "made.dcm", running)
    was, made = (numpy.frombuffer(dcmread(path).PixelData, "u1").astype(int) for path in (plain, tmp_path / "made.dcm"))
    assert abs(was - made).max() in range(1, near + 1)


@pytest.fixture(scope="module")
def impatient() -> Iterator[Pool]:
    with pictures.pool(frame_timeout_s=5) as pool:
        yield pool


def coded(syntax: str, folder: Path) -> bytes:
    """The codestream of an image, by a program that is not ours; that and its data set are in coded.dcm."""
    kind = KINDS["8 bits" if syntax == BASELINE else "12 bits"]
    encoders = {**pictures.ENCODERS, BASELINE: by_dcmtk("dcmcjpeg", "+eb")}
    encoders[syntax](write(picture(kind, "whole"), folder / "plain.dcm").path, folder / "coded.dcm")
    return pictures.frames(folder / "coded.dcm")[0]


def with_frame(frame: bytes, syntax: str, folder: Path) -> Path:
    return write(pictures.with_frames(folder / "coded.dcm", [frame]), folder / "other.dcm", syntax).path


@pytest.mark.parametrize("syntax", [BASELINE, LOSSLESS, LS, J2K, HTJ2K, RLE])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("rest", ["nothing", "zeros"])
def test_a_cut_codestream_fails_alone_and_in_time(
    syntax: str, keep: float, rest: str, impatient: Pool, tmp_path: Path
) -> None:
    """CharLS 2.4.3 looks for the end of such a JPEG-LS for half a minute; others would make up the rest."""
    whole = coded(syntax, tmp_path)
    cut = whole[: int(len(whole) * keep)]
    path = with_frame(cut.ljust(len(whole) if rest == "zeros" else 0, b"\0"), syntax, tmp_path)
    with pytest.raises(Undecodable):
        transcoded(path, EXPLICIT, tmp_path / "made.dcm", impatient)
    assert recode(impatient) == PIXELS.tobytes()


@pytest.mark.parametrize("syntax", [BASELINE, LOSSLESS])
@pytest.mark.parametrize(
    "end", [b"", b"\0", b"\xff", b"\xff\xd9 and more"], ids=["none", "padded", "half", "more behind"]
)
def test_a_jpeg_that_is_whole_needs_no_end_marker(syntax: str, end: bytes, running: Pool, tmp_path: Path) -> None:
    whole = coded(syntax, tmp_path)
    expected = data_set_of(transcoded(tmp_path / "coded.dcm", EXPLICIT, tmp_path / "whole.dcm", running))
    path = with_frame(whole[: whole.rindex(b"\xff\xd9")].rstrip(b"\xff") + end, syntax, tmp_path)
    assert data_set_of(transcoded(path, EXPLICIT, tmp_path / "made.dcm", running)) == expected


@pytest.mark.parametrize("rubbish", [b"", b"\xff\xd8\xff\xf7", os.urandom(4_000)], ids=["nothing", "begun", "noise"])
@pytest.mark.parametrize("codec", [codec for codec in Codec if codec is not Codec.NATIVE])
def test_rubbish_fails_and_the_next_frame_does_not(codec: Codec, rubbish: bytes, running: Pool) -> None:
    with pytest.raises(Undecodable) as told:
        recode(running, replace(SMALL, decode=codec), rubbish)
    assert "the decoder ended with" not in str(told.value)  # by an error that nobody foresaw
    assert recode(running) == PIXELS.tobytes()


def test_a_codestream_of_other_dimensions_than_its_data_set_is_refused_before_it_is_decoded(
    running: Pool, tmp_path: Path
) -> None:
    plain = write(picture(KINDS["8 bits"], "bomb"), tmp_path / "plain.dcm").path
    pictures.ENCODERS[LS](plain, tmp_path / "coded.dcm")
    frame = bytearray(pictures.frames(tmp_path / "coded.dcm")[0])
    size = frame.index(b"\xff\xf7") + 5
    frame[size : size + 4] = b"\xff\xff\xff\xff"
    path = write(pictures.with_frames(tmp_path / "coded.dcm", [bytes(frame)]), tmp_path / "bomb.dcm", LS).path
    with pytest.raises(Undecodable, match="claims 65535 rows, 65535 columns"):
        transcoded(path, EXPLICIT, tmp_path / "made.dcm", running)


def test_an_image_that_claims_too_much_with_its_codestream_is_refused_too(running: Pool, tmp_path: Path) -> None:
    dataset = pictures.with_frames(None, [b"\xff\xd8\xff\xf7"])
    dataset.Rows = dataset.Columns = 65_535
    path = write(dataset, tmp_path / "bomb.dcm", LS).path
    with pytest.raises(Undecodable, match="larger than is transcoded"):
        transcoded(path, EXPLICIT, tmp_path / "made.dcm", running)


def test_a_frame_that_needs_more_memory_than_allowed_fails_alone() -> None:
    bomb = bytes(imagecodecs.jpegls_encode(numpy.zeros((WIDE, WIDE), dtype="<u2")))
    assert len(bomb) < 100_000
    with pictures.pool(memory_bytes=64 << 20) as running:
        with pytest.raises(Undecodable, match=r"memory|Memory|was ended"):
            recode(running, replace(SMALL, rows=WIDE, columns=WIDE), bomb)
        assert recode(running) == PIXELS.tobytes()


def test_a_child_that_is_killed_in_mid_frame_fails_that_frame_and_is_replaced(running: Pool) -> None:
    recode(running)
    first = pid_of(running)
    os.kill(first, signal.SIGSTOP)  # so that the frame is certainly not finished before

    def kill() -> None:
        os.kill(first, signal.SIGKILL)

    with pytest.raises(Undecodable, match="SIGKILL"):
        recode(running, meanwhile=kill)
    assert recode(running) == PIXELS.tobytes()
    assert pid_of(running) != first


def test_a_child_that_ends_before_it_has_a_frame_says_nothing_of_that_frame(running: Pool) -> None:
    with running.child(nothing) as child:
        os.kill(child._process.pid, signal.SIGKILL)
        with pytest.raises(DecoderUnavailable, match="no decoder can be started"):
            child.recode(SMALL, FRAME, nothing)
    assert recode(running) == PIXELS.tobytes()


@contextmanager
def no_file_left() -> Iterator[None]:
    """As in a process that has opened as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_child_that_cannot_be_started_leaves_its_seat_to_the_next(running: Pool) -> None:
    def none_is_free() -> None:
        raise AssertionError("the seat is lost")

    with no_file_left(), pytest.raises(DecoderUnavailable, match="no decoder can be started"):
        pid_of(running)
    with running.child(none_is_free) as child:
        assert child.recode(SMALL, FRAME, nothing) == PIXELS.tobytes()


def test_a_child_that_does_not_answer_in_time_is_ended_and_whoever_waits_has_turns_meanwhile() -> None:
    turns: list[int] = []
    with pictures.pool(frame_timeout_s=5) as running:
        recode(running)
        hanging = pid_of(running)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(Undecodable, match="longer than 5 s"):
            recode(running, meanwhile=partial(turns.append, 1))
        assert len(turns) >= 2
        assert not lives(hanging)
        assert recode(running) == PIXELS.tobytes()


def test_a_child_can_open_no_file_write_none_and_uses_no_more_processor_time_than_a_frame_may_take(
    running: Pool,
) -> None:
    recode(running)
    limits = Path(f"/proc/{pid_of(running)}/limits").read_text(encoding="ascii")
    told = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert told["Max open files"] == "3"
    assert told["Max file size"] == "0"
    assert told["Max core file size"] == "0"
    assert 60 <= int(told["Max cpu time"]) < 90
    assert int(told["Max address space"]) < 4 << 30


def test_whoever_finds_every_child_at_work_waits_for_a_turn(running: Pool) -> None:
    waited, got = threading.Event(), []
    with running.child(nothing):
        other = threading.Thread(target=lambda: got.append(recode(running, meanwhile=waited.set)))
        other.start()
        assert waited.wait(60)
        assert got == []
    other.join(60)
    assert got == [PIXELS.tobytes()]


def test_children_end_with_the_pool() -> None:
    with pictures.pool() as running:
        recode(running)
        pid = pid_of(running)
    assert not lives(pid)
    with pytest.raises(DecoderUnavailable, match="the server ends"):
        recode(running)


def test_a_child_at_work_ends_with_the_pool_too(running: Pool) -> None:
    recode(running)
    pid = pid_of(running)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DecoderUnavailable, match="the server ends"):
        recode(running, meanwhile=running.close)
    assert not lives(pid)


def test_no_child_outlives_a_server_that_was_killed() -> None:
    program = (
        "import time; from pacs_server.codecs.pool import Pool; from pacs_server.settings import TranscodingLimits\n"
        "with Pool(TranscodingLimits()).child(print) as child: print(child._process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert lives(pid)
        server.kill()
    wait_for(lambda: not lives(pid), "the child to end", timeout_s=60)
