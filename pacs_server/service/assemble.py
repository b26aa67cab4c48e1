"""Wires one process's parts of the archive together, from the settings and the site state in the index."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from pacs_server.archive.ingest import Declared, Origin, Reception
from pacs_server.dicom.vocabulary import STANDARD, Vocabulary
from pacs_server.dimse.session import Archive
from pacs_server.index.engine import Index
from pacs_server.index.fields import Fields
from pacs_server.index.instances import Instances
from pacs_server.index.registry import Registry, VolumeRow
from pacs_server.index.schema import open_current
from pacs_server.index.search import Search
from pacs_server.settings import Settings
from pacs_server.storage.placement import Placement
from pacs_server.storage.volume import Volume, VolumeSpec

# How long a change of volumes, policy or fields by an admin may stay unnoticed by a running server.
_SITE_STATE_AGE_S: Final = 1.0


class Node:
    """Everything one process of this node works with. May be used from any thread."""

    def __init__(self, settings: Settings, index: Index) -> None:
        self.settings = settings
        self.index = index
        self.registry = Registry(index)
        self.instances = Instances(index)
        self.search = Search(index)
        self.fields = Fields(index)
        self._lock = threading.Lock()
        self._volumes: dict[str, Volume] = {}
        self._revision = -1
        self._looked_at = float("-inf")
        self._placement = Placement((), need=1, degraded=1)
        self._vocabulary = STANDARD

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Self]:
        """Open the index and, as they are needed, the volumes; a volume may be down.

        Raises: ConfigError, IndexUnavailable or SchemaMismatch.
        """
        index = open_current(settings.database)
        try:
            yield cls(settings, index)
        finally:
            index.close()

    def placement(self) -> Placement:
        """Where objects go at this moment, by the volumes and the policy that the admin set.

        Raises: IndexUnavailable.
        """
        self._look_at_site_state()
        return self._placement

    def vocabulary(self) -> Vocabulary:
        """What is read from objects and can be asked for at this moment.

        Raises: IndexUnavailable.
        """
        self._look_at_site_state()
        return self._vocabulary

    def _look_at_site_state(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _SITE_STATE_AGE_S:
            return
        with self._lock:
            revision = self.registry.revision()
            if revision != self._revision:
                self._take_over(self.registry.volumes())
                policy = self.registry.policy()
                self._placement = Placement(
                    tuple(self._volumes.values()),
                    need=policy.need,
                    degraded=policy.degraded,
                )
                self._vocabulary = self.fields.vocabulary()
                self._revision = revision
            self._looked_at = now

    def volumes(self) -> list[Volume]:
        """The volumes of the site, each with its present state.

        Raises: IndexUnavailable.
        """
        self._look_at_site_state()
        return list(self._volumes.values())

    def _take_over(self, rows: list[VolumeRow]) -> None:
        wanted = {row.id: _spec(row) for row in rows}
        kept = {key: volume for key, volume in self._volumes.items() if wanted.get(key) == volume.spec}
        for key, spec in wanted.items():
            if key not in kept:
                kept[key] = Volume(spec, self.settings.storage)
                kept[key].check()
        self._volumes = kept

    def reception(self, declared: Declared, origin: Origin) -> Reception:
        """An object that is about to arrive.

        Raises: IndexUnavailable.
        """
        return Reception(
            declared,
            origin,
            instances=self.instances,
            placement=self.placement(),
            vocabulary=self.vocabulary(),
            memory_bytes=self.settings.storage.memory_per_object_bytes,
            now=datetime.now(UTC),
        )

    def archive(self) -> Archive:
        """The parts that services on an association use."""
        return Archive(
            settings=self.settings,
            search=self.search,
            registry=self.registry,
            placement=self.placement,
            receive=self.reception,
            vocabulary=self.vocabulary,
        )


def _spec(row: VolumeRow) -> VolumeSpec:
    return VolumeSpec(id=row.id, name=row.name, path=Path(row.path), tier=row.tier, domain=row.domain)
