"""An archive with a disk and a bucket, need 2: whatever the S3 server does loses nothing and delays nobody else."""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from support.buckets import Files, S3Server
from support.samples import Sample, data_set_of, tiny, write
from support.senders import Sender, objects
from support.server import LONG, Archive, wait_for

from pacs_server.errors import PacsError
from pacs_server.settings import StorageLimits
from pacs_server.storage.condition import VolumeSpec
from pacs_server.storage.location import BucketAddress
from pacs_server.storage.volume import Volume

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000 if LONG else 300)]

EACH = 400 if LONG else 30
LARGE_MB = 1_500 if LONG else 20
# On a machine that does other things meanwhile, a volume that is well may take some seconds. Both together are less
# than the senders wait for an answer, so that one that waits for a request that hangs is seen.
WRITE_TIMEOUT_S, NOISE_S = (3, 0.0) if LONG else (8, 10.0)


class Site:
    """An archive with a volume in a bucket, and what lies there seen past the archive."""

    def __init__(self, archive: Archive, address: BucketAddress, server: S3Server) -> None:
        self.archive, self.address, self.server = archive, address, server
        spec = VolumeSpec(id="", name="s3", path=address, tier="hot", domain="s3")
        self.files = Files(Volume(spec, StorageLimits()), server)

    def add_bucket(self) -> str:
        keys = str(self.address.credentials_file)
        place = ("--endpoint", self.address.endpoint, "--credentials-file", keys)
        return self.archive.pacs("storage", "add", "s3", str(self.address), *place).stderr

    def in_bucket(self) -> dict[str, PurePosixPath]:
        """The paths of the objects in the bucket, by SOP Instance UID."""
        paths = [PurePosixPath(name) for name in self.files.names() if name.endswith(".dcm") and name.startswith("v1/")]
        return {path.name.rpartition("-")[0]: path for path in paths}

    def differing(self, samples: list[Sample], folder: Path) -> list[str]:
        """Those of which the bucket does not hold exactly what was sent."""
        wrong, held = [], self.in_bucket()
        for sample in samples:
            fetched = folder / "fetched.dcm"
            fetched.write_bytes(self.files.content(held[sample.sop_uid]) if sample.sop_uid in held else b"")
            if not fetched.stat().st_size or data_set_of(fetched) != sample.data_set:
                wrong.append(sample.sop_uid)
        return wrong

    def facts(self, name: str = "s3") -> dict[str, Any]:
        told: dict[str, Any] = self.archive.report("storage", "show", name)
        return told

    def wait_for_two_copies(self) -> None:
        healed = {"want": 2, "lacking_copies": 0, "damaged_copies": 0, "jobs": {}}
        wait_for(
            lambda: self.archive.report("status")["backlog"].items() >= healed.items(),
            "every object to have two copies",
            timeout_s=200,
            every_s=0.5,
        )


@pytest.fixture
def site(new_archive: Callable[..., Archive], s3_server: S3Server, tmp_path: Path) -> Site:
    archive = new_archive(storage={"write_timeout_s": WRITE_TIMEOUT_S}, workers=2)
    return Site(archive, s3_server.new_address(tmp_path), s3_server)


def large_object(folder: Path) -> Sample:
    values = {"BitsAllocated": 8, "Rows": 1, "Columns": 1, "SamplesPerPixel": 1}
    dataset = tiny(9_000, study="large", PixelData=os.urandom(LARGE_MB << 20), **values)
    dataset["PixelData"].VR = "OB"
    return write(dataset, folder / "large.dcm")


def test_a_disk_and_a_bucket_keep_every_object_twice_whatever_the_s3_server_does(site: Site, tmp_path: Path) -> None:
    archive = site.archive
    folder = tmp_path / "objects"
    folder.mkdir()
    assert "2 fault domains now" in site.add_bucket()
    archive.pacs("policy", "set", "--want", "2", "--need", "2", "--degraded", "1")
    archive.start()

    first = Sender(archive, [*objects(folder, 1, EACH), large_object(folder)])
    first.send_some()
    assert first.statuses == {0}
    assert site.differing(first.acknowledged, tmp_path) == []
    assert len(archive.files()) == EACH + 1
    facts = site.facts()
    assert facts | {"state": "online", "free_bytes": None, "copies": EACH + 1, "only_copies": 0} == facts
    assert "not told" in archive.pacs("storage", "list").stdout
    archive.pacs("storage", "set", "s3", "--high-water", "90", expect=2)
    (advice,) = [one for one in archive.report("storage", "doctor", expect=12) if one["volume"] == "s3"]
    assert "flushes" in advice["problem"]

    second = Sender(archive, objects(folder, 2, EACH))
    with site.server.failing("hang", key=site.address.bucket):
        second.start()
        wait_for(lambda: len(second.acknowledged) == EACH, "objects that the disk alone takes", timeout_s=100)
        wait_for(lambda: site.facts()["state"] == "suspect", "the bucket to be suspected")
    assert (second.statuses, second.longest_s < WRITE_TIMEOUT_S + 1 + NOISE_S) == ({0}, True)
    site.wait_for_two_copies()
    everything = [*first.acknowledged, *second.acknowledged]
    assert site.differing(everything, tmp_path) == []

    (archive.volume / "v1").rename(tmp_path / "lost")  # at once, whatever the server writes there
    archive.pacs("export", "StudyInstanceUID=*", "--to", str(tmp_path / "exported"))
    exported = {path for path in (tmp_path / "exported").rglob("*") if path.is_file()}
    assert sorted(map(data_set_of, exported)) == sorted(sample.data_set for sample in everything)

    damaged = site.in_bucket()[second.acknowledged[0].sop_uid]
    archive.pacs("verify", "--volume", "first", expect=(0, 3, 12))
    archive.pacs("storage", "set", "first", "--trust")
    site.wait_for_two_copies()
    site.files.overwrite(damaged, b"rot")
    archive.pacs("verify", "--volume", "s3", expect=(0, 3, 12))
    site.wait_for_two_copies()
    assert (len(archive.files()), site.differing(everything, tmp_path)) == (2 * EACH + 1, [])
    assert [name for name in site.files.names() if name.startswith("quarantine/")] == [
        str(PurePosixPath("quarantine", *damaged.parts[1:]))
    ]
    archive.pacs("retention", "set", "--purge", "by-hand", "--grace-days", "0")
    archive.pacs("delete", f"StudyInstanceUID={everything[0].study_uid}", "--reason", "wrong patient", "--yes")
    archive.pacs("purge", "--yes")
    wait_for(lambda: everything[0].sop_uid not in site.in_bucket(), "what was purged to leave the bucket", timeout_s=60)
    assert archive.stop() == 0
    assert "Traceback" not in archive.log_text(), archive.log_text()[-4_000:]


def test_an_object_that_a_kill_left_in_a_bucket_without_a_row_is_adopted(site: Site, tmp_path: Path) -> None:
    archive = site.archive
    folder = tmp_path / "objects"
    folder.mkdir()
    samples = objects(folder, 1, 12)
    site.add_bucket()
    archive.pacs("storage", "remove", "first", "--yes")
    archive.start(dies_at=("written", 8))
    sender = Sender(archive, samples)
    with pytest.raises(PacsError):
        sender.send_some()
    assert archive.wait_for_death() < 0
    assert len(sender.acknowledged) == 7
    archive.start()
    eighth = samples[7].sop_uid
    assert (eighth in site.in_bucket(), eighth in archive.instance_uids()) == (True, False)
    assert archive.report("reconcile", "--repair") == [], "it may be on its way still"
    site.server.make_old(site.address.bucket)
    (adopted,) = archive.report("reconcile", "--repair")
    assert adopted["kind"] == "adopted"
    assert eighth in archive.instance_uids()
    sender.send_some()
    assert site.differing(samples, tmp_path) == []
    archive.pacs("index", "rebuild", timeout_s=100)
    assert archive.instance_uids() == {sample.sop_uid for sample in samples}
    assert archive.report("reconcile") == []
    assert archive.stop() == 0
