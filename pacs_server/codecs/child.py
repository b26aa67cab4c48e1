"""The process that touches codestreams: `python -m pacs_server.codecs.child`. It recodes frames until nobody asks.

A codestream that breaks a decoder breaks this process and nothing else. It can open no file and no connection, has a
cap on its memory and on the processor time of a frame, and ends when the server's end of its pipe is closed.
"""

from __future__ import annotations

import os
import resource
import sys
import zlib
from typing import Final

from pacs_server.codecs.frames import Unsuitable, recode
from pacs_server.codecs.protocol import ANSWER, Outcome, read_request
from pacs_server.dicom.elements import Buffer

_PAGE_BYTES: Final = resource.getpagesize()
_DAMAGE: Final = (ValueError, RuntimeError, TypeError, OverflowError, IndexError, zlib.error)


def main() -> None:
    """Serve the pipes on standard input and output. Arguments: bytes of memory, seconds of processor time a frame."""
    memory_bytes, cpu_s = int(sys.argv[1]), int(sys.argv[2])
    _limit(memory_bytes)
    _write(ANSWER.pack(Outcome.DONE, 0))  # ready
    while (request := read_request(sys.stdin.buffer.read)) is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu_s + 1, resource.RLIM_INFINITY)
        )
        try:
            outcome, content = Outcome.DONE, recode(*request)
        except Unsuitable as error:
            outcome, content = Outcome.UNSUITABLE, str(error).encode()
        except MemoryError:
            outcome, content = Outcome.DAMAGED, f"it needs more than {memory_bytes} bytes of memory".encode()
        except _DAMAGE as error:
            outcome, content = Outcome.DAMAGED, f"{type(error).__name__}: {error}".encode()
        _write(ANSWER.pack(outcome, len(content)), content)


def _limit(memory_bytes: int) -> None:
    """What is loaded now is all there is: no file is opened any more, none is written, none is left by a crash."""
    pages = int(open("/proc/self/statm", encoding="ascii").read().split()[0])  # noqa: SIM115, PTH123 - closed at once
    most = pages * _PAGE_BYTES + memory_bytes
    for limit, value in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _write(*pieces: Buffer) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(sys.stdout.fileno(), view) :]


if __name__ == "__main__":
    main()
