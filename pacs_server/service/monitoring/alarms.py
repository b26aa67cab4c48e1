"""What deserves an alarm at this moment: each kind is a short rule over what was observed. None names a patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from pacs_server.index.maintenance.locks import LongLock
from pacs_server.service.monitoring.habits import Sample, days_until_full, silence_of
from pacs_server.service.monitoring.observing import Holdings, Observer
from pacs_server.service.present import behind_s, renewal_of_authority
from pacs_server.settings import Settings
from pacs_server.storage.condition import CLOSED, Status

_AWAY: Final = (Status.OFFLINE.value, Status.SUSPECT.value, Status.FULL.value, Status.READ_ONLY.value)
# The audit trail is signed once a day.
_CHECKPOINT_S: Final = 2 * 86_400.0
_HOUR_S: Final = 3_600


class AlarmKind(StrEnum):
    """What is wrong."""

    SELF_CHECK = "self-check"
    INDEX = "index"
    VOLUME = "volume"
    COPIES = "copies"
    DAMAGE = "damage"
    BACKLOG = "backlog"
    DISK = "disk"
    SILENCE = "silence"
    PARTNER = "partner"
    STANDBY = "standby"
    CERTIFICATE = "certificate"
    AUDIT = "audit"


# They concern the whole site: of several nodes one tells them.
OF_SITE: Final = frozenset(
    {
        AlarmKind.COPIES,
        AlarmKind.DAMAGE,
        AlarmKind.BACKLOG,
        AlarmKind.DISK,
        AlarmKind.SILENCE,
        AlarmKind.PARTNER,
        AlarmKind.STANDBY,
    }
)
# What cannot be judged while the index is away neither begins nor ends.
OF_INDEX: Final = OF_SITE | {AlarmKind.AUDIT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One thing that is wrong, in words. It is told once it has been so for `hold_s`."""

    kind: AlarmKind
    about: str
    text: str
    hold_s: float

    @property
    def key(self) -> str:
        """The same thing later has the same."""
        return f"{self.kind} {self.about}"


def unknown_of(observer: Observer) -> frozenset[AlarmKind]:
    """The kinds of which nobody can say now whether they stand: after a start nothing was looked at yet."""
    site, held = observer.site, observer.holdings
    is_unknown = {
        AlarmKind.SELF_CHECK: observer.doors.latest is None,
        AlarmKind.INDEX: site.latest is None and not site.problem,
        AlarmKind.VOLUME: observer.volumes.latest is None,
        AlarmKind.CERTIFICATE: observer.certificates.latest is None and not observer.certificates.problem,
        **dict.fromkeys(OF_INDEX, held.latest is None or bool(site.problem or held.problem)),
        AlarmKind.STANDBY: observer.standbys.latest is None or bool(site.problem or observer.standbys.problem),
    }
    return frozenset(kind for kind, is_so in is_unknown.items() if is_so)


def alarms_of(
    observer: Observer,
    settings: Settings,
    rooms: Mapping[str, Sequence[Sample]],
    hours: Mapping[str, set[int]],
    now: datetime,
) -> Iterator[Alarm]:
    """All that stand now. `rooms` is how the free room of each volume went, `hours` when which peer sent."""
    hold_s = settings.alert.hold_s
    for door in observer.doors.latest or ():
        if door.problem:
            text = f"the {door.name} port does not answer the server's own C-ECHO: {door.problem}"
            yield Alarm(kind=AlarmKind.SELF_CHECK, about=door.name, text=text, hold_s=hold_s)
    if problem := observer.index_problem:
        text = f"the database {problem}"
        yield Alarm(kind=AlarmKind.INDEX, about="database", text=text, hold_s=hold_s)
    if short_of_room := observer.disk.latest:
        yield Alarm(kind=AlarmKind.INDEX, about="disk", text=short_of_room, hold_s=hold_s)
    if not observer.index_problem:
        yield from _of_locks(observer.locks.latest or (), hold_s)
    yield from _of_volumes(observer.volumes.latest or [], hold_s)
    yield from _of_certificates(observer.certificates.latest or [], settings, now)
    if problem := observer.certificates.problem:
        yield Alarm(kind=AlarmKind.CERTIFICATE, about="node", text=problem, hold_s=hold_s)
    site, held = observer.site.latest, observer.holdings.latest
    if held is None or site is None:
        return
    yield from _of_trail(held, hold_s)
    if site.does_for_all:
        yield from _of_site(held, settings, now)
        yield from _of_standbys(observer.standbys.latest or {}, hold_s)
        yield from _of_rooms(rooms, observer.volumes.latest or [], settings)
        if settings.alert.silence:
            yield from _of_silence(held.peers, hours, now, hold_s)


def _of_locks(locks: Sequence[LongLock], hold_s: float) -> Iterator[Alarm]:
    for one in locks:
        program = one.program or "a program without a name"
        text = (
            f"process {one.pid} of PostgreSQL ({one.user}, {program}) keeps rows of the archive "
            f"locked for {one.held_s / 60:.0f} minutes: what is sent of these studies is refused; end its "
            f"transaction, or SELECT pg_terminate_backend({one.pid})"
        )
        yield Alarm(kind=AlarmKind.INDEX, about=f"lock {one.pid}", text=text, hold_s=hold_s)


def _of_volumes(rows: list[dict[str, object]], hold_s: float) -> Iterator[Alarm]:
    for volume in rows:
        name = str(volume["name"])
        text = ""
        if volume["state"] in _AWAY and volume["reason"] != CLOSED:
            text = f"volume {name} is {volume['state']}: {volume['reason']} (pacs storage show {name})"
        elif number := volume.get("untaken"):
            text = (
                f"volume {name} is {volume['state']}, but did not take {number} copies in the last 15 minutes: the log "
                "and pacs jobs list name the folder, and why; look into the kernel log, and who may write there"
            )
        if text:
            yield Alarm(kind=AlarmKind.VOLUME, about=name, text=text, hold_s=hold_s)


def _of_certificates(rows: list[dict[str, object]], settings: Settings, now: datetime) -> Iterator[Alarm]:
    for one in rows:
        days = (datetime.fromisoformat(str(one["expires_at"])) - now).days
        if days < settings.alert.certificate_days:
            left = "has expired" if days < 0 else f"expires in {days} days"
            is_authority = one["name"] == "authority"
            renewal = (
                renewal_of_authority(settings) if is_authority else "pacs tls init --yes, or one of your authority"
            )
            text = f"the certificate {one['file']} {left}: {renewal}"
            yield Alarm(kind=AlarmKind.CERTIFICATE, about=str(one["name"]), text=text, hold_s=0)


def _of_trail(held: Holdings, hold_s: float) -> Iterator[Alarm]:
    if problem := held.checkpoint_problem:
        yield Alarm(
            kind=AlarmKind.AUDIT, about="key", text=f"the audit trail cannot be signed: {problem}", hold_s=hold_s
        )
    elif held.checkpoint_age_s is not None and held.checkpoint_age_s > _CHECKPOINT_S:
        days = held.checkpoint_age_s / 86_400
        text = f"the last checkpoint of the audit trail is {days:.1f} days old; the log says why"
        yield Alarm(kind=AlarmKind.AUDIT, about="checkpoint", text=text, hold_s=hold_s)


def _of_site(held: Holdings, settings: Settings, now: datetime) -> Iterator[Alarm]:
    alert = settings.alert
    if lacking := held.lacking_for_long:
        text = f"{lacking} objects have fewer copies than are wanted (pacs jobs list)"
        yield Alarm(kind=AlarmKind.COPIES, about="all", text=text, hold_s=alert.copies_after_s)
    yield from _of_damage(held, alert.hold_s)
    for kind, age_s in held.overdue_s.items():
        if age_s > alert.backlog_after_s:
            text = f"the oldest {kind} job is overdue for {_span(age_s)} (pacs jobs list)"
            yield Alarm(kind=AlarmKind.BACKLOG, about=kind, text=text, hold_s=alert.hold_s)
    for one in held.partners:
        if one["state"] == "paused":
            continue
        name, lacks_s = str(one["name"]), behind_s(one, now)
        if lacks_s > alert.partner_after_s:
            text = f"partner {name} lacks {one['behind_objects']} objects, the oldest for {_span(lacks_s)}"
            yield Alarm(kind=AlarmKind.PARTNER, about=name, text=text, hold_s=alert.hold_s)
        elif one["state"] == "not reachable" and _age_s(one["since"], now) > alert.partner_after_s:
            text = f"partner {name} is not reachable since {one['since']}: {one['problem']}"
            yield Alarm(kind=AlarmKind.PARTNER, about=name, text=text, hold_s=alert.hold_s)


def _of_standbys(hindered: Mapping[str, str], hold_s: float) -> Iterator[Alarm]:
    for name, why in hindered.items():
        text = f"the database has one standby less: {why} (pacs doctor)"
        yield Alarm(kind=AlarmKind.STANDBY, about=name, text=text, hold_s=hold_s)


def _of_damage(held: Holdings, hold_s: float) -> Iterator[Alarm]:
    for name, number in held.damaged.items():
        text = f"{number} copies on volume {name} were found damaged today (pacs verify, pacs storage show {name})"
        yield Alarm(kind=AlarmKind.DAMAGE, about=name, text=text, hold_s=0)
    if damaged := held.backlog["damaged_copies"]:
        text = f"{damaged} damaged copies are not replaced (pacs verify)"
        yield Alarm(kind=AlarmKind.DAMAGE, about="all", text=text, hold_s=hold_s)
    if unknown := held.unknown:
        text = (
            f"volume {unknown.volume} has a study that the index does not know: was the index set back to an older "
            "state? (pacs doctor)"
        )
        yield Alarm(kind=AlarmKind.DAMAGE, about="index", text=text, hold_s=hold_s)


def _of_rooms(
    rooms: Mapping[str, Sequence[Sample]], volumes: list[dict[str, object]], settings: Settings
) -> Iterator[Alarm]:
    kept_free = {row["name"]: row.get("full_below_bytes") for row in volumes}
    for name, samples in rooms.items():
        reserve = kept_free.get(name)
        days = days_until_full(
            samples, reserve_bytes=reserve if isinstance(reserve, int) else settings.storage.reserve_bytes
        )
        if days is not None and days < settings.alert.disk_full_within_days:
            text = f"volume {name} is full in {days:.0f} days, by how it filled in the last two weeks"
            yield Alarm(kind=AlarmKind.DISK, about=name, text=text, hold_s=_HOUR_S)


def _of_silence(peers: Sequence[str], hours: Mapping[str, set[int]], now: datetime, hold_s: float) -> Iterator[Alarm]:
    for aet in peers:
        silence = silence_of(hours.get(aet, ()), int(now.timestamp()) // _HOUR_S)
        if silence is not None and silence.is_unusual:
            last = datetime.fromtimestamp(silence.last_hour * _HOUR_S, UTC)
            text = (
                f"{aet} has sent nothing since {last:%Y-%m-%d %H}h UTC: {silence.missed:.0f} of its usual hours, "
                f"and never more than {silence.longest:.0f} in the weeks before"
            )
            yield Alarm(kind=AlarmKind.SILENCE, about=aet, text=text, hold_s=hold_s)


def _age_s(since: object, now: datetime) -> float:
    return (now - datetime.fromisoformat(str(since))).total_seconds() if since else 0.0


def _span(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds > 2 * 86_400 else f"{seconds / _HOUR_S:.1f} hours"
