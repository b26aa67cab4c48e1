"""An index and two volumes, without a server: what the deeds of the archive work on."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from pydicom.dataset import Dataset
from support.samples import Sample, tiny, write

from pacs_server.archive.copies import complete
from pacs_server.archive.importing import ImportOutcome, ImportResult, import_paths
from pacs_server.archive.reception import Declared, Origin, Reception
from pacs_server.archive.scrub import verify
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.index.copies import Copies, KeptObject
from pacs_server.index.engine import Index
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site.registry import Registry, VolumeRow
from pacs_server.index.spread import CopySpread
from pacs_server.settings import StorageLimits
from pacs_server.storage.condition import VolumeSpec
from pacs_server.storage.placement import Placement
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.volume import Volume

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)
SENDER = Origin(aet="CT1")


class Site:
    """An index and two volumes of different fault domains; the policy is want 2, need 1 unless told otherwise."""

    def __init__(self, index: Index, folder: Path) -> None:
        self.index, self.folder = index, folder
        self.copies, self.jobs, self.instances = Copies(index), JobQueue(index), Instances(index)
        self.spread = CopySpread(index)
        self.volumes = {name: self._volume(name) for name in ("a", "b")}
        self.samples: list[Sample] = []
        self._numbers = count()

    def _volume(self, name: str, tier: str = "hot") -> Volume:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        row = VolumeRow(id=adopt(path, name=name), name=name, path=str(path), tier=tier, domain=name)
        Registry(self.index).add_volume(row)
        volume = Volume(VolumeSpec(id=row.id, name=name, path=path, tier=tier, domain=name), StorageLimits())
        volume.check()
        return volume

    def placement(self, aet: str = "", *, need: int = 1, only: str = "") -> Placement:
        volumes = [volume for name, volume in self.volumes.items() if only in ("", name)]
        return Placement(volumes, want=2, need=need, degraded=1)

    def take_in(self, number: int = 3, *, need: int = 2, only: str = "") -> None:
        """Objects of one series; with need 2 each is on both volumes."""
        self.samples = self.store(*(tiny(n, ImageComments="x" * 900 * n) for n in range(number)), need=need, only=only)

    def store(self, *datasets: Dataset, need: int = 2, only: str = "", now: datetime = NOW) -> list[Sample]:
        """Objects as a peer would send them, one after the other."""
        sent = [write(one, self.folder / f"{next(self._numbers)}.dcm") for one in datasets]
        results = self.receive([sample.path for sample in sent], need=need, only=only, now=now)
        assert {result.outcome for result in results} <= {ImportOutcome.STORED, ImportOutcome.DUPLICATE}, results
        return sent

    def receive(
        self, paths: Sequence[Path], *, need: int = 2, only: str = "", now: datetime = NOW, origin: Origin = SENDER
    ) -> list[ImportResult]:
        """Files as a peer would send them. Raises: NotEnoughCopies or IndexUnavailable for one that is not taken."""
        placement = self.placement(need=need, only=only)

        def receive(declared: Declared) -> Reception:
            return Reception(
                declared, origin, instances=self.instances, placement=placement, vocabulary=STANDARD,
                memory_bytes=1 << 20, now=now,
            )  # fmt: skip

        return list(import_paths(paths, receive))

    def objects(self) -> list[KeptObject]:
        return self.copies.of_series(self.samples[0].study_uid, self.samples[0].series_uid)

    def file(self, number: int, name: str) -> Path:
        """The file of an object on a volume, as the index says."""
        volume = self.volumes[name]
        held = next(one for one in self.objects() if one.sop_uid == self.samples[number].sop_uid)
        (path,) = [copy.path for copy in held.copies if copy.volume_id == volume.spec.id]
        return volume.spec.path / path

    def complete(self) -> tuple[int, tuple[str, ...]]:
        done = complete(self.objects(), self.copies, self.placement, now=NOW)
        return done.written, tuple(done.problems.values())

    def verify(self, name: str) -> list[str]:
        found = verify(self.volumes[name], self.copies, before=LATER, clock=lambda: LATER)
        return [one.damage for one in found]
