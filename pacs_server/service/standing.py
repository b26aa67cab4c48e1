"""How each volume was when the server last looked, in a small file: since when it is so outlives the process, and a
command that looks for itself can tell it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pacs_server import log
from pacs_server.storage.condition import Status, VolumeState


def remembered(data_dir: Path) -> dict[str, VolumeState]:
    """The states that were noted last, by the volume's id; what cannot be read is not remembered."""
    try:
        told = json.loads(_path(data_dir).read_text(encoding="utf-8"))
        return {str(volume_id): _state(facts) for volume_id, facts in told.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def note(data_dir: Path, states: Mapping[str, VolumeState]) -> None:
    """Write down how the volumes are, by id. Where that fails it is logged: only `since` is less exact then."""
    text = json.dumps({volume_id: _facts(state) for volume_id, state in states.items()})
    partial = _path(data_dir).with_suffix(".part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(_path(data_dir))
    except OSError as error:
        log.error("states of volumes not noted", why=error)


def _path(data_dir: Path) -> Path:
    return data_dir / "volumes.json"


def _facts(state: VolumeState) -> dict[str, object]:
    return {
        "status": state.status.value,
        "is_readable": state.is_readable,
        "reason": state.reason,
        "since": state.since.isoformat(),
    }


def _state(facts: Mapping[str, str]) -> VolumeState:
    return VolumeState(
        status=Status(facts["status"]),
        is_readable=bool(facts["is_readable"]),
        reason=facts["reason"],
        since=datetime.fromisoformat(facts["since"]),
    )
