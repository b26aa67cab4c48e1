"""Has a study and its series say what those of their objects say that are found: when objects that came under a wrong
patient were deleted, or other contents were chosen, the study becomes one of the right patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.describe import Description, describe
from pacs_server.dicom.stored import head_of
from pacs_server.dicom.vocabulary import Vocabulary
from pacs_server.errors import BadObject, CopyUnknown, CopyUnreadable
from pacs_server.index.recording.anew import Anew, FoundObject
from pacs_server.storage.placement import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """How the heads of objects are read: from which volumes, which attributes; `assumed_of` is the character set and
    the issuer of patient IDs that are assumed of a sender. `goes_on` is called before each, because they may be many.
    """

    placement: Placement
    vocabulary: Vocabulary
    assumed_of: Callable[[str], tuple[str, str]]
    goes_on: Callable[[], None]

    def described(self, one: FoundObject) -> Description | None:
        """What an object says; None where no volume will ever tell.

        Raises: CopyUnreadable when a volume may tell later.
        """
        self.goes_on()
        charset, issuer = self.assumed_of(one.sender)
        if not one.copies:
            return None  # an archive server has it
        try:
            with self.placement.open(one.copies, at_once_bytes=0) as opened:
                head = head_of(opened.pieces(), one.transfer_syntax, self.vocabulary)
            return describe(head, assumed_charset=charset, default_issuer=issuer, vocabulary=self.vocabulary)
        except BadObject:
            return None
        except CopyUnreadable as error:
            if isinstance(error, CopyUnknown) or self.placement.may_come_back(one.copies):
                raise
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """What objects of one series of a study say of whose it is, and which they are."""

    series_uid: str
    patient_id: str
    patient_name: str
    birth_date: str
    study_date: str
    accession_number: str
    sop_uids: tuple[str, ...]


def sayings(anew: Anew, study_uid: str, heads: Heads) -> tuple[list[Saying], list[str]]:
    """Of which patient the objects of a study that are found say that they are, those first that came first; and of
    each that a volume may tell later only, why.

    Raises: IndexUnavailable.
    """
    told: dict[tuple[str, ...], list[str]] = {}
    unread: list[str] = []
    for found in anew.objects(study_uid):
        try:
            one = heads.described(found)
        except CopyUnreadable as error:
            unread.append(str(error))
            continue
        if one is None:
            continue
        of_patient, of_study = (
            [str(level[name] or "") for name in names]
            for level, names in (
                (one.patient, ("patient_id", "patient_name", "birth_date")),
                (one.study, ("study_date", "accession_number")),
            )
        )
        told.setdefault((one.series_uid, *of_patient, *of_study), []).append(str(one.sop_uid))
    said = [
        Saying(
            series_uid=series_uid,
            patient_id=patient_id,
            patient_name=name,
            birth_date=born,
            study_date=made_on,
            accession_number=accession,
            sop_uids=tuple(sop_uids),
        )
        for (series_uid, patient_id, name, born, made_on, accession), sop_uids in told.items()
    ]
    return said, unread


def describe_anew(anew: Anew, study_uid: str, heads: Heads) -> tuple[str, ...]:
    """Have a study and its series say, of their patient and of themselves, what the first of their objects that are
    found says, and note where others contradict it. Answers why it has to be tried again.

    Raises: IndexUnavailable.
    """
    objects = anew.objects(study_uid)
    try:
        told = list(_different(map(heads.described, objects)))
    except CopyUnreadable as error:
        return (str(error),)
    if any(told) and not anew.describe(study_uid, told, last_row=objects[-1].row):
        return ("objects of the study came meanwhile",)
    return ()


def _different(told: Iterator[Description | None]) -> Iterator[Description | None]:
    """Those that say something else of patient, study or series than those before: of thousands of objects a few."""
    known: set[str] = set()
    for one in told:
        said = "" if one is None else _shared(one)
        if said not in known:
            known.add(said)
            yield one


def _shared(one: Description) -> str:
    """All that an object says of more than itself, as one text."""
    fields = {field: values for field, values in one.fields.items() if field.level is not Level.IMAGE}
    return repr((one.patient, one.study, one.series, one.items, fields))
