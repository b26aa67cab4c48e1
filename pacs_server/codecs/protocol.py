"""What server and child say to each other over two pipes: a frame and what to do with it, then a frame or a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final

from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.pixels.recoding import Codec, Recoding

REQUEST: Final = Struct("<LQ")  # bytes of the description, bytes of the frame
ANSWER: Final = Struct("<BQ")  # an outcome, bytes that follow


class Outcome(IntEnum):
    """What became of a frame."""

    DONE = 0
    DAMAGED = 1
    UNSUITABLE = 2


def encode_request(recoding: Recoding, frame: Buffer) -> list[Buffer]:
    """The pieces of a request."""
    description = json.dumps(recoding.as_dict()).encode("ascii")
    return [REQUEST.pack(len(description), len(frame)) + description, frame]


def read_request(read: Callable[[int], bytes]) -> tuple[Recoding, bytes] | None:
    """The next request; None when there is none any more. `read` answers fewer bytes only at the end."""
    header = read(REQUEST.size)
    if len(header) < REQUEST.size:
        return None
    description_bytes, frame_bytes = REQUEST.unpack(header)
    described = json.loads(read(description_bytes))
    described |= {"decode": Codec(described["decode"]), "encode": Codec(described["encode"])}
    return Recoding(**described), read(frame_bytes)
