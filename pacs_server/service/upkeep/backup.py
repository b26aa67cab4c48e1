"""Backups and what is made of them, wired to the index, the volumes and the locks of this archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from pacs_server.archive.backup import Checked, Material, back_up, check, note_check
from pacs_server.archive.operations import learn
from pacs_server.archive.restoring import Becomes, VolumePlan, bring_back, plan_volumes
from pacs_server.dicom.audit import Event
from pacs_server.errors import (
    CopyUnreadable,
    NotEnoughCopies,
    Refused,
    SchemaMismatch,
    Undecodable,
    VolumeAway,
    VolumeUnavailable,
)
from pacs_server.index.database_url import parse_url
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.replacing import Present, count_without, install, present, settle, settled
from pacs_server.index.maintenance.schema import current, head, knows, open_current, upgrade
from pacs_server.index.maintenance.snapshot import discard, sqlite_url, take_snapshot
from pacs_server.index.site.registry import Registry, VolumeRow
from pacs_server.ownership import make_file
from pacs_server.service.assemble import Node
from pacs_server.service.locks import backup_lock, instance_lock
from pacs_server.service.roll_call import node_name, refuse_beside
from pacs_server.service.upkeep.checkpoints import put_key_aside
from pacs_server.service.volume_rows import location_of_volume, on_this_node
from pacs_server.settings import Settings, StorageLimits, TlsFiles
from pacs_server.storage.backup import INDEX, BackupDirectory, Summary, part, stamp_of, tls_name
from pacs_server.storage.carrying import Carried
from pacs_server.storage.location import Location
from pacs_server.storage.sentinel import Place, adopt, place_at, sentinel_at
from pacs_server.storage.threads import Answer, answer_of
from pacs_server.whole_file import write_whole

_SNAPSHOT: Final = "backup-snapshot.db"


def run_backup(
    node: Node, settings_path: Path, target: Path, *, with_objects: bool, is_new: bool, now: datetime
) -> Iterator[Carried]:
    """Back this archive up to a directory, which is made if it is missing, while the server may be running. With
    objects, one result for each. `is_new` allows to begin at a place where there was a backup before, on another disk.

    Raises: Refused when the directory cannot be used; Busy; NotEnoughCopies; VolumeUnavailable; IndexUnavailable.
    """
    directory = _directory_for_writing(node, target, is_new=is_new)
    snapshot = node.settings.data_dir / _SNAPSHOT
    with backup_lock(node.settings.data_dir):
        try:
            take_snapshot(node.index, snapshot)
            material = Material(
                snapshot=snapshot,
                settings=settings_path.read_bytes(),
                certificates=dict(_read_certificates(node.settings)),
                taken_at=now,
                copies=node.copies,
                placement=node.placement,
            )
            yield from back_up(material, directory, stamp_of(now), with_objects=with_objects)
        finally:
            discard(snapshot)
    node.registry.note_backup(_as_text(directory.path), now)


def refuse_older(url: str) -> None:
    """What is read here are the tables of this release. Raises: SchemaMismatch for a database of an older one, which
    has to back it up itself.
    """
    found = current(url)
    if found is not None and found != head() and knows(found):
        raise SchemaMismatch(
            f"the index has schema {found} of an older release, and that one has to back it up: install it again and "
            "back up, then install this one and run pacs db upgrade; or copy the database with pg_dump. "
            "A SQLite file is copied beside itself by the upgrade"
        )


def _directory_for_writing(node: Node, target: Path, *, is_new: bool) -> BackupDirectory:
    path = _resolved(target)
    if not _answer_at(path, partial(_is_begun, path)):
        last = node.registry.last_backups().get(_as_text(path))
        if last is not None and not is_new:
            raise Refused(
                f"{path} holds no backup, but did so on {last}: is it mounted? "
                "To begin anew there, on another disk, say --new"
            )
        _answer_at(path, partial(_make, path))
    volumes = [location_of_volume(on_this_node(row, node.settings)) for row in node.registry.volumes()]
    return BackupDirectory.for_writing(path, node.settings.storage, volumes=volumes)


def _resolved(target: Path) -> Path:
    """A directory of backups without symbolic links. Raises: VolumeAway when nothing answers there."""
    return _answer_at(target, target.resolve)


def _answer_at(target: Path, work: Callable[[], Answer]) -> Answer:
    """What a piece of work answers. Raises: VolumeAway when nothing answers there; what the work raises."""
    try:
        return answer_of(target, work)
    except VolumeAway as error:
        raise VolumeAway(f"{target}: {error}") from error


def _is_begun(path: Path) -> bool:
    """Whether a directory holds backups. Raises: VolumeAway when nobody knows."""
    try:
        return bool(sentinel_at(path))
    except VolumeAway:
        raise
    except VolumeUnavailable:
        return False


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{path} cannot be made: {error.strerror}; choose another --to") from error


def _as_text(path: Path) -> str:
    """A path as a database takes it, whatever bytes its names have."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _certificates(settings: Settings) -> tuple[Path, ...]:
    """The files that `pacs tls init` makes, with the keys. What the settings name elsewhere is kept there."""
    files = TlsFiles.within(settings.data_dir / settings.tls.directory)
    return files.certificate, files.key, files.ca, files.ca_key


def _read_certificates(settings: Settings) -> Iterator[tuple[str, bytes]]:
    for path in _certificates(settings):
        try:
            yield path.name, path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}; back up as the user of the server") from error


def backups_in(target: Path) -> Iterator[tuple[str, Summary | None, str]]:
    """The runs in a directory, each with its summary, which is None when it was broken off, and what is wrong with it.

    Raises: VolumeUnavailable.
    """
    directory = BackupDirectory(_resolved(target), StorageLimits())
    for stamp in directory.stamps():
        try:
            yield stamp, directory.summary(stamp), ""
        except (Undecodable, CopyUnreadable) as error:
            yield stamp, None, str(error)


class Verification:
    """The reading of one run. `remark` says in the end when its result could not be noted there."""

    def __init__(self, target: Path, stamp: str) -> None:
        """Find the run, the newest that is complete without a name.

        Raises: UnknownName; Undecodable; VolumeUnavailable; CopyUnreadable.
        """
        self._directory = BackupDirectory(_resolved(target), StorageLimits())
        self.summary = self._directory.chosen(stamp)
        self.remark = ""

    def files(self) -> Iterator[Checked]:
        """Read everything that belongs to the run, and note there whether it is whole.

        Raises: VolumeUnavailable.
        """
        damaged: list[str] = []
        for one in check(self._directory, self.summary):
            if one.damage:
                damaged.append(one.path)
            yield one
        try:
            note_check(self._directory, self.summary, damaged, now=datetime.now(UTC))
        except NotEnoughCopies as error:
            self.remark = str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a restore would do; `lacking` counts objects without a copy on a volume that is there, as far as the backup
    knows what that has. One that `goes_on` was broken off, and its index and volumes are in place already.
    """

    summary: Summary
    volumes: Sequence[VolumePlan]
    lacking: int
    goes_on: bool = False

    @property
    def is_estimate(self) -> bool:
        """Whether volumes are there of which the backup does not know what they have."""
        return any(one.becomes in (Becomes.REPLACED, Becomes.ADDED) for one in self.volumes)


class Restore:
    """A restore that can be looked at before it is done. `kept` is in the end where the former SQLite file is,
    `remarks` what was done beside.
    """

    def __init__(
        self,
        settings: Settings,
        directory: BackupDirectory,
        plan: Plan,
        prepared: Path | None,
        *,
        is_newest: bool,
    ) -> None:
        self.plan = plan
        self._is_newest = is_newest
        self.kept: Path | None = None
        self.remarks: list[str] = []
        self._settings = settings
        self._directory = directory
        self._prepared = prepared

    @classmethod
    @contextmanager
    def of(cls, settings: Settings, target: Path, stamp: str) -> Iterator[Restore]:
        """Read a backup for the archive of these settings. No server can start until the context ends.

        Raises: Busy while a server runs; Refused; UnknownName; SchemaMismatch; CopyUnreadable; Undecodable;
        ConfigError; VolumeUnavailable; IndexUnavailable.
        """
        directory = BackupDirectory(_resolved(target), settings.storage)
        summary = directory.chosen(stamp)
        made = partial(cls, settings, directory, is_newest=not stamp)
        if not knows(summary.schema):
            raise SchemaMismatch(
                f"the backup has schema {summary.schema} of a newer release: install {summary.release}"
            )
        with instance_lock(settings.data_dir):
            there = present(settings.database)
            refuse_beside(there.nodes, own=node_name(settings), deed="a restore", now=datetime.now(UTC))
            if there.restoring == summary.digests[INDEX]:
                with closing(open_current(settings.database)) as index:
                    lacking = count_without(index, [row.id for row in there.volumes])
                yield made(Plan(summary=summary, volumes=(), lacking=lacking, goes_on=True), None)
                return
            prepared = _beside_the_index(settings)
            try:
                plan = _prepare(directory, summary, there, prepared, settings)
                yield made(plan, prepared)
            finally:
                discard(prepared)

    def do(self, *, now: datetime, command: Event | None = None) -> Iterator[Carried]:
        """Put the index in place, settle the volumes, and bring back the objects that they lack; one result for each.
        `command` is who does so, for the audit trail, which is that of the backup and goes on under another key.

        Broken off anywhere, another restore of the same run goes on.

        Raises: Refused; NotEnoughCopies; VolumeUnavailable; ConfigError; IndexUnavailable.
        """
        if self._prepared is not None:
            self._settle(self._prepared)
            kept_as = f"before-restore-{stamp_of(now)}"
            put_key_aside(self._settings.data_dir, kept_as)  # first: once the index is in place, this is not done again
            self.kept = install(self._prepared, self._settings.database, keep_as=kept_as)
        self._put_back_certificates()
        with Node.open(self._settings, command) as node:
            if partners := ", ".join(one.name for one in node.partners.all()):
                self.remarks.append(
                    f"{partners} knew this site by the index that was lost, and is not linked until it is added anew; "
                    "there: pacs partner remove NAME --yes, then pacs partner add"
                )
            # What was decided since, in the directory by a run that was broken off; an older run is as it was.
            for volume in (*node.volumes(), *([self._directory.volume] if self._is_newest else [])):
                if volume.state.is_readable:
                    # What was destroyed since is not brought back.
                    learn(volume, node.instances.operations, node.volumes(), now=now)
            yield from bring_back(self._directory, self.plan.summary.stamp, node.copies, node.placement)
            node.jobs.owe(JobKind.SURVEY, now)
            for volume in node.volumes():
                node.jobs.owe(JobKind.OPERATIONS, now, target=volume.spec.id)
            settled(node.index)

    def _put_back_certificates(self) -> None:
        """Those that are not there: partners and peers know this node by them. Objects do not wait for them."""
        summary = self.plan.summary
        for path in _certificates(self._settings):
            name = tls_name(path.name)
            if name not in summary.digests or path.exists():
                continue
            try:
                content = self._directory.secret(part(summary.stamp, name), summary.digests[name])
                write_whole(path, content, 0o600 if path.suffix == ".key" else 0o644)
                self.remarks.append(f"put back: {path}")
            except (CopyUnreadable, VolumeUnavailable, OSError) as error:
                self.remarks.append(f"not put back: {path}: {error}")

    def _settle(self, prepared: Path) -> None:
        rows = [plan.row for plan in self.plan.volumes if plan.becomes is not Becomes.GONE]
        rows = [row if row.id else self._begun_anew(row) for row in rows]
        if not rows:
            raise Refused("no volume of the backup is there, and no other one: mount them, or begin with pacs init")
        gone = [plan.former_id for plan in self.plan.volumes if plan.becomes.is_gone]
        with closing(open_current(sqlite_url(prepared))) as index:
            settle(index, rows, gone, restoring=self.plan.summary.digests[INDEX])

    def _begun_anew(self, row: VolumeRow) -> VolumeRow:
        return replace(row, id=adopt(self._place_of(row), name=row.name, data_dir=self._settings.data_dir))

    def _place_of(self, row: VolumeRow) -> Location:
        return location_of_volume(on_this_node(row, self._settings))


def _beside_the_index(settings: Settings) -> Path:
    """Where an index is prepared: on the file system of the one that it replaces."""
    url = parse_url(settings.database)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        return path.with_name(f"{path.name}.restoring")
    return settings.data_dir / "restoring.db"


def _prepare(directory: BackupDirectory, summary: Summary, there: Present, prepared: Path, settings: Settings) -> Plan:
    def at(row: VolumeRow) -> Place:
        return place_at(location_of_volume(on_this_node(row, settings)))

    try:
        discard(prepared)
        make_file(prepared)
        directory.fetch(part(summary.stamp, INDEX), prepared, summary.digests[INDEX])
    except OSError as error:
        raise Refused(f"{prepared} cannot be written: {error.strerror}; make room there") from error
    upgrade(sqlite_url(prepared))
    with closing(open_current(sqlite_url(prepared))) as index:
        volumes = plan_volumes(Registry(index).volumes(), there.volumes, at)
        stays = [plan.row.id for plan in volumes if not plan.becomes.is_gone]
        return Plan(summary=summary, volumes=volumes, lacking=count_without(index, stays))
