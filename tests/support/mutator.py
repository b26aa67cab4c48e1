"""Damages recorded associations, the same way for the same seed: bytes, lengths that lie, items and values that are
left out, doubled, exchanged or cut, PDUs out of order, pauses, and ends at any point.
"""

import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.recordings import RECORDINGS, Step

# What is done: ("send", bytes in hexadecimal), ("read", ""), ("wait", seconds), and at the end one of ENDS.
Action = tuple[str, str]
# "watch": wait until the archive ends it, which it has to within its deadlines.
ENDS = ("close", "reset", "watch")
_LIES = (0, 1, 2, 3, 4, 5, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF)
_HEADER_BYTES = 6
_WATCHED = 0.04  # of all: each takes as long as the longest deadline


@dataclass(frozen=True, slots=True)
class Script:
    """What one caller does, and how it came about."""

    name: str
    actions: tuple[Action, ...]

    def save(self, path: Path) -> None:
        """Keep it as data."""
        path.write_text(json.dumps({"name": self.name, "actions": self.actions}, indent=1) + "\n", encoding="ascii")

    @classmethod
    def load(cls, path: Path) -> "Script":
        told = json.loads(path.read_text(encoding="ascii"))
        return cls(told["name"], tuple((kind, what) for kind, what in told["actions"]))


def script(seed: int) -> Script:
    """The damaged association of a seed."""
    chance = random.Random(seed)
    name = chance.choice(sorted(RECORDINGS))
    steps = list(RECORDINGS[name])
    told = [name]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        mutate = chance.choice(_OF_STEPS + 2 * _OF_BYTES)
        told.append(mutate.__name__.strip("_"))
        steps = mutate(steps, chance)
    return Script(f"seed {seed}: {', '.join(told)}", tuple(_played(steps, chance)))


def _played(steps: list[Step], chance: random.Random) -> list[Action]:
    actions: list[Action] = []
    last = chance.randrange(len(steps) + 1) if chance.random() < 0.2 else len(steps)
    for step in steps[:last]:
        sent = step.sent
        if chance.random() < 0.05:
            place = chance.randrange(len(sent) + 1)
            actions += [("send", sent[:place].hex()), ("wait", f"{chance.random() / 50:.3f}")]
            sent = sent[place:]
        actions.append(("send", sent.hex()))
        if step.is_answered and chance.random() < 0.9:
            actions.append(("read", ""))
    if last < len(steps):  # in the middle of a PDU
        actions.append(("send", steps[last].sent[: chance.randrange(len(steps[last].sent) + 1)].hex()))
    return [*actions, ("watch" if chance.random() < _WATCHED else chance.choice(ENDS[:2]), "")]


# --- mutations of the order of steps ---


def _drop(steps: list[Step], chance: random.Random) -> list[Step]:
    place = chance.randrange(len(steps))
    return steps[:place] + steps[place + 1 :] or steps


def _double(steps: list[Step], chance: random.Random) -> list[Step]:
    place = chance.randrange(len(steps))
    return steps[:place] + [steps[place]] * chance.choice((2, 2, 3, 50)) + steps[place + 1 :]


def _exchange(steps: list[Step], chance: random.Random) -> list[Step]:
    one, other = chance.randrange(len(steps)), chance.randrange(len(steps))
    changed = list(steps)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def _insert(steps: list[Step], chance: random.Random) -> list[Step]:
    """A PDU of another association, or one that only an archive sends."""
    strange = [
        *(step.sent for recorded in RECORDINGS.values() for step in recorded),
        *(struct.pack(">BxL4x", kind, 4) for kind in range(9)),
    ]
    place = chance.randrange(len(steps) + 1)
    return [*steps[:place], Step("strange", chance.choice(strange)), *steps[place:]]


# --- mutations of one PDU ---


def _in_one(change: Callable[[bytes, random.Random], bytes]) -> Callable[[list[Step], random.Random], list[Step]]:
    def mutate(steps: list[Step], chance: random.Random) -> list[Step]:
        # Every state as often as every other, however many PDUs it has.
        state = chance.choice(sorted({step.state for step in steps}))
        place = chance.choice([number for number, step in enumerate(steps) if step.state == state])
        step = steps[place]
        if len(step.sent) < _HEADER_BYTES:  # it was cut before
            return steps
        return [*steps[:place], Step(state, change(step.sent, chance), step.is_answered), *steps[place + 1 :]]

    mutate.__name__ = change.__name__
    return mutate


def _flip(sent: bytes, chance: random.Random) -> bytes:
    changed = bytearray(sent)
    for _ in range(chance.choice((1, 1, 2, 8))):
        # Its beginning, where the structure is, as often as all the rest.
        changed[chance.randrange(min(len(sent), chance.choice((12, 200, len(sent)))))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _set_byte(sent: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(sent))
    return sent[:place] + bytes((chance.choice((0, 1, 0x7F, 0x80, 0xFF, 0x5C, 0x1B)),)) + sent[place + 1 :]


def _lie(sent: bytes, chance: random.Random) -> bytes:
    """Another number where a length stands, of the PDU or of something in it."""
    places = [(2, ">L"), *_lengths(sent)]
    place, form = chance.choice(places)
    size = struct.calcsize(form)
    (true,) = struct.unpack_from(form, sent, place)
    lie = chance.choice((*_LIES, true - 1, true + 1, true * 2)) & ((1 << 8 * size) - 1)
    return sent[:place] + struct.pack(form, lie) + sent[place + size :]


def _cut(sent: bytes, chance: random.Random) -> bytes:
    return sent[: chance.randrange(len(sent))]


def _cut_to_fit(sent: bytes, chance: random.Random) -> bytes:
    """Cut, and the length of the PDU tells so."""
    return _whole(sent, sent[6 : 6 + chance.randrange(len(sent) - 5)])


def _rearrange(sent: bytes, chance: random.Random) -> bytes:
    """Items, values or elements left out, doubled or exchanged; the lengths around them are right."""
    head, parts, rebuilt = _parts(sent)
    if not parts:
        return sent
    one, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    how = chance.randrange(3)
    if how == 0:
        del parts[one]
    elif how == 1:
        parts[one:one] = [parts[other]] * chance.choice((1, 1, 2, 300))
    else:
        parts[one], parts[other] = parts[other], parts[one]
    return rebuilt(head, parts)


_OF_STEPS: list[Callable[[list[Step], random.Random], list[Step]]] = [_drop, _double, _exchange, _insert]
_OF_BYTES = [_in_one(change) for change in (_flip, _set_byte, _lie, _cut, _cut_to_fit, _rearrange)]


# --- what is inside of a PDU ---


def _whole(sent: bytes, body: bytes) -> bytes:
    return sent[:2] + struct.pack(">L", len(body)) + body


def _lengths(sent: bytes) -> list[tuple[int, str]]:
    """Where lengths stand in a PDU, and how: of items and sub-items, of data values, of the elements of commands."""
    found: list[tuple[int, str]] = []
    if sent[0] == 1:
        for start, _ in _items(sent, 74):
            found.append((start + 2, ">H"))
            inner = {0x20: 8, 0x50: 4}.get(sent[start])
            end = start + 4 + int.from_bytes(sent[start + 2 : start + 4], "big")
            found += [(place + 2, ">H") for place, _ in _items(sent[:end], start + inner)] if inner else []
    elif sent[0] == 4:
        for start, end in _values(sent):
            found.append((start, ">L"))
            if sent[start + 5] & 1:
                found += [(place + 4, "<L") for place, _ in _elements(sent, start + 6, end)]
    return found


def _parts(sent: bytes) -> tuple[bytes, list[bytes], Callable[[bytes, list[bytes]], bytes]]:
    """What stands before the parts of a PDU, the parts, and how to put them together again."""
    try:
        if sent[0] == 1:
            spans = _items(sent, 74)
            return sent[6:74], _taken(sent, spans), lambda head, parts: _whole(sent, head + b"".join(parts))
        values = _values(sent) if sent[0] == 4 else []
        if len(values) == 1 and sent[values[0][0] + 5] & 1:
            elements = _taken(sent, _elements(sent, values[0][0] + 6, values[0][1]))
            return sent[10:12], elements, _command_with
        return b"", _taken(sent, values), lambda _, parts: _whole(sent, b"".join(parts))
    except (struct.error, IndexError):  # one that was damaged before
        return b"", [], lambda _, __: sent


def _command_with(head: bytes, elements: list[bytes]) -> bytes:
    body = b"".join(elements)
    value = struct.pack(">L", len(body) + 2) + head + body
    return struct.pack(">BxL", 4, len(value)) + value


def _taken(sent: bytes, spans: list[tuple[int, int]]) -> list[bytes]:
    return [sent[start:end] for start, end in spans]


def _walk(sent: bytes, start: int, end: int, head: int, form: str, place: int) -> list[tuple[int, int]]:
    """Where parts begin and end, each with `head` bytes and a length at `place` of them."""
    found = []
    while start + head <= end:
        following = start + head + int(struct.unpack_from(form, sent, start + place)[0])
        if following > end:
            break
        found.append((start, following))
        start = following
    return found


def _items(sent: bytes, start: int) -> list[tuple[int, int]]:
    return _walk(sent, start, len(sent), 4, ">H", 2)


def _values(sent: bytes) -> list[tuple[int, int]]:
    return [(start, end) for start, end in _walk(sent, 6, len(sent), 4, ">L", 0) if end - start >= 6]


def _elements(sent: bytes, start: int, end: int) -> list[tuple[int, int]]:
    return _walk(sent, start, end, 8, "<L", 4)
