"""Hostile inputs, rows 12 and 13: what does not speak TLS on the port for it, and who has no good certificate."""

import os
import shutil
import ssl
import subprocess
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import rude
from support.certificates import from_authority, self_signed
from support.link import certificate, ends
from support.standing_rules import LIMITS, PATIENT, PAYLOAD, Case, Watched

from pacs_server.cluster.certificates import read
from pacs_server.settings import TlsFiles

REQUEST = rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE))


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    # Who is silent is waited for; all others have time for their handshake.
    short = {"association_timeout_s": 5.0, "idle_timeout_s": LIMITS.idle_timeout_s}
    return {"tls": {"port": 0}, "network": PATIENT | short}


def ours(ill_treated: Watched) -> TlsFiles:
    return TlsFiles.within(ill_treated.archive.data / "tls")


# --- row 12: what is no TLS ---


def hello() -> bytes:
    """What a client of TLS says first."""
    arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(arrived, leaving, server_hostname="localhost").do_handshake()
    return leaving.read()


NO_TLS = {
    "row 12: plain DICOM": REQUEST,
    "row 12: HTTP": f"GET /{PAYLOAD} HTTP/1.0\r\n\r\n".encode(),
    "row 12: random bytes": os.urandom(4_096),
    "row 12: silence": b"",
    "row 12: half a hello": hello()[:100],
    "row 12: a hello and no more": hello(),
}


@pytest.mark.parametrize("name", NO_TLS)
def test_what_is_no_tls_ends_its_own_connection_and_nobody_elses(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name) as case, case.connect(port=ill_treated.archive.tls_port) as peer:
        peer.send(NO_TLS[name])
        assert ends(peer.socket)[:1] != bytes((rude.ASSOCIATE_AC,)), "an association was accepted"
    if name in ("row 12: plain DICOM", "row 12: HTTP"):
        assert "speaks no TLS" in ill_treated.told(case.address, "")["detail"]


def test_row_12_silent_connections_do_not_keep_a_good_peer_out(ill_treated: Watched) -> None:
    with ill_treated.case("row 12: a crowd") as case, ExitStack() as opened:
        crowd = [opened.enter_context(case.connect(port=ill_treated.archive.tls_port)) for _ in range(60)]
        for peer in crowd:
            assert ends(peer.socket) == b""


# --- row 13: who is not heard ---


def context_of(files: TlsFiles | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any server, and shows that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    if files:
        context.load_cert_chain(files.certificate, files.key)
    return context


def answer(case: Case, context: ssl.SSLContext, told: bytes = REQUEST) -> bytes:
    """What comes back for a request over TLS: nothing where the handshake fails."""
    with ExitStack() as opened, suppress(ssl.SSLError, ConnectionResetError):
        peer = opened.enter_context(case.connect(port=case.archive.tls_port))
        link = opened.enter_context(context.wrap_socket(peer.socket))
        link.sendall(told)
        return ends(link)
    return b""


def no_certificate(_: Watched, __: Path) -> TlsFiles | None:
    return None


def of_another_authority(_: Watched, folder: Path) -> TlsFiles:
    return certificate(folder)


def expired(ill_treated: Watched, folder: Path) -> TlsFiles:
    return from_authority(ours(ill_treated), folder, days=1, now=datetime.now(UTC) - timedelta(days=3))


def of_itself(_: Watched, folder: Path) -> TlsFiles:
    return self_signed(folder)


def for_servers_only(ill_treated: Watched, folder: Path) -> TlsFiles:
    return self_signed(folder, ours(ill_treated))


MADE = {
    "row 13: no certificate": (no_certificate, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    "row 13: of another authority": (of_another_authority, "is not trusted"),
    "row 13: expired": (expired, "certificate has expired"),
    "row 13: self-signed": (of_itself, "self-signed certificate"),
    "row 13: for servers only": (for_servers_only, "certificate purpose"),
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", MADE)
def test_who_has_no_good_certificate_is_not_heard(
    ill_treated: Watched, tmp_path: Path, name: str, version: ssl.TLSVersion
) -> None:
    made, why = MADE[name]
    with ill_treated.case(name) as case:
        assert answer(case, context_of(made(ill_treated, tmp_path / "made"), version)) == b""
    assert why in ill_treated.told(case.address, "")["detail"]


WEAK = {
    "row 13: TLS 1.1": ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    "row 13: TLS 1.0": ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
    "row 13: no forward secrecy": ["-tls1_2", "-cipher", "AES256-GCM-SHA384"],
    "row 13: CBC": ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"],
    "row 13: DHE": ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"],
    "row 13: no cipher at all": ["-tls1_2", "-cipher", "NULL:aNULL:@SECLEVEL=0"],
}


@pytest.mark.parametrize("name", WEAK)
def test_old_versions_and_weak_suites_are_refused(ill_treated: Watched, tmp_path: Path, name: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    device = from_authority(ours(ill_treated), tmp_path / "device")
    with ill_treated.case(name, callers=1) as case:
        place = ["-connect", f"127.0.0.1:{ill_treated.archive.tls_port}", "-bind", case.address]
        own = ["-cert", str(device.certificate), "-key", str(device.key), "-CAfile", str(device.ca)]
        command = ["openssl", "s_client", *place, *own, *WEAK[name]]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
    told = (done.stdout + done.stderr).decode(errors="replace")
    assert "Cipher is (NONE)" in told
    assert "alert" in told  # by us: the client had offered it
    assert "1.2 or 1.3 with ECDHE is needed there" in ill_treated.told(case.address, "")["detail"]


def test_row_13_a_title_with_the_certificate_of_another_is_rejected(ill_treated: Watched, tmp_path: Path) -> None:
    """A certificate is bound to an AE title by its fingerprint, which no name in a certificate can claim."""
    device, other = (from_authority(ours(ill_treated), tmp_path / name) for name in ("device", "other"))
    with ill_treated.case("row 13: the certificate of another") as case:
        ill_treated.archive.add_peer(
            "CT9", 104, "--certificate", read(device.certificate).fingerprint, host=case.address
        )
        told = rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE), calling=b"CT9")
        assert answer(case, context_of(device), told)[:1] == bytes((rude.ASSOCIATE_AC,))
        assert answer(case, context_of(other), told) == rude.pdu(rude.ASSOCIATE_RJ, bytes((0, 1, 1, 3)))
    assert ill_treated.told(case.address, "calling AE title not recognised")["who"] == "CT9"


def test_row_13_who_does_not_trust_us_is_in_the_trail(ill_treated: Watched, tmp_path: Path) -> None:
    """The other side ends the handshake, with an alert."""
    stranger = certificate(tmp_path / "stranger")
    with ill_treated.case("row 13: an alert") as case:
        context = ssl.create_default_context(cafile=stranger.ca)
        with case.connect(port=ill_treated.archive.tls_port) as peer, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(peer.socket, server_hostname="localhost")
    row = ill_treated.told(case.address, "does it trust the certificate of this node")
    assert row["outcome"] == "refused"
