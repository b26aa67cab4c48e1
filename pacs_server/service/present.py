"""How the archive is at this moment: what `pacs status` and `pacs doctor` print, metrics tell and alarms judge."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pacs_server.cluster.certificates import read
from pacs_server.cluster.roster import lives
from pacs_server.index.site.partners import Partner
from pacs_server.service.assemble import Node
from pacs_server.service.contacts import Contact, remembered, state_in_words, still_known
from pacs_server.service.sighted import states_of
from pacs_server.settings import Settings, TlsFiles
from pacs_server.storage.condition import VolumeState, reserve_of
from pacs_server.storage.volume import Volume

EXPIRES_SOON_DAYS: Final = 30
# Copies beyond those that a sender waits for are made after its answer, for a series at once.
_JUST_COME: Final = timedelta(minutes=1)


def volumes_of(node: Node) -> list[dict[str, object]]:
    """The volumes of the site as they are listed, each looked at now. Raises: what `states_of` raises."""
    states = states_of(node)
    return [volume_facts(one, states[one.spec.id]) for one in node.volumes() if one.spec.id in states]


def volume_facts(volume: Volume, state: VolumeState) -> dict[str, object]:
    """A volume as it is listed."""
    return {
        "name": volume.spec.name,
        "state": state.status.value,
        "reason": state.reason,
        "since": state.since.isoformat(timespec="seconds"),
        "free_bytes": state.free_bytes,
        "total_bytes": state.total_bytes,
        "tier": volume.spec.tier,
        "domain": volume.spec.domain,
        "path": str(volume.spec.path),
        "id": volume.spec.id,
    }


def short_of_room(settings: Settings) -> str:
    """What is to be said of the disk of the data directory; empty while it has room. Volumes tell of themselves: one
    that lies there too is full before this is said.
    """
    try:
        disk = shutil.disk_usage(settings.data_dir)
    except OSError as error:
        return f"the data directory {settings.data_dir} cannot be looked at: {error.strerror}"
    if 2 * disk.free >= reserve_of(disk.total, settings.storage.reserve_bytes):
        return ""
    return (
        f"{disk.free >> 20} MiB are left on the disk of the data directory {settings.data_dir}: without room the index "
        "takes nothing new; make room there"
    )


def backlog_of(node: Node) -> dict[str, Any]:
    """What is not as the site wants it, and what is owed for it."""
    jobs: dict[str, int] = {}
    for (kind, _), number in node.jobs.counts().items():
        jobs[kind] = jobs.get(kind, 0) + number
    return {
        "want": node.policies().usual.want,
        "lacking_copies": lacking_copies(node),
        "damaged_copies": node.copies.count_damaged(),
        "leaving_files": sum(one.files for one in node.releases.waiting()),
        "jobs": jobs,
        "sends": node.sendings.open_counts(),
        "archives": [asdict(one) for one in node.deposits.kept()],
    }


def lacking_copies(node: Node, *, received_before: datetime | None = None) -> int:
    """How many objects have fewer copies than the site wants of what their sender sends; `received_before`: only of
    those that came before then.
    """
    absent = [volume.spec.id for volume in node.volumes() if volume.spec.is_draining]
    return node.spread.count_lacking(node.policies(), absent=absent, received_before=received_before)


def lacking_for_long(node: Node, now: datetime) -> int:
    """How many objects have fewer copies than the site wants, and not only because they have just come."""
    return lacking_copies(node, received_before=now - _JUST_COME)


def nodes_of(node: Node, now: datetime) -> list[dict[str, object]]:
    """The nodes of an archive on PostgreSQL, as they told of themselves; `volumes` is how many each can read."""
    return [
        {
            "name": one.name,
            "state": "serving" if lives(one, now) else "silent",
            "aet": one.aet,
            "address": one.address,
            "volumes": len(one.reach),
            "release": one.release,
            "seen_at": one.seen_at.isoformat(timespec="seconds"),
        }
        for one in node.nodes.all()
    ]


def partners_of(node: Node) -> list[dict[str, object]]:
    """Every partner with how it was when the server last greeted it. Raises: IndexUnavailable."""
    contacts = remembered(node.settings.data_dir)
    return [partner_facts(node, one, contacts.get(one.name)) for one in node.partners.all()]


def partner_facts(node: Node, one: Partner, contact: Contact | None) -> dict[str, object]:
    """A partner as it was when it was greeted, and how far it is behind. Raises: IndexUnavailable."""
    return _facts(one, contact) | _standing(node, one)


def _standing(node: Node, one: Partner) -> dict[str, object]:
    """How far it is behind, and what the last comparison found."""
    behind, compared = node.outbox.behind(one.name), node.partners.compared(one.name)
    return {
        "behind_objects": behind.objects,
        "behind_series": behind.series,
        "behind_since": behind.oldest_at and behind.oldest_at.isoformat(timespec="seconds"),
        "compared_at": compared and compared["at"],
        "missing": compared and compared["here"] + compared["there"],
        "comparison": compared,
    }


def _facts(one: Partner, contact: Contact | None) -> dict[str, object]:
    contact = still_known(one, contact)
    return {
        "name": one.name,
        "host": one.host,
        "port": one.port,
        "aet": one.aet,
        "fingerprint": one.fingerprint,
        "site_id": one.site_id,
        "state": state_in_words(one, contact),
        "since": contact and contact.since.isoformat(timespec="seconds"),
        "greeted_at": contact and contact.at.isoformat(timespec="seconds"),
        "clock_ahead_s": contact.clock_ahead_s if contact and contact.is_reached else None,
        "node": contact and contact.node,
        "their_aet": contact and contact.aet,
        "version": contact and contact.version,
        "schema": contact and contact.schema,
        "owes_objects": contact and contact.owed_objects,
        "owes_series": contact and contact.owed_series,
        "owes_since": contact and contact.owed_since,
        "told_at": contact and contact.told_at,
        "exchanged_at": one.exchanged_at and one.exchanged_at.isoformat(timespec="seconds"),
        "problem": contact and contact.problem,
    }


def behind_s(partner: Mapping[str, object], now: datetime) -> float:
    """For how long the oldest of what a partner lacks is owed."""
    since = partner["behind_since"]
    return max(0.0, (now - datetime.fromisoformat(str(since))).total_seconds()) if since else 0.0


def certificates_of(files: TlsFiles) -> Iterator[dict[str, object]]:
    """The certificate of the node, and that of the authority where there is one. Raises: ConfigError."""
    now = datetime.now(UTC)
    for name, path in (("node", files.certificate), ("authority", files.ca)):
        if name == "node" or path.exists():
            found = read(path)
            yield {
                "name": name,
                "file": str(path),
                "subject": found.subject,
                "issuer": found.issuer,
                "names": list(found.names),
                "days_left": found.days_left(now),
                "begins_at": found.begins_at.isoformat(),
                "expires_at": found.expires_at.isoformat(),
                "fingerprint": found.fingerprint,
            }


def renewal_of_authority(settings: Settings) -> str:
    """What to do once the authority's own certificate expires: `pacs tls init` uses one that is there."""
    if settings.tls.ca_file is not None:
        return "a new one of the site's authority in its place"
    return "move it and its key away, then pacs tls init --yes; every node and peer needs the new one"


def validity_problem(row: dict[str, object]) -> str:
    """Why a certificate is not valid now, or will not be soon; empty when it is."""
    begins_at, days = datetime.fromisoformat(str(row["begins_at"])), int(str(row["days_left"]))
    if begins_at > datetime.now(UTC):
        return f"the certificate {row['file']} is not valid before {begins_at:%Y-%m-%d %H:%M} UTC, by the clock here"
    if days >= EXPIRES_SOON_DAYS:
        return ""
    if days < 0:
        return f"the certificate {row['file']} has expired"
    return f"the certificate {row['file']} expires in {days} days"
