"""The identifiers that viewers send, replayed one by one: the rows and the tags that each viewer needs.

What each sends is taken from the sources of K-PACS.neo, Weasis, Horos, Oviyam, Ginkgo CADx and CTK, and a log of
RadiAnt.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.multival import MultiValue
from pynetdicom import evt
from support.samples import CT, Sample, tiny, uid, write
from support.second_client import Witness, associate, send
from support.server import Archive

STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
IR87, LATIN, UTF8 = ["", "ISO 2022 IR 87"], "ISO_IR 100", "ISO_IR 192"
SUCCESS = 0x0000

YAMADA = {
    "PatientID": "V-1", "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientBirthDate": "19600102",
    "PatientSex": "M", "SpecificCharacterSet": IR87, "ReferringPhysicianName": "Suzuki^Jiro", "InstitutionName": "City",
}  # fmt: skip
MUELLER = {
    "PatientID": "V-2", "PatientName": "Müller^Eva", "PatientBirthDate": "19700304", "PatientSex": "F",
    "SpecificCharacterSet": LATIN,
}  # fmt: skip
CHEST = YAMADA | {
    "StudyDate": "20260110", "StudyTime": "081500", "AccessionNumber": "VA1", "StudyDescription": "Chest CT",
    "StudyID": "S1",
}  # fmt: skip
BRAIN = YAMADA | {
    "StudyDate": "20260220", "StudyTime": "233000", "AccessionNumber": "VA2", "StudyDescription": "Brain",
    "StudyID": "S2",
}  # fmt: skip
KNEE = MUELLER | {
    "StudyDate": "20260301", "StudyTime": "120000", "AccessionNumber": "VA3", "StudyDescription": "Left knee",
    "StudyID": "S3",
}  # fmt: skip
# What the answers about a study hold, counts and roll-ups included.
STUDIES = {
    name: values | {
        "ModalitiesInStudy": modalities, "NumberOfStudyRelatedSeries": parts, "NumberOfStudyRelatedInstances": objects
    }
    for name, values, modalities, parts, objects in (
        ("chest", CHEST, ["CT", "SR"], 2, 3), ("brain", BRAIN, "MR", 1, 1), ("knee", KNEE, "CR", 1, 1),
    )
}  # fmt: skip
CT_SERIES = {
    "Modality": "CT", "SeriesNumber": 1, "SeriesDescription": "Lung", "SeriesDate": "20260110", "SeriesTime": "081700",
    "BodyPartExamined": "CHEST", "ProtocolName": "Lung thin", "PatientPosition": "HFS", "Rows": 512, "Columns": 512,
    "PerformingPhysicianName": "Kato^Ken", "FrameOfReferenceUID": uid("frame", "viewers"),
}  # fmt: skip
SERIES = {
    "1": CHEST | CT_SERIES | {"NumberOfSeriesRelatedInstances": 2},
    "2": CHEST | {"Modality": "SR", "SeriesNumber": 2, "NumberOfSeriesRelatedInstances": 1},
}
IMAGE = {"ImageType": ["ORIGINAL", "PRIMARY"], "SliceLocation": "1.5", "ImageComments": "clear", "NumberOfFrames": None}

STUDY_UIDS = {uid("study", name): name for name in STUDIES}
CHEST_UID, BRAIN_UID, CT_UID = uid("study", "chest"), uid("study", "brain"), uid("series", "chest", "1")


@pytest.fixture(scope="module")
def stored(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    folder = tmp_path_factory.mktemp("viewers")
    images = {
        "ct1": tiny(1, study="chest", series="1", InstanceNumber=1, **CHEST, **CT_SERIES, **IMAGE),
        "ct2": tiny(2, study="chest", series="1", InstanceNumber=2, **CHEST, **CT_SERIES, **IMAGE),
        "sr": tiny(3, study="chest", series="2", Modality="SR", SeriesNumber=2, InstanceNumber=1, **CHEST),
        "mr": tiny(1, study="brain", Modality="MR", **BRAIN),
        "cr": tiny(1, study="knee", Modality="CR", **KNEE),
    }
    samples = {name: write(image, folder / f"{name}.dcm") for name, image in images.items()}
    assert set(send(archive, list(samples.values())).values()) == {SUCCESS}
    return samples


@dataclass(frozen=True, slots=True)
class Sends:
    """An identifier as a viewer sends it: its level, character set, keys with values, and return keys."""

    viewer: str
    level: str
    charset: str | list[str]
    keys: dict[str, Any]
    returns: str
    syntaxes: tuple[str, ...] = (EXPLICIT, IMPLICIT)

    def __str__(self) -> str:
        return f"{self.viewer} {self.level} {','.join(self.keys)}"

    def identifier(self) -> Dataset:
        """The data set."""
        made = Dataset()
        made.SpecificCharacterSet = self.charset
        made.QueryRetrieveLevel = self.level
        for keyword in self.returns.split():
            setattr(made, keyword, None)
        for keyword, value in self.keys.items():
            setattr(made, keyword, value)
        return made


def answers(archive: Archive, sends: Sends) -> list[Dataset]:
    with associate(archive, [(STUDY_FIND, sends.syntaxes)], aet="VIEWER") as association:
        *pending, (last, _) = association.send_c_find(sends.identifier(), STUDY_FIND)
    assert last.Status == SUCCESS
    return [row for _, row in pending]


def check(row: Dataset, expected: dict[str, Any], returns: Iterable[str]) -> None:
    """Every return key is there, in a character set that is named, with the value where there is one."""
    assert row.SpecificCharacterSet
    for keyword in returns:
        assert keyword in row, f"{keyword} is not answered"
        if keyword in expected:
            value = row[keyword].value
            plain = list(value) if isinstance(value, MultiValue) else value
            assert str(plain or "") == str(expected[keyword] or ""), keyword


KPACS = (
    "PatientID PatientName StudyDate StudyTime AccessionNumber ModalitiesInStudy StudyDescription "
    "ReferringPhysicianName PatientBirthDate PatientSex StudyInstanceUID StudyID NumberOfStudyRelatedSeries "
    "NumberOfStudyRelatedInstances"
)
WEASIS = (
    "PatientName PatientID PatientSex PatientBirthDate IssuerOfPatientID StudyInstanceUID StudyDescription StudyDate "
    "StudyTime AccessionNumber ReferringPhysicianName StudyID ModalitiesInStudy NumberOfStudyRelatedSeries "
    "NumberOfStudyRelatedInstances"
)
HOROS = (
    "PatientName PatientID AccessionNumber PatientBirthDate StudyDescription StudyDate StudyTime StudyInstanceUID "
    "StudyID NumberOfStudyRelatedInstances InstitutionName ReferringPhysicianName PerformingPhysicianName"
)
OVIYAM = (
    "PatientName PatientID PatientSex PatientBirthDate StudyID StudyInstanceUID StudyDescription SeriesInstanceUID "
    "SeriesNumber InstanceNumber ModalitiesInStudy StudyDate StudyTime NumberOfStudyRelatedSeries "
    "NumberOfStudyRelatedInstances ReferringPhysicianName AccessionNumber"
)
SLICER = (
    "PatientID PatientName PatientBirthDate StudyID StudyInstanceUID StudyDescription StudyDate StudyTime "
    "ModalitiesInStudy AccessionNumber NumberOfStudyRelatedInstances NumberOfStudyRelatedSeries"
)
WEASIS_SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
SLICER_SYNTAXES = (EXPLICIT, BIG_ENDIAN, IMPLICIT)
MINE = {"PatientID": "V-*"}


def study(
    viewer: str, keys: dict[str, Any], returns: str, *found: str, charset: Any = UTF8, syntaxes=(EXPLICIT, IMPLICIT)
):
    return Sends(viewer, "STUDY", charset, keys, returns, syntaxes), sorted(found)


STUDY_QUERIES = [
    study("K-PACS", MINE | {"PatientName": "Yamada*"}, KPACS, "chest", "brain", charset=LATIN),
    study("K-PACS", {"PatientID": "V-2"}, KPACS, "knee", charset=LATIN),
    study("K-PACS", MINE | {"StudyDate": "20260110"}, KPACS, "chest", charset=LATIN),
    study("Weasis", MINE | {"PatientName": "山田*"}, WEASIS, "chest", "brain", syntaxes=WEASIS_SYNTAXES),
    study("Weasis", {"AccessionNumber": "VA3"}, WEASIS, "knee", syntaxes=WEASIS_SYNTAXES),
    study("Weasis", MINE | {"ModalitiesInStudy": ["SR", "CR"]}, WEASIS, "chest", "knee", syntaxes=WEASIS_SYNTAXES),
    study("Weasis", MINE | {"StudyDate": "20260201-"}, WEASIS, "brain", "knee", syntaxes=WEASIS_SYNTAXES),
    study("Weasis", MINE | {"StudyDate": "-20260220"}, WEASIS, "chest", "brain", syntaxes=WEASIS_SYNTAXES),
    study("Weasis", {"StudyInstanceUID": BRAIN_UID}, WEASIS, "brain", syntaxes=WEASIS_SYNTAXES),
    study("Weasis", {"PerformingPhysicianName": "Kato*"}, WEASIS, "chest", syntaxes=WEASIS_SYNTAXES),
    study("Weasis", {"ReferringPhysicianName": "suzuki*"}, WEASIS, "chest", "brain", syntaxes=WEASIS_SYNTAXES),
    study("Horos", MINE | {"PatientName": "YAMADA*"}, HOROS + " ModalitiesInStudy", "chest", "brain", charset=LATIN),
    study("Horos", MINE | {"PatientName": "やまだ*"}, HOROS, "chest", "brain", charset=IR87),
    study("Horos", MINE | {"Modality": ["MR", "CR"]}, HOROS, "brain", "knee"),
    study("Horos", MINE | {"StudyDate": "20260101-20260228", "StudyTime": "080000-100000"}, HOROS, "chest"),
    study(
        "Horos",
        MINE | {"StudyTime": "2330-"},
        HOROS + " StudyComments InterpretationStatusID BodyPartExamined",
        "brain",
    ),
    study("RadiAnt", MINE | {"PatientName": "*ü*"}, KPACS, "knee"),
    study("RadiAnt", {"StudyInstanceUID": CHEST_UID}, KPACS, "chest", charset=LATIN),
    study("Oviyam", MINE | {"PatientName": "Müll*"}, OVIYAM, "knee"),
    study("Oviyam", MINE | {"StudyDate": "20260101-20260131"}, OVIYAM, "chest"),
    study("Ginkgo CADx", MINE | {"ModalitiesInStudy": "MR"}, KPACS, "brain", charset=LATIN),
    study(
        "3D Slicer",
        MINE | {"PatientName": "*amada*"},
        SLICER,
        "chest",
        "brain",
        charset=LATIN,
        syntaxes=SLICER_SYNTAXES,
    ),
    study("3D Slicer", MINE | {"StudyDescription": "*CT*"}, SLICER, "chest", charset=LATIN, syntaxes=SLICER_SYNTAXES),
    study("3D Slicer", {"AccessionNumber": "*A2*", **MINE}, SLICER, "brain", charset=LATIN, syntaxes=SLICER_SYNTAXES),
    study("3D Slicer", MINE | {"ModalitiesInStudy": ["CT", "MR"]}, SLICER, "chest", "brain", syntaxes=SLICER_SYNTAXES),
    study("3D Slicer", {"PatientID": "V-1"}, SLICER, "chest", "brain", charset=LATIN, syntaxes=SLICER_SYNTAXES),
]


@pytest.mark.parametrize(("sends", "found"), STUDY_QUERIES, ids=str)
def test_a_study_list(archive: Archive, stored: dict[str, Sample], sends: Sends, found: list[str]) -> None:
    rows = answers(archive, sends)
    assert sorted(STUDY_UIDS[row.StudyInstanceUID] for row in rows) == found
    for row in rows:
        check(row, STUDIES[STUDY_UIDS[row.StudyInstanceUID]], sends.returns.split())


def below(viewer: str, level: str, keys: dict[str, Any], returns: str, syntaxes=(EXPLICIT, IMPLICIT)) -> Sends:
    return Sends(viewer, level, UTF8, {"StudyInstanceUID": CHEST_UID, **keys}, returns, syntaxes)


SERIES_QUERIES = [
    below("K-PACS", "SERIES", {}, "SeriesInstanceUID SeriesNumber Modality SeriesDescription SeriesDate SeriesTime "
          "BodyPartExamined ProtocolName PatientPosition FrameOfReferenceUID NumberOfSeriesRelatedInstances"),
    below("Weasis", "SERIES", {}, "SeriesInstanceUID Modality SeriesNumber SeriesDescription", WEASIS_SYNTAXES),
    below("Horos", "SERIES", {}, "SeriesDescription SeriesDate SeriesTime SeriesInstanceUID SeriesNumber "
          "NumberOfSeriesRelatedInstances Modality ReferringPhysicianName PerformingPhysicianName InstitutionName"),
    below("Oviyam", "SERIES", {"PatientID": "V-1"}, "PatientName PatientSex PatientBirthDate StudyDescription "
          "StudyDate ReferringPhysicianName SeriesNumber SeriesInstanceUID NumberOfSeriesRelatedInstances "
          "SeriesDescription Modality SeriesDate SeriesTime"),
    below("Ginkgo CADx", "SERIES", {}, "SeriesInstanceUID Modality"),
    below("3D Slicer", "SERIES", {"PatientID": "V-1"}, "SeriesNumber SeriesDescription SeriesInstanceUID SeriesDate "
          "SeriesTime Modality Rows Columns NumberOfSeriesRelatedInstances", SLICER_SYNTAXES),
]  # fmt: skip


@pytest.mark.parametrize("sends", SERIES_QUERIES, ids=str)
def test_the_series_of_a_study(archive: Archive, stored: dict[str, Sample], sends: Sends) -> None:
    rows = {row.SeriesInstanceUID: row for row in answers(archive, sends)}
    assert rows.keys() == {uid("series", "chest", number) for number in SERIES}
    for number, expected in SERIES.items():
        check(rows[uid("series", "chest", number)], expected, sends.returns.split())


IN_SERIES = {"SeriesInstanceUID": CT_UID}
IMAGE_QUERIES = [
    below("K-PACS", "IMAGE", IN_SERIES, "SOPInstanceUID InstanceNumber ImageType NumberOfFrames SliceLocation"),
    below("Weasis", "IMAGE", IN_SERIES, "SOPInstanceUID InstanceNumber", WEASIS_SYNTAXES),
    below("Horos", "IMAGE", IN_SERIES, "InstanceCreationDate InstanceCreationTime SOPInstanceUID InstanceNumber "
          "ImageComments"),
    below("Oviyam", "IMAGE", IN_SERIES | {"PatientID": "V-1"}, "InstanceNumber SOPInstanceUID BodyPartExamined "
          "ImageComments SliceLocation NumberOfFrames PatientName StudyDate"),
    below("3D Slicer", "IMAGE", IN_SERIES | {"PatientID": "V-1"}, "InstanceNumber SOPInstanceUID Rows Columns Modality",
          SLICER_SYNTAXES),
]  # fmt: skip


@pytest.mark.parametrize("sends", IMAGE_QUERIES, ids=str)
def test_the_images_of_a_series(archive: Archive, stored: dict[str, Sample], sends: Sends) -> None:
    rows = answers(archive, sends)
    assert sorted(row.InstanceNumber for row in rows) == [1, 2]
    assert {row.SOPInstanceUID for row in rows} == {stored["ct1"].sop_uid, stored["ct2"].sop_uid}
    for row in rows:
        check(row, SERIES["1"] | IMAGE, sends.returns.split())


def test_slicer_asks_for_patients_on_study_root(archive: Archive, stored: dict[str, Sample]) -> None:
    returns = "PatientID PatientName PatientBirthDate"
    rows = answers(archive, Sends("3D Slicer", "PATIENT", LATIN, {"PatientID": "V-*"}, returns, SLICER_SYNTAXES))
    assert sorted(row.PatientID for row in rows) == ["V-1", "V-2"]
    for row in rows:
        check(row, YAMADA if row.PatientID == "V-1" else MUELLER, returns.split())


def test_radiant_verifies_with_unusual_transfer_syntaxes(archive: Archive) -> None:
    syntaxes = (EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, "1.2.840.10008.1.2.4.50")
    with associate(archive, [("1.2.840.10008.1.1", syntaxes)], aet="RADIANT") as association:
        assert association.send_c_echo().Status == SUCCESS


def test_weasis_cancels_at_its_limit(archive: Archive, stored: dict[str, Sample]) -> None:
    sends = Sends("Weasis", "STUDY", UTF8, MINE, WEASIS, WEASIS_SYNTAXES)
    with associate(archive, [(STUDY_FIND, WEASIS_SYNTAXES)], aet="WEASIS") as association:
        statuses = []
        for status, _ in association.send_c_find(sends.identifier(), STUDY_FIND, msg_id=7):
            statuses.append(status.Status)
            if len(statuses) == 1:
                association.send_c_cancel(7, query_model=STUDY_FIND)
        assert statuses[-1] in (0xFE00, SUCCESS)  # all three may have been on their way
        assert association.is_established


# Viewer, level, keys, images.
RETRIEVES = [
    ("K-PACS", "STUDY", {"StudyInstanceUID": CHEST_UID}, {"ct1", "ct2", "sr"}),
    ("K-PACS", "SERIES", {"StudyInstanceUID": CHEST_UID, "SeriesInstanceUID": CT_UID}, {"ct1", "ct2"}),
    ("Weasis", "STUDY", {"StudyInstanceUID": [CHEST_UID, BRAIN_UID]}, {"ct1", "ct2", "sr", "mr"}),
    ("Ginkgo CADx", "SERIES", dict.fromkeys(("PatientID", "PatientName", "StudyDate", "StudyTime", "StudyID"))
     | {"StudyInstanceUID": CHEST_UID, "SeriesInstanceUID": CT_UID}, {"ct1", "ct2"}),
    ("3D Slicer", "STUDY", {"PatientID": "V-1", "StudyInstanceUID": BRAIN_UID}, {"mr"}),
    ("3D Slicer", "SERIES", {"PatientID": "V-1", "StudyInstanceUID": CHEST_UID, "SeriesInstanceUID": CT_UID},
     {"ct1", "ct2"}),
    ("3D Slicer", "IMAGE", {"PatientID": "V-1", "StudyInstanceUID": CHEST_UID, "SeriesInstanceUID": CT_UID,
     "SOPInstanceUID": uid("object", "chest", "1", 2)}, {"ct2"}),
]  # fmt: skip


names = count()


@pytest.mark.parametrize(("viewer", "level", "keys", "images"), RETRIEVES)
def test_a_retrieve_by_c_move(
    archive: Archive, stored: dict[str, Sample], viewer: str, level: str, keys: dict[str, Any], images: set[str]
) -> None:
    witness = Witness(aet="VIEWING")
    with witness.running(), associate(archive, [(STUDY_MOVE, [EXPLICIT, IMPLICIT])], aet="VIEWING") as association:
        itself = f"V{next(names)}"  # whatever it is called by: each time it listens on another port
        archive.add_peer(itself, witness.port)
        sends = Sends(viewer, level, LATIN, keys, "")
        *_, (last, _) = association.send_c_move(sends.identifier(), itself, STUDY_MOVE)
    assert last.Status == SUCCESS
    assert {one.sop_uid for one in witness.received} == {stored[name].sop_uid for name in images}


WITHOUT_ROLES = {
    "Horos": [(CT, [JPEG_2000, JPEG_LOSSLESS, EXPLICIT, IMPLICIT, BIG_ENDIAN])],
    "Ginkgo CADx": [(CT, [one]) for one in (IMPLICIT, EXPLICIT, BIG_ENDIAN, JPEG_LOSSLESS, JPEG_2000)],
}


@pytest.mark.parametrize("viewer", WITHOUT_ROLES)
def test_a_retrieve_by_c_get_without_role_items(archive: Archive, stored: dict[str, Sample], viewer: str) -> None:
    witness = Witness()
    contexts = [(STUDY_GET, [EXPLICIT, IMPLICIT]), *WITHOUT_ROLES[viewer]]
    handlers = [(evt.EVT_C_STORE, witness.take)]
    keys = {"StudyInstanceUID": CHEST_UID, "SeriesInstanceUID": CT_UID}
    with associate(archive, contexts, as_receiver=[CT], tells_roles=False, handlers=handlers) as association:
        *_, (last, _) = association.send_c_get(Sends(viewer, "SERIES", LATIN, keys, "").identifier(), STUDY_GET)
    assert last.Status == SUCCESS
    assert {one.sop_uid for one in witness.received} == {stored[name].sop_uid for name in ("ct1", "ct2")}


@pytest.mark.parametrize(("viewer", "level", "keys", "images"), [one for one in RETRIEVES if one[0] != "K-PACS"])
def test_a_retrieve_by_c_get(
    archive: Archive, stored: dict[str, Sample], viewer: str, level: str, keys: dict[str, Any], images: set[str]
) -> None:
    witness = Witness()
    contexts = [(STUDY_GET, [EXPLICIT, IMPLICIT]), (CT, [EXPLICIT, IMPLICIT, BIG_ENDIAN])]
    handlers = [(evt.EVT_C_STORE, witness.take)]
    tells_roles = viewer not in WITHOUT_ROLES
    with associate(
        archive, contexts, aet="VIEWING", as_receiver=[CT], tells_roles=tells_roles, handlers=handlers
    ) as association:
        *_, (last, _) = association.send_c_get(Sends(viewer, level, LATIN, keys, "").identifier(), STUDY_GET)
    assert last.Status == SUCCESS
    assert {one.sop_uid for one in witness.received} == {stored[name].sop_uid for name in images}
