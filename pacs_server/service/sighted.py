"""How the volumes are to the server that runs here, which is the one that has to read and write there.

A command may see them otherwise: root may read what the user of the server may not, a NAS may take root for nobody, and
the unit of systemd keeps folders from the server that everybody else sees.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from pacs_server.service.assemble import Node
from pacs_server.service.locks import is_serving
from pacs_server.service.volume_states import remembered
from pacs_server.storage.condition import VolumeState
from pacs_server.storage.volume import check_all

# The server looks every second; what has just changed is seen by both then.
_FOLLOWS_S: Final = 3.0
_LOOK_AGAIN_S: Final = 0.25


def states_of(node: Node) -> dict[str, VolumeState]:
    """Every volume as it is now, by id: to the server where one runs on this data directory, else to this process.

    Raises: IndexUnavailable; ConfigError when only another user may look.
    """
    until = time.monotonic() + _FOLLOWS_S
    while True:
        check_all(volumes := node.volumes())
        states = {volume.spec.id: volume.state for volume in volumes}
        otherwise = _seen_otherwise(node, states)
        if not otherwise or time.monotonic() > until:
            return states | otherwise
        time.sleep(_LOOK_AGAIN_S)


def _seen_otherwise(node: Node, states: dict[str, VolumeState]) -> dict[str, VolumeState]:
    data_dir = node.settings.data_dir
    told = remembered(data_dir) if is_serving(data_dir) else {}
    return {
        volume_id: replace(seen, free_bytes=state.free_bytes, total_bytes=state.total_bytes, mounted=state.mounted)
        for volume_id, state in states.items()
        if (seen := told.get(volume_id)) is not None
        and (seen.status, seen.is_readable) != (state.status, state.is_readable)
    }
