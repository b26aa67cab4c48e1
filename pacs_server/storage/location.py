"""Where the files of a volume are: a directory, or a prefix in a bucket of an S3 server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from pacs_server.errors import Refused

_SCHEME: Final = "s3://"
# Source: Amazon S3 user guide, General purpose bucket naming rules.
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketAddress:
    """A prefix in a bucket, empty for the whole of it. Without an `endpoint` it is one of Amazon, without a
    `credentials_file` the keys come from the environment of the process, as every program of Amazon finds them.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    credentials_file: Path | None = None

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def is_here(self) -> bool:
        """Whether its server is a process of this machine."""
        host = urlsplit(self.endpoint).hostname or ""
        with suppress(ValueError):
            return ip_address(host).is_loopback
        return host == "localhost"

    @property
    def path(self) -> PurePosixPath:
        """The prefix as a path."""
        return PurePosixPath(self.prefix)


Location: TypeAlias = Path | BucketAddress


def location_of(path: str, *, endpoint: str = "", region: str = "", credentials_file: str = "") -> Location:
    """The location that a path, or s3://BUCKET/PREFIX, names.

    Raises: Refused when it names none, or is a directory and has what only buckets have.
    """
    if not path:
        raise Refused("the path is empty: name a directory that is there, or s3://BUCKET/PREFIX")
    if not path.startswith(_SCHEME):
        if endpoint or region or credentials_file:
            raise Refused(f"{path} is a directory: endpoint, region and credentials belong to {_SCHEME}BUCKET/PREFIX")
        return Path(path).absolute()
    bucket, _, prefix = path.removeprefix(_SCHEME).rstrip("/").partition("/")
    if not bucket:
        raise Refused(f"{path} names no bucket: {_SCHEME}BUCKET or {_SCHEME}BUCKET/PREFIX")
    if not _BUCKET.fullmatch(bucket):
        raise Refused(
            f"no bucket may be named {bucket}: 3 to 63 of a-z, 0-9, '.' and '-', at both ends a letter or digit"
        )
    if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise Refused(f"{prefix} cannot be a prefix: letters, digits and ! _ . * ' ( ) - between single slashes")
    if "@" in endpoint:
        raise Refused("the endpoint holds a user or password: put keys into a file, and name that with the credentials")
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise Refused(f"{endpoint} is no endpoint: give its URL, such as https://s3.example.org")
    return BucketAddress(
        bucket=bucket,
        prefix=prefix,
        endpoint=endpoint.rstrip("/"),
        region=region,
        credentials_file=Path(credentials_file).absolute() if credentials_file else None,
    )


def check_location(location: Location, others: Iterable[Location]) -> None:
    """Raises: Refused when there cannot be a volume beside those at `others`: see the message; OSError when one cannot
    look there.
    """
    if isinstance(location, Path):
        _check_directory(location)
    for other in others:
        if overlap(location, other):
            raise Refused(f"{location} is, is inside, or is around another volume ({other}); volumes must not overlap")


def _check_directory(path: Path) -> None:
    if path.is_symlink():
        raise Refused(f"{path} is a symbolic link; give the directory that it points to")
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # is_dir() says no from Python 3.14 on where it cannot be told
    if not path.is_dir():
        raise Refused(f"{path} is not a directory; make or mount it first")
    if not path.is_absolute() or path != path.resolve():
        raise Refused(f"{path} is not a plain absolute path; give {path.resolve()}")
    if path == Path(path.anchor):
        raise Refused(f"{path} is the root of the file system; give a directory of its own")


def overlap(one: Location, other: Location) -> bool:
    """Whether one is the other, or inside it."""
    if isinstance(one, Path) and isinstance(other, Path):
        return one == other or other in one.parents or one in other.parents
    if isinstance(one, Path) or isinstance(other, Path):
        return False
    is_inside = one.path == other.path or other.path in one.path.parents or one.path in other.path.parents
    return (one.endpoint, one.bucket) == (other.endpoint, other.bucket) and is_inside


def tells_room(location: Location) -> bool:
    """Whether it can be known there how much more fits."""
    return isinstance(location, Path)
