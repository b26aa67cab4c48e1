"""What a site holds, told by a slow, obvious model: which content of an object is shown, what is in the trash, whose a
study is. The index has to agree with it (docs/operate/deleting.md, docs/adr/0015, docs/adr/0017).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from pydicom.uid import ExplicitVRLittleEndian
from support.samples import encoded, tiny

from pacs_server.dicom.identity import ObjectHasher

STUDIES = ("1.2.1", "1.2.2", "1.2.3")
SERIES = ("1.3.1", "1.3.2")
MODALITIES = {"1.3.1": "CT", "1.3.2": "MR"}
SOPS = ("1.4.1", "1.4.2", "1.4.3")
# Two names under one ID, another ID, and none at all.
PATIENTS = (("A", "Alpha^Anna"), ("A", "Beta^Bert"), ("B", "Gamma^Gina"), ("", "Nobody^Nora"))


@dataclass(eq=False, kw_only=True)
class Content:
    """One content under a SOP Instance UID of a study. `role` is what it is while it is kept, or was when it was
    deleted; it may have `came_back_beside` another one.
    """

    study: str
    series: str
    sop: str
    patient: tuple[str, str]
    data_set: bytes
    digest: str
    number: int = 0
    role: str = ""
    state: str = ""
    came_back_beside: bool = False
    deleted_by: int = 0

    @property
    def name(self) -> tuple[str, str, str]:
        return self.study, self.sop, self.digest


def content(study: str, series: str, sop: str, patient: tuple[str, str], comment: str) -> Content:
    data_set = tiny(
        sop, StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=sop, Modality=MODALITIES[series],
        PatientID=patient[0], PatientName=patient[1], ImageComments=comment,
    )  # fmt: skip
    raw, hasher = encoded(data_set), ObjectHasher(ExplicitVRLittleEndian)
    hasher.update(raw)
    return Content(
        study=study, series=series, sop=sop, patient=patient, data_set=raw, digest=str(hasher.digest())
    )  # fmt: skip


class Model:
    """All that was acknowledged, and what was decided about it."""

    def __init__(self) -> None:
        self._contents: dict[tuple[str, str, str], Content] = {}
        self._chosen: dict[tuple[str, str], str] = {}
        self.holds: set[str] = set()
        self._numbers = count(1)

    def of(self, *states: str, study: str = "", sop: str = "") -> list[Content]:
        """What is kept or in the trash, what came first first."""
        found = (one for one in self._contents.values() if one.state in (states or ("kept", "trashed")))
        found = (one for one in found if study in ("", one.study) and sop in ("", one.sop))
        return sorted(found, key=lambda one: one.number)

    def shown(self) -> list[Content]:
        return [one for one in self.of("kept") if one.role == "current"]

    def known(self, one: Content) -> Content | None:
        return self._contents.get(one.name)

    def store(self, arrived: Content) -> None:
        """What is kept already stays as it is; what was deleted is held again, beside what took its place."""
        before = self._contents.get(arrived.name)
        if before and before.state == "kept":
            return
        one = before if before and before.state == "trashed" else arrived
        current = self._current(one.study, one.sop)
        if one is arrived:
            one.number = next(self._numbers)
            self._contents[one.name] = one
        one.state, one.came_back_beside = "kept", before is not None and current is not None
        one.role = "current" if current is None else "version"
        self._settle(one.study, one.sop)

    def with_all_contents(self, selected: Iterable[Content]) -> list[Content]:
        """What goes to the trash along: every kept content of the objects that these are."""
        objects = {(one.study, one.sop) for one in selected}
        return [one for one in self.of("kept") if (one.study, one.sop) in objects]

    def delete(self, gone: Iterable[Content]) -> None:
        by = next(self._numbers)
        for one in gone:
            one.state, one.deleted_by = "trashed", by

    def restore(self, back: Iterable[Content]) -> None:
        """Beside what is shown they are versions; else that is shown which was when it was deleted, of several the one
        that was deleted last, and of none the first.
        """
        objects = defaultdict(list)
        for one in back:
            objects[one.study, one.sop].append(one)
        for (study, sop), contents in objects.items():
            first = None
            if self._current(study, sop) is None:
                were = [one for one in contents if one.role == "current"]
                first = max(were, key=lambda one: one.deleted_by, default=min(contents, key=lambda one: one.number))
            for one in contents:
                one.state, one.came_back_beside = "kept", one is not first
                if one is first or one.role == "current":
                    one.role = "current" if one is first else "version"
            self._settle(study, sop)

    def purge(self, gone: Iterable[Content]) -> None:
        for one in gone:
            one.state = "purged"

    def choose(self, one: Content) -> None:
        self._chosen[one.study, one.sop] = one.digest
        self._settle(one.study, one.sop)

    def whose(self) -> dict[str, tuple[str, str]]:
        """The patient of each study: whom the first of its objects names that are shown."""
        return {one.study: one.patient for one in reversed(self.shown())}

    def _current(self, study: str, sop: str) -> Content | None:
        return next((one for one in self.of("kept", study=study, sop=sop) if one.role == "current"), None)

    def _settle(self, study: str, sop: str) -> None:
        """One is shown: that which a person chose, else that which is, else the first that did not come back beside."""
        kept = self.of("kept", study=study, sop=sop)
        chosen = next((one for one in kept if one.digest == self._chosen.get((study, sop))), None)
        current = chosen or self._current(study, sop) or min(kept, key=lambda one: one.came_back_beside)
        for one in kept:
            if one is not current and one.role == "current":
                one.role = "version"
        current.role = "current"
