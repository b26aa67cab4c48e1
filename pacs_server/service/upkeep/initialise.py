"""Makes a new archive: settings file, index, first volume; or one more node of an archive on PostgreSQL."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import Refused
from pacs_server.index.maintenance.schema import current, open_current, upgrade
from pacs_server.index.site.registry import Registry, VolumeRow
from pacs_server.ownership import make_folder
from pacs_server.service.locks import making_lock
from pacs_server.service.volume_rows import location_of_volume
from pacs_server.settings import Settings, load, minimal_file
from pacs_server.storage.sentinel import adopt, place_at
from pacs_server.whole_file import write_whole

FIRST_VOLUME = "first"
_MODE: Final = 0o666  # less what the umask takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made: a settings file, and with it a new archive, or one more node of the archive whose database has
    these `volumes` already. The `absent` of them are not where this node looks for them.
    """

    settings_path: Path
    volumes: tuple[VolumeRow, ...]
    absent: tuple[VolumeRow, ...]


def initialise(data_dir: Path, *, aet: AeTitle, host: str, port: int, database: str | None) -> Made:
    """Make `data_dir` an archive with an empty index and one volume; where the database has volumes, a node of that
    archive, which adds none.

    Raises: Refused when it is one already, or cannot be; Busy while somebody else makes it one; ConfigError when a
    value is not usable; SchemaMismatch when the database is that of an archive of another release; IndexUnavailable.
    """
    _refuse_no_text(data_dir)
    settings_path, partial_path = data_dir / "pacs.yaml", data_dir / "pacs.part"
    with ExitStack() as alone:
        try:
            _refuse_archive(settings_path)
            data_dir.mkdir(parents=True, exist_ok=True)
            alone.enter_context(making_lock(data_dir))
            _refuse_archive(settings_path)  # another one may have made it meanwhile
            text = minimal_file(aet=aet, host=host, port=port, database=database)
            write_whole(partial_path, text.encode(), _MODE)
        except OSError as error:
            raise Refused(f"{data_dir} cannot be written: {error.strerror}; choose another --data") from error
        alone.callback(partial_path.unlink, missing_ok=True)
        return _make(settings_path, partial_path)


def _make(settings_path: Path, partial: Path) -> Made:
    settings = load(partial)
    # A SQLite file is of one node; what is in it, an interrupted init has left. The schema of PostgreSQL is not changed
    # by a node that joins: the others work with it.
    is_embedded = settings.database.startswith("sqlite:")
    if is_embedded or current(settings.database) is None:
        upgrade(settings.database)
    with closing(open_current(settings.database)) as index:
        known = tuple(Registry(index).volumes())
    if not known:
        _add_first_volume(settings, settings_path.parent / "volumes" / FIRST_VOLUME)
    absent = tuple(row for row in known if place_at(location_of_volume(row)).volume_id != row.id)
    # The settings file comes last: an archive that has one is complete, and an interrupted init can be run again.
    partial.replace(settings_path)
    return Made(settings_path=settings_path, volumes=() if is_embedded else known, absent=absent)


def _refuse_archive(settings_path: Path) -> None:
    if settings_path.exists():
        raise Refused(f"{settings_path.parent} is already an archive ({settings_path} exists); nothing was changed")


def _refuse_no_text(data_dir: Path) -> None:
    try:
        str(data_dir.resolve()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused(
            f"{data_dir} has a name that is no text, which no database takes; choose another --data"
        ) from error


def _add_first_volume(settings: Settings, path: Path) -> None:
    try:
        make_folder(path)
    except OSError as error:
        raise Refused(f"{path} cannot be made: {error.strerror}; choose another --data") from error
    path = path.resolve()
    with closing(open_current(settings.database)) as index:
        volume_id = adopt(path, name=FIRST_VOLUME)
        Registry(index).add_volume(
            VolumeRow(id=volume_id, name=FIRST_VOLUME, path=str(path), tier="hot", domain=FIRST_VOLUME)
        )
