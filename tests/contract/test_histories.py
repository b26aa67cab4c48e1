"""Random histories of two partners: whatever is stored, decided, cut off or killed on either, both are the same once
they reach each other, and each finds what was acknowledged last.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from support.samples import tiny, uid
from support.two_sites import Line, Site

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import PacsError
from pacs_server.index.site.peers import Peer
from pacs_server.service.partners.pairing import compare_with
from pacs_server.service.upkeep import decisions
from pacs_server.service.upkeep.rebuilding import rebuild_index

STUDIES, OBJECTS, CONTENTS = range(3), range(3), range(2)
# The last one has the same UID in each study.
SHARED = OBJECTS[-1]
STEPS = 60


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    between = Line(tmp_path, monkeypatch)
    between.come_to_rest()
    yield between
    between.close()


def sop_uid(study: int, number: int) -> str:
    return uid("object", "shared" if number == SHARED else study, number)


def data_set(study: int, number: int, content: int = 0) -> Dataset:
    told = {"SOPInstanceUID": sop_uid(study, number), "PatientID": f"P{study // 2}", "ImageComments": f"c{content}"}
    return tiny(number, study=study, series=number % 2, **told)


class History:
    """What is done, one thing after the other, and when each object was acknowledged and deleted last."""

    def __init__(self, line: Line, seed: object) -> None:
        self.line, self.chance = line, random.Random(seed)
        self.acknowledged: dict[tuple[int, int, int], datetime] = {}
        self.deleted: dict[tuple[int, int], datetime] = {}

    def do(self, site: Site, deed: Callable[[Site], Any]) -> None:
        with suppress(PacsError), self.line.surviving(site):
            deed(site)

    def store(self, site: Site, study: int, number: int, content: int = 0) -> None:
        if site.store(data_set(study, number, content)):
            self.acknowledged[study, number, content] = datetime.now(UTC)

    def delete(self, site: Site, study: int, number: int | None) -> None:
        keys = {"StudyInstanceUID": uid("study", study)}
        if number is not None:
            keys["SOPInstanceUID"] = sop_uid(study, number)
        try:
            list(decisions.delete(site.node, decisions.to_delete(site.node, keys), "r"))
        finally:  # killed after it was written, it may take effect
            for one in OBJECTS if number is None else [number]:
                self.deleted[study, one] = datetime.now(UTC)

    def any_deed(self) -> Callable[[Site], Any]:
        study, number = self.chance.choice(STUDIES), self.chance.choice(OBJECTS)
        keys = {"StudyInstanceUID": uid("study", study)}
        content, of_all = self.chance.choice(CONTENTS), self.chance.random() < 0.5
        deeds: list[tuple[int, Callable[[Site], Any]]] = [
            (12, lambda site: self.store(site, study, number, content)),
            (3, lambda site: self.delete(site, study, None if of_all else number)),
            (2, lambda site: list(decisions.restore(site.node, decisions.in_trash(site.node, keys), "r"))),
            (2, purge),
            (1, lambda site: list(decisions.hold(site.node, keys, "r"))),
            (1, lambda site: list(decisions.release(site.node, decisions.on_hold(site.node, keys), "r"))),
            (1, lambda site: decisions.use_latest(site.node, uid("study", study), "r")),
            (1, lambda site: site.node.registry.save_peer(peer(f"PEER{number}", content + 1))),
            (1, lambda site: site.node.registry.remove_peer(f"PEER{number}")),
            (3, Site.greet),
            (4, Site.serve),
            (2, Site.work),
            (1, Site.restart),
            (2, lambda _: setattr(self.line, "is_cut", True)),
            (2, lambda _: setattr(self.line, "is_cut", False)),
        ]
        return self.chance.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])[0]

    def go_on(self) -> None:
        site = self.chance.choice(list(self.line.sites.values()))
        what, steps = self.chance.random(), self.chance.randrange(1, 15)
        if what < 0.06:
            self.line.moments.append((steps, None))
        elif what < 0.18:  # in the middle of something; nobody who is in the middle of it is begun anew
            study, number, content = (self.chance.choice(of) for of in (STUDIES, OBJECTS, CONTENTS))
            self.line.moments.append((steps, partial(self.do, site, lambda at: self.store(at, study, number, content))))
        else:
            self.do(site, self.any_deed())

    def end(self) -> None:
        self.line.come_to_rest()
        tokyo, osaka = self.line.sites.values()
        ours, theirs = tokyo.picture(), osaka.picture()
        for told, here in ours.items():
            assert here == theirs[told], told
        now = datetime.now(UTC)
        for site in (tokyo, osaka):
            with_partner = compare_with(site.node, site.node.partners.one("partner"), full=False, heals=False, now=now)
            assert with_partner.is_equal
        found = {(study_uid, uid_of) for study_uid, uid_of, _, role in ours["contents"] if role == "current"}
        for (study, number, _), at in self.acknowledged.items():
            if at > self.deleted.get((study, number), at.min.replace(tzinfo=UTC)):
                assert (uid("study", study), sop_uid(study, number)) in found


def purge(site: Site) -> None:
    may_go, _ = decisions.due(site.node, decisions.in_trash(site.node, {}))
    list(decisions.purge(site.node, may_go, "r"))


def peer(aet: str, number: int) -> Peer:
    return Peer(aet=AeTitle(aet), host=f"10.0.0.{number}", port=104, rights=frozenset(), sources=())


@pytest.mark.parametrize("seed", range(3))
def test_both_are_the_same_after_whatever_happened(line: Line, seed: int) -> None:
    history = History(line, seed)
    for _ in range(STEPS):
        history.go_on()
    history.do(line.sites["OSAKA"], lambda site: list(rebuild_index(site.node)))
    history.end()


def test_what_was_sent_again_is_found_wherever_the_site_that_is_told_of_its_deletion_is_killed(line: Line) -> None:
    history, (tokyo, osaka) = History(line, 0), line.sites.values()
    history.store(tokyo, 0, 0)
    for steps in range(4, 12):
        study = 10 + steps
        history.store(tokyo, study, 0)
        line.come_to_rest()
        line.is_cut = True
        history.delete(osaka, study, None)
        history.store(tokyo, study, 0)
        line.is_cut = False
        line.moments.append((steps, None))
        history.do(tokyo, Site.greet)
        # Another command, which reads the volumes for what was decided.
        history.do(tokyo, lambda site: list(decisions.hold(site.node, {"StudyInstanceUID": uid("study", 0)}, "r")))
        history.end()


def test_what_was_sent_again_is_found_although_the_index_was_made_anew_before_its_deletion_was_told(line: Line) -> None:
    history, (tokyo, osaka) = History(line, 0), line.sites.values()
    history.store(tokyo, 0, 0)
    line.come_to_rest()
    line.is_cut = True
    history.delete(osaka, 0, None)
    history.store(tokyo, 0, 0)
    list(rebuild_index(tokyo.node))
    history.end()


def test_a_partner_says_of_a_study_whose_objects_contradict_each_other_what_the_first_that_came_says(
    line: Line,
) -> None:
    tokyo, osaka = line.sites.values()
    for number, told in ((5, "first"), (1, "second")):
        values = {"PatientID": told, "StudyDescription": told, "SeriesDescription": told}
        assert tokyo.store(tiny(number, InstanceNumber=str(number), **values))
    line.come_to_rest()
    assert tokyo.picture() == osaka.picture()
