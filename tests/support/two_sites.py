"""Two partner sites in one process: what one asks or sends, the other answers at once, unless the line is cut. Each
step of either may be its last, or the moment at which somebody does something else.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import func, select, update
from support.empty_index import copy_empty_index
from support.samples import encoded

from pacs_server.archive.forward import Delivery, Verdict, verdict_of
from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared
from pacs_server.cluster.messages import Body, Inbox, Message, encode
from pacs_server.dicom.identity import AeTitle, Uid
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dimse.status import status_for
from pacs_server.errors import PacsError, PartnerRefused, PeerAborted, PeerUnreachable
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.maintenance.schema import head
from pacs_server.index.operations import Operations
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site.partners import Partner, Partners
from pacs_server.index.site.peers import Peer, Right
from pacs_server.index.site.retention import Purging, change_retention
from pacs_server.index.site_tables import choices, fates, holds, jobs, peers
from pacs_server.index.tables import TABLES, flags, instances, is_found, patients, series, studies
from pacs_server.service.assemble import Node
from pacs_server.service.partners import pairing, replicator
from pacs_server.service.partners.answering import answers
from pacs_server.service.partners.liaison import Liaison
from pacs_server.service.partners.replicator import Replicator
from pacs_server.service.runner import _KEEPING, Runner
from pacs_server.service.upkeep.initialise import initialise
from pacs_server.settings import load

SYNTAX = "1.2.840.10008.1.2.1"
_SITES = ("TOKYO", "OSAKA")
_STEPS = (
    (Operations, "record"), (Operations, "take_over"), (Instances, "record"), (JobQueue, "done"),
    (Partners, "note_exchanged"),
)  # fmt: skip
# Of rows that are found, what no other site has alike.
_OWN = {"id", "patient_row", "study_row", "series_row", "day", "last_received_at", "last_read_at", "received_at"}
_LEVELS = (patients, studies, series, instances)


class Killed(BaseException):
    """A site that ended at some step."""

    def __init__(self, site: "Site") -> None:
        super().__init__()
        self.site = site


class Site:
    """One of the two: its folder, and a node that does what is owed when it is told to."""

    def __init__(self, folder: Path, other: str, line: "Line") -> None:
        self.folder, self.other, self.aet, self.line = folder, other, folder.name, line
        folder.mkdir(parents=True)
        copy_empty_index(folder / "index.db")
        made = initialise(folder, aet=AeTitle(self.aet), host="127.0.0.1", port=0, database=None)
        self.settings = load(made.settings_path)
        self.open()
        peer = Peer(aet=AeTitle(other), host="127.0.0.1", port=1, rights=frozenset(Right), sources=())
        self.node.registry.save_peer(peer)
        partner = Partner(
            name="partner", host="-", port=1, fingerprint=other, aet=other, added_at=datetime.now(UTC)
        )  # fmt: skip
        self.node.partners.add(partner)
        change_retention(self.node.index, purging=Purging.BY_HAND, grace_days=0)

    def open(self) -> None:
        self._stack = ExitStack()
        self.node = self._stack.enter_context(Node.open(self.settings))
        self.runner = Runner(self.node)
        self.replicator = Replicator(self.node)
        self.liaison = Liaison(self.node, None, has_duty=lambda: True)
        with self.node.index.write() as connection:  # as after the leases of what was killed
            connection.execute(update(jobs).where(jobs.c.state == "running").values(state="waiting", lease_until=""))

    def close(self) -> None:
        self._stack.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def receive(self, data: bytes, item: Any, aet: str, handed_on_from: str = "") -> int:
        """The status of a C-STORE; `item` says what the object is."""
        self.node.look_at_site_state(max_age_s=0)
        declared = Declared(
            sop_class=item.sop_class, sop_instance=Uid(item.sop_uid), transfer_syntax=item.transfer_syntax
        )  # fmt: skip
        try:
            reception = self.node.reception(declared, self.node.origin_of(aet), handed_on_from)
            reception.feed(memoryview(data))
            ingest(reception)
        except PacsError as error:
            return int(status_for(error))
        return 0

    def store(self, dataset: Dataset) -> bool:
        """Whether an object that a device sends is acknowledged."""
        item = Deliverable(
            sop_class=dataset.SOPClassUID, sop_uid=dataset.SOPInstanceUID, transfer_syntax=SYNTAX, size_bytes=0,
            digest="", study_uid=dataset.StudyInstanceUID, series_uid=dataset.SeriesInstanceUID, copies=(),
        )  # fmt: skip
        return self.receive(encoded(dataset), item, "CT1") == 0

    def greet(self) -> None:
        self.node.look_at_site_state(max_age_s=0)
        self.liaison._greeted_at.clear()
        self.liaison._greet_one()

    def serve(self) -> None:
        with self.node.index.write() as connection:  # what waits for seconds or minutes
            connection.execute(update(jobs).values(due_at=datetime.now(UTC).isoformat()))
        self.replicator._serve("partner")

    def work(self) -> None:
        while self.runner._do_job(_KEEPING):
            pass

    def is_at_rest(self) -> bool:
        with self.node.index.read() as connection:
            owed = connection.execute(select(func.count()).select_from(jobs)).scalar()
        return not owed and not self.node.partners.asked_to_compare("partner")

    def picture(self) -> dict[str, set[Any]]:
        """What it answers at each level, and what was decided there."""
        shown: dict[str, set[Any]] = {}
        rows = _LEVELS[0].join(studies).join(series).join(instances)
        with self.node.index.read() as connection:
            for level, table in TABLES.items():
                told = [studies.c.study_uid, patients.c.identity] if table in (studies, series) else []
                told += [column for column in table.c if column.name not in _OWN | {"sender"}]
                found = select(*told).select_from(rows).where(is_found(level)).distinct()
                shown[table.name] = set(map(tuple, connection.execute(found)))
            held = select(studies.c.study_uid, instances.c.sop_uid, instances.c.digest, instances.c.role)
            shown["contents"] = set(map(tuple, connection.execute(held.select_from(rows))))
            for table in (fates, holds, choices, peers):
                told = [column for column in table.c if column.name != "at"]
                own = peers.c.aet.not_in(_SITES) if table is peers else True
                shown[table.name] = set(map(tuple, connection.execute(select(*told).where(own))))
            noted = select(studies.c.study_uid, instances.c.sop_uid).join_from(flags, studies)
            noted = noted.join(instances, instances.c.id == flags.c.instance_row)
            shown["conflicts"] = set(
                map(tuple, connection.execute(noted.where(flags.c.kind == "conflict-version").distinct()))
            )
        return shown


class Line:
    """What is between the two. `moments` are what happens at a step to come: after so many, a deed or a death."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.is_cut, self.moments = False, list[tuple[int, Callable[[], None] | None]]()
        self.busy: list[Site] = []
        for owner, name in _STEPS:
            patch.setattr(owner, name, self._stepping(getattr(owner, name)))
        self.sites = {aet: Site(folder / aet, other, self) for aet, other in zip(_SITES, _SITES[::-1], strict=True)}
        for module in (pairing, replicator):
            patch.setattr(module, "connected", self._connected)
        patch.setattr(replicator, "Line", lambda *_, **told: _Association(self, **told))

    def site_of(self, index: Any) -> Site:
        return next(site for site in self.sites.values() if site.node.index is index)

    def _stepping(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(called: Any, *args: Any, **named: Any) -> Any:
            self.step(called._index)
            return real(called, *args, **named)

        return step

    def step(self, index: Any) -> None:
        due = [moment for number, moment in self.moments if number <= 1]
        self.moments = [(number - 1, moment) for number, moment in self.moments if number > 1]
        for moment in due:
            if moment is None:
                raise Killed(self.site_of(index))
            moment()

    @contextmanager
    def surviving(self, site: Site) -> Iterator[None]:
        """Whoever is killed while something is done at a site begins anew.

        Raises: PeerAborted to who waits for the answer of another one that was killed.
        """
        self.busy.append(site)
        try:
            yield
        except Killed as killed:
            if killed.site in self.busy[:-1]:
                raise
            killed.site.restart()
            raise PeerAborted("it was killed") from None
        finally:
            self.busy.pop()

    @contextmanager
    def _connected(self, node: Node, _: Partner) -> Iterator["_Link"]:
        if self.is_cut:
            raise PeerUnreachable("the line is cut")
        yield _Link(self, self.site_of(node.index))

    def come_to_rest(self) -> None:
        """Mend it, and let both do what they owe, until nothing is owed."""
        self.is_cut, self.moments = False, []
        for _ in range(30):
            for site in self.sites.values():
                site.greet()
                site.liaison._compare()
                site.serve()
                site.work()
            states = [site.liaison._state(head()) for site in self.sites.values()]
            if states[0] == states[1] and all(site.is_at_rest() for site in self.sites.values()):
                return
        raise AssertionError("they do not come to rest")

    def close(self) -> None:
        for site in self.sites.values():
            site.close()
            shutil.rmtree(site.folder)


class _Link:
    certificate = b"-"

    def __init__(self, line: Line, caller: Site) -> None:
        self._line, self._caller = line, caller

    def ask(self, kind: str, body: Body) -> Body:
        self._line.step(self._caller.node.index)
        answering = self._line.sites[self._caller.other]
        try:
            with self._line.surviving(answering):
                partner = answering.node.partners.one("partner")
                answer = answers(answering.node)[kind](partner, _carried(body))
        except PeerAborted:
            raise
        except PacsError as error:
            raise PartnerRefused(str(error)) from error
        self._line.step(self._caller.node.index)
        if self._line.is_cut:
            raise PeerAborted("the line was cut")
        return _carried(answer)


class _Association:
    def __init__(self, line: Line, *, calling_aet: str, originator: Callable[[Any], tuple[str, int]], **_: Any) -> None:
        self._line, self._caller, self._originator = line, line.sites[str(calling_aet)], originator

    def release(self) -> None:
        pass

    def send(self, items: Sequence[Any]) -> Iterator[Delivery]:
        for item in items:
            with self._caller.node.placement().open(item.copies) as opened:
                content = b"".join(map(bytes, opened.pieces()))
            data = content[read_file_meta(content).data_set_offset :]
            self._line.step(self._caller.node.index)
            try:
                status = self._status(data, item)
            except PeerAborted as error:
                yield Delivery(item=item, verdict=Verdict.LATER, reason=str(error), ends=True)
                return
            yield verdict_of(item, status)

    def _status(self, data: bytes, item: Any) -> int:
        receiving = self._line.sites[self._caller.other]
        if self._line.is_cut:
            raise PeerAborted("the line was cut")
        with self._line.surviving(receiving):
            return receiving.receive(data, item, self._caller.aet, self._originator(item)[0])


def _carried(body: Body) -> Body:
    inbox = Inbox()
    inbox.feed(encode(Message(kind="any", body=body)))
    message = inbox.next()
    assert message is not None
    return message.body
