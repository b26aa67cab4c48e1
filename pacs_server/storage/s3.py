"""Speaks to an S3 server about one bucket; every error comes as one of ours. Importing it takes the extra `s3`."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session

from pacs_server.errors import VolumeAway, VolumeFull, VolumeSilent, VolumeUnavailable

_CONNECT_TIMEOUT_S: Final = 5.0
_CONNECTIONS: Final = 32  # as many as a volume has threads
# The second attempt is for a kept connection that the server has closed meanwhile.
_ATTEMPTS: Final = 2
_NOT_NOW: Final = frozenset({502, 503, 504})  # as a gateway answers before a server that is away
_MISSING: Final = frozenset({"NoSuchKey", "404"})  # a HEAD has no body that could tell more than 404
_THERE_ALREADY: Final = frozenset({"PreconditionFailed", "412"})
_REFUSED: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403"})
_DAMAGED: Final = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"})
_NO_ROOM: Final = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"})

# One for all buckets: it keeps what botocore read about S3, 13 MB and a tenth of a second. Makes one client at a time.
_session: Final = Session()
_making: Final = threading.Lock()


def sha256_of(content: bytes) -> str:
    """The SHA-256 of a content in the form of a checksum header."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode("ascii")


def checksum_of(content: bytes) -> dict[str, str]:
    """The SHA-256 of what is put, and its kind: into a bucket that locks objects a server may take nothing without."""
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": sha256_of(content)}


class Answer(dict[str, Any]):
    """What a server answers. Raises: VolumeUnavailable for what it leaves out."""

    def __missing__(self, name: str) -> Any:
        raise VolumeUnavailable(f"the S3 server leaves {name} out of an answer: it does not know that operation")


class S3:
    """One bucket. May be used from any thread. Each call may raise FileNotFoundError for a missing key, FileExistsError
    for one that was to be new, VolumeFull, or VolumeUnavailable.

    Silence longer than `timeout_s` ends a call, so that one that was abandoned does not hang for ever.
    """

    def __init__(
        self, bucket: str, *, endpoint: str, region: str, credentials_file: Path | None, timeout_s: float
    ) -> None:
        self.bucket = bucket
        config = Config(
            connect_timeout=min(_CONNECT_TIMEOUT_S, timeout_s),
            read_timeout=timeout_s,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            max_pool_connections=_CONNECTIONS,
            signature_version="s3v4",
            # Signed, a body is compared with its SHA-256 also by servers that do not know checksum headers.
            s3={"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": True},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        keys = {} if credentials_file is None else _keys_in(credentials_file)
        with self._translated(""), _making:
            try:
                self._client = _session.create_client(
                    "s3",
                    endpoint_url=endpoint or None,
                    region_name=region or ("us-east-1" if endpoint else None),
                    config=config,
                    **keys,
                )
            except ValueError as error:
                raise VolumeUnavailable(f"{endpoint} is no endpoint: give the URL of the S3 server") from error

    def call(self, operation: str, key: str = "", **parameters: object) -> Answer:
        """Do an operation, named as botocore does, on a key or, without one, on the bucket."""
        if key:
            parameters["Key"] = key
        with self._translated(key):
            return Answer(getattr(self._client, operation)(Bucket=self.bucket, **parameters))

    def put(self, key: str, content: bytes, *, is_new: bool) -> None:
        """Write an object whole, with its checksum. `is_new`: only if there is none of that key."""
        condition = {"IfNoneMatch": "*"} if is_new else {}
        self.call("put_object", key, Body=content, **checksum_of(content), **condition)

    def fetch(self, key: str, offset: int, length: int) -> tuple[bytes, int]:
        """At most `length` bytes from `offset` on, and the size of the whole object in bytes."""
        with self._translated(key):
            try:
                answer = self._client.get_object(
                    Bucket=self.bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}"
                )
            except ClientError as error:
                if _code(error) != "InvalidRange":
                    raise
                return b"", offset  # nothing lies there: it is empty, or shorter than it was
            _, _, size_bytes = answer.get("ContentRange", "").rpartition("/")
            content: bytes = answer["Body"].read()
        if not size_bytes.isdigit() or len(content) > length:
            raise VolumeUnavailable(f"the S3 server does not read by ranges: {key} came with {len(content)} bytes")
        return content, int(size_bytes)

    def head(self, key: str) -> tuple[int, str] | None:
        """The size of an object in bytes, and its SHA-256 if the server tells it; None when there is no object."""
        try:
            told = self.call("head_object", key, ChecksumMode="ENABLED")
        except FileNotFoundError:
            try:  # of a HEAD nobody learns whether it is the key that is missing, or the bucket
                return self.fetch(key, 0, 1)[1], ""
            except FileNotFoundError:
                return None
        return int(told["ContentLength"]), str(told.get("ChecksumSHA256", ""))

    def listed(self, prefix: str) -> Iterator[tuple[str, int, datetime] | str]:
        """The keys below a prefix with sizes and times, and the prefixes that end in the next slash."""
        token: dict[str, str] = {}
        while True:
            told = self.call("list_objects_v2", Prefix=prefix, Delimiter="/", **token)
            yield from (one["Prefix"] for one in told.get("CommonPrefixes", ()))
            yield from ((one["Key"], int(one["Size"]), one["LastModified"]) for one in told.get("Contents", ()))
            if not told.get("IsTruncated"):
                return
            token = {"ContinuationToken": told["NextContinuationToken"]}

    def uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """The uploads in parts under way below a prefix: key, id, and when something was last sent for each."""
        marker: dict[str, str] = {}
        while True:
            told = self.call("list_multipart_uploads", Prefix=prefix, **marker)
            for one in told.get("Uploads", ()):
                try:
                    sent = self._last_sent(one["Key"], one["UploadId"], one["Initiated"])
                except FileNotFoundError:
                    continue  # it ended since
                yield one["Key"], one["UploadId"], sent
            if not told.get("IsTruncated"):
                return
            marker = {"KeyMarker": told["NextKeyMarker"], "UploadIdMarker": told.get("NextUploadIdMarker", "")}

    def _last_sent(self, key: str, upload_id: str, begun: datetime) -> datetime:
        sent, marker = [begun], 0
        while True:
            told = self.call("list_parts", key, UploadId=upload_id, PartNumberMarker=marker)
            sent += (one["LastModified"] for one in told.get("Parts", ()))
            if not told.get("IsTruncated"):
                return max(sent)
            marker = int(told["NextPartNumberMarker"])

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._ours(error, key) from error
        except (ConnectionError, HTTPClientError) as error:
            raise VolumeAway(
                f"the S3 server does not answer: {error}: check the endpoint, that it runs, and the firewalls between"
            ) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise VolumeSilent(
                "there are no keys for the S3 server: name a file with them (--credentials-file), or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the processes of the server too"
            ) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise VolumeSilent(f"the S3 server cannot be used: {error}") from error

    def _ours(self, error: ClientError, key: str) -> Exception:
        code = _code(error)
        told = f"{code} {error.response.get('Error', {}).get('Message', '')}".strip()
        if code in _MISSING:
            return FileNotFoundError(2, "No such object", key)
        if code == "NoSuchUpload":
            return FileNotFoundError(2, "No such upload, it was ended or aborted meanwhile", key)
        if code in _THERE_ALREADY:
            return FileExistsError(17, "There is an object already", key)
        if code == "NoSuchBucket":
            return VolumeUnavailable(f"there is no bucket {self.bucket}: make it, or mend the name or the endpoint")
        if code in _REFUSED:
            return VolumeSilent(f"the S3 server refuses ({told}): check the keys and what they may do there")
        if code in _DAMAGED:
            return VolumeUnavailable(f"what arrived is not what was sent ({told}): something on the way damages data")
        if code in _NO_ROOM:
            return VolumeFull(f"the S3 server has no room ({told}): make room, or add a volume")
        if code == "RequestTimeTooSkewed":
            return VolumeSilent(f"the S3 server refuses ({told}): set the clock of this machine, or of that server")
        # Every other answer, such as 429 or that of a cold storage class, tells nothing of the object either.
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = VolumeAway if status in _NOT_NOW else VolumeSilent
        return kind(f"the S3 server answers {told}: see its log")


def _code(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


def _keys_in(path: Path) -> dict[str, str]:
    """The keys of a credentials file in the form that Amazon's programs have, of its section `default`."""
    parser = ConfigParser(interpolation=None)
    try:
        if path.stat().st_mode & 0o007:
            raise VolumeUnavailable(f"{path} holds keys and everybody can read it: chmod 600 it")
        parser.read_string(path.read_text(encoding="utf-8"))
    except (ConfigParserError, UnicodeDecodeError):
        # The exception may quote a line, which may be a key.
        raise VolumeUnavailable(f"{path} cannot be read as a credentials file: see pacs storage add --help") from None
    except OSError as error:
        raise VolumeUnavailable(f"{path} cannot be read: {error.strerror}") from error
    section = parser["default"] if parser.has_section("default") else {}
    if not (section.get("aws_access_key_id") and section.get("aws_secret_access_key")):
        raise VolumeUnavailable(f"{path} has no aws_access_key_id and aws_secret_access_key in a section [default]")
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return {name: section[name] for name in names if name in section}
