"""Volumes in buckets of an S3 server that runs in this process, which fails when a test tells it to."""

import base64
import hashlib
import itertools
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.session import Session
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from pacs_server.settings import StorageLimits
from pacs_server.storage.condition import Status, VolumeSpec
from pacs_server.storage.location import BucketAddress
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.volume import Volume

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

HANG_S = 120.0
_numbers = itertools.count(1)


@dataclass
class Fault:
    """What happens to requests of a method, some of them, to keys that contain a text."""

    kind: str
    method: str = ""
    key: str = ""
    after: int = 0
    times: float = float("inf")
    seen: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def takes(self, environ: Environ) -> bool:
        if self.method not in ("", environ["REQUEST_METHOD"]) or self.key not in environ["PATH_INFO"]:
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + self.times


class BucketServer:
    """An S3 server, with a client of it that is none of ours."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.raw = Session().create_client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )

    def stop(self) -> None:
        self.raw.close()

    def address(self, bucket: str, prefix: str, folder: Path) -> BucketAddress:
        return BucketAddress(
            bucket=bucket, prefix=prefix, endpoint=self.endpoint, credentials_file=credentials_file(folder)
        )


class S3Server(BucketServer):
    """One in this process. It compares bodies with their checksums and refuses ranges that are none, unlike moto."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self.faults: list[Fault] = []
        self.requests: list[Environ] = []
        self._is_careless = False
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        super().__init__(f"http://127.0.0.1:{self._server.server_port}")
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        super().stop()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def failing(
        self, kind: str, method: str = "", *, key: str = "", after: int = 0, times: float = float("inf")
    ) -> Iterator[Fault]:
        """Requests fail within the context: `hang` until its end, `cut` in the middle, `lose` the answer alone,
        `damage` a body on its way, `forget` what they acknowledge, answer with a `page` as any web server does, or are
        answered with a status and a code, like `500 InternalError`.
        """
        fault = Fault(kind, method, key, after, times)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)
            fault.over.set()

    def make_old(self, bucket: str) -> None:
        """Everything in a bucket was written yesterday."""
        for key in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys.values():
            key.last_modified -= timedelta(days=1)

    @contextmanager
    def careless(self) -> Iterator[None]:
        """It knows neither conditions nor checksums nor ranges within the context."""
        self._is_careless = True
        yield
        self._is_careless = False

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.requests.append(dict(environ))
        if self._is_careless:
            for name in ("HTTP_IF_NONE_MATCH", "HTTP_X_AMZ_CHECKSUM_SHA256", "HTTP_RANGE"):
                environ.pop(name, None)
        fault = next((one for one in list(self.faults) if one.takes(environ)), None)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if fault is not None and fault.kind == "cut":
            environ["wsgi.input"].read(length // 2)
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        body = environ["wsgi.input"].read(length)
        if fault is not None and fault.kind == "hang":
            fault.over.wait(HANG_S)
        elif fault is not None and fault.kind == "damage":
            body = bytes([body[0] ^ 1]) + body[1:]
        elif fault is not None and fault.kind in ("forget", "page"):
            start_response("200 OK", [("Content-Type", "text/html")])
            return [b"<html>It works!"] if fault.kind == "page" else []
        elif fault is not None and fault.kind == "lose":
            list(self._served(environ, lambda *_: None, body))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        elif fault is not None:
            return _refusal(start_response, fault.kind)
        return self._served(environ, start_response, body)

    def _served(self, environ: Environ, start_response: StartResponse, body: bytes) -> Iterable[bytes]:
        expected = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        if expected and expected != base64.b64encode(hashlib.sha256(body).digest()).decode():
            return _refusal(start_response, "400 BadDigest")
        if environ.get("HTTP_X_AMZ_COPY_SOURCE_RANGE", "").endswith("--1"):
            return _refusal(start_response, "416 InvalidRange")
        if (
            environ["REQUEST_METHOD"] == "POST"
            and environ.get("HTTP_IF_NONE_MATCH")
            and _is_there(environ["PATH_INFO"])
        ):
            return _refusal(start_response, "412 PreconditionFailed")  # as SeaweedFS, also when it was the same upload
        environ["wsgi.input"] = BytesIO(body)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer

    def new_address(self, folder: Path) -> BucketAddress:
        """A prefix in a bucket of its own."""
        bucket = f"bucket-{next(_numbers)}"
        self.raw.create_bucket(Bucket=bucket)
        return self.address(bucket, "pacs/site-1", folder)


def _is_there(path: str) -> bool:
    _, bucket, key = path.split("/", 2)
    return key in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys


def _refusal(start_response: StartResponse, told: str) -> Iterable[bytes]:
    status, _, code = told.partition(" ")
    start_response(f"{status} {code}", [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>as a test told it to</Message></Error>".encode()]


def credentials_file(folder: Path) -> Path:
    path = folder / "s3.keys"
    path.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def bucket_volume(
    address: BucketAddress, name: str = "s3", *, limits: StorageLimits, tier: str = "hot", domain: str = "s3"
) -> Volume:
    volume_id = adopt(address, name=name)
    volume = Volume(VolumeSpec(id=volume_id, name=name, path=address, tier=tier, domain=domain), limits)
    assert volume.check().status is Status.ONLINE, volume.state
    return volume


class Files:
    """What lies on a volume, seen past the archive: in the directory, or by another client of the S3 server."""

    def __init__(self, volume: Volume, server: BucketServer | None = None) -> None:
        self._path, self._raw = volume.spec.path, server.raw if server else None

    def _where(self, path: PurePosixPath) -> dict[str, str]:
        assert isinstance(self._path, BucketAddress)
        return {"Bucket": self._path.bucket, "Key": f"{self._path.prefix}/{path}"}

    def content(self, path: PurePosixPath) -> bytes:
        if self._raw is None:
            assert isinstance(self._path, Path)
            return (self._path / path).read_bytes()
        content: bytes = self._raw.get_object(**self._where(path))["Body"].read()
        return content

    def overwrite(self, path: PurePosixPath, content: bytes) -> None:
        if self._raw is None:
            assert isinstance(self._path, Path)
            (self._path / path).write_bytes(content)
        else:
            self._raw.put_object(**self._where(path), Body=content)

    def remove(self, path: PurePosixPath) -> None:
        if self._raw is None:
            assert isinstance(self._path, Path)
            (self._path / path).unlink()
        else:
            self._raw.delete_object(**self._where(path))

    def names(self) -> list[str]:
        """The paths of all files, in order; unfinished uploads too."""
        if self._raw is None:
            assert isinstance(self._path, Path)
            # Not by rglob, which fails where a directory goes meanwhile.
            found = (Path(folder, name) for folder, _, names in os.walk(self._path) for name in names)
            return sorted(str(file.relative_to(self._path)) for file in found)
        assert isinstance(self._path, BucketAddress)
        where = {"Bucket": self._path.bucket, "Prefix": f"{self._path.prefix}/"}
        keys = [one["Key"] for one in self._raw.list_objects_v2(**where).get("Contents", ())]
        with suppress(KeyError):
            keys += [one["Key"] for one in self._raw.list_multipart_uploads(**where)["Uploads"]]
        return sorted(key.removeprefix(where["Prefix"]) for key in keys)
