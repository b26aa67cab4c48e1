"""The part of the process that keeps house that speaks with partners: it answers those that call, and greets each."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server import log
from pacs_server.cluster.link import LinkServer
from pacs_server.cluster.messages import Hello
from pacs_server.dicom.audit import Event, EventKind, EventOutcome
from pacs_server.errors import PacsError, WrongCertificate
from pacs_server.index.jobs import JobKind
from pacs_server.index.site.partners import Partner
from pacs_server.service.assemble import Node
from pacs_server.service.contacts import Contact, Contacts
from pacs_server.service.duties import Duties, each_in_turn
from pacs_server.service.partners.answering import answers
from pacs_server.service.partners.pairing import (
    Greeting,
    compare_with,
    exchange_logs,
    greet,
    note_own_changes,
    shared_logs,
)
from pacs_server.service.partners.sides import failover_answers

_DRAIN_S: Final = 5.0
# So often one looks while something is owed or untold.
_SOON_S: Final = 1.0
_OTHERS_BEGIN: Final = 3  # o'clock, local time
_NIGHT_ENDS: Final = 6
_NIGHTLY: Final = timedelta(hours=12)
_NOTED_EVERY: Final = timedelta(minutes=1)


class Liaison:
    """Answers on `port`, unless that is None, and greets every partner that is not paused again and again."""

    def __init__(self, node: Node, port: socket.socket | None, has_duty: Callable[[], bool]) -> None:
        """`has_duty` says whether this node does what one node does for the site."""
        self._node = node
        self._has_duty = has_duty
        self._contacts = Contacts(node.settings.data_dir)
        self._greeted_at: dict[str, float] = {}
        self._told: dict[str, object] = {}
        self._duties = Duties("partners", [("greetings", self._greet_one), ("comparison", self._compare)])
        self._server: LinkServer | None = None
        if port is not None:
            settings, files = node.settings.partner, node.settings.tls_files
            self._server = LinkServer(
                port,
                settings,
                files,
                partners=node.partners.all,
                handlers=answers(node) | failover_answers(node),
                on_stranger=lambda address, why: self._alert("", address, why),
            )

    def start(self) -> None:
        """Begin."""
        self._duties.start()
        if self._server:
            self._server.start()

    def stop(self) -> bool:
        """Begin nothing new; whether the partners that ask have their answers."""
        self._duties.stop()
        return self._server is None or self._server.stop(_DRAIN_S)

    def _partners(self) -> list[Partner]:
        """As they are now. A site without any is asked only whether an admin has changed something."""
        return self._node.partners.all() if self._node.partners_now() else []

    def _greet_one(self) -> bool:
        """Greet the partner whose turn it is, and make the logs of both the same; whether there was one."""
        node, partners = self._node, self._partners()
        self._contacts.keep_only(partners)
        if any(not partner.is_paused for partner in partners):
            note_own_changes(node, datetime.now(UTC))
        for partner in partners:
            if not partner.is_paused and self._is_due(partner):
                self._greeted_at[partner.name] = time.monotonic()
                contact = self._greet(partner)
                was_away = self._contacts.note(contact)
                if contact.is_reached and was_away:
                    node.jobs.wake_target(JobKind.REPLICATE, partner.name, datetime.now(UTC), only_failed=True)
                return True
        return False

    def _is_due(self, partner: Partner) -> bool:
        """Now and then; soon while one owes the other something, or something was decided that it was not told."""
        silent_s = time.monotonic() - self._greeted_at.get(partner.name, float("-inf"))
        if silent_s >= self._node.settings.partner.greet_every_s:
            return True
        contact = self._contacts.of(partner.name)
        if silent_s < _SOON_S or contact is None or not contact.is_reached:
            return False
        is_owing = contact.owed_series or self._node.outbox.owes(partner.name)
        return bool(is_owing) or self._state(contact.schema) != self._told.get(partner.name)

    def _state(self, schema: str) -> object:
        return {name: one.log.state() for name, one in shared_logs(self._node, datetime.now(UTC), schema).items()}

    def _greet(self, partner: Partner) -> Contact:
        node = self._node
        before = self._contacts.of(partner.name)
        try:
            greeting = greet(node, partner, lambda: datetime.now(UTC), seen=before.newest if before else "")
            if greeting.hello is not None:
                self._keep_logs_equal(node.partners.one(partner.name), greeting.hello)
        except PacsError as error:
            greeting = Greeting(problem=error)
        contact = contact_of(partner, greeting, datetime.now(UTC))
        if isinstance(greeting.problem, WrongCertificate) and (before is None or before.problem != contact.problem):
            self._alert(partner.name, f"{partner.host}:{partner.port}", contact.problem)
        return contact

    def _keep_logs_equal(self, partner: Partner, hello: Hello) -> None:
        """Exchange where the partner knows other things, and note now and then that it knows the same."""
        now, state = datetime.now(UTC), self._state(hello.schema)
        is_known = partner.exchanged_at is not None and abs(now - partner.exchanged_at) < _NOTED_EVERY
        if hello.logs != state or self._told.get(partner.name) != state or not is_known:
            exchange_logs(self._node, partner, now)
            self._told[partner.name] = self._state(hello.schema)

    def _compare(self) -> bool:
        """Compare with the partners whose turn it is."""
        each_in_turn(self._compare_when_due, self._partners())
        return False

    def _compare_when_due(self, partner: Partner) -> None:
        """Compare with a partner if it is its turn; what one of both lacks is owed then."""
        node, now, contact = self._node, datetime.now(UTC), self._contacts.of(partner.name)
        if partner.is_paused or not partner.aet or contact is None or not contact.is_reached:
            return
        asked, last = node.partners.asked_to_compare(partner.name), node.partners.compared(partner.name)
        # Where it was asked for, what was found before is only shown.
        compared_at = datetime.fromisoformat(last["at"]) if last and not asked else None
        if comparison_is_due(compared_at, now.astimezone(), has_duty=self._has_duty()):
            found = compare_with(node, partner, full=False, heals=True, now=now)
            if found.refusal:
                log.warning("objects are missing here", partner=partner.name, why=found.refusal)
            if compared_at is None:  # equal contents say nothing of which one is current under a UID
                versions = dict.fromkeys(node.contents.series_with_versions(), now)
                node.outbox.owe(partner.name, versions, now)
            if asked:
                node.partners.note_answered(partner.name, asked)

    def _alert(self, who: str, address: str, why: str) -> None:
        """Have the audit trail tell of a certificate that does not belong.

        Source: PS3.15 section A.5.3.11.
        """
        event = Event(
            kind=EventKind.ALERT,
            at=datetime.now(UTC),
            outcome=EventOutcome.REFUSED,
            who=who,
            address=address,
            count=1,
            detail=why,
        )
        self._node.index.trail.note(event)


def comparison_is_due(compared_at: datetime | None, now: datetime, *, has_duty: bool) -> bool:
    """Whether it is time to compare with a partner, by the clock of the wall `now`: once a night, and at once when that
    was never done. One node of a site does so; another only where that one has not, late in the night, because it may
    not reach the partner. A comparison of days to come was noted by a clock that was wrong.
    """
    if compared_at is not None and abs(now - compared_at) <= _NIGHTLY:
        return False
    if has_duty:
        return compared_at is None or now.hour < _NIGHT_ENDS
    return _OTHERS_BEGIN <= now.hour < _NIGHT_ENDS


def contact_of(partner: Partner, greeting: Greeting, now: datetime) -> Contact:
    """What is noted of a greeting."""
    hello = greeting.hello
    return Contact(
        name=partner.name,
        fingerprint=partner.fingerprint,
        is_reached=hello is not None,
        since=now,
        at=now,
        problem=str(greeting.problem or ""),
        clock_ahead_s=round(greeting.clock_ahead_s, 3) + 0.0,  # no -0.0
        node=hello.node if hello else "",
        aet=hello.aet if hello else "",
        schema=hello.schema if hello else "",
        version=hello.version if hello else "",
        owed_objects=hello.owed_objects if hello else 0,
        owed_series=hello.owed_series if hello else 0,
        owed_since=hello.owed_since.isoformat() if hello and hello.owed_since else "",
        preferred=hello.preferred if hello else "",
        is_draining=hello.is_draining if hello else False,
        calls_us=hello.calls_you if hello else "",
        newest=hello.newest if hello else "",
        told_at=now.isoformat() if hello else "",
    )
