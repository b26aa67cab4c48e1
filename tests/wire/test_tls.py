"""DICOM over TLS: DCMTK and OpenSSL on the other side, both ways, and whoever must not get in."""

import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from pynetdicom import evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet
from support import dcmtk, rude
from support.certificates import from_authority, self_signed, trusting
from support.dcmtk import STUDY_ROOT, Receiver, Station, over_tls
from support.link import certificate, ends
from support.samples import Sample, data_set_of, tiny, write
from support.second_client import UNCOMPRESSED, Witness, associate, identifier
from support.server import START_S, STOP_S, Archive, wait_for

from pacs_server.cluster.certificates import read
from pacs_server.service.board import Board
from pacs_server.service.monitoring.self_check import Door, SelfCheck
from pacs_server.settings import TlsFiles, load

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """It speaks TLS with a certificate of the site's own authority, and plain DICOM too. In one process, because each
    goes on with the files that it took last.
    """
    made = Archive(tmp_path_factory.mktemp("archive"), settings={"tls": {"port": 0}, "workers": 1})
    made.pacs("tls", "init", "--name", "localhost", "--name", HOST)
    made.start()
    yield made
    assert made.stop() == 0, made.log_text()[-4_000:]
    assert "Traceback" not in made.log_text(), made.log_text()[-8_000:]


def ours(archive: Archive) -> TlsFiles:
    return TlsFiles.within(archive.data / "tls")


@pytest.fixture(scope="module")
def device(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return from_authority(ours(archive), tmp_path_factory.mktemp("device"))


def station(archive: Archive, folder: Path, files: TlsFiles, aet: str = "STATION") -> Station:
    dcmtk.require()
    return Station(archive=archive, folder=folder, aet=aet, port=archive.tls_port, usual=over_tls(files))


@pytest.fixture
def secured(archive: Archive, device: TlsFiles, tmp_path: Path) -> Station:
    return station(archive, tmp_path, device)


@pytest.fixture
def sample(secured: Station, tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    """An object that came over TLS."""
    made = write(tiny(1, study=request.node.name), tmp_path / "object.dcm")
    assert secured.store(made.path).status == 0x0000
    return made


def echoes(archive: Archive, folder: Path, files: TlsFiles) -> bool:
    return station(archive, folder, files).echo().statuses == [0x0000]


# --- DCMTK, both ways ---


def test_dcmtk_stores_and_asks_over_tls(secured: Station, sample: Sample) -> None:
    found = secured.find(STUDY_ROOT, "STUDY", {"StudyInstanceUID": sample.study_uid}).rows
    assert [row.StudyInstanceUID for row in found] == [sample.study_uid]


def test_pynetdicom_gets_over_tls(archive: Archive, device: TlsFiles, sample: Sample) -> None:
    witness = Witness()
    contexts = [(StudyRootGet, UNCOMPRESSED), (sample.sop_class, UNCOMPRESSED)]
    handlers = [(evt.EVT_C_STORE, witness.take)]
    with associate(
        archive, contexts, as_receiver=[sample.sop_class], handlers=handlers, tls=trusting(device)
    ) as association:
        answers = association.send_c_get(identifier("STUDY", StudyInstanceUID=sample.study_uid), StudyRootGet)
        assert [status.Status for status, _ in answers][-1] == 0x0000
    assert [one.data_set for one in witness.received] == [data_set_of(sample.path)]


@contextmanager
def receiver(folder: Path, files: TlsFiles, aet: str) -> Iterator[Receiver]:
    dcmtk.require()
    with Receiver(folder / f"received-by-{aet}", aet=aet, tls=over_tls(files)) as running:
        yield running


@pytest.mark.parametrize("is_pinned", [False, True])
def test_a_move_to_a_peer_that_speaks_tls_arrives(
    archive: Archive, device: TlsFiles, sample: Sample, tmp_path: Path, is_pinned: bool
) -> None:
    pin = ("--certificate", read(device.certificate).fingerprint) if is_pinned else ()
    aet = "PINNED" if is_pinned else "VOUCHED"
    with receiver(tmp_path, device, aet) as target:
        archive.add_peer(aet, target.port, "--tls", *pin)
        legs = archive.report("ae", "test", aet)
        assert [(leg["leg"], leg["result"]) for leg in legs] == [
            (name, "ok") for name in ("TCP", "TLS", "association", "C-ECHO", "C-STORE")
        ]
        asking = Station(archive=archive, folder=tmp_path)  # movescu knows no TLS
        assert asking.move(STUDY_ROOT, aet, "STUDY", {"StudyInstanceUID": sample.study_uid}).status == 0x0000
        assert data_set_of(target.objects()[sample.sop_uid]) == data_set_of(sample.path)


def failed_leg(archive: Archive, aet: str) -> tuple[str, str]:
    last = archive.report("ae", "test", aet, expect=13)[-1]
    return last["leg"], last["remedy"]


def test_nothing_is_sent_to_a_peer_that_is_not_the_one_that_is_meant(
    archive: Archive, device: TlsFiles, sample: Sample, tmp_path: Path
) -> None:
    """Another certificate than the pinned one, one of an unknown authority, one for another host, and no TLS at all."""
    strangers = certificate(tmp_path / "stranger")
    with receiver(tmp_path, device, "WRONGPIN") as target:
        archive.add_peer("WRONGPIN", target.port, "--tls", "--certificate", read(strangers.certificate).fingerprint)
        assert failed_leg(archive, "WRONGPIN")[0] == "TLS"
        assert "not the one that was pinned" in failed_leg(archive, "WRONGPIN")[1]
        archive.pacs("ae", "set", "WRONGPIN", "--certificate", "-", "--host", "127.0.0.2")
        assert "certificate is not valid for '127.0.0.2'" in failed_leg(archive, "WRONGPIN")[1]
        asking = Station(archive=archive, folder=tmp_path)
        done = asking.move(STUDY_ROOT, "WRONGPIN", "STUDY", {"StudyInstanceUID": sample.study_uid})
        assert done.status != 0x0000
        assert target.objects() == {}
    with receiver(tmp_path, strangers, "STRANGER") as target:
        archive.add_peer("STRANGER", target.port, "--tls")
        assert "is not trusted" in failed_leg(archive, "STRANGER")[1]
        # It does not trust us either, which TLS 1.3 tells only after its handshake.
        archive.pacs("ae", "set", "STRANGER", "--certificate", read(strangers.certificate).fingerprint)
        assert failed_leg(archive, "STRANGER")[0] in ("TLS", "association")
    dcmtk.require()
    with Receiver(tmp_path / "plain", aet="PLAIN") as plain:
        archive.add_peer("PLAIN", plain.port, "--tls")
        assert failed_leg(archive, "PLAIN")[0] == "TLS"


# --- what OpenSSL is told ---


def s_client(archive: Archive, files: TlsFiles, *words: str) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    command = ["openssl", "s_client", "-connect", f"{HOST}:{archive.tls_port}", "-CAfile", str(files.ca)]
    own = ["-cert", str(files.certificate), "-key", str(files.key)]
    done = subprocess.run([*command, *own, *words], input=b"", capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize(
    ("words", "suite"),
    [
        (["-tls1_3"], "TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"),
        (["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"),
        (["-tls1_2"], "TLSv1.2, Cipher is ECDHE-RSA-AES256-GCM-SHA384"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "TLSv1.2, Cipher is ECDHE-RSA-AES128-GCM-SHA256"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"], "TLSv1.2, Cipher is ECDHE-RSA-CHACHA20-POLY1305"),
    ],
)
def test_the_suites_of_the_profile_are_spoken(archive: Archive, device: TlsFiles, words: list[str], suite: str) -> None:
    told = s_client(archive, device, *words)
    assert suite in told
    assert "Verification: OK" in told


# --- who is not let in ---


def is_let_in(archive: Archive, authority: TlsFiles, own: TlsFiles | None) -> bool:
    """Whether an association is accepted of who shows that certificate, or none."""
    context = ssl.create_default_context(cafile=authority.ca)
    if own:
        context.load_cert_chain(own.certificate, own.key)
    with ExitStack() as opened, suppress(ssl.SSLError, ConnectionResetError):
        plain = opened.enter_context(socket.create_connection((HOST, archive.tls_port), timeout=30))
        link = opened.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
        link.sendall(rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE)))
        return link.recv(1) == bytes((rude.ASSOCIATE_AC,))
    return False


@pytest.mark.parametrize(("asked", "with_a_strange_one"), [("optional", False), ("none", True)])
def test_a_site_may_let_in_who_has_no_certificate(
    new_archive: Callable[..., Archive], tmp_path: Path, asked: str, with_a_strange_one: bool
) -> None:
    archive = new_archive(tls={"port": 0, "client_certificates": asked})
    archive.pacs("tls", "init", "--name", "localhost")
    archive.start()
    assert is_let_in(archive, ours(archive), None)
    assert is_let_in(archive, ours(archive), from_authority(ours(archive), tmp_path / "device"))
    assert is_let_in(archive, ours(archive), certificate(tmp_path / "stranger")) is with_a_strange_one
    assert archive.stop() == 0


def test_a_certificate_that_a_device_made_itself_is_taken_where_it_is_listed(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    device = self_signed(tmp_path / "device", use=ExtendedKeyUsageOID.CLIENT_AUTH)
    archive = new_archive(tls={"port": 0, "ca_file": str(tmp_path / "known.crt")})
    made = certificate(archive.data / "tls")
    (tmp_path / "known.crt").write_bytes(made.ca.read_bytes() + device.certificate.read_bytes())
    archive.start()
    assert is_let_in(archive, made, device)
    assert not is_let_in(archive, made, self_signed(tmp_path / "other", use=ExtendedKeyUsageOID.CLIENT_AUTH))
    assert archive.stop() == 0


# --- pinned certificates ---

ADVICE = {
    "another one": "if the certificate that it showed is its new one: pacs ae approve CT9 --from 127.0.0.1",
    "no TLS": "have it call over TLS with its certificate",
}


def advice(archive: Archive, aet: str, told: str) -> str:
    """What `doctor` advises about a peer where it tells this."""
    return next((row["remedy"] for row in archive.report("doctor", aet, expect=12) if row["result"].endswith(told)), "")


def test_a_peer_whose_certificate_is_pinned_is_let_in_with_that_one_alone(
    archive: Archive, device: TlsFiles, tmp_path: Path
) -> None:
    other = from_authority(ours(archive), tmp_path / "other")
    fingerprint = read(device.certificate).fingerprint
    archive.pacs("ae", "add", "CT9", "-", "-", "--from", HOST, "--certificate", fingerprint.replace(":", "").lower())
    assert archive.report("ae", "show", "CT9")["certificate"] == fingerprint
    assert station(archive, tmp_path, device, "CT9").echo().status == 0x0000
    for refused, showed in (
        (station(archive, tmp_path, other, "CT9"), "another one"),
        (Station(archive=archive, folder=tmp_path, aet="CT9"), "no TLS"),
    ):
        begin = len(archive.log_text())
        done = refused.echo()
        assert "Rejected Permanent, Source: Service User" in done.output
        assert "Calling AE Title Not Recognized" in done.output
        wait_for(lambda begin=begin, showed=showed: f"and showed {showed}" in archive.log_text()[begin:], "the reason")
        # Who showed none is not let in by an approval.
        wait_for(lambda showed=showed: advice(archive, "CT9", showed).startswith(ADVICE[showed]), "the advice")
    # What a command that failed in the place of the fingerprint leaves, opens nothing.
    assert "--certificate -" in archive.pacs("ae", "set", "CT9", "--certificate", "", expect=2).stderr
    assert archive.report("ae", "show", "CT9")["certificate"] == fingerprint
    archive.pacs("ae", "set", "CT9", "--certificate", "-")
    assert Station(archive=archive, folder=tmp_path, aet="CT9").echo().status == 0x0000


# --- while it runs ---


def shown(archive: Archive, files: TlsFiles) -> str:
    """The fingerprint of the certificate that a new connection is shown."""
    with (
        socket.create_connection((HOST, archive.tls_port), timeout=30) as plain,
        trusting(files).wrap_socket(plain, server_hostname="localhost") as link,
    ):
        told = link.getpeercert(binary_form=True)
        assert told is not None
        return x509.load_der_x509_certificate(told).fingerprint(hashes.SHA256()).hex(":").upper()


def test_a_new_certificate_counts_at_once_and_a_broken_one_not_at_all(
    archive: Archive, device: TlsFiles, tmp_path: Path
) -> None:
    before = shown(archive, device)
    archive.pacs("tls", "init", "--name", "localhost", "--name", HOST, "--yes")
    renewed = shown(archive, device)
    assert renewed == read(ours(archive).certificate).fingerprint != before
    good = ours(archive).certificate.read_bytes()
    ours(archive).certificate.write_bytes(b"half a certificate")
    assert shown(archive, device) in (before, renewed)  # whichever its process had taken last
    assert "new certificate not taken" in archive.log_text()
    door = Door(name="TLS", host=HOST, port=archive.tls_port, is_secured=True)
    self_check = SelfCheck(settings=load(archive.config), board=Board(1), doors=(door,))
    ours(archive).certificate.write_bytes(good)
    assert [one.problem for one in self_check.look()] == [""]
    ours(archive).key.chmod(0o644)
    assert [one.problem for one in self_check.look()] == [""], "the server goes on with what it had"
    for told in (archive.pacs("tls", "show", expect=10).stderr, archive.pacs("doctor", expect=12).stdout):
        assert f"{ours(archive).key} is open to every user of this machine: chmod 600 it" in told
    ours(archive).key.chmod(0o600)
    assert echoes(archive, tmp_path, device)


def test_a_new_certificate_that_could_not_be_used_counts_once_its_rights_are_put_right(
    archive: Archive, device: TlsFiles, tmp_path: Path
) -> None:
    before = shown(archive, device)
    new = from_authority(ours(archive), tmp_path / "new", days=400)
    new.key.chmod(0o644)
    new.key.replace(ours(archive).key)  # first: the server calls itself, and takes what it can use at any time
    new.certificate.replace(ours(archive).certificate)
    assert shown(archive, device) == before
    ours(archive).key.chmod(0o600)
    assert shown(archive, device) == read(ours(archive).certificate).fingerprint != before


def test_only_tls_is_spoken_when_the_plain_port_is_off(new_archive: Callable[..., Archive], tmp_path: Path) -> None:
    archive = new_archive(tls={"port": 0})
    config = archive.config.read_text(encoding="utf-8")
    archive.config.write_text(config.replace("port: 0\n", "port: null\n", 1), encoding="utf-8")
    archive.pacs("tls", "init", "--name", "localhost", "--name", HOST)
    serving = archive.begin("serve")
    try:
        told = wait_for(
            lambda: (archive.report("status", expect=(0, 13))["server"] or {}).get("tls_port"),
            "it to serve",
            timeout_s=START_S,
        )
        device = from_authority(ours(archive), tmp_path / "device")
        done = Station(archive=archive, folder=tmp_path, port=told, usual=over_tls(device)).echo()
        assert done.status == 0x0000
        assert archive.report("status")["server"]["port"] is None
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(STOP_S) == 0


def test_without_a_certificate_it_does_not_begin(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(tls={"port": 0})
    done = archive.pacs("serve", expect=10)
    assert "pacs tls init makes one" in done.stderr


def test_an_association_over_tls_ends_at_the_idle_deadline(new_archive: Callable[..., Archive], tmp_path: Path) -> None:
    archive = new_archive(tls={"port": 0}, network={"idle_timeout_s": 1.0})
    archive.pacs("tls", "init", "--name", "localhost", "--name", HOST)
    archive.start()
    files = from_authority(ours(archive), tmp_path / "device")
    with (
        socket.create_connection((HOST, archive.tls_port), timeout=30) as plain,
        trusting(files).wrap_socket(plain, server_hostname="localhost") as link,
    ):
        began = time.monotonic()
        link.sendall(rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE)))
        assert link.recv(1)[0] == rude.ASSOCIATE_AC
        assert ends(link)[-10] == rude.ABORT
        assert time.monotonic() - began > 0.9
