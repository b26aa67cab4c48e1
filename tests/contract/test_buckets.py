"""A bucket as a volume: whatever its server does, an object that was stored is whole, and nobody else waits for it."""

import base64
import errno
import hashlib
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path, PurePosixPath

import pytest
from botocore.session import Session
from support.arrivals import digest_of
from support.buckets import HANG_S, Environ, Files, S3Server, bucket_volume
from support.seaweedfs import SeaweedFS
from support.server import wait_for

from pacs_server.archive.copies import damage_of
from pacs_server.archive.tiering import bytes_to_lose
from pacs_server.cli.exits import ExitCode, exit_code
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import ObjectHasher, Uid
from pacs_server.dicom.part10 import file_meta
from pacs_server.dicom.stored import is_intact
from pacs_server.errors import CopyUnreadable, NotEnoughCopies, Refused, VolumeAway, VolumeUnavailable
from pacs_server.settings import StorageLimits
from pacs_server.storage import s3, uploading
from pacs_server.storage.atomic import NewFile
from pacs_server.storage.condition import Status, VolumeSpec
from pacs_server.storage.layout import object_path
from pacs_server.storage.location import BucketAddress, location_of
from pacs_server.storage.medium import UnfinishedFile
from pacs_server.storage.mounts import fail_together, footing_of, mount_table
from pacs_server.storage.opening import open_medium
from pacs_server.storage.placement import Placement
from pacs_server.storage.sentinel import adopt, place_at
from pacs_server.storage.volume import Volume
from pacs_server.storage.writing import CopyPlace

LIMITS, QUICK = StorageLimits(), StorageLimits(write_timeout_s=2)
DAY = date(2026, 1, 2)
META = file_meta(sop_class="1.2.840.10008.5.1.4.1.1.2", sop_instance="1.2.3.1", transfer_syntax=EXPLICIT_LE)
PATH = object_path(DAY, "1.2", "1.3", Uid("1.2.3"), digest_of("1"))
SENTINEL = ".pacs-volume.json"


@pytest.fixture
def address(s3_server: S3Server, tmp_path: Path) -> BucketAddress:
    return s3_server.new_address(tmp_path)


@pytest.fixture
def bucket(address: BucketAddress) -> Volume:
    return bucket_volume(address, limits=LIMITS, tier="cold")


@pytest.fixture
def files(bucket: Volume, s3_server: S3Server) -> Files:
    return Files(bucket, s3_server)


@pytest.fixture
def alone(bucket: Volume) -> Placement:
    return Placement((bucket,), need=1, degraded=1)


@pytest.fixture
def new_directory(tmp_path: Path) -> Callable[[], Volume]:
    numbers = count()

    def make() -> Volume:
        path = (tmp_path / f"nas{next(numbers)}").resolve()
        path.mkdir()
        spec = VolumeSpec(id=adopt(path, name="nas"), name=path.name, path=path, tier="hot", domain=path.name)
        volume = Volume(spec, LIMITS)
        volume.check()
        return volume

    return make


def asked(server: S3Server, address: BucketAddress, path: PurePosixPath = PATH) -> list[Environ]:
    """The requests about a file; volumes of other tests may still be cleared up meanwhile."""
    key = f"/{address.bucket}/{address.prefix}/{path}"
    return [one for one in list(server.requests) if one["PATH_INFO"] == key]


class LargeObject:
    """An object of some parts of an upload, and the path of which the name holds its digest."""

    def __init__(self, count_mb: int = 20) -> None:
        self.chunks = [META, *(os.urandom(1_000_000) for _ in range(count_mb))]
        hasher = ObjectHasher(EXPLICIT_LE)
        for chunk in self.chunks[1:]:
            hasher.update(chunk)
        self.digest = hasher.digest()
        self.path = object_path(DAY, "1.2", "1.3", Uid("1.2.3.1"), self.digest)
        self.content = b"".join(self.chunks)

    def send(self, placement: Placement, fault: Callable[[], object] = lambda: None) -> list[str]:
        """The volumes that took it; `fault` comes when half of it was sent."""
        stream = placement.stream(self.path.parent)
        stream.begin(self.chunks[:1])
        try:
            for number, chunk in enumerate(self.chunks[1:]):
                if number == len(self.chunks) // 2:
                    fault()
                stream.write(chunk)
            return [copy.volume_id for copy in stream.finish(self.path)]
        finally:
            stream.abandon()


def test_an_object_is_written_only_if_its_key_is_new_with_its_checksum_and_looked_at_afterwards(
    address: BucketAddress, alone: Placement, s3_server: S3Server
) -> None:
    s3_server.requests.clear()
    alone.store(PATH, [b"content"])
    put, head = asked(s3_server, address)
    assert [one["REQUEST_METHOD"] for one in (put, head)] == ["PUT", "HEAD"]
    checksum = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    assert (put["HTTP_IF_NONE_MATCH"], put["HTTP_X_AMZ_CHECKSUM_SHA256"]) == ("*", checksum)


def test_an_object_that_is_there_is_compared_and_written_again_only_when_it_differs(
    address: BucketAddress, alone: Placement, files: Files, s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    alone.store(PATH, [b"content"])
    s3_server.requests.clear()
    alone.store(PATH, [b"content"])
    assert [one["REQUEST_METHOD"] for one in asked(s3_server, address)] == ["PUT", "GET"]
    files.overwrite(PATH, b"cOntent")
    with caplog.at_level(logging.WARNING):
        alone.store(PATH, [b"content"])
    assert "what was there is damaged" in caplog.text
    assert files.content(PATH) == b"content"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("403 AccessDenied", "refuses"),
        ("500 InternalError", "InternalError"),
        ("503 SlowDown", "SlowDown"),
        ("507 InsufficientStorage", "no room"),
        ("cut", "does not answer"),
        ("damage", "not what was sent"),
        ("forget", "has not kept"),
    ],
)
def test_an_object_that_the_server_does_not_take_is_not_stored_and_leaves_nothing(
    alone: Placement, files: Files, s3_server: S3Server, fault: str, reason: str
) -> None:
    with s3_server.failing(fault, "PUT"), pytest.raises(NotEnoughCopies, match=reason) as refused:
        alone.store(PATH, [b"content"])
    assert "secret" not in str(refused.value)
    assert files.names() == [SENTINEL]
    alone.store(PATH, [b"content"])
    assert files.content(PATH) == b"content"


def test_an_object_of_which_the_server_tells_another_checksum_is_not_stored(
    alone: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3.S3, "head", lambda *_: (len(b"content"), s3.sha256_of(b"cOntent")))
    with pytest.raises(NotEnoughCopies, match="has not kept"):
        alone.store(PATH, [b"content"])


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("403 AccessDenied", Status.SUSPECT, "check the keys"),
        ("507 InsufficientStorage", Status.FULL, "make room, or add a volume"),
    ],
)
def test_a_bucket_that_takes_nothing_says_so_until_it_does(
    alone: Placement, bucket: Volume, files: Files, s3_server: S3Server, fault: str, status: Status, reason: str
) -> None:
    with s3_server.failing(fault, "PUT"):
        with pytest.raises(NotEnoughCopies):
            alone.store(PATH, [b"content"])
        state = bucket.check()
        assert (state.status, state.is_readable) == (status, True)
        assert re.fullmatch(f"nothing can be written: .*{reason}.*", state.reason)
    with s3_server.failing(fault, "PUT", after=1):  # an object is taken, and not copied to its key
        assert bucket.check().status is status
    wait_until_clean(bucket, files)
    assert bucket.check().status is Status.ONLINE


def test_a_connection_that_is_cut_once_is_made_again_within_the_same_store(
    alone: Placement, files: Files, s3_server: S3Server
) -> None:
    with s3_server.failing("cut", "PUT", times=1):
        alone.store(PATH, [b"content"])
    assert files.content(PATH) == b"content"


@pytest.mark.parametrize(("method", "after"), [("PUT", 0), ("POST", 1), ("PUT", 3), ("POST", 3), ("DELETE", 0)])
def test_what_was_done_though_the_answer_was_lost_counts_as_done(
    alone: Placement, files: Files, s3_server: S3Server, method: str, after: int
) -> None:
    large = LargeObject()
    with s3_server.failing("lose", method, after=after, times=1) as fault:
        large.send(alone)
        alone.store(PATH, [b"content"])
    assert fault.seen > after
    assert files.names() == sorted([SENTINEL, str(large.path), str(PATH)])
    assert (files.content(large.path), files.content(PATH)) == (large.content, b"content")


@pytest.mark.parametrize("fault", ["403 AccessDenied", "500 InternalError", "cut", "hang"])
def test_another_volume_takes_what_a_bucket_does_not(
    address: BucketAddress, new_directory: Callable[[], Volume], s3_server: S3Server, fault: str
) -> None:
    nas, bucket = new_directory(), bucket_volume(address, limits=QUICK if fault == "hang" else LIMITS)
    nas.change(replace(nas.spec, tier="cold"))
    with s3_server.failing(fault, "PUT"):
        (copy,) = Placement([bucket, nas], need=1, degraded=1).store(PATH, [b"content"])
    assert copy.volume_id == nas.spec.id


def test_a_server_that_hangs_makes_its_volume_suspect_delays_nobody_and_is_taken_up_again(
    address: BucketAddress, new_directory: Callable[[], Volume], s3_server: S3Server
) -> None:
    nas, bucket = new_directory(), bucket_volume(address, limits=QUICK, tier="cold")
    both = Placement([nas, bucket], need=2, degraded=1)
    with s3_server.failing("hang"):
        began = time.monotonic()
        (copy,) = both.store(PATH, [b"content"])
        assert (copy.volume_id, time.monotonic() - began < HANG_S / 2) == (nas.spec.id, True)
        assert (bucket.state.status, bucket.state.is_readable) == (Status.SUSPECT, False)
        other = PATH.with_name("other.dcm")
        (copy,) = both.store(other, [b"content"])
        assert (copy.volume_id, asked(s3_server, address, other)) == (nas.spec.id, []), "it was not even asked"
        with both.open((copy,)) as opened:
            assert bytes(opened.buffer) == b"content"

    def is_taken_up() -> bool:
        return bucket.check().status is Status.ONLINE and len(both.store(PATH, [b"content"])) == 2

    wait_for(is_taken_up, "the volume to take objects again", timeout_s=60, every_s=0.1)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("no bucket", "there is no bucket"),
        ("no sentinel", "there is no .pacs-volume.json"),
        ("another sentinel", "another volume"),
        ("damaged sentinel", "is damaged"),
    ],
)
def test_a_bucket_that_is_not_the_volume_is_offline_and_taken_up_when_it_is_again(
    bucket: Volume, alone: Placement, files: Files, s3_server: S3Server, harm: str, reason: str
) -> None:
    assert isinstance(bucket.spec.path, BucketAddress)
    sentinel = files.content(PurePosixPath(SENTINEL))
    if harm == "another sentinel":
        files.overwrite(PurePosixPath(SENTINEL), sentinel.replace(bucket.spec.id.encode(), b"f" * 32))
    elif harm == "damaged sentinel":
        files.overwrite(PurePosixPath(SENTINEL), b"{")
    else:
        files.remove(PurePosixPath(SENTINEL))
    if harm == "no bucket":
        s3_server.raw.delete_bucket(Bucket=bucket.spec.path.bucket)
        with pytest.raises(VolumeUnavailable, match=reason):
            bucket.has_file(PATH)  # which is not an answer of no
    state = bucket.check()
    assert (state.status, reason in state.reason) == (Status.OFFLINE, True), state
    with pytest.raises(NotEnoughCopies, match="offline"):
        alone.store(PATH, [b"content"])
    if harm == "no bucket":
        s3_server.raw.create_bucket(Bucket=bucket.spec.path.bucket)
    files.overwrite(PurePosixPath(SENTINEL), sentinel)
    assert bucket.check().status is Status.ONLINE
    assert len(alone.store(PATH, [b"content"])) == 1


def test_a_sentinel_is_written_once_whoever_comes_second(address: BucketAddress, files: Files, bucket: Volume) -> None:
    open_medium(address).put_first(PATH, b"first")
    open_medium(address).put_first(PATH, b"second")
    assert files.content(PATH) == b"first"
    assert adopt(address, name="again") == bucket.spec.id


def test_what_is_no_place_for_a_volume_is_refused(
    s3_server: S3Server, address: BucketAddress, bucket: Volume, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="overlap"):
        adopt(replace(address, prefix="pacs"), name="around", others=[address])
    with pytest.raises(Refused, match="overlap"):
        adopt(replace(address, prefix=f"{address.prefix}/below"), name="inside", others=[address])
    with pytest.raises(Refused, match="not empty"):
        adopt(replace(address, prefix=""), name="whole")
    with pytest.raises(Refused, match="there is no bucket"):
        adopt(replace(address, bucket="no-such-bucket"), name="nowhere")
    empty = s3_server.new_address(tmp_path)
    with s3_server.failing("403 AccessDenied", "PUT"), pytest.raises(Refused, match="check the keys"):
        adopt(empty, name="closed")
    with pytest.raises(Refused, match="no endpoint"):
        adopt(replace(empty, endpoint="https://a..b"), name="misspelt")
    with s3_server.failing("page"), pytest.raises(Refused, match="S3 server"):
        adopt(empty, name="web")
    with s3_server.failing("page", "PUT"), pytest.raises(Refused, match="S3 server"):
        adopt(empty, name="gateway")
    assert place_at(address).volume_id == bucket.spec.id
    assert Files(bucket, s3_server).names() == [SENTINEL]


def test_a_server_that_is_away_is_not_reached_and_the_volume_is_not_refused(
    address: BucketAddress, s3_server: S3Server
) -> None:
    away = replace(address, endpoint="http://127.0.0.1:1")
    with pytest.raises(VolumeAway, match=r"^s3://.* does not answer: .*: check the endpoint, that it runs") as raised:
        adopt(away, name="s3")
    assert exit_code(raised.value) == ExitCode.UNREACHABLE
    with s3_server.failing("503 ServiceUnavailable"), pytest.raises(VolumeAway, match="ServiceUnavailable"):
        adopt(address, name="s3")


def test_who_has_no_keys_is_told_how_to_name_them(
    address: BucketAddress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(s3, "_session", Session())  # the one of all buckets keeps what it found
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Refused, match=r"no keys for the S3 server: name a file with them \(--credentials-file\)"):
        adopt(replace(address, credentials_file=None), name="s3")


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("[default]\naws_access_key_id = key\naws_secret_access_key = geheim\n", 0o604, "everybody can read it"),
        ("geheim", 0o600, "cannot be read as a credentials file"),
        ("[other]\naws_access_key_id = geheim\n", 0o600, "no aws_access_key_id"),
        (None, 0o600, "cannot be read: No such file"),
    ],
)
def test_keys_that_cannot_be_used_are_named_by_their_file_and_never_shown(
    address: BucketAddress, tmp_path: Path, content: str | None, mode: int, reason: str
) -> None:
    keys = tmp_path / "other.keys"
    if content is not None:
        keys.write_text(content, encoding="utf-8")
        keys.chmod(mode)
    with pytest.raises(Refused, match=reason) as refused:
        adopt(replace(address, credentials_file=keys), name="s3")
    assert ("geheim" in str(refused.value), str(keys) in str(refused.value)) == (False, True)


def test_a_large_object_is_under_its_final_key_whole_or_not_at_all(alone: Placement, files: Files) -> None:
    large = LargeObject()
    on_the_way: list[str] = []
    large.send(alone, lambda: on_the_way.extend(files.names()))
    assert (SENTINEL in on_the_way, str(large.path) in on_the_way) == (True, False)
    assert files.names() == [SENTINEL, str(large.path)]
    assert files.content(large.path) == large.content
    with alone.open([CopyPlace(volume_id=alone.volumes[0].spec.id, path=str(large.path))]) as opened:
        assert b"".join(opened.pieces(12_345_678)) == large.content[12_345_678:]
        with pytest.raises(CopyUnreadable, match="too large"):
            _ = opened.buffer


def test_a_large_object_is_copied_to_its_key_in_steps(
    alone: Placement, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "_COPY_BYTES", 10 << 20)
    large = LargeObject()
    large.send(alone)
    assert files.content(large.path) == large.content
    alone.volumes[0].put_aside(large.path)
    assert files.content(PurePosixPath("quarantine", *large.path.parts[1:])) == large.content
    assert len(files.names()) == 2


def test_parts_grow_so_that_no_object_has_too_many(
    alone: Placement, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(uploading, "_PARTS_OF_ONE_SIZE", 1)
    large = LargeObject(40)
    large.send(alone)
    assert files.content(large.path) == large.content


@pytest.mark.parametrize("fault", ["500 InternalError", "cut", "damage", "hang"])
def test_a_bucket_that_fails_within_a_large_object_is_replaced_by_another_volume(
    address: BucketAddress, new_directory: Callable[[], Volume], s3_server: S3Server, fault: str
) -> None:
    bucket = bucket_volume(address, limits=QUICK if fault == "hang" else LIMITS)
    nas, spare = new_directory(), new_directory()
    spare.change(replace(spare.spec, tier="cold"))
    placement, large = Placement([bucket, nas, spare], need=2, degraded=2), LargeObject()
    with ExitStack() as faults:
        taken = large.send(placement, lambda: faults.enter_context(s3_server.failing(fault, "PUT")))
    assert sorted(taken) == sorted([nas.spec.id, spare.spec.id])
    wait_until_clean(bucket, Files(bucket, s3_server))


def wait_until_clean(bucket: Volume, files: Files) -> None:
    def is_clean() -> bool:
        return bucket.check().status is Status.ONLINE and files.names() == [SENTINEL]

    wait_for(is_clean, "the volume to answer and nothing to be left on it", timeout_s=60, every_s=0.1)


def test_when_only_the_bucket_is_left_a_replacement_gets_everything_from_it_in_the_end(
    bucket: Volume, new_directory: Callable[[], Volume], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.change(replace(bucket.spec, tier="hot"))
    nas, spare = new_directory(), new_directory()
    spare.change(replace(spare.spec, tier="cold"))
    placement, large = Placement([bucket, nas, spare], need=2, degraded=1), LargeObject()

    def fail() -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, "as a test told it to")

        monkeypatch.setattr(NewFile, "write", refuse)
        monkeypatch.setattr(nas, "medium", refuse)
        wait_for(lambda: nas.run(lambda _: True), "its threads to be free")

    def heal_when_it_is_tried(*arguments: object) -> UnfinishedFile:
        monkeypatch.undo()
        return new_file(*arguments)

    new_file = spare.medium().new_file
    monkeypatch.setattr(spare.medium(), "new_file", heal_when_it_is_tried)
    taken = large.send(placement, fail)
    assert sorted(taken) == sorted([bucket.spec.id, spare.spec.id])
    assert files.content(large.path) == Files(spare).content(large.path) == large.content


def test_nothing_is_left_of_a_large_object_whose_upload_could_not_be_aborted_at_first(
    alone: Placement, bucket: Volume, files: Files, s3_server: S3Server
) -> None:
    with ExitStack() as faults, pytest.raises(NotEnoughCopies):
        LargeObject().send(alone, lambda: faults.enter_context(s3_server.failing("500 InternalError")))
    wait_until_clean(bucket, files)


def test_nothing_is_left_of_a_large_object_that_the_server_does_not_copy_to_its_key(
    alone: Placement, bucket: Volume, files: Files, s3_server: S3Server
) -> None:
    large = LargeObject()
    with (
        s3_server.failing("500 InternalError", "PUT", key=large.path.name) as fault,
        pytest.raises(NotEnoughCopies, match="InternalError"),
    ):
        large.send(alone)
    assert fault.seen > 0
    wait_until_clean(bucket, files)


def test_uploads_that_end_while_litter_is_looked_for_are_none_and_each_has_a_deadline_of_its_own(
    alone: Placement, bucket: Volume, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [alone.stream(PATH.parent) for _ in range(3)]
    for stream in streams:
        stream.begin([os.urandom(9_000_000)])
    later = datetime.now(UTC) + timedelta(hours=2)
    calls: list[object] = []
    run = bucket.run
    monkeypatch.setattr(bucket, "run", lambda work: calls.append(work) or run(work))
    (one, *others) = bucket.litter(later)
    assert (len(others), len(calls) > 3) == (2, True)
    with s3_server.failing("404 NoSuchUpload", "GET", key=one.name):
        assert set(bucket.litter(later)) == set(others)
    with s3_server.failing("404 NoSuchUpload", "DELETE", key=one.name, times=1):
        bucket.remove_litter(one)
    for stream in streams:
        stream.abandon()


@pytest.mark.parametrize("content", [b"content", b""])
def test_nothing_is_left_of_a_move_that_fails_and_it_is_done_when_it_is_tried_again(
    bucket: Volume, files: Files, s3_server: S3Server, content: bytes
) -> None:
    files.overwrite(PATH, content)
    with s3_server.failing("500 InternalError", "PUT"), pytest.raises(VolumeUnavailable, match="InternalError"):
        bucket.put_aside(PATH)
    assert files.names() == [SENTINEL, str(PATH)]
    bucket.put_aside(PATH)
    aside = PurePosixPath("quarantine", *PATH.parts[1:])
    assert (files.names(), files.content(aside)) == ([SENTINEL, str(aside)], content)


@pytest.mark.parametrize(
    "answer",
    ["503 SlowDown", "429 TooManyRequests", "400 RequestTimeout", "403 RequestTimeTooSkewed", "403 InvalidObjectState"],
)
def test_an_error_of_the_server_says_nothing_of_the_copy_that_was_read(
    alone: Placement, bucket: Volume, s3_server: S3Server, answer: str
) -> None:
    large = LargeObject()
    large.send(alone)
    digest = large.digest
    assert damage_of(bucket, str(large.path), digest) == ""
    told: list[str] = []
    with s3_server.failing(answer, "GET", key=large.path.name, after=1):
        with pytest.raises(VolumeUnavailable, match=answer.split()[1]):
            damage_of(bucket, str(large.path), digest)
        with pytest.raises(CopyUnreadable, match=answer.split()[1]):
            alone.open_whole(
                [CopyPlace(volume_id=bucket.spec.id, path=str(large.path))],
                lambda pieces: is_intact(pieces, digest),
                lambda copy, reason: told.append(reason),
            )
    assert told == []


def test_a_copy_that_is_damaged_or_gone_is_found_by_reading_it(alone: Placement, bucket: Volume, files: Files) -> None:
    large = LargeObject()
    large.send(alone)
    for damaged in (large.content[:-1] + b"!", large.content[:-1], b""):
        files.overwrite(large.path, damaged)
        assert "not what was received" in damage_of(bucket, str(large.path), large.digest)
    files.remove(large.path)
    assert "No such object" in damage_of(bucket, str(large.path), large.digest)


def test_a_bucket_tells_no_room_takes_everything_and_comes_last_in_its_tier(
    bucket: Volume, new_directory: Callable[[], Volume]
) -> None:
    bucket.change(replace(bucket.spec, tier="hot", high_water=1, low_water=1))
    state = bucket.check()
    assert (state.status, state.free_bytes, state.total_bytes) == (Status.ONLINE, None, None)
    assert bucket.takes(1 << 60)
    assert bytes_to_lose([bucket], {}) == {}
    nas = new_directory()
    assert Placement([bucket, nas], need=1, degraded=1).homes(set()) == [nas, bucket]


def test_a_bucket_that_locks_what_comes_for_a_time_takes_objects_and_lets_them_go(
    address: BucketAddress, s3_server: S3Server
) -> None:
    locked = replace(address, bucket=f"locked-{address.bucket}")
    s3_server.raw.create_bucket(Bucket=locked.bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    s3_server.raw.put_object_lock_configuration(Bucket=locked.bucket, ObjectLockConfiguration=configuration)
    volume = bucket_volume(locked, limits=LIMITS)
    alone, large = Placement((volume,), need=1, degraded=1), LargeObject()
    alone.store(PATH, [b"content"])
    large.send(alone)
    files = Files(volume, s3_server)
    assert (files.content(PATH), files.content(large.path)) == (b"content", large.content)
    volume.change_files(lambda medium: medium.remove(PATH))
    assert files.names() == [SENTINEL, str(large.path)]


def test_what_a_server_does_not_do_is_found_by_trying_it(
    bucket: Volume, files: Files, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.problem.partition(" cannot")[0] for one in bucket.advice()] == [
        "whether the S3 server flushes what it has acknowledged"
    ]
    with s3_server.careless():
        problems = [one.problem for one in bucket.advice()]
    assert ["If-None-Match" in problems[1], "checksum" in problems[2]] == [True, True]
    assert files.names() == [SENTINEL]
    assert isinstance(bucket.spec.path, BucketAddress)
    for endpoint, is_told in (("http://s3.example.org", True), ("http://localhost:1", False), ("", False)):
        monkeypatch.setattr(bucket.medium(), "_address", replace(bucket.spec.path, endpoint=endpoint))
        assert any("unencrypted" in one.problem for one in bucket.advice()) == is_told


def test_a_real_server_does_all_that_is_relied_on(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    bucket = bucket_volume(seaweedfs.new_address(tmp_path), limits=LIMITS)
    assert ["flushes" in one.problem for one in bucket.advice()] == [True]
    large = LargeObject()
    large.send(Placement((bucket,), need=1, degraded=1))
    assert damage_of(bucket, str(large.path), large.digest) == ""
    files = Files(bucket, seaweedfs)
    files.overwrite(large.path, large.content[:-1] + b"!")
    assert "not what was received" in damage_of(bucket, str(large.path), large.digest)


def test_a_server_that_does_not_read_by_ranges_is_not_believed(bucket: Volume, s3_server: S3Server) -> None:
    with s3_server.careless():
        state = bucket.check()
    assert (state.status, "does not read by ranges" in state.reason) == (Status.OFFLINE, True)


@pytest.mark.parametrize(
    ("path", "facts", "told"),
    [
        ("s3://", {}, "names no bucket"),
        ("s3:///x", {}, "names no bucket"),
        ("s3://Images_Bad/", {}, "no bucket may be named Images_Bad: 3 to 63 of a-z"),
        ("s3://UPPER/x", {}, "no bucket may be named UPPER: 3 to 63 of a-z"),
        ("s3://bucket/../x", {}, "prefix"),
        ("s3://bucket/a//b", {}, "prefix"),
        ("s3://bucket/a b", {}, "prefix"),
        ("s3://bucket", {"endpoint": "s3.example.org"}, "no endpoint"),
        ("s3://bucket", {"endpoint": "ftp://s3.example.org"}, "no endpoint"),
        ("s3://bucket", {"endpoint": "https://[::1"}, "no endpoint"),
        ("s3://bucket", {"endpoint": "https://s3 example.org"}, "no endpoint"),
        ("s3://bucket", {"endpoint": "https://key:secret@s3.example.org"}, "put keys into a file"),
        ("/mnt/nas1", {"endpoint": "https://s3.example.org"}, "is a directory"),
    ],
)
def test_what_names_no_location_is_refused(path: str, facts: dict[str, str], told: str) -> None:
    with pytest.raises(Refused, match=told):
        location_of(path, **facts)


def test_what_names_a_location_is_taken_apart() -> None:
    address = location_of("s3://bucket/a/b/", endpoint="https://s3.example.org/", credentials_file="keys")
    assert isinstance(address, BucketAddress)
    assert (str(address), address.bucket, address.prefix) == ("s3://bucket/a/b", "bucket", "a/b")
    assert (address.endpoint, address.credentials_file) == ("https://s3.example.org", Path("keys").absolute())
    assert str(location_of("s3://bucket")) == "s3://bucket"
    assert fail_together(address, replace(address, bucket="other"), mount_table())
    assert not fail_together(address, replace(address, endpoint="https://other.example.org"), mount_table())
    assert not fail_together(address, Path("/"), mount_table())


@pytest.mark.parametrize(
    ("endpoint", "is_elsewhere"),
    [("", True), ("https://s3.example.org", True), ("http://127.0.0.1:8333", False), ("http://localhost", False)],
)
def test_a_bucket_outlives_this_machine_unless_its_server_is_here(endpoint: str, is_elsewhere: bool) -> None:
    footing = footing_of(location_of("s3://bucket", endpoint=endpoint), table="")
    assert footing is not None
    assert footing.is_elsewhere == is_elsewhere
    assert footing == footing_of(location_of("s3://other/site1", endpoint=endpoint), table="")


def test_who_has_no_bucket_does_not_load_what_speaks_to_them() -> None:
    program = (
        "import sys, pacs_server.service.processes.worker, pacs_server.cli.storage; print('botocore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_without_the_extra_a_bucket_is_refused_with_the_command_that_installs_it(
    address: BucketAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("bucket", "uploading", "s3"):
        monkeypatch.delitem(sys.modules, f"pacs_server.storage.{name}", raising=False)
    with pytest.raises(Refused, match=re.escape("-m pip install botocore")):
        adopt(address, name="s3")
