"""The one table of attributes that the index holds: tag, keyword, VR, level, column, and how a key on it matches.

Index columns, header reading, C-FIND keys and answers, `pacs find` and the conformance tables all follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from pydicom.datadict import dictionary_VM


class Level(IntEnum):
    """A query/retrieve level, from the top down. Source: PS3.4 section C.6.1.1 and C.6.2.1."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


class Matching(Enum):
    """How a key with a value selects rows. Source: PS3.4 section C.2.2.2."""

    UID = "list of UID"
    TEXT = "single value or wildcard, case-sensitive"
    NAME = "person name, folded, wildcard, any group"
    DATE = "single value or range"
    TIME = "single value or range, by precision"
    MOMENT = "single value or range of dates with times, by precision, in UTC"
    NUMBER = "single value, by number"
    ROLLUP = "kept up to date in the row of its level; answered, never matched"
    COMPUTED = "made for each answer"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the index. `column` is its column in the table of its level."""

    tag: int
    keyword: str
    vr: str
    level: Level
    column: str
    matching: Matching

    def __hash__(self) -> int:
        return self.tag  # what is remembered of queries is looked up by many of them: six fields took 1 us each

    @property
    def is_read(self) -> bool:
        """Whether its value is read from the received object, rather than counted or computed by us."""
        return self.matching not in (Matching.ROLLUP, Matching.COMPUTED)

    @property
    def is_integer(self) -> bool:
        """Whether its column holds whole numbers."""
        return self.vr in ("IS", "US", "UL")

    @property
    def is_list(self) -> bool:
        """Whether a stored value may be several, told apart by backslashes, one of which has to match."""
        return self.tag in _LISTS


@dataclass(frozen=True, slots=True)
class ItemSequence:
    """A sequence whose items the index holds, each a row of `table`. `fields` are the texts that are kept of an item;
    those in `searched` are found by an index.
    """

    tag: int
    keyword: str
    level: Level
    table: str
    fields: tuple[Attribute, ...]
    searched: tuple[str, ...]

    def __hash__(self) -> int:
        return self.tag


P, S, E, I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE
UID, TEXT, NAME, DATE, TIME, NUMBER, ROLLUP, COMPUTED = (
    Matching.UID, Matching.TEXT, Matching.NAME, Matching.DATE, Matching.TIME, Matching.NUMBER,
    Matching.ROLLUP, Matching.COMPUTED,
)  # fmt: skip

ATTRIBUTES: Final[tuple[Attribute, ...]] = tuple(
    Attribute(*row)
    for row in (
        # tag, keyword, VR, level, column, matching
        (0x00100010, "PatientName", "PN", P, "patient_name", NAME),
        (0x00100020, "PatientID", "LO", P, "patient_id", TEXT),
        (0x00100021, "IssuerOfPatientID", "LO", P, "issuer", TEXT),
        (0x00100030, "PatientBirthDate", "DA", P, "birth_date", DATE),
        (0x00100032, "PatientBirthTime", "TM", P, "birth_time", TIME),
        (0x00100040, "PatientSex", "CS", P, "sex", TEXT),
        (0x00101000, "OtherPatientIDs", "LO", P, "other_patient_ids", TEXT),
        (0x00102160, "EthnicGroup", "SH", P, "ethnic_group", TEXT),
        (0x00104000, "PatientComments", "LT", P, "patient_comments", TEXT),
        (0x00201200, "NumberOfPatientRelatedStudies", "IS", P, "study_count", ROLLUP),
        (0x00201202, "NumberOfPatientRelatedSeries", "IS", P, "series_count", ROLLUP),
        (0x00201204, "NumberOfPatientRelatedInstances", "IS", P, "instance_count", ROLLUP),
        (0x0020000D, "StudyInstanceUID", "UI", S, "study_uid", UID),
        (0x00200010, "StudyID", "SH", S, "study_id", TEXT),
        (0x00080020, "StudyDate", "DA", S, "study_date", DATE),
        (0x00080030, "StudyTime", "TM", S, "study_time", TIME),
        (0x00080050, "AccessionNumber", "SH", S, "accession_number", TEXT),
        (0x00081030, "StudyDescription", "LO", S, "study_description", TEXT),
        (0x00080090, "ReferringPhysicianName", "PN", S, "referring_physician", NAME),
        (0x00081060, "NameOfPhysiciansReadingStudy", "PN", S, "reading_physicians", NAME),
        (0x00081080, "AdmittingDiagnosesDescription", "LO", S, "admitting_diagnoses", TEXT),
        (0x00101010, "PatientAge", "AS", S, "patient_age", TEXT),
        (0x00101020, "PatientSize", "DS", S, "patient_size", TEXT),
        (0x00101030, "PatientWeight", "DS", S, "patient_weight", TEXT),
        (0x00102180, "Occupation", "SH", S, "occupation", TEXT),
        (0x001021B0, "AdditionalPatientHistory", "LT", S, "patient_history", TEXT),
        (0x00324000, "StudyComments", "LT", S, "study_comments", TEXT),
        (0x40080212, "InterpretationStatusID", "CS", S, "interpretation_status", TEXT),
        (0x00080061, "ModalitiesInStudy", "CS", S, "modalities", TEXT),
        (0x00080062, "SOPClassesInStudy", "UI", S, "sop_classes", UID),
        (0x00201206, "NumberOfStudyRelatedSeries", "IS", S, "series_count", ROLLUP),
        (0x00201208, "NumberOfStudyRelatedInstances", "IS", S, "instance_count", ROLLUP),
        (0x0020000E, "SeriesInstanceUID", "UI", E, "series_uid", UID),
        (0x00080060, "Modality", "CS", E, "modality", TEXT),
        (0x00200011, "SeriesNumber", "IS", E, "series_number", NUMBER),
        (0x0008103E, "SeriesDescription", "LO", E, "series_description", TEXT),
        (0x00080021, "SeriesDate", "DA", E, "series_date", DATE),
        (0x00080031, "SeriesTime", "TM", E, "series_time", TIME),
        (0x00180015, "BodyPartExamined", "CS", E, "body_part", TEXT),
        (0x00181030, "ProtocolName", "LO", E, "protocol_name", TEXT),
        (0x00185100, "PatientPosition", "CS", E, "patient_position", TEXT),
        (0x00200052, "FrameOfReferenceUID", "UI", E, "frame_of_reference_uid", UID),
        (0x00200060, "Laterality", "CS", E, "laterality", TEXT),
        (0x00081050, "PerformingPhysicianName", "PN", E, "performing_physician", NAME),
        (0x00081070, "OperatorsName", "PN", E, "operators_name", NAME),
        (0x00080070, "Manufacturer", "LO", E, "manufacturer", TEXT),
        (0x00081090, "ManufacturerModelName", "LO", E, "model_name", TEXT),
        (0x00080080, "InstitutionName", "LO", E, "institution_name", TEXT),
        (0x00081040, "InstitutionalDepartmentName", "LO", E, "department_name", TEXT),
        (0x00081010, "StationName", "SH", E, "station_name", TEXT),
        (0x00400244, "PerformedProcedureStepStartDate", "DA", E, "procedure_start_date", DATE),
        (0x00400245, "PerformedProcedureStepStartTime", "TM", E, "procedure_start_time", TIME),
        (0x00400253, "PerformedProcedureStepID", "SH", E, "procedure_step_id", TEXT),
        (0x00201209, "NumberOfSeriesRelatedInstances", "IS", E, "instance_count", ROLLUP),
        (0x00080018, "SOPInstanceUID", "UI", I, "sop_uid", UID),
        (0x00080016, "SOPClassUID", "UI", I, "sop_class", UID),
        (0x00200013, "InstanceNumber", "IS", I, "instance_number", NUMBER),
        (0x00080008, "ImageType", "CS", I, "image_type", TEXT),
        (0x00080012, "InstanceCreationDate", "DA", I, "creation_date", DATE),
        (0x00080013, "InstanceCreationTime", "TM", I, "creation_time", TIME),
        (0x00080022, "AcquisitionDate", "DA", I, "acquisition_date", DATE),
        (0x00080032, "AcquisitionTime", "TM", I, "acquisition_time", TIME),
        (0x00080023, "ContentDate", "DA", I, "content_date", DATE),
        (0x00080033, "ContentTime", "TM", I, "content_time", TIME),
        (0x00200012, "AcquisitionNumber", "IS", I, "acquisition_number", NUMBER),
        (0x00201041, "SliceLocation", "DS", I, "slice_location", TEXT),
        (0x00204000, "ImageComments", "LT", I, "image_comments", TEXT),
        (0x00280008, "NumberOfFrames", "IS", I, "number_of_frames", NUMBER),
        (0x00280010, "Rows", "US", I, "rows", NUMBER),
        (0x00280011, "Columns", "US", I, "columns", NUMBER),
        (0x00280100, "BitsAllocated", "US", I, "bits_allocated", NUMBER),
        (0x00080054, "RetrieveAETitle", "AE", I, "retrieve_aet", COMPUTED),
        (0x00080056, "InstanceAvailability", "CS", I, "availability", COMPUTED),
    )
)

SEQUENCES: Final = (
    ItemSequence(
        0x00081032, "ProcedureCodeSequence", S, "procedure_codes",
        (
            Attribute(0x00080100, "CodeValue", "SH", S, "code_value", TEXT),
            Attribute(0x00080102, "CodingSchemeDesignator", "SH", S, "coding_scheme", TEXT),
            Attribute(0x00080104, "CodeMeaning", "LO", S, "code_meaning", TEXT),
        ),
        ("code_value",),
    ),
    ItemSequence(
        0x00400275, "RequestAttributesSequence", E, "request_attributes",
        (
            Attribute(0x00080050, "AccessionNumber", "SH", E, "accession_number", TEXT),
            Attribute(0x00321060, "RequestedProcedureDescription", "LO", E, "requested_description", TEXT),
            Attribute(0x00400007, "ScheduledProcedureStepDescription", "LO", E, "scheduled_description", TEXT),
            Attribute(0x00400009, "ScheduledProcedureStepID", "SH", E, "scheduled_step_id", TEXT),
            Attribute(0x00401001, "RequestedProcedureID", "SH", E, "requested_procedure_id", TEXT),
        ),
        ("scheduled_step_id", "requested_procedure_id"),
    ),
)  # fmt: skip
SEQUENCE_BY_TAG: Final = {sequence.tag: sequence for sequence in SEQUENCES}

_LISTS: Final = frozenset(
    attribute.tag for attribute in ATTRIBUTES if attribute.is_read and dictionary_VM(attribute.tag) != "1"
)

BY_TAG: Final = {attribute.tag: attribute for attribute in ATTRIBUTES}
BY_KEYWORD: Final = {attribute.keyword: attribute for attribute in ATTRIBUTES}

SPECIFIC_CHARACTER_SET: Final = 0x00080005
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
PATIENT_ID: Final = 0x00100020
STUDY_UID: Final = 0x0020000D
SERIES_UID: Final = 0x0020000E
SOP_UID: Final = 0x00080018
SOP_CLASS: Final = 0x00080016
MODALITY: Final = 0x00080060
CODE_VALUE: Final = 0x00080100
LONG_CODE_VALUE: Final = 0x00080119
URN_CODE_VALUE: Final = 0x00080120

UNIQUE_KEY: Final = {
    Level.PATIENT: BY_TAG[PATIENT_ID],
    Level.STUDY: BY_TAG[STUDY_UID],
    Level.SERIES: BY_TAG[SERIES_UID],
    Level.IMAGE: BY_TAG[SOP_UID],
}

# ModalitiesInStudy and SOPClassesInStudy are rolled up from series and instances, so they are not read either.
_ROLLED_UP_LISTS: Final = frozenset({0x00080061, 0x00080062})
HEADER_TAGS: Final = frozenset(
    attribute.tag for attribute in ATTRIBUTES if attribute.is_read and attribute.tag not in _ROLLED_UP_LISTS
) | {SPECIFIC_CHARACTER_SET}


def read_attributes(level: Level) -> tuple[Attribute, ...]:
    """The attributes of a level whose values are read from received objects, in the order of the table."""
    return tuple(a for a in ATTRIBUTES if a.level == level and a.tag in HEADER_TAGS)
