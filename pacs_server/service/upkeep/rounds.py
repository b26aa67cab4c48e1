"""What the running server looks at now and then, whether somebody owes it or not: each minute, each day, each night."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final

from pacs_server import log
from pacs_server.archive.retire import purge
from pacs_server.errors import Refused
from pacs_server.index.fates import purged_among
from pacs_server.index.jobs import JobKind
from pacs_server.index.queries.trash import Trash
from pacs_server.index.shared_uids import SharedUids
from pacs_server.index.site.retention import Purging, retention_of
from pacs_server.service.assemble import Node
from pacs_server.service.upkeep.decisions import decider, refuse_doubtful_clock

_NIGHT_ENDS: Final = 6  # o'clock, local time
_PORTION: Final = 100
# The first an hour after a start, when there is most to do; to look at ten million objects takes 5 s.
_SURVEY_FIRST_S: Final = 3_600.0
_DAY_S: Final = 86_400.0
_MINUTE_S: Final = 60.0


class Rounds:
    """Each of them belongs to one thread, and answers that nothing more of it is to be done now."""

    def __init__(self, node: Node, has_duty: Callable[[], bool]) -> None:
        """`has_duty` says whether this node does what one node does for the site."""
        self._node = node
        self._has_duty = has_duty
        self._shared_uids = SharedUids(node.index)
        self._surveys_at = time.monotonic() + _SURVEY_FIRST_S
        self._shows_at = self._flags_at = self._forgets_at = time.monotonic()
        self._purged_on: date | None = None

    def owe_survey(self) -> bool:
        """Have it looked once a day for what lacks copies that nobody owes: an object that was being received while the
        policy was changed got, and owes, what the former one asked for. Raises: IndexUnavailable.
        """
        if self._has_duty() and time.monotonic() >= self._surveys_at:
            self._node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))
            self._surveys_at = time.monotonic() + _DAY_S
        return False

    def show_hidden(self) -> bool:
        """Show, at the start and once a day, what a node of a release before 0022_pre_current_of_study has hidden:
        while the others are upgraded it makes a version of what comes under the UID of an object of another study.

        Raises: IndexUnavailable.
        """
        if time.monotonic() >= self._shows_at:
            hidden = self._node.contents.hidden()
            for start in range(0, len(hidden), _PORTION):  # who stores in these studies waits for one portion
                self._node.instances.operations.show(hidden[start : start + _PORTION], datetime.now(UTC))
            if hidden:
                log.info("hidden objects are found now", objects=len(hidden))
            self._shows_at = time.monotonic() + _DAY_S
        return False

    def flag_shared_uids(self) -> bool:
        """Once a minute, flag the studies with a UID in common whose objects came at the very same moment.

        Raises: IndexUnavailable.
        """
        if self._has_duty() and time.monotonic() >= self._flags_at:
            if noted := self._shared_uids.look(datetime.now(UTC)):
                log.info("studies with a UID in common are flagged now", flags=noted)
            self._flags_at = time.monotonic() + _MINUTE_S
        return False

    def purge(self) -> bool:
        """Once a night, destroy what was in the trash for long enough, where the site decided so.

        Raises: NotEnoughCopies; VolumeUnavailable; IndexUnavailable.
        """
        if not self._has_duty():
            return False
        now = datetime.now().astimezone()
        retention = retention_of(self._node.index)
        if retention.purging is Purging.NIGHTLY and now.hour < _NIGHT_ENDS and self._purged_on != now.date():
            try:
                refuse_doubtful_clock(self._node, now)
            except Refused as refusal:
                log.warning("not purged", why=refusal)
                self._purged_on = now.date()
                return False
            # First of all what was put on hold, or restored, in rows that a database may have lost.
            by = decider(self._node, "its time in the trash is over", who="server")
            for portion in Trash(self._node.index).in_portions():
                # It may take hours, in which an admin decides otherwise, or a partner is cut off.
                if (retention := retention_of(self._node.index)).purging is not Purging.NIGHTLY:
                    break
                by = replace(by, now=datetime.now(UTC), partners=self._node.partners.all())
                for operation in purge(portion, retention, by):
                    for content in operation.objects:
                        self._node.transcoder.forget(content.digest)
                    log.info("purged", study=operation.study_uid, objects=len(operation.objects))
            self._purged_on = now.date()
        return False

    def forget_transcoded(self) -> bool:
        """At the start and once a day, remove from the disk of this node what was transcoded of objects that were
        purged elsewhere, by another node or a partner, or while it was made. Raises: IndexUnavailable.
        """
        if time.monotonic() >= self._forgets_at:
            for digest in purged_among(self._node.index, self._node.transcoder.digests()):
                self._node.transcoder.forget(digest)
            self._forgets_at = time.monotonic() + _DAY_S
        return False
