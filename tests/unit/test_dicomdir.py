"""A DICOMDIR leads a reader to every object, by patient, study and series."""

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, UID_dictionary
from support.raw_objects import element
from support.samples import encoded, part10, tiny

from pacs_server.dicom.describe import Description, describe
from pacs_server.dicom.dicomdir import MediumDirectory, record_type
from pacs_server.dicom.header import HeadScanner

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PDF, PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.11.1"
# In their places stand the bytes of others.
TITLE, MAKER = "#" * 40, "@" * 30
KINDS = {
    "SR Storage": "SR DOCUMENT", "Presentation State": "PRESENTATION", "Waveform Storage": "WAVEFORM",
    "RT Dose": "RT DOSE", "RT Structure": "RT STRUCTURE SET", "RT Plan": "RT PLAN", "Encapsulated": "ENCAP DOC",
}  # fmt: skip


def described(dataset: Dataset) -> Description:
    scanner = HeadScanner(EXPLICIT)
    scanner.feed(encoded(dataset))
    return describe(scanner.head())


def directory(*datasets: Dataset) -> Dataset:
    made = MediumDirectory()
    for number, one in enumerate(datasets):
        whole = part10(encoded(one), sop_class=str(one.SOPClassUID), sop_uid=str(one.SOPInstanceUID))
        made.add(described(one), EXPLICIT, ("DICOM", f"IM{number:06}"), BytesIO(whole))
    return dcmread(BytesIO(made.encoded()))


def levels(read: Dataset) -> list[object]:
    """What a reader finds that follows the offsets: each record with those below it."""
    records = {item.seq_item_tell: item for item in read.DirectoryRecordSequence}

    def below(offset: int) -> list[object]:
        found: list[object] = []
        while offset:
            record = records[offset]
            told = record.get("ReferencedFileID") or record.get("StudyID") or record.get("PatientID")
            found.append((record.DirectoryRecordType, told, below(record.OffsetOfReferencedLowerLevelDirectoryEntity)))
            offset = record.OffsetOfTheNextDirectoryRecord
        return found

    return below(read.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity)


def image(number: int) -> tuple[str, list[str], list[object]]:
    return ("IMAGE", ["DICOM", f"IM{number:06}"], [])


def test_whoever_follows_the_offsets_finds_each_object_below_its_series_study_and_patient() -> None:
    read = directory(
        tiny(0, StudyID="S1"),
        tiny(1, StudyID="S1"),
        tiny(2, study=2, StudyID="S2"),
        tiny(3, StudyID="S1", series="other"),
        tiny(4, study=3, StudyID="S3", PatientID="T-2"),
    )
    first = ("STUDY", "S1", [("SERIES", None, [image(0), image(1)]), ("SERIES", None, [image(3)])])
    second, third = (("STUDY", name, [("SERIES", None, [image(n)])]) for name, n in (("S2", 2), ("S3", 4)))
    assert levels(read) == [("PATIENT", "T-1", [first, second]), ("PATIENT", "T-2", [third])]
    roots = [item.seq_item_tell for item in read.DirectoryRecordSequence if item.DirectoryRecordType == "PATIENT"]
    assert read.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity == roots[-1]


def test_two_who_came_under_one_id_are_two_patients_and_one_whose_name_is_written_in_two_ways_is_one() -> None:
    names = ["Yamada^Tarou", "Smith^Anna", "Yamada^Tarou=山田^太郎", "SMITH^ANNA"]
    read = directory(
        *(tiny(n, study=n, PatientName=one, SpecificCharacterSet="ISO_IR 192") for n, one in enumerate(names))
    )
    told = [str(item.PatientName) for item in read.DirectoryRecordSequence if item.DirectoryRecordType == "PATIENT"]
    assert (told, [len(below) for _, _, below in levels(read)]) == (names[:2], [2, 2])


def test_names_in_kanji_are_readable_whatever_they_were_written_in() -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    read = directory(tiny(0, PatientName=name, SpecificCharacterSet=["", "ISO 2022 IR 87"]))
    patient = read.DirectoryRecordSequence[0]
    assert (patient.SpecificCharacterSet, str(patient.PatientName)) == ("ISO_IR 192", name)


def test_what_an_object_does_not_say_and_a_record_has_to_is_invented() -> None:
    bare = tiny(0, PatientID=None, StudyDate=None, StudyTime=None, Modality=None)
    patient, study, series, leaf = directory(bare).DirectoryRecordSequence
    assert (patient.PatientID, study.StudyDate, study.StudyTime, study.StudyID) == (
        "NONE", "19000101", "000000", "NONE"
    )  # fmt: skip
    assert (series.Modality, series.SeriesNumber, leaf.InstanceNumber) == ("OT", 0, 1)


def test_a_report_says_what_its_record_has_to_and_one_that_lacks_it_is_named_all_the_same() -> None:
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "1", "99", "Bericht für Müller"
    told = {"InstanceNumber": 7, "CompletionFlag": "COMPLETE", "VerificationFlag": "UNVERIFIED"}
    told |= {"ContentDate": "20260102", "ContentTime": "101500", "ConceptNameCodeSequence": [concept]}
    report = "1.2.840.10008.5.1.4.1.1.88.11"
    whole, lacking = (
        directory(tiny(0, sop_class=report, SpecificCharacterSet="ISO_IR 100", **values)).DirectoryRecordSequence[3]
        for values in (told, {"InstanceNumber": 7})
    )
    assert whole.CompletionFlag == "COMPLETE"
    assert whole.ConceptNameCodeSequence[0].CodeMeaning == "Bericht für Müller"
    assert [(one.DirectoryRecordType, one.InstanceNumber) for one in (whole, lacking)] == [("SR DOCUMENT", 7)] * 2


def test_a_report_that_is_damaged_inside_a_sequence_is_named_all_the_same() -> None:
    report = tiny(0, sop_class="1.2.840.10008.5.1.4.1.1.88.11", InstanceNumber=7)
    raw = encoded(report) + element(0x0040A730, "SQ", b"\xfe\xff")
    scanner = HeadScanner(EXPLICIT)
    scanner.feed(raw)
    whole = part10(raw, sop_class=str(report.SOPClassUID), sop_uid=str(report.SOPInstanceUID))
    made = MediumDirectory()
    made.add(describe(scanner.finish()), EXPLICIT, ("DICOM", "IM1"), BytesIO(whole))
    named = dcmread(BytesIO(made.encoded())).DirectoryRecordSequence[-1]
    assert (named.DirectoryRecordType, named.InstanceNumber) == ("SR DOCUMENT", 7)


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("", "cp932"),
        ("ISO_IR 13", "cp932"),
        ("ISO_IR 100", "cp932"),
        ("\\ISO 2022 IR 87", "iso2022_jp"),
        ("GB18030", "gb18030"),
        ("ISO_IR 192", "utf-8"),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_titles_and_makers_are_readable_whatever_their_label_says(label: str, codec: str, syntax: str) -> None:
    title, maker = "心電図レポート 表", "山田^太郎"
    concept = Dataset()
    concept.CodeMeaning = TITLE
    told = {"InstanceNumber": 1, "ContentDate": "20260102", "ContentTime": "10", "ConceptNameCodeSequence": [concept]}
    told |= {"DocumentTitle": TITLE, "MIMETypeOfEncapsulatedDocument": "application/pdf"}
    report = tiny(0, sop_class=PDF, SpecificCharacterSet=label.split("\\"), **told)
    told = {"PresentationCreationDate": "20260102", "PresentationCreationTime": "10", "ReferencedSeriesSequence": []}
    told |= {"InstanceNumber": 2, "ContentLabel": "L", "ContentDescription": TITLE, "ContentCreatorName": MAKER}
    state = tiny(1, sop_class=PRESENTATION_STATE, SpecificCharacterSet=label.split("\\"), **told)
    made = MediumDirectory()
    for one in (report, state):
        raw = encoded(one, syntax).replace(TITLE.encode(), title.encode(codec).ljust(len(TITLE)))
        raw = raw.replace(MAKER.encode(), maker.encode(codec).ljust(len(MAKER)))
        scanner = HeadScanner(syntax)
        scanner.feed(raw)
        uids = {"sop_class": str(one.SOPClassUID), "sop_uid": str(one.SOPInstanceUID)}
        file = BytesIO(part10(raw, transfer_syntax=syntax, **uids))
        made.add(describe(scanner.head()), syntax, ("DICOM", "IM1"), file)
    document, presentation = dcmread(BytesIO(made.encoded())).DirectoryRecordSequence[-2:]
    assert (document.DocumentTitle, document.ConceptNameCodeSequence[0].CodeMeaning) == (title, title)
    assert (presentation.ContentDescription, str(presentation.ContentCreatorName)) == (title, maker)


def test_the_title_of_a_report_is_read_as_what_its_sender_is_known_to_send() -> None:
    report = tiny(0, sop_class=PDF, DocumentTitle="#" * 8, MIMETypeOfEncapsulatedDocument="application/pdf")
    report.InstanceNumber, report.ContentDate, report.ContentTime, report.ConceptNameCodeSequence = 1, None, None, []
    raw = encoded(report).replace(b"#" * 8, "Žádanka".encode("iso8859-2").ljust(8))
    scanner = HeadScanner(EXPLICIT)
    scanner.feed(raw)
    uids = {"sop_class": str(report.SOPClassUID), "sop_uid": str(report.SOPInstanceUID)}
    titles = []
    for assumed in ("ISO_IR 101", ""):
        made, file = MediumDirectory(), BytesIO(part10(raw, **uids))
        made.add(describe(scanner.head()), EXPLICIT, ("DICOM", "IM1"), file, assumed_charset=assumed)
        titles.append(dcmread(BytesIO(made.encoded())).DirectoryRecordSequence[-1].DocumentTitle)
    assert titles[0] == "Žádanka" != titles[1]


def test_a_value_of_any_length_leaves_the_directory_readable() -> None:
    read = directory(tiny(0, StudyDescription="x" * 60_000), tiny(1, study=2))
    assert [kind for kind, *_ in levels(read)] == ["PATIENT"]


@pytest.mark.parametrize(("words", "kind"), KINDS.items())
def test_each_storage_class_has_the_type_of_its_kind(words: str, kind: str) -> None:
    named = [uid for uid, (name, what, *_) in UID_dictionary.items() if what == "SOP Class" and words in name]
    stored = [uid for uid in named if uid.startswith("1.2.840.10008.5.1.4.1.1.") and "Storage" in UID(uid).name]
    assert {record_type(uid) for uid in stored if "Trial" not in UID(uid).name} == {kind}
