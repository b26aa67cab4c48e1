"""The metrics: what was counted, and how things are, each from where `pacs status` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from pacs_server import metrics, this_release
from pacs_server.metrics import Family, Kind, Labels, Numbers
from pacs_server.service.board import Board
from pacs_server.service.monitoring.alarms import Alarm
from pacs_server.service.monitoring.observing import Holdings, Observer
from pacs_server.service.present import behind_s
from pacs_server.storage.condition import Status

Told = tuple[Family, Mapping[Labels, Numbers]]


def _gauge(name: str, meaning: str, *labels: str) -> Family:
    return Family(name=f"pacs_{name}", kind=Kind.GAUGE, meaning=meaning, labels=labels)


INFO: Final = _gauge("info", "Always 1; the labels say which release this is.", "version", "aet")
STARTED: Final = _gauge("started_timestamp_seconds", "When the server was started.")
TURNED: Final = _gauge("supervisor_age_seconds", "How long ago the supervisor last looked after its processes.")
AGE: Final = _gauge("looked_at_age_seconds", "How old what is told below is, by what was looked at.", "what")
OPEN: Final = _gauge("open_associations", "Associations that are open.")
SELF_CHECK: Final = _gauge("self_check_up", "Whether a port answered the last C-ECHO of the server itself.", "port")
SELF_CHECKS: Final = Family(
    name="pacs_self_checks_total",
    kind=Kind.COUNTER,
    meaning="These C-ECHOs, which are counted nowhere else.",
    labels=("port", "result"),
)
INDEX: Final = _gauge("index_up", "Whether the database answers, and can be written to.")
DRAINING: Final = _gauge("draining", "Whether no new associations are taken.")
ROLE: Final = _gauge("role", "1 for the role that the site has beside its partners.", "role")
HELD: Final = _gauge("held", "What is held, by what: patients, studies, series, instances, copies and so on.", "what")
HELD_BYTES: Final = _gauge("held_bytes", "The size of all objects that are held, each once.")
LACKING: Final = _gauge("objects_lacking_copies", "Objects with fewer copies than are wanted.")
DAMAGED: Final = _gauge("damaged_copies", "Copies that are known to be damaged, and not replaced yet.")
DAMAGED_TODAY: Final = _gauge("damaged_copies_today", "Copies found damaged on this day of UTC.", "volume")
JOBS: Final = _gauge("jobs", "What is owed.", "kind", "state")
OVERDUE: Final = _gauge("overdue_job_seconds", "The age of the oldest job that waits for no later time.", "kind")
SENDS: Final = _gauge("objects_to_send", "Objects that are to be sent, or were refused for good.", "state")
VOLUME_STATE: Final = _gauge("volume_state", "1 for the state that a volume is in.", "volume", "state")
VOLUME_FREE: Final = _gauge("volume_free_bytes", "Room that is left on a volume.", "volume")
VOLUME_SIZE: Final = _gauge("volume_size_bytes", "Its size.", "volume")
ONLINE: Final = _gauge("volumes_online", "Volumes that could take an object now.")
PARTNER_UP: Final = _gauge("partner_up", "Whether a partner was reached when it was greeted last.", "partner")
BEHIND: Final = _gauge("partner_behind_objects", "Objects that a partner is not known to have.", "partner")
BEHIND_S: Final = _gauge("partner_behind_seconds", "Since when the oldest of them is owed.", "partner")
CHECKPOINT: Final = _gauge("audit_checkpoint_age_seconds", "How old the last checkpoint of the audit trail is.")
EXPIRES: Final = _gauge("certificate_expiry_timestamp_seconds", "When a certificate expires.", "certificate")
ALARMS: Final = _gauge("alarms", "Alarms that stand, by kind.", "kind")
GAUGES: Final = (
    INFO, STARTED, TURNED, AGE, OPEN, SELF_CHECK, SELF_CHECKS, INDEX, DRAINING, ROLE, HELD, HELD_BYTES, LACKING,
    DAMAGED, DAMAGED_TODAY, JOBS, OVERDUE, SENDS, VOLUME_STATE, VOLUME_FREE, VOLUME_SIZE, ONLINE, PARTNER_UP, BEHIND,
    BEHIND_S, CHECKPOINT, EXPIRES, ALARMS,
)  # fmt: skip


def all_metrics(board: Board, observer: Observer, alarms: list[Alarm], now: datetime) -> Iterator[Told]:
    """Every family, in the order of the documentation; without numbers where nothing was found yet."""
    totals = board.totals()
    for family in metrics.COUNTED:
        yield family, totals.get(family.name, {})
    found = dict(_found(board, observer, alarms, now))
    for family in GAUGES:
        yield family, found.get(family, {})


def _found(board: Board, observer: Observer, alarms: list[Alarm], now: datetime) -> Iterator[Told]:
    yield TURNED, _one(board.supervisor_age_s())
    yield AGE, {(one.name,): [one.age_s] for one in observer.all if one.latest is not None}
    doors = observer.doors.latest or ()
    yield SELF_CHECK, {(door.name,): [float(not door.problem)] for door in doors}
    yield (
        SELF_CHECKS,
        {
            (door.name, result): [float(number)]
            for door in doors
            for result, number in (("good", door.good), ("failed", door.failed))
        },
    )
    yield INDEX, _one(not observer.index_problem and observer.site.latest is not None)
    kinds = [one.kind for one in alarms]
    yield ALARMS, {(kind,): [float(kinds.count(kind))] for kind in kinds}
    if server := observer.server.latest:
        yield from _of_server(server)
    if (site := observer.site.latest) is not None:
        yield DRAINING, _one(site.is_draining)
        yield ROLE, {(site.role.value,): [1.0]}
        yield ONLINE, _one(site.online)
    if observer.holdings.latest is not None:
        yield from _of_holdings(observer.holdings.latest, now)
    yield from _of_volumes(observer.volumes.latest or [])
    yield (
        EXPIRES,
        {
            (str(one["name"]),): [datetime.fromisoformat(str(one["expires_at"])).timestamp()]
            for one in observer.certificates.latest or []
        },
    )


def _of_server(server: dict[str, Any]) -> Iterator[Told]:
    yield INFO, {(this_release(), str(server.get("aet", ""))): [1.0]}
    yield OPEN, _one(len(server.get("associations", ())))
    if started := server.get("started_at"):
        yield STARTED, _one(datetime.fromisoformat(started).timestamp())


def _of_holdings(held: Holdings, now: datetime) -> Iterator[Told]:
    backlog = held.backlog
    yield HELD, {(what.replace(" ", "_"),): [float(number)] for what, number in held.counts.items() if what != "bytes"}
    yield HELD_BYTES, _one(held.counts["bytes"])
    yield LACKING, _one(backlog["lacking_copies"])
    yield DAMAGED, _one(backlog["damaged_copies"])
    yield DAMAGED_TODAY, {(name,): [float(number)] for name, number in held.damaged.items()}
    yield JOBS, {key: [float(number)] for key, number in held.jobs.items()}
    yield OVERDUE, {(kind,): [age_s] for kind, age_s in held.overdue_s.items()}
    yield SENDS, {(state,): [float(number)] for state, number in backlog["sends"].items()}
    partners = held.partners
    yield PARTNER_UP, {(str(one["name"]),): [float(one["state"] == "reachable")] for one in partners}
    yield BEHIND, {(str(one["name"]),): [float(str(one["behind_objects"]))] for one in partners}
    yield BEHIND_S, {(str(one["name"]),): [behind_s(one, now)] for one in partners}
    if held.checkpoint_age_s is not None:
        yield CHECKPOINT, _one(held.checkpoint_age_s)


def _of_volumes(volumes: list[dict[str, object]]) -> Iterator[Told]:
    yield (
        VOLUME_STATE,
        {
            (str(one["name"]), status.value): [float(one["state"] == status.value)]
            for one in volumes
            for status in Status
        },
    )
    for family, fact in ((VOLUME_FREE, "free_bytes"), (VOLUME_SIZE, "total_bytes")):
        yield family, {(str(one["name"]),): [float(str(one[fact]))] for one in volumes if one[fact] is not None}


def _one(value: float) -> dict[Labels, Numbers]:
    return {(): [float(value)]}
