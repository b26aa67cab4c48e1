"""What the processes of a running server tell of themselves to `pacs status`, in small files that are replaced."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pacs_server import log
from pacs_server.dimse.scp import Provider
from pacs_server.dimse.session import Session
from pacs_server.service.locks import is_serving
from pacs_server.service.noted import note_in, object_in

_SERVER: Final = "serve.json"
_WORKER: Final = "serve-{}.json"
_WORKERS: Final = "serve-*.json"
_OF_SERVER: Final = {
    **dict.fromkeys(("aet", "started_at"), str),
    **dict.fromkeys(("host", "tls_host"), str | None),
    **dict.fromkeys(("port", "tls_port", "partner_port", "http_port"), int | None),
    "pid": int,
}
_OF_WORKER: Final = {"served": int, "associations": list}
_OF_ASSOCIATION: Final = {
    **dict.fromkeys(("number", "stored", "refused", "answered", "sent"), int),
    **dict.fromkeys(("calling_aet", "address", "since", "doing"), str),
}


class Teller:
    """One file. Written when there is something new, or when it is not what was written any more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Mapping[str, Any] | None = None
        self._stamp: tuple[int, ...] = ()
        self._trouble = log.Recurring("pacs status is told nothing", "pacs status is told again")

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Replace what was told; where that cannot be written, try again the next time. No disk may end a process that
        serves from others, and on a full one is told what stands, too. `facts` are not changed afterwards.
        """
        if facts == self._written and self._stamp == _stamp_of(self._path):
            return
        try:
            note_in(self._path, facts)
        except OSError as error:
            self._trouble.failed(error)
        else:
            self._written, self._stamp = facts, _stamp_of(self._path)
            self._trouble.done()

    def forget(self) -> None:
        """Tell nothing any more. What cannot be written is not read any more either, once the server has ended."""
        _blank(self._path)


def server_teller(data_dir: Path) -> Teller:
    """Of the server as a whole: its process, its address, since when."""
    return Teller(data_dir / _SERVER)


def worker_teller(data_dir: Path, number: int) -> Teller:
    """Of one of the processes that serve associations."""
    return Teller(data_dir / _WORKER.format(number))


def forget_workers(data_dir: Path) -> None:
    """Nothing stands any more of what workers told that were killed."""
    for path in data_dir.glob(_WORKERS):
        _blank(path)


def served_before(data_dir: Path, number: int) -> int:
    """How many associations the process served in whose place a new one is; of its last second some may lack."""
    served: int = _of_worker(data_dir / _WORKER.format(number))["served"]
    return served


def of_associations(provider: Provider, *, before: int) -> dict[str, Any]:
    """How many associations a process served, with the one `before` in its place, and those that are open now."""
    return {
        "served": before + provider.served,
        "associations": [_told(number, session) for number, session in provider.sessions()],
    }


def _told(number: int, session: Session) -> dict[str, Any]:
    tally = session.tally
    return {
        "number": number,
        "calling_aet": session.association.calling_aet,
        "address": session.association.peer_address,
        "since": session.since.isoformat(timespec="seconds"),
        "doing": tally.doing,
        "stored": tally.stored,
        "refused": tally.refused,
        "answered": tally.answered,
        "sent": tally.sent,
    }


def running(data_dir: Path) -> dict[str, Any] | None:
    """What the server on this data directory last told of itself (at most a second ago); None when none runs.

    Raises: ConfigError when only another user may look.
    """
    if not (server := serving(data_dir)):
        return server
    workers = [_of_worker(path) for path in sorted(data_dir.glob(_WORKERS))]
    associations = [one for worker in workers for one in worker["associations"]]
    return server | {
        "served": sum(worker["served"] for worker in workers),
        "associations": sorted(associations, key=lambda one: int(one["number"])),
    }


def serving(data_dir: Path) -> dict[str, Any] | None:
    """The same without what its processes told. Raises: as `running`."""
    if not is_serving(data_dir):
        return None
    told = object_in(data_dir / _SERVER)
    return told if _has(told, _OF_SERVER) else {}


def _blank(path: Path) -> None:
    """It is not removed: the next server may begin on a full disk, and writes over it."""
    with suppress(OSError):
        note_in(path, {})


def _of_worker(path: Path) -> dict[str, Any]:
    told = object_in(path)
    if _has(told, _OF_WORKER) and all(_has(one, _OF_ASSOCIATION) for one in told["associations"]):
        return told
    return {"served": 0, "associations": []}


def _has(told: Any, kinds: Mapping[str, Any]) -> bool:
    return isinstance(told, dict) and all(isinstance(told.get(name), kind) for name, kind in kinds.items())


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
