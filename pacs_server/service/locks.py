"""Kernel locks of a data directory: they end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from pacs_server.errors import Busy, ConfigError
from pacs_server.ownership import make_file
from pacs_server.service.noted import refuse_closed

_PATIENCE_S: Final = 3.0
_LOOK_EVERY_S: Final = 0.05


@contextmanager
def instance_lock(data_dir: Path) -> Iterator[None]:
    """Be the one server, or what must not run beside it, of a data directory. Raises: Busy; ConfigError.

    The processes of a server that was killed hold it for a moment longer: that is waited for.
    """
    with _alone(
        _server(data_dir),
        f"another server runs on {data_dir}; stop it first, or choose another PACS_DATA",
        patience_s=_PATIENCE_S,
    ):
        yield


@contextmanager
def making_lock(data_dir: Path) -> Iterator[None]:
    """Be the one that makes a directory an archive. Raises: Busy; OSError when the directory cannot be written."""
    refusal = f"another pacs init, or a server, is at work on {data_dir}; wait until it has ended"
    with _held(_server(data_dir), refusal, _PATIENCE_S):
        yield


@contextmanager
def lent_lock(owner: Path, volume: str) -> Iterator[None]:
    """Be the one server with a volume that lies in another data directory, of which this one is a copy.

    Raises: Busy when the server of that directory, or of another copy, runs; ConfigError.
    """
    with _alone(
        _server(owner),
        f"volume {volume} lies in {owner}, whose server runs: two archives on one volume take each other's files for "
        f"litter. Stop that server, or name the volume of this copy: pacs storage set {volume} --path DIR",
        patience_s=_PATIENCE_S,
    ):
        yield


@contextmanager
def backup_lock(data_dir: Path) -> Iterator[None]:
    """Be the one backup of a data directory. Raises: Busy; ConfigError."""
    with _alone(data_dir / "backup.lock", f"another backup of {data_dir} is under way; wait until it has ended"):
        yield


@contextmanager
def rebuild_lock(data_dir: Path) -> Iterator[None]:
    """Be the one index rebuild of a data directory. Raises: Busy; ConfigError."""
    refusal = f"another pacs index rebuild is at work on {data_dir}; wait until it has ended"
    with _alone(data_dir / "rebuild.lock", refusal):
        yield


@contextmanager
def failover_lock(data_dir: Path) -> Iterator[None]:
    """Be the one failover that is run from a data directory. Raises: Busy; ConfigError."""
    with _alone(data_dir / "failover.lock", f"another pacs failover is at work on {data_dir}; wait until it has ended"):
        yield


@contextmanager
def tier_lock(data_dir: Path) -> Iterator[None]:
    """Be the one process of a data directory that moves between tiers. Raises: Busy; ConfigError."""
    refusal = "somebody moves between tiers already, by hand or at night; try again later"
    with _alone(data_dir / "tier.lock", refusal):
        yield


def is_serving(data_dir: Path) -> bool:
    """Whether somebody holds the instance lock. Raises: ConfigError when only another user may look."""
    refuse_closed(_server(data_dir))
    try:
        with _server(data_dir).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def has_served(directory: Path) -> bool:
    """Whether a directory is a data directory, of which a server has run or may run."""
    return _server(directory).exists()


def _server(data_dir: Path) -> Path:
    return data_dir / "serve.lock"


@contextmanager
def _alone(path: Path, refusal: str, *, patience_s: float = 0.0) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(_held(path, refusal, patience_s))
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}; is data_dir right, and there?") from error
        yield


@contextmanager
def _held(path: Path, refusal: str, patience_s: float) -> Iterator[None]:
    make_file(path)
    with path.open("a") as file:
        ends_at = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= ends_at:
                    raise Busy(refusal) from error
                time.sleep(_LOOK_EVERY_S)
        yield
