"""Data sets as bytes that no toolkit writes, and a sender that sends whatever it is given, as it is."""

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_dataset
from support import rude
from support.samples import CT, uid
from support.server import Archive
from support.standing_rules import Case

from pacs_server.net.message import decode_command

IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
UNDEFINED = 0xFFFFFFFF
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
ITEM, ITEM_END = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"

_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_PIECE_BYTES = 100_000
_DEADLINE_S = 60
PENDING = 0xFF00
_HELD = """
    SELECT * FROM instances JOIN series ON series.id = series_row
    JOIN studies ON studies.id = study_row JOIN patients ON patients.id = patient_row WHERE sop_uid = ?
"""
_FLAGS = """
    SELECT kind, detail FROM flags JOIN series ON series.study_row = flags.study_row
    JOIN instances ON instances.series_row = series.id WHERE sop_uid = ?
"""


def element(tag: int, vr: str = "", value: bytes | str = b"", length: int | None = None) -> bytes:
    """An element, in Implicit VR when it has no VR. `length` may lie; without it the value is padded to be even."""
    raw = value.encode() if isinstance(value, str) else value
    if length is None:
        raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
    size = len(raw) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + struct.pack("<L", size) + raw
    form = "H" if vr.encode() in _SHORT else "2xL"
    return head + vr.encode() + struct.pack(f"<{form}", size) + raw


def identified(
    name: str,
    *,
    charset: str = "",
    before: bytes = b"",
    after: bytes = b"",
    implicit: bool = False,
    sop: str | None = None,
    study: str | None = None,
    series: str | None = None,
) -> bytes:
    """A data set of four UIDs, in order: `before` stands before those of study and series, `after` behind them, the
    label of the character set before all.
    """

    def one(tag: int, value: str) -> bytes:
        return element(tag, "" if implicit else "UI", value.encode("latin-1") + b"\0" * (len(value) % 2))

    return b"".join(
        (
            element(0x00080005, "" if implicit else "CS", charset.encode("latin-1")) if charset else b"",
            one(0x00080016, CT),
            one(0x00080018, uid(name) if sop is None else sop),
            before,
            one(0x0020000D, uid("study", name) if study is None else study),
            one(0x0020000E, uid("series", name) if series is None else series),
            after,
        )
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """What a C-STORE was answered."""

    status: int
    comment: str


class Association:
    """An association of the ill-mannered peer that stores and finds."""

    def __init__(self, peer: rude.Peer) -> None:
        self._peer = peer
        self._message_id = 0

    def store(
        self, data_set: bytes | Iterable[bytes], sop_uid: str | bytes, *, context_id: int = 1, sop_class: str = CT
    ) -> Answered:
        """Send one object, under this SOP Instance UID, and read what is answered."""
        self._message_id += 1
        instance = sop_uid.encode("latin-1") if isinstance(sop_uid, str) else sop_uid
        command = rude.command_set(
            rude.element(0x0002, sop_class.encode() + b"\0" * (len(sop_class) % 2)),
            rude.us(0x0100, 0x0001),
            rude.us(0x0110, self._message_id),
            rude.us(0x0700, 0),
            rude.us(0x0800, 1),
            rude.element(0x1000, instance + b"\0" * (len(instance) % 2)),
        )
        self._peer.send(rude.p_data(rude.value(context_id, 3, command)))
        for piece in _pieces((data_set,) if isinstance(data_set, bytes) else data_set):
            self._peer.send(rude.p_data(rude.value(context_id, 0, piece)))
        self._peer.send(rude.p_data(rude.value(context_id, 2, b"")))
        _, answer = next(self._messages())
        told = decode_command(answer, context_id)
        return Answered(told.status, told.error_comment)

    def find(self, identifier: bytes, *, context_id: int = 3) -> tuple[int, list[Dataset]]:
        """Ask with these bytes in Implicit VR; the last status, and what was answered before."""
        self._message_id += 1
        command = rude.command_set(
            rude.element(0x0002, rude.STUDY_FIND.encode() + b"\0"),
            rude.us(0x0100, 0x0020),
            rude.us(0x0110, self._message_id),
            rude.us(0x0700, 0),
            rude.us(0x0800, 1),
        )
        self._peer.send(rude.p_data(rude.value(context_id, 3, command)))
        self._peer.send(rude.p_data(rude.value(context_id, 2, identifier)))
        answers, status = [], PENDING
        for is_command, content in self._messages():
            if not is_command:
                answers.append(read_dataset(BytesIO(content), is_implicit_VR=True, is_little_endian=True))
                continue
            status = decode_command(content, context_id).status
            if status not in (PENDING, PENDING | 1):
                break
        return status, answers

    def _messages(self) -> Iterator[tuple[bool, bytes]]:
        """Command sets and data sets as they come, each whole."""
        parts: list[bytes] = []
        while (found := self._peer.read_pdu()) is not None:
            kind, body = found
            assert kind == rude.P_DATA, f"PDU of type {kind}"
            while body:
                size, _, control = struct.unpack_from(">LBB", body)
                parts.append(body[6 : 4 + size])
                body = body[4 + size :]
                if control & 2:
                    yield bool(control & 1), b"".join(parts)
                    parts.clear()


def _pieces(data_set: Iterable[bytes]) -> Iterator[bytes]:
    for some in data_set:
        for start in range(0, len(some), _PIECE_BYTES):
            yield some[start : start + _PIECE_BYTES]


@contextmanager
def storing(case: Case, *syntaxes: str, calling: bytes = b"BROKEN", sop_class: str = CT) -> Iterator[Association]:
    """An association with a context to store in each syntax, numbered 1, 3, 5, and one to find. It is released at the
    end.
    """
    kinds = [*((sop_class, syntax) for syntax in syntaxes or (EXPLICIT,)), (rude.STUDY_FIND, IMPLICIT)]
    with case.connect() as peer:
        peer.socket.settimeout(_DEADLINE_S)
        contexts = [rude.context(2 * number + 1, *kind) for number, kind in enumerate(kinds)]
        assert peer.associate(*contexts, calling=calling)[0] == rude.ASSOCIATE_AC
        yield Association(peer)
        peer.send(rude.pdu(rude.RELEASE_RQ, bytes(4)))
        assert peer.read_pdu() is not None


def held(archive: Archive, sop_uid: str) -> dict[str, Any]:
    """What the index holds of an object, by column, and the `flags` of its study, each `kind` or `kind:detail`."""
    connection = sqlite3.connect(f"file:{archive.data / 'index.db'}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        (row,) = connection.execute(_HELD, (sop_uid,)).fetchall()
        told = connection.execute(_FLAGS, (sop_uid,)).fetchall()
    finally:
        connection.close()
    return {**dict(row), "flags": {f"{kind}:{detail}".rstrip(":") for kind, detail in told}}
