"""The archive and a slow, obvious model agree on what is held, after whatever is done in whatever order."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from support.empty_index import copy_empty_index
from support.held_model import MODALITIES, PATIENTS, SERIES, SOPS, STUDIES, Content, Model, content
from support.house import House
from support.samples import CT, data_set_of

from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared, Origin
from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import IndexUnavailable, Refused, UnknownName
from pacs_server.index.fates import holds_of
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.checking import damage
from pacs_server.index.objects import Arrival, Recorded
from pacs_server.index.queries.view import conflicts_view
from pacs_server.index.site.registry import VolumeRow
from pacs_server.index.site.retention import Purging, change_retention
from pacs_server.index.tables import copies, instances, metadata, series, studies
from pacs_server.service.assemble import Node
from pacs_server.service.upkeep import rebuilding
from pacs_server.service.upkeep.decisions import (
    delete,
    hold,
    in_trash,
    on_hold,
    purge,
    release,
    restore,
    to_delete,
    use_version,
)
from pacs_server.service.upkeep.reconciling import describe_study, reconcile_volumes
from pacs_server.storage.sentinel import adopt

SEQUENCES = {"sqlite": 24, "postgresql": 4}
LONGER = 30 if os.environ.get("PACS_TEST_LONG") else 1
ATTRIBUTES = {"StudyInstanceUID": "study", "SeriesInstanceUID": "series", "SOPInstanceUID": "sop"}
BEGAN = datetime.now(UTC) - timedelta(days=1)  # what comes then is settled


def _end(_: Arrival) -> Recorded:
    raise IndexUnavailable("ended")


class Site:
    """An archive and the model of it, to which the same is done; `other` is a server with an empty index."""

    def __init__(self, node: Node, other: Node, folder: Path) -> None:
        folder.mkdir()
        self.node, self.other, self.folder, self.model = node, other, folder, Model()
        self._row = VolumeRow(id=adopt(folder, name="one"), name="one", path=str(folder), tier="hot", domain="one")
        self._moments, self._came_at = count(1), dict[Path, float]()
        self._begin(node)

    def _begin(self, node: Node) -> None:
        """Have a node know nothing but the volume."""
        with node.index.write() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name != "site":
                    connection.execute(delete_rows(table))
        node.registry.add_volume(self._row)
        change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
        node.look_at_site_state(max_age_s=0)

    def store(self, one: Content) -> None:
        self._receive(one)
        self.model.store(one)

    def store_while(self, one: Content, change: Callable[[], object]) -> None:
        """Do something else between the file and the row of an object."""
        record = self.node.instances.record

        def late(arrival: Arrival) -> Recorded:
            patched.undo()
            new = {self.folder / copy.path for copy in arrival.copies} - {*self._came_at}
            change()
            now = self._next_moment()
            self._note_files(new, now)  # of two at once the one comes first whose row does
            return record(replace(arrival, received_at=now))

        was_known = self.model.known(one) is not None
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self.node.instances, "record", late)
            try:
                self._receive(one)
            except IndexUnavailable:
                assert was_known, "only what is deleted at this moment is refused"
            else:
                self.model.store(one)

    def adopt(self, one: Content) -> None:
        """End between the file and the row of an object, and find it later."""
        if self.model.known(one) is None:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(self.node.instances, "record", _end)
                with pytest.raises(IndexUnavailable):
                    self._receive(one)
            list(reconcile_volumes(self.node, since=None, repair=True))
            self.model.store(one)

    def delete(self, keys: dict[str, str]) -> None:
        gone = self.model.with_all_contents(_selected(self.model.shown(), keys))
        if any(one.study in self.model.holds for one in gone):
            with pytest.raises(Refused):
                to_delete(self.node, keys)
            return
        list(delete(self.node, to_delete(self.node, keys), "a test"))
        self.model.delete(gone)

    def restore(self, keys: dict[str, str]) -> None:
        list(restore(self.node, in_trash(self.node, keys), "a test"))
        self.model.restore(_selected(self.model.of("trashed"), keys))

    def purge(self, keys: dict[str, str]) -> None:
        list(purge(self.node, in_trash(self.node, keys), "a test"))
        self.model.purge(_selected(self.model.of("trashed"), keys))

    def choose(self, study: str, sop: str, number: int) -> None:
        if beside := [one for one in self.model.of("kept", study=study, sop=sop) if one.role != "current"]:
            one = beside[number % len(beside)]
            use_version(self.node, one.sop, one.digest, "a test")
            self.model.choose(one)

    def hold(self, study: str) -> None:
        keys = {"StudyInstanceUID": study}
        if not self.model.of(study=study):
            with pytest.raises(UnknownName):
                list(hold(self.node, keys, "a test"))
        elif study in self.model.holds:
            list(release(self.node, on_hold(self.node, keys), "a test"))
            self.model.holds.remove(study)
        else:
            list(hold(self.node, keys, "a test"))
            self.model.holds.add(study)
            self.model.restore(self.model.of("trashed", study=study))

    def rebuild(self) -> None:
        assert list(rebuilding.rebuild_index(self.node)) == []
        self.describe()

    def begin_anew(self) -> None:
        """Have a new server find what there is on the volume of the former one."""
        self.node, self.other = self.other, self.node
        self._begin(self.node)
        self.rebuild()

    def describe(self) -> None:
        """Do what is owed of it, as the running server would."""
        until, lease = datetime.now(UTC) + timedelta(days=1), timedelta(1)
        for _ in range(50):
            job = self.node.jobs.claim("w", until, lease=lease, per_target=9, kinds={JobKind.DESCRIBE})
            if job is None:
                return
            assert describe_study(self.node, job.study_uid, goes_on=lambda: None) == ()
            self.node.jobs.done(job, until)
        pytest.fail("it does not end")

    def _receive(self, one: Content) -> None:
        """Store an object at a moment of its own."""
        declared = Declared(sop_class=CT, sop_instance=Uid(one.sop), transfer_syntax=ExplicitVRLittleEndian)
        reception = self.node.reception(declared, Origin(aet="CT1"))
        reception.now = self._next_moment()
        try:
            reception.feed(memoryview(one.data_set))
            ingest(reception)
        finally:
            reception.abandon()
            files = {*self.files()}
            self._came_at = {path: at for path, at in self._came_at.items() if path in files}
            self._note_files(files - {*self._came_at}, reception.now)

    def _next_moment(self) -> datetime:
        return BEGAN + timedelta(seconds=next(self._moments))

    def _note_files(self, new: set[Path], now: datetime) -> None:
        """Let these files have come now; what was written again came when it came first."""
        self._came_at |= {path: now.timestamp() for path in new if path.exists()}
        for path, at in self._came_at.items():
            if path.exists():
                os.utime(path, (at, at))

    def files(self) -> list[Path]:
        return sorted((self.folder / "v1").rglob("*.dcm"))

    def check(self) -> None:
        """Everything that is asked is answered as the model says."""
        self.describe()
        shown, kept = self.model.shown(), self.model.of("kept")
        assert self._found("IMAGE") == sorted((one.study, one.series, one.sop) for one in shown)
        in_series = Counter((one.study, one.series) for one in shown)
        assert self._found("SERIES", "NumberOfSeriesRelatedInstances") == _counted(in_series)
        self._check_studies(shown)
        for study in STUDIES:
            asked = RetrieveRequest(level=Level.STUDY, study_uids=(study,))
            sent = {(study, one.sop_uid, one.digest) for one in self.node.search.deliverables(asked)}
            assert sent == {one.name for one in shown if one.study == study}
        trash = {(one.study_uid, one.content.sop_uid, one.content.digest) for one in in_trash(self.node, {})}
        assert trash == {one.name for one in self.model.of("trashed")}
        assert {one.study_uid for one in holds_of(self.node.index)} == self.model.holds
        listed = conflicts_view(self.node.index)
        versions = {(one["uid"], one["sop_uid"]) for one in listed if one["kind"] == "conflict-version"}
        assert versions == {(one.study, one.sop) for one in kept if one.role == "version"}
        same = {frozenset((one["uid"], one["detail"])) for one in listed if one["kind"] == "conflict-uid"}
        assert same == {frozenset((a.study, b.study)) for a in shown for b in shown if a.sop == b.sop and a is not b}
        self._check_names({one["uid"] for one in listed if one["detail"].startswith("PatientName")})
        self._check_files()

    def _check_studies(self, shown: list[Content]) -> None:
        whose, objects = self.model.whose(), Counter(one.study for one in shown)
        parts = {study: sorted({one.series for one in shown if one.study == study}) for study in whose}
        told = ("PatientID", "PatientName", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
        assert self._found("STUDY", *told) == sorted(
            (study, *patient, "\\".join(MODALITIES[one] for one in parts[study]), objects[study])
            for study, patient in whose.items()
        )
        # Without an ID each study is of a patient of its own.
        persons = Counter((*who, "" if who[0] else study) for study, who in whose.items())
        found = self._found("PATIENT", "PatientName", "NumberOfPatientRelatedStudies")
        assert found == sorted((number, name, studies) for (number, name, _), studies in persons.items())
        for number, name in PATIENTS:
            of_name = [(study,) for study, who in whose.items() if who[1] == name]
            assert self._answers(Level.STUDY, ("StudyInstanceUID",), PatientName=name) == sorted(of_name)
            of_id = [(study,) for study, who in whose.items() if who[0] == number]
            assert not number or self._answers(Level.STUDY, ("StudyInstanceUID",), PatientID=number) == sorted(of_id)

    def _check_names(self, flagged: set[str]) -> None:
        """Of two names under one ID somebody is told."""
        whose = self.model.whose()
        for number, _ in PATIENTS[:3]:
            of_id = {study: who for study, who in whose.items() if who[0] == number}
            assert len({*of_id.values()}) < 2 or flagged & {*of_id}
        assert flagged <= {*whose}

    def _check_files(self) -> None:
        """Each content has its copy, and there is no other file."""
        placed = select(studies.c.study_uid, instances.c.sop_uid, instances.c.digest, instances.c.role, copies.c.path)
        placed = placed.select_from(copies).join(instances).join(series).join(studies)
        with self.node.index.read() as connection:
            rows = connection.execute(placed).all()
        told = {(*one.name, "trash" if one.state == "trashed" else one.role) for one in self.model.of()}
        assert {tuple(row)[:4] for row in rows} == told
        assert sorted(self.folder / row.path for row in rows) == self.files()
        held = {f"{one.sop}-{one.digest[:16]}.dcm": one for one in self.model.of()}
        assert all(data_set_of(path) == held[path.name].data_set for path in self.files())
        assert list(damage(self.node.index)) == []

    def _found(self, level: str, *more: str) -> list[tuple[Any, ...]]:
        unique = {"PATIENT": ("PatientID",)} | {
            name: ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[: number + 1]
            for number, name in enumerate(("STUDY", "SERIES", "IMAGE"))
        }
        return self._answers(Level[level], (*unique[level], *more))

    def _answers(self, level: Level, wanted: tuple[str, ...], **keys: str) -> list[tuple[Any, ...]]:
        rows = self.node.search.find(query_from_keywords(level, keys), [BY_KEYWORD[keyword] for keyword in wanted])
        return sorted(tuple("" if value is None else value for value in row) for row in rows)


def _selected(contents: list[Content], keys: dict[str, str]) -> list[Content]:
    return [one for one in contents if all(getattr(one, ATTRIBUTES[name]) == uid for name, uid in keys.items())]


def _counted(numbers: Counter[tuple[str, str]]) -> list[tuple[Any, ...]]:
    return sorted((*name, number) for name, number in numbers.items())


CONTENTS = st.builds(content, *map(st.sampled_from, (STUDIES, SERIES, SOPS, PATIENTS, ("one", "two"))))
UIDS = {
    "StudyInstanceUID": st.sampled_from(STUDIES),
    "SeriesInstanceUID": st.sampled_from(SERIES),
    "SOPInstanceUID": st.sampled_from(SOPS),
}
KEYS = st.one_of(
    *(st.fixed_dictionaries({name: UIDS[name]}) for name in UIDS),
    *(st.fixed_dictionaries({"StudyInstanceUID": UIDS["StudyInstanceUID"], name: UIDS[name]}) for name in [*UIDS][1:]),
)
STORING = st.tuples(st.just("store"), CONTENTS)
DECIDING = st.one_of(
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("restore"), st.one_of(KEYS, st.just({}))),
    st.tuples(st.just("purge"), KEYS),
    st.tuples(st.just("choose"), st.sampled_from(STUDIES), st.sampled_from(SOPS), st.integers(0, 2)),
    st.tuples(st.just("hold"), st.sampled_from(STUDIES)),
)
DEEDS = st.one_of(
    STORING,
    STORING,
    DECIDING,
    DECIDING,
    st.tuples(st.just("store_while"), CONTENTS, st.one_of(STORING, DECIDING)),
    st.tuples(st.just("adopt"), CONTENTS),
    st.sampled_from((("rebuild",), ("begin_anew",))),
)


def do(site: Site, name: str, *given: Any) -> None:
    if name == "store_while":
        one, (other, *of_other) = given
        site.store_while(one, lambda: do(site, other, *of_other))
    else:
        getattr(site, name)(*given)


@pytest.mark.timeout(1_800)
def test_after_whatever_is_done_what_is_held_is_what_the_model_says(
    new_upgraded_url: Callable[[], str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To make an empty index of all revisions takes most of a rebuild of so few objects.
    monkeypatch.setattr(rebuilding, "upgrade", lambda url: copy_empty_index(Path(url.removeprefix("sqlite:///"))))
    names = count(1)
    with ExitStack() as stack:
        nodes = [stack.enter_context(House(tmp_path / name, new_upgraded_url()).node()) for name in ("a", "b")]

        @settings(
            max_examples=SEQUENCES[kind] * LONGER,
            derandomize=LONGER == 1,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(DEEDS, min_size=4, max_size=16))
        def agree(deeds: list[tuple[Any, ...]]) -> None:
            site = Site(*nodes, tmp_path / f"volume-{next(names)}")
            for deed in (*deeds, ("rebuild",), ("begin_anew",)):
                do(site, *deed)
                site.check()

        agree()


def test_what_was_deleted_comes_back_beside_what_came_at_the_same_moment(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "upgrade", lambda url: copy_empty_index(Path(url.removeprefix("sqlite:///"))))
    one, other = (content(STUDIES[0], SERIES[0], SOPS[0], PATIENTS[0], comment) for comment in ("one", "other"))
    with ExitStack() as stack:
        nodes = [stack.enter_context(House(tmp_path / name, new_upgraded_url()).node()) for name in ("a", "b")]
        site = Site(*nodes, tmp_path / "volume")
        site.store(one)
        site.delete({"StudyInstanceUID": one.study})
        site.store_while(one, lambda: site.store(other))
        for anew in (lambda: None, site.rebuild, site.begin_anew):
            anew()
            site.check()
