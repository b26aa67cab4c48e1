"""What the disk and the loopback allow at this moment: the floors that figures of the same run are compared with."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from benchmark import steady

_CHUNK: Final = 1 << 20
_DEADLINE_S: Final = 60.0


class FlushedFiles(NamedTuple):
    """How many small files a second become durable, and the processor time of this process for each."""

    per_s: float
    cpu_ms: float


def flushed_files(beside: Path, *, size_bytes: int, count: int, threads: int) -> FlushedFiles:
    """Files are written, flushed, renamed and entered in a flushed directory; each thread has one of its own."""
    content = os.urandom(size_bytes)
    share = max(1, count // threads)

    def write_share(directory: Path) -> None:
        directory_fd = os.open(directory, os.O_RDONLY)
        for number in range(share):
            _write_flushed(directory / f"{number}.part", (content,))
            (directory / f"{number}.part").rename(directory / f"{number}.dcm")
            os.fsync(directory_fd)
        os.close(directory_fd)

    cpu_before = time.process_time()
    seconds = _in_threads(beside, threads, write_share)
    written = share * threads
    return FlushedFiles(written / seconds, (time.process_time() - cpu_before) * 1_000 / written)


def sequential_mb_per_s(beside: Path, *, size_bytes: int, count: int, threads: int) -> float:
    """Megabytes (10^6) a second of large files written in pieces of 1 MiB, each with one flush at its end."""
    content = os.urandom(_CHUNK)
    pieces = -(-size_bytes // _CHUNK)
    share = max(1, count // threads)

    def write_share(directory: Path) -> None:
        for number in range(share):
            _write_flushed(directory / f"{number}.dcm", (content for _ in range(pieces)))

    seconds = _in_threads(beside, threads, write_share)
    return share * threads * pieces * _CHUNK / 1e6 / seconds


def acknowledged_per_s(size_bytes: int, count: int) -> float:
    """Pieces a second through the loopback, each answered with one byte before the next: what C-STORE does at best."""

    def discard(connection: socket.socket) -> None:
        buffer = memoryview(bytearray(_CHUNK))
        while True:
            missing = size_bytes
            while missing:
                got = connection.recv_into(buffer[: min(missing, _CHUNK)])
                if not got:
                    return
                missing -= got
            connection.sendall(b"!")

    piece = os.urandom(size_bytes)
    with _other_process(discard) as port, _connected(port) as connection:
        started = time.monotonic()
        for _ in range(count):
            connection.sendall(piece)
            connection.recv(1)
        return count / (time.monotonic() - started)


def stream_s(size_bytes: int) -> float:
    """Seconds from a one-byte request to the last of `size_bytes` through the loopback, sent in pieces of 64 KiB."""

    def answer(connection: socket.socket) -> None:
        piece = os.urandom(1 << 16)
        while connection.recv(1):
            missing = size_bytes
            while missing > 0:
                connection.sendall(piece[: min(missing, len(piece))])
                missing -= len(piece)

    buffer = bytearray(_CHUNK)
    with _other_process(answer) as port, _connected(port) as connection:
        times = []
        for _ in range(3):
            started = time.monotonic()
            connection.sendall(b"?")
            missing = size_bytes
            while missing > 0:
                missing -= connection.recv_into(buffer)
            times.append(time.monotonic() - started)
        return sorted(times)[1]


def conversations_per_s(seconds: float) -> float:
    """Connections a second with three short questions and answers each: association, echo and release without DICOM."""

    def reply(connection: socket.socket) -> None:
        while connection.recv(512):
            connection.sendall(b"!" * 64)

    with _other_process(reply) as port:
        count, started = 0, time.monotonic()
        while time.monotonic() - started < seconds:
            with _connected(port) as connection:
                for _ in range(3):
                    connection.sendall(b"?" * 128)
                    connection.recv(512)
            count += 1
        return count / (time.monotonic() - started)


def _write_flushed(path: Path, chunks: Iterator[bytes] | tuple[bytes, ...]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for chunk in chunks:
            os.write(descriptor, chunk)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _in_threads(beside: Path, threads: int, work: Callable[[Path], None]) -> float:
    """Seconds that `work` takes in this many threads at once, each in its own directory, on the disk of `beside`."""
    root = Path(tempfile.mkdtemp(prefix="floor-", dir=beside))
    try:
        workers = []
        for number in range(threads):
            (root / str(number)).mkdir()
            workers.append(threading.Thread(target=work, args=(root / str(number),)))
        started = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.monotonic() - started
    finally:
        steady.leave(root)


@contextmanager
def _other_process(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A forked process that serves connections on a loopback port, one after the other, while the block runs."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with connection:
                    serve(connection)
        finally:
            os._exit(0)
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection
