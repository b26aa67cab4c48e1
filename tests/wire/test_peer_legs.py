"""`pacs ae test` against DCMTK's storescp: the leg that fails is the one that is broken."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from support.dcmtk import free_port

from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.tiny_object import TEST_PATIENT_ID, tiny_object
from pacs_server.net.client import Destination
from pacs_server.service.peers.legs import try_peer
from pacs_server.settings import NetworkLimits, Settings

DEADLINE_S = 60

# pynetdicom installs programs of the same names beside Python; these tests want DCMTK's.
_FOLDERS = [folder for folder in os.get_exec_path() if Path(folder) != Path(sys.executable).parent]
STORESCP = shutil.which("storescp", path=os.pathsep.join(_FOLDERS))

needs_dcmtk = pytest.mark.skipif(STORESCP is None, reason="DCMTK is not installed")


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, database="sqlite:///unused", aet=AeTitle("US"))


@contextmanager
def storescp(*options):
    port = free_port()
    process = subprocess.Popen([STORESCP, *options, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def them(port):
    return Destination(aet="THEM", host="127.0.0.1", port=port)


def outcome(legs):
    return [(leg.name, leg.result) for leg in legs]


@needs_dcmtk
def test_a_peer_that_works_passes_every_leg_and_holds_the_tiny_object(tmp_path, settings):
    received = tmp_path / "received"
    received.mkdir()
    with storescp("-od", received) as port:
        legs = try_peer(them(port), settings)
    assert outcome(legs) == [("TCP", "ok"), ("association", "ok"), ("C-ECHO", "ok"), ("C-STORE", "ok")]
    (file,) = received.iterdir()
    assert pydicom.dcmread(file).PatientID == TEST_PATIENT_ID


def test_nothing_listening_fails_the_first_leg(settings):
    (leg,) = try_peer(them(free_port()), settings)
    assert (leg.name, leg.ok) == ("TCP", False)
    assert "firewall" in leg.remedy


@needs_dcmtk
def test_a_peer_that_rejects_us_fails_the_association_and_says_which_titles_to_check(settings):
    with storescp("--refuse") as port:
        legs = try_peer(them(port), settings)
    assert outcome(legs) == [("TCP", "ok"), ("association", "failed")]
    assert "US" in legs[-1].remedy
    assert "THEM" in legs[-1].remedy


def test_a_port_that_says_nothing_fails_the_association(settings):
    impatient = replace(settings, network=NetworkLimits(association_timeout_s=1.0))
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        legs = try_peer(them(silent.getsockname()[1]), impatient)
    assert outcome(legs) == [("TCP", "ok"), ("association", "failed")]
    assert "DICOM" in legs[-1].remedy


def test_the_first_connection_to_a_peer_carries_the_association_request(settings):
    impatient = replace(settings, network=NetworkLimits(association_timeout_s=1.0))
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        try_peer(them(silent.getsockname()[1]), impatient)
        with closing(silent.accept()[0]) as first:
            assert first.recv(1) == b"\x01"


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_the_tiny_object_is_a_whole_image(syntax):
    data_set = pydicom.dcmread(BytesIO(_as_file(tiny_object(syntax), syntax)))
    assert (data_set.Rows, data_set.Columns, len(data_set.PixelData)) == (1, 1, 2)
    assert data_set.SOPClassUID.name == "Secondary Capture Image Storage"


def _as_file(data_set, syntax):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    file = BytesIO()
    pydicom.filewriter.write_file_meta_info(pydicom.filebase.DicomFileLike(file), meta, enforce_standard=False)
    return bytes(128) + b"DICM" + file.getvalue() + data_set
