"""What partners say to each other: a length, then a JSON object with a version, a kind and a body. No sockets in it.

Only a partner whose certificate is pinned comes so far; still, nothing that it sends costs more than one message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from struct import Struct
from typing import Any, Final, NoReturn

from pacs_server.errors import ProtocolViolation, Refused, TooLarge
from pacs_server.index.stamped import LogState

VERSION: Final = 1
# A table of 4,096 digests is a tenth of it. What is longer is asked for in parts.
MAX_MESSAGE_BYTES: Final = 4 << 20
HELLO: Final = "hello"

_LENGTH: Final = Struct(">L")
_MAX_KIND_CHARACTERS: Final = 64
_MAX_TEXT_CHARACTERS: Final = 256
_MAX_SITES: Final = 1_000
_MAX_COUNTER: Final = 1 << 60

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A question, or the answer to one, which has the same kind; `body` is what JSON can say."""

    kind: str
    body: Body


def encode(message: Message) -> bytes:
    """A message as it goes over the wire. Raises: TooLarge."""
    told = {"version": VERSION, "kind": message.kind, "body": dict(message.body)}
    text = json.dumps(told, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(text) > MAX_MESSAGE_BYTES:
        raise TooLarge(
            f"a message '{message.kind}' of {len(text)} bytes; {MAX_MESSAGE_BYTES} go at once: say it in parts"
        )
    return _LENGTH.pack(len(text)) + text


class Inbox:
    """Messages out of the bytes that come, in whatever pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def mid_message(self) -> bool:
        """Whether a message has begun and is not whole."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._bytes += data

    def next(self) -> Message | None:
        """The next message; None while it is not whole. Raises: ProtocolViolation."""
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > MAX_MESSAGE_BYTES:
            raise ProtocolViolation(f"a message says that it has {length} bytes; {MAX_MESSAGE_BYTES} are allowed")
        if len(self._bytes) < (end := _LENGTH.size + length):
            return None
        text = bytes(self._bytes[_LENGTH.size : end])
        del self._bytes[:end]
        return _message(text)


def _message(text: bytes) -> Message:
    try:
        told = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"a message is no JSON: {type(error).__name__}") from error
    if not isinstance(told, dict) or told.keys() != {"version", "kind", "body"}:
        raise ProtocolViolation("a message is not an object of version, kind and body")
    if type(told["version"]) is not int or told["version"] != VERSION:
        raise ProtocolViolation(f"a message has version {_cut(told['version'])}; this release speaks {VERSION}")
    kind, body = told["kind"], told["body"]
    if not isinstance(kind, str) or not 0 < len(kind) <= _MAX_KIND_CHARACTERS or not isinstance(body, dict):
        raise ProtocolViolation("a message has no kind, or no body")
    return Message(kind=kind, body=body)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _cut(value: object) -> str:
    return str(value)[:20] if isinstance(value, (int, float, str)) else type(value).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who a node is, and how its site stands. `at` is its clock. `logs` is the state of each of its logs, by name
    (cluster/exchange.py). It owes the site that it speaks to `owed_objects`, the oldest since `owed_since`; `preferred`
    is the site that viewers and modalities are to use, as far as it knows; while it `is_draining` it turns them
    away. The site that it speaks to is `calls_you` there. `newest` is the object that it recorded last, and `seen` the
    one that the other told as its own last time, each as `Contents.newest` names it.
    """

    site_id: str
    node: str
    aet: str
    schema: str
    version: str
    at: datetime
    logs: Mapping[str, LogState]
    owed_objects: int = 0
    owed_series: int = 0
    owed_since: datetime | None = None
    preferred: str = ""
    is_draining: bool = False
    calls_you: str = ""
    newest: str = ""
    seen: str = ""

    def body(self) -> Body:
        """As it is said."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        since = self.owed_since.isoformat() if self.owed_since else None
        owed = {"owed_objects": self.owed_objects, "owed_series": self.owed_series, "owed_since": since}
        logs = {name: told_state(state) for name, state in self.logs.items()}
        stands = {"preferred": self.preferred, "is_draining": self.is_draining, "calls_you": self.calls_you}
        stands |= {"newest": self.newest, "seen": self.seen}
        return texts | owed | stands | {"at": self.at.isoformat(), "logs": logs}


_TEXTS: Final = ("site_id", "node", "aet", "schema", "version")
_MAY_LACK: Final = ("calls_you", "newest", "seen")


def hello_of(body: Body) -> Hello:
    """What was said. What a later release says beside it is left out. Raises: ProtocolViolation."""
    texts = {name: text for name in _TEXTS if isinstance(text := body.get(name), str)}
    if len(texts) < len(_TEXTS) or not all(0 < len(text) <= _MAX_TEXT_CHARACTERS for text in texts.values()):
        raise ProtocolViolation("a greeting lacks who greets")
    if not is_site_id(texts["site_id"]):
        raise ProtocolViolation("a greeting names a site by what cannot be the id of one")
    preferred = body.get("preferred")
    if preferred and not is_site_id(preferred):
        raise ProtocolViolation("a greeting names as the preferred site what cannot be the id of one")
    beside = {name: body.get(name, "") for name in _MAY_LACK}
    if not all(isinstance(text, str) and len(text) <= _MAX_TEXT_CHARACTERS for text in beside.values()):
        raise ProtocolViolation("a greeting has no text, or one that is too long, where a text belongs")
    return Hello(
        **texts,
        at=moment_of(body.get("at")),
        logs=_logs(body.get("logs")),
        owed_objects=_count(body.get("owed_objects")),
        owed_series=_count(body.get("owed_series")),
        owed_since=None if body.get("owed_since") is None else moment_of(body.get("owed_since")),
        preferred=preferred or "",
        is_draining=body.get("is_draining") is True,
        **beside,
    )


def refuse_stranger(hello: Hello, *, own_site_id: str, known_site_id: str | None) -> None:
    """Refuse a greeting that is not of the partner that was added, whose site is None until it has greeted once.

    Raises: Refused.
    """
    if hello.site_id == own_site_id:
        raise Refused(f"{hello.node} is of this site itself: both use one database, or one is a copy of the other's")
    if known_site_id not in (None, hello.site_id):
        raise Refused(
            f"{hello.node} is of the site {hello.site_id} now, and was of {known_site_id} before: its database was "
            "made anew or restored; if that is right: pacs partner remove NAME --yes, then pacs partner add, on the "
            "side that was not"
        )


def is_site_id(text: object) -> bool:
    """Whether it can be the id of a site; it becomes part of file names."""
    return isinstance(text, str) and text.isascii() and text.isalnum() and len(text) <= _MAX_KIND_CHARACTERS


def moment_of(told: object) -> datetime:
    """A moment that was said, with its zone. Raises: ProtocolViolation."""
    try:
        at = datetime.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ProtocolViolation("a message has no time with a time zone where one belongs")
    return at


def list_of(body: Body, name: str) -> list[Any]:
    """A list that was said. Raises: ProtocolViolation."""
    found = body.get(name)
    if not isinstance(found, list):
        raise ProtocolViolation(f"a message has no {name}")
    return found


def _count(told: object) -> int:
    if type(told) is not int or not 0 <= told < _MAX_COUNTER:
        raise ProtocolViolation("a greeting has no count where one belongs")
    return told


def _logs(told: object) -> dict[str, LogState]:
    if not isinstance(told, dict) or len(told) > _MAX_SITES:
        raise ProtocolViolation("a greeting does not say what its site knows")
    return {str(name): log_state(state) for name, state in told.items()}


def told_state(state: LogState) -> dict[str, list[int]]:
    """The state of a log as it is said."""
    return {site_id: list(known) for site_id, known in state.items()}


def log_state(told: object) -> LogState:
    """The state of a log that was said. Raises: ProtocolViolation."""
    if not isinstance(told, dict) or len(told) > _MAX_SITES:
        raise ProtocolViolation("the state of a log is no list of sites, or of too many")
    for site_id, known in told.items():
        if not is_site_id(site_id) or not isinstance(known, list) or [type(one) for one in known] != [int] * 3:
            raise ProtocolViolation("the state of a log does not say of each site three numbers")
        if not all(0 <= one < _MAX_COUNTER for one in known):
            raise ProtocolViolation("the state of a log has a counter that is negative, or too large")
    return {site_id: (known[0], known[1], known[2]) for site_id, known in told.items()}
