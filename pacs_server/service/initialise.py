"""Makes a new archive: settings file, index, first volume."""

from __future__ import annotations

from pathlib import Path

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import Refused
from pacs_server.index.registry import Registry, VolumeRow
from pacs_server.index.schema import open_current, upgrade
from pacs_server.settings import Settings, load, minimal_file
from pacs_server.storage.sentinel import adopt

FIRST_VOLUME = "first"


def initialise(data_dir: Path, *, aet: AeTitle, host: str, port: int, database: str | None) -> Path:
    """Make `data_dir` an archive with an empty index and one volume; answers the path of its settings file.

    Raises: Refused when it is one already; ConfigError when a value is not usable; IndexUnavailable.
    """
    settings_path = data_dir / "pacs.yaml"
    if settings_path.exists():
        raise Refused(f"{data_dir} is already an archive ({settings_path} exists); nothing was changed")
    volume_path = data_dir / "volumes" / FIRST_VOLUME
    try:
        volume_path.mkdir(parents=True, exist_ok=True)
        partial = settings_path.with_suffix(".part")
        partial.write_text(minimal_file(aet=aet, host=host, port=port, database=database), encoding="utf-8")
    except OSError as error:
        raise Refused(f"{data_dir} cannot be written: {error.strerror}; choose another --data") from error
    settings = load(partial)
    upgrade(settings.database)
    _add_first_volume(settings, volume_path)
    # The settings file comes last: an archive that has one is complete, and an interrupted init can be run again.
    partial.replace(settings_path)
    return settings_path


def _add_first_volume(settings: Settings, path: Path) -> None:
    index = open_current(settings.database)
    try:
        registry = Registry(index)
        if not registry.volumes():
            path = path.resolve()
            volume_id = adopt(path, name=FIRST_VOLUME)
            registry.add_volume(
                VolumeRow(id=volume_id, name=FIRST_VOLUME, path=str(path), tier="hot", domain=FIRST_VOLUME)
            )
    finally:
        index.close()
