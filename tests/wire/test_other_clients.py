"""GDCM's, odil's and Orthanc's clients and servers, on a study of all transfer syntaxes."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
import pytest
from support.dcmtk import free_port, objects_in
from support.mixed_study import is_right, mixed_study
from support.orthanc import Orthanc
from support.samples import Sample, tiny, uid, write
from support.second_client import send
from support.server import Archive, wait_for

pytestmark = pytest.mark.timeout(300)

LONG_S = 60.0


@pytest.fixture(scope="module")
def study(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    """By transfer syntax: an object of each, all in one study that the archive holds."""
    samples = mixed_study(tmp_path_factory.mktemp("mixed"))
    assert set(send(archive, list(samples.values())).values()) == {0}
    return samples


@pytest.fixture(scope="module")
def orthanc(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A running Orthanc; it and the archive know each other."""
    with Orthanc(tmp_path_factory.mktemp("orthanc"), archive) as running:
        archive.add_peer(running.aet, running.port, "--allow", "echo,store,find,move,commit")
        yield running


def gdcmscu(archive: Archive, *words: str, files: Sequence[Path] = ()) -> str:
    """Run GDCM's client and return what it said. 3.0.21 aborts after each release, also after that of DCMTK."""
    if shutil.which("gdcmscu") is None:
        pytest.skip("GDCM is not installed: no gdcmscu")
    command = ["gdcmscu", *words, "--aetitle", "GDCM", "--call", archive.aet, "127.0.0.1", str(archive.port)]
    done = subprocess.run(
        [*command, *map(str, files)], capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "ProtocolStream as nullptr is invalid" in done.stderr, said
    return said


def odil(archive: Archive, service: str, *words: str) -> str:
    """Run a client of odil, an engine of its own, and return what it said."""
    if (program := shutil.which("odil")) is None:
        pytest.skip("odil is not installed: Debian has it in the package odil")
    command = [program, service, "127.0.0.1", str(archive.port), "ODIL", archive.aet, *words]
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_right(study: dict[str, Sample], received: dict[str, Path]) -> None:
    assert received.keys() == {sample.sop_uid for sample in study.values()}
    for sample in study.values():
        assert is_right(sample, received[sample.sop_uid], rewritten=True), sample.transfer_syntax


def test_gdcm_stores_finds_and_moves(archive: Archive, study: dict[str, Sample], tmp_path: Path) -> None:
    sample = write(tiny("gdcm", study="gdcm", PatientID="GDCM-1"), tmp_path / "gdcm.dcm")
    gdcmscu(archive, "--echo")
    gdcmscu(archive, "--store", files=[sample.path])
    gdcmscu(archive, "--find", "--studyroot", "--study", "--key", "10,20=GDCM-1", "--key", "20,d=")
    wait_for(lambda: "find calling=GDCM status=0x0 answers=1" in archive.log_text(), "the line of the query")
    port, into = free_port(), tmp_path / "got"
    into.mkdir()
    archive.add_peer("GDCM", port, "--allow", "echo,store,find,move", "--syntax", "uncompressed")
    words = ["--move", "--studyroot", "--study", "--key", f"20,d={uid('study', 'mixed')}", "--port-scp", str(port)]
    gdcmscu(archive, *words, "-o", str(into))
    assert_right(study, objects_in(into))


def test_odil_stores_finds_by_kanji_and_gets(archive: Archive, study: dict[str, Sample], tmp_path: Path) -> None:
    """It asks which SOP classes a study has, and offers no others; each in a role of its own, and none compressed."""
    name, written = "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]
    sample = write(
        tiny("odil", study="odil", PatientID="ODIL-1", SpecificCharacterSet=written, PatientName=name),
        tmp_path / "odil.dcm",
    )
    odil(archive, "store", str(sample.path))
    asked = ("QueryRetrieveLevel=STUDY", "SpecificCharacterSet=ISO_IR 192", "PatientName=*=山田*", "PatientID=")
    told = odil(archive, "find", "study", *asked)
    assert told.startswith("1 answer")
    assert name in told
    assert "ODIL-1" in told
    level, into = "QueryRetrieveLevel=STUDY", tmp_path / "got"
    for uids in (sample.study_uid, uid("study", "mixed")):
        odil(archive, "get", "study", level, f"StudyInstanceUID={uids}", "--directory", str(into))
    assert str(pydicom.dcmread(into / sample.sop_uid).PatientName) == name
    (into / sample.sop_uid).unlink()
    assert_right(study, objects_in(into))


def test_orthanc_queries_and_retrieves(
    archive: Archive, orthanc: Orthanc, study: dict[str, Sample], tmp_path: Path
) -> None:
    asked = {"Level": "Study", "Query": {"StudyInstanceUID": uid("study", "mixed"), "PatientName": ""}}
    answer = orthanc.ask("/modalities/pacs/query", asked)["ID"]
    assert orthanc.ask(f"/queries/{answer}/answers") == ["0"]
    orthanc.ask(f"/queries/{answer}/retrieve", {"TargetAet": orthanc.aet, "Synchronous": True})
    assert_right(study, orthanc.objects(tmp_path / "got"))


def test_orthanc_stores_and_has_its_objects_vouched_for(archive: Archive, orthanc: Orthanc, tmp_path: Path) -> None:
    samples = [write(tiny(n, study="orthanc"), tmp_path / f"{n}.dcm") for n in range(10)]
    missing = write(tiny("missing", study="orthanc"), tmp_path / "missing.dcm")
    *held, alone = orthanc.take_in([sample.path for sample in (*samples, missing)])
    orthanc.ask("/modalities/pacs/store", held)
    transaction = orthanc.ask("/modalities/pacs/storage-commitment", {"Resources": [*held, alone]})["ID"]
    told = wait_for(
        lambda: (one := orthanc.ask(f"/storage-commitment/{transaction}"))["Status"] != "Pending" and one,
        "the report",
        timeout_s=LONG_S,
    )
    assert {one["SOPInstanceUID"] for one in told["Success"]} == {sample.sop_uid for sample in samples}
    assert [one["SOPInstanceUID"] for one in told["Failures"]] == [missing.sop_uid]


def test_orthanc_is_forwarded_to_and_vouches(
    archive: Archive, orthanc: Orthanc, study: dict[str, Sample], tmp_path: Path
) -> None:
    archive.pacs("send", "study", uid("study", "mixed"), "--to", orthanc.aet, "--wait")
    assert orthanc.objects(tmp_path / "got").keys() >= {sample.sop_uid for sample in study.values()}
    (row,) = archive.report("commit", "study", uid("study", "mixed"), "--with", orthanc.aet, "--wait", "100")
    assert (row["state"], row["objects"], row["failed"]) == ("answered", len(study), 0)
