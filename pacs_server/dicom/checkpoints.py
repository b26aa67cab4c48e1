"""How far every chain of the audit trail was at one moment, as a text that is signed; and whether rows are still what
they were: each follows from the one before, and none is missing up to where a checkpoint saw the chain.

A checkpoint tells of the chains that went on since the one before it, whose digest it holds. Who signs has a series of
checkpoints, named by the key, so that several nodes of a site need not agree who does.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

import blake3

from pacs_server.dicom.audit import Values, hash_of
from pacs_server.errors import Undecodable

_FORMAT: Final = 1
_SERIES_CHARACTERS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One checkpoint. `heads` are the number and hash of the last row, by chain; `previous` is the digest of the text
    of the checkpoint before, empty for the first; `key` is the public one, `signature` that over all else, in hex.
    """

    series: str
    number: int
    at: datetime
    previous: str
    heads: Mapping[str, tuple[int, str]]
    key: str
    signature: str = ""

    @property
    def name(self) -> str:
        """How a message names it."""
        return f"checkpoint {self.number} of {self.at:%Y-%m-%d} by {self.series[:8]}"

    def signed_text(self) -> bytes:
        """What is signed."""
        return to_text(replace(self, signature="")).encode()


def series_of(key: str) -> str:
    """The name of the series that belongs to a public key. Raises: ValueError when it is not in hex."""
    return blake3.blake3(bytes.fromhex(key)).hexdigest()[:_SERIES_CHARACTERS]


def digest_of(text: str) -> str:
    """The digest by which the next checkpoint refers to one."""
    return blake3.blake3(text.encode()).hexdigest()


def to_text(one: Checkpoint) -> str:
    """The content of its file, the same for the same checkpoint."""
    told = {
        "format": _FORMAT,
        "series": one.series,
        "number": one.number,
        "at": one.at.isoformat(),
        "previous": one.previous,
        "heads": {chain: list(head) for chain, head in one.heads.items()},
        "key": one.key,
        "signature": one.signature,
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> Checkpoint:
    """The checkpoint in a file, whether its signature is good or not. Raises: Undecodable when it holds none."""
    try:
        told: dict[str, Any] = json.loads(text)
        if told["format"] != _FORMAT:
            raise ValueError(f"it has format {told['format']}, which this release does not know")  # noqa: TRY301
        bytes.fromhex(told["key"])  # ValueError here: a key that is not in hex has no series
        return Checkpoint(
            series=str(told["series"]),
            number=int(told["number"]),
            at=datetime.fromisoformat(told["at"]),
            previous=str(told["previous"]),
            heads={str(chain): (int(number), str(row)) for chain, (number, row) in told["heads"].items()},
            key=str(told["key"]),
            signature=str(told["signature"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Undecodable(f"this is no checkpoint of the audit trail: {error}") from error


def heads_seen(checkpoints: Iterable[Checkpoint]) -> dict[str, tuple[int, str, Checkpoint]]:
    """How far each chain was when it was seen furthest, and by which checkpoint."""
    seen: dict[str, tuple[int, str, Checkpoint]] = {}
    for one in checkpoints:
        for chain, (number, row_hash) in one.heads.items():
            if chain not in seen or seen[chain][0] < number:
                seen[chain] = number, row_hash, one
    return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is not as it was written: where, and what. `number` is that of the row in its chain, or of the
    checkpoint in its series.
    """

    chain: str
    number: int
    problem: str
    at: str = ""


class Link(Protocol):
    """A row of a chain."""

    @property
    def chain(self) -> str: ...  # noqa: D102

    @property
    def number(self) -> int: ...  # noqa: D102

    @property
    def values(self) -> Values: ...  # noqa: D102

    @property
    def hash(self) -> str: ...  # noqa: D102


@dataclass(slots=True)
class _Chain:
    """How far one chain was read."""

    number: int = 0
    hash: str = ""
    is_sound: bool = True


def problems_of_chains(rows: Iterable[Link], checkpoints: Collection[Checkpoint]) -> Iterator[Problem]:
    """The first problem of every chain that has one. The rows of a chain come in their order, whatever comes between.

    A row has to be what every checkpoint saw that ended there: a later one has seen what was forged before it.
    """
    seen: dict[tuple[str, int], list[tuple[str, Checkpoint]]] = defaultdict(list)
    for one in checkpoints:
        for name, (number, row_hash) in one.heads.items():
            seen[name, number].append((row_hash, one))
    chains: dict[str, _Chain] = {}
    for row in rows:
        chain = chains.setdefault(row.chain, _Chain())
        if chain.is_sound and (problem := _problem(row, chain, seen.get((row.chain, row.number), ()))) is not None:
            chain.is_sound = False
            yield problem
        chain.number, chain.hash = row.number, row.hash
    for name, (number, _, checkpoint) in sorted(heads_seen(checkpoints).items()):
        chain = chains.get(name, _Chain())
        if chain.is_sound and chain.number < number:
            told = f"{number - chain.number} rows were removed from its end: {checkpoint.name} saw them"
            yield Problem(chain=name, number=chain.number + 1, problem=told)


def _problem(row: Link, chain: _Chain, seen: Iterable[tuple[str, Checkpoint]]) -> Problem | None:
    """What is wrong with the next row of a chain, whose hash `seen` tells as checkpoints saw it."""
    told = partial(Problem, chain=row.chain, at=str(row.values[0]))
    if (missing := row.number - chain.number - 1) != 0:
        removed = f"{missing} rows were removed" if missing > 0 else "the row is not where it was written"
        return told(number=chain.number + 1, problem=removed)
    if hash_of(chain.hash, row.chain, row.number, row.values) != row.hash:
        return told(number=row.number, problem="the row was edited, or put in the place of another")
    for wanted, checkpoint in seen:
        if row.hash != wanted:
            made_to_fit = "this row or one before it was edited, and all after it made to fit"
            return told(number=row.number, problem=f"{made_to_fit}: {checkpoint.name} saw others")
    return None
