"""Which part a site has beside its partners, and how far each side is behind the other, without asking anybody."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pacs_server.index.site.draining import draining_of
from pacs_server.service.assemble import Node
from pacs_server.service.contacts import Contact, remembered, state_in_words, still_known
from pacs_server.service.partners.failover import lost_of
from pacs_server.service.partners.unfinished import unfinished
from pacs_server.service.present import lacking_copies


class Role(StrEnum):
    """What a site is to viewers and modalities."""

    ALONE = "alone"  # there is no partner
    EQUAL = "equal"  # no site was chosen
    PREFERRED = "preferred"
    STANDBY = "standby"


def role_of(node: Node) -> Role:
    """The role of this site. Raises: IndexUnavailable."""
    if not node.partners_now():
        return Role.ALONE
    if not node.preferred_site():
        return Role.EQUAL
    return Role.STANDBY if node.is_standby() else Role.PREFERRED


def preferred_name(node: Node) -> str:
    """What the preferred site is called here; empty when none was chosen. A restored index is of another site than it
    was: until it has heard its partners, what it was itself may be preferred. Raises: IndexUnavailable.
    """
    preferred = node.preferred_site()
    if preferred == node.instances.operations.site_id():
        return "here"
    stranger = f"a site that is no partner here ({preferred[:8]}; a restored site was another one before)"
    known = {one.site_id: one.name for one in node.partners.all()} | {"": ""}
    return known.get(preferred, stranger)


def role_lines(node: Node) -> list[str]:
    """The role of this site in words; nothing for one that stands alone and lets everybody in.

    Raises: IndexUnavailable.
    """
    role, told = role_of(node), []
    if role is Role.EQUAL:
        told.append("no site is preferred yet; pacs failover to here makes this one it")
    elif role is Role.PREFERRED:
        told.append("this site is the preferred one")
    elif role is Role.STANDBY:
        stores = "takes" if node.settings.failover.standby_stores else "does not take"
        told.append(
            f"this site is a standby: {preferred_name(node)} is preferred; it answers, and {stores} what is sent"
        )
    if (draining := draining_of(node.index)) is not None:
        told.append(
            f"draining since {draining.since:%Y-%m-%d %H:%M} UTC by {draining.who}: only partners get an association; "
            "pacs failover demote here --end"
        )
    return told


def failover_facts(node: Node, now: datetime) -> dict[str, Any]:
    """How this site and its partners stand to each other, as the running server saw it last.

    Raises: ConfigError; IndexUnavailable.
    """
    draining, left = draining_of(node.index), unfinished(node)
    contacts = remembered(node.settings.data_dir)
    return {
        "role": role_of(node).value,
        "preferred": preferred_name(node) or None,
        "takes_stores": node.settings.failover.standby_stores or not node.is_standby(),
        "draining_since": draining and draining.since.isoformat(timespec="seconds"),
        "draining_by": draining and draining.who,
        "lacking_copies": lacking_copies(node),
        "unfinished": left and left.facts(),
        "partners": [_partner_facts(node, one.name, contacts.get(one.name), now) for one in node.partners.all()],
    }


def _partner_facts(node: Node, name: str, contact: Contact | None, now: datetime) -> dict[str, Any]:
    behind, theirs = node.outbox.behind(name), lost_of(contact)
    partner = node.partners.one(name)
    compared = node.partners.compared(name) or {}
    known = still_known(partner, contact)
    return {
        "name": name,
        "state": state_in_words(partner, known),
        "since": known and known.since.isoformat(timespec="seconds"),
        "heard_at": theirs.as_of and theirs.as_of.isoformat(timespec="seconds"),
        "clock_ahead_s": known.clock_ahead_s if known and known.is_reached else None,
        "is_draining": known.is_draining if known and known.is_reached else None,
        "it_lacks_objects": behind.objects,
        "it_lacks_series": behind.series,
        "it_is_behind_s": _age_s(behind.oldest_at, now),
        "we_lack_objects": theirs.objects,
        "we_lack_series": theirs.number_of_series,
        "we_are_behind_s": _age_s(theirs.owed_since, now),
        "compared_at": compared.get("at"),
        "compared_found": compared["here"] + compared["there"] if compared else None,
    }


def _age_s(since: datetime | None, now: datetime) -> int:
    return 0 if since is None else max(0, int((now - since).total_seconds()))
