"""How each volume was when the server last looked, in a small file: since when it is so outlives the process, and a
command that looks for itself can tell it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pacs_server import log
from pacs_server.service.noted import NOT_AS_NOTED, made_of, note_in, object_in
from pacs_server.storage.condition import VolumeState

_NOTED: Final = ("status", "is_readable", "reason", "since")


def remembered(data_dir: Path) -> dict[str, VolumeState]:
    """The states that were noted last, by the volume's id; what cannot be read is not remembered."""
    try:
        return {volume_id: _state(facts) for volume_id, facts in object_in(_path(data_dir)).items()}
    except NOT_AS_NOTED:
        return {}


def note(data_dir: Path, states: Mapping[str, VolumeState]) -> None:
    """Write down how the volumes are, by id. Where that fails it is logged: only `since` is less exact then."""
    try:
        note_in(_path(data_dir), {volume_id: _facts(state) for volume_id, state in states.items()})
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


def _state(facts: Mapping[str, object]) -> VolumeState:
    return made_of(VolumeState, {name: facts[name] for name in _NOTED})
