"""Takes the daily checkpoint of the audit trail, and says whether the trail is still what was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from pacs_server import log
from pacs_server.cluster.signing import Signer, is_signed
from pacs_server.dicom.checkpoints import (
    Checkpoint,
    Problem,
    digest_of,
    from_text,
    heads_seen,
    problems_of_chains,
    series_of,
    to_text,
)
from pacs_server.errors import CopyUnreadable, Undecodable, VolumeUnavailable
from pacs_server.index.audit import Wanted
from pacs_server.service.assemble import Node
from pacs_server.storage.layout import checkpoint_path
from pacs_server.storage.records import keep_record, read_record
from pacs_server.storage.volume import Volume

_EVERY: Final = timedelta(days=1)
# So old a row may be when it is written down: what could not be, because the database was away, waits.
_OLD: Final = timedelta(days=7)
_KEY_FILE: Final = "audit.key"
# So it is called until the first checkpoint has its row: with a key and no checkpoint, some were removed.
_UNUSED_KEY_FILE: Final = "audit.key.unused"


@dataclass(frozen=True, slots=True)
class _OnVolume:
    """A checkpoint's file: number and series in its name, where it is, what it holds or why that cannot be read."""

    stamp: tuple[int, str]
    where: str
    text: str
    problem: str = ""


def key_file(data_dir: Path) -> Path:
    """The key with which this node signs."""
    return data_dir / _KEY_FILE


def put_key_aside(data_dir: Path, name: str) -> None:
    """Have another key made: numbers of checkpoints that were taken with this one must not be given twice."""
    for key in (key_file(data_dir), data_dir / _UNUSED_KEY_FILE):
        if key.exists():
            key.rename(key.with_name(f"{key.name}.{name}"))


def last_checkpoint(node: Node) -> Checkpoint | None:
    """The last one that this node has taken. Raises: ConfigError; Undecodable; IndexUnavailable."""
    if not (key := key_file(node.settings.data_dir)).exists():
        return None
    texts = node.audit.checkpoints(series_of(Signer.of(key).public_key))
    return from_text(texts[-1]) if texts else None


class DailyCheckpoint:
    """Takes a checkpoint each day, and has it on every volume. Belongs to one thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last_at = datetime.min.replace(tzinfo=UTC)

    def look(self, now: datetime) -> None:
        """Take one if the last is a day away: of yesterday, or of a time to come after the clock was put back.

        Raises: ConfigError when the key cannot be used; IndexUnavailable.
        """
        if abs(now - self._last_at) < _EVERY:
            return
        node = self._node
        key, unused = key_file(node.settings.data_dir), node.settings.data_dir / _UNUSED_KEY_FILE
        signer = Signer.of(key) if key.exists() else Signer.made(unused)
        texts = node.audit.checkpoints(series_of(signer.public_key))
        last = from_text(texts[-1]) if texts else None
        if last is None or abs(now - last.at) >= _EVERY:
            last = take_checkpoint(node, signer, now)
        if not key.exists():
            unused.rename(key)
        self._last_at = last.at
        for volume in node.volumes():
            try:
                _complete(volume, node.audit.checkpoints())
            except VolumeUnavailable as error:
                log.warning("checkpoints not copied", volume=volume.spec.name, why=error)


def take_checkpoint(node: Node, signer: Signer, now: datetime) -> Checkpoint:
    """Keep how far every chain is, signed. It has a row first: what lies on volumes is to be found there again.

    Raises: IndexUnavailable.
    """
    series = series_of(signer.public_key)
    texts = node.audit.checkpoints(series)
    last = from_text(texts[-1]) if texts else None
    seen = heads_seen(map(from_text, texts))
    found = node.audit.heads(min(last.at, now) - _OLD if last else None)
    heads = {chain: head for chain, head in found.items() if chain not in seen or seen[chain][:2] != head}
    unsigned = Checkpoint(
        series=series,
        number=last.number + 1 if last else 1,
        at=now,
        previous=digest_of(texts[-1]) if texts else "",
        heads=heads,
        key=signer.public_key,
    )
    taken = replace(unsigned, signature=signer.sign(unsigned.signed_text()))
    node.audit.add_checkpoint(series, taken.number, now, to_text(taken))
    log.info("audit checkpoint", number=taken.number, chains=len(heads))
    return taken


def _complete(volume: Volume, texts: Iterable[str]) -> None:
    """Write the checkpoints that a volume does not have. Raises: VolumeUnavailable."""
    there = {stamp for stamp, _ in volume.checkpoint_files()}
    for text in texts:
        one = from_text(text)
        if (one.number, one.series) not in there:
            keep_record(volume, checkpoint_path(one.series, one.number, one.at), text)


def problems_of_trail(node: Node) -> Iterator[Problem]:
    """Everything in the audit trail, and in the checkpoints here and on the volumes, that is not as it was written.

    Raises: ConfigError when the key of this node cannot be used; IndexUnavailable.
    """
    # In this order, so that what is written meanwhile is no problem: a checkpoint has its row before its files, and a
    # row of a chain comes before the checkpoint that tells of it.
    on_volumes = [one for volume in node.volumes() for one in _found_on(volume)]
    texts = node.audit.checkpoints()
    good: list[Checkpoint] = []
    for one, problem in _examined(texts):
        if problem is not None:
            yield problem
        if one is not None:
            good.append(one)
    yield from _differing(on_volumes, texts)
    if (own := key_file(node.settings.data_dir)).exists():
        series = series_of(Signer.of(own).public_key)
        if not any(one.series == series for one in good):
            yield Problem(chain=series, number=1, problem=f"there is no good checkpoint signed with {own}")
    yield from problems_of_chains(node.audit.rows(Wanted()), good)


def _examined(texts: Iterable[str]) -> Iterator[tuple[Checkpoint | None, Problem | None]]:
    """Every checkpoint whose signature is good, and what is wrong with it or with one whose signature is not."""
    series, number, before = "", 0, ""
    for text in texts:
        try:
            one = from_text(text)
        except Undecodable as error:
            yield None, Problem(chain=series, number=number + 1, problem=str(error))
            continue
        if one.series != series:
            series, number, before = one.series, 0, ""
        told = partial(Problem, chain=series, number=one.number, at=one.at.isoformat())
        if series_of(one.key) != series or not is_signed(one.key, one.signed_text(), one.signature):
            yield None, told(problem=f"{one.name} was edited: its signature is not over what it says")
        elif (one.number, one.previous) != (number + 1, before):
            yield one, told(problem=f"{one.name} does not follow the one before it: some were removed or replaced")
        else:
            yield one, None
        number, before = one.number, digest_of(text)


def _found_on(volume: Volume) -> Iterator[_OnVolume]:
    """The checkpoints on a volume; one that is away tells nothing."""
    try:
        for stamp, path in volume.checkpoint_files():
            where = f"volume {volume.spec.name}, {path}"
            try:
                yield _OnVolume(stamp, where, read_record(volume, path))
            except (CopyUnreadable, Undecodable) as error:
                yield _OnVolume(stamp, where, "", str(error))
    except VolumeUnavailable as error:
        log.warning("checkpoints not read", volume=volume.spec.name, why=error)


def _differing(found: Iterable[_OnVolume], texts: Iterable[str]) -> Iterator[Problem]:
    """Where a volume has another checkpoint than the database, or one that the database has no more. A volume that was
    away may lack some.
    """
    known = set(texts)
    for one in found:
        if one.text not in known:
            told = one.problem or f"the database does not have the checkpoint that is on {one.where}"
            yield Problem(chain=one.stamp[1], number=one.stamp[0], problem=told)
