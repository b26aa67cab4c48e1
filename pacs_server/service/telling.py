"""What the processes of a running server tell of themselves to `pacs status`, in small files that are replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pacs_server import log
from pacs_server.dimse.scp import Provider
from pacs_server.dimse.session import Session
from pacs_server.service.locks import is_serving

_SERVER: Final = "serve.json"
_WORKER: Final = "serve-{}.json"
_WORKERS: Final = "serve-*.json"


class Teller:
    """One file. Written only when there is something new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Mapping[str, Any] | None = None
        self._trouble = log.Recurring("pacs status is told nothing", "pacs status is told again")

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Replace what was told; where that cannot be written, try again the next time. No disk may end a process that
        serves from others. `facts` are not changed afterwards.
        """
        if facts == self._written:
            return
        partial = self._path.with_suffix(".part")
        try:
            partial.write_text(json.dumps(facts), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            self._trouble.failed(error)
        else:
            self._written = facts
            self._trouble.done()

    def forget(self) -> None:
        """Tell nothing any more."""
        self._path.unlink(missing_ok=True)


def server_teller(data_dir: Path) -> Teller:
    """Of the server as a whole: its process, its address, since when."""
    return Teller(data_dir / _SERVER)


def worker_teller(data_dir: Path, number: int) -> Teller:
    """Of one of the processes that serve associations."""
    return Teller(data_dir / _WORKER.format(number))


def forget_workers(data_dir: Path) -> None:
    """Remove what workers told that were killed."""
    for path in data_dir.glob(_WORKERS):
        path.unlink(missing_ok=True)


def served_before(data_dir: Path, number: int) -> int:
    """How many associations the process served in whose place a new one is; of its last second some may lack."""
    return int(_read(data_dir / _WORKER.format(number)).get("served", 0))


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
    """What the server on this data directory last told of itself (at most a second ago); None when none runs."""
    if not (server := serving(data_dir)):
        return server
    workers = [_read(path) for path in sorted(data_dir.glob(_WORKERS))]
    associations = [one for worker in workers for one in worker.get("associations", ())]
    return server | {
        "served": sum(worker.get("served", 0) for worker in workers),
        "associations": sorted(associations, key=lambda one: int(one["number"])),
    }


def serving(data_dir: Path) -> dict[str, Any] | None:
    """The same without what its processes told."""
    return _read(data_dir / _SERVER) if is_serving(data_dir) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
