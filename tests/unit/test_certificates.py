"""Certificates that are made here: judged by OpenSSL, kept secret, never overwritten by chance."""

import errno
import io
import itertools
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pacs_server.cluster.certificates import make, read
from pacs_server.errors import ConfigError, Refused
from pacs_server.net.secure import distrust_of
from pacs_server.net.tls import calling, normal_fingerprint, own_fingerprint
from pacs_server.settings import TlsFiles

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
NAMES = ("pacs1.hospital.lan", "192.0.2.5", "2001:db8::5")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A pair of each kind, which no test changes."""
    files = TlsFiles.within(tmp_path_factory.mktemp("made") / "tls")
    make(files, NAMES, days=90, now=NOW)
    return files


@pytest.fixture
def files(made: TlsFiles, tmp_path: Path) -> TlsFiles:
    shutil.copytree(made.ca.parent, tmp_path / "tls")
    return TlsFiles.within(tmp_path / "tls")


def openssl(*words: str) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=True).stdout


def test_openssl_verifies_the_chain_for_both_roles_and_every_name(made):
    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(made.ca), str(made.certificate))
    for option, name in (("-verify_hostname", NAMES[0]), ("-verify_ip", NAMES[1]), ("-verify_ip", NAMES[2])):
        openssl("verify", option, name, "-CAfile", str(made.ca), str(made.certificate))


@pytest.mark.parametrize("taken", [0, 1])
def test_a_disk_that_is_full_leaves_the_pair_that_was_there(files, monkeypatch, taken):
    before = {path.name: path.read_bytes() for path in files.ca.parent.iterdir()}
    flush, flushed = os.fsync, itertools.count()

    def finds_no_room(descriptor):
        if next(flushed) >= taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", finds_no_room)
    with pytest.raises(ConfigError, match="No space left on device"):
        make(files, NAMES, days=90, now=NOW)
    assert {path.name: path.read_bytes() for path in files.ca.parent.iterdir()} == before


def test_the_fingerprint_is_that_of_openssl_and_read_back_in_any_writing(made):
    told = openssl("x509", "-in", str(made.certificate), "-noout", "-fingerprint", "-sha256").strip().partition("=")[2]
    assert read(made.certificate).fingerprint == own_fingerprint(made) == told
    assert normal_fingerprint(told.replace(":", "").lower()) == told
    for wrong in ("", told[:-1], told + ":00", "x" * 64, "0 " * 32):
        with pytest.raises(ValueError, match="no SHA-256 fingerprint"):
            normal_fingerprint(wrong)


def test_a_certificate_is_trusted_only_with_those_between_it_and_the_authority(tmp_path):
    signed, files = None, TlsFiles.within(tmp_path)
    for name in ("root", "between", "node"):
        key, subject = (
            ec.generate_private_key(ec.SECP256R1()),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        )
        issuer, signs = signed or (subject, key)
        made = (
            x509.CertificateBuilder(
                issuer, subject, key.public_key(), x509.random_serial_number(), NOW - HOUR, NOW + HOUR
            )
            .add_extension(x509.BasicConstraints(ca=name != "node", path_length=None), critical=True)
            .sign(signs, hashes.SHA256())
        )
        (tmp_path / f"{name}.crt").write_bytes(made.public_bytes(Encoding.PEM))
        signed = subject, key
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files.key.chmod(0o600)
    files.ca.write_bytes((tmp_path / "root.crt").read_bytes())
    assert distrust_of(files) == "unable to get local issuer certificate"
    with files.certificate.open("ab") as file:
        file.write((tmp_path / "between.crt").read_bytes())
    assert distrust_of(files) == ""


def test_an_expired_certificate_is_still_one_of_its_authority(tmp_path):
    files = TlsFiles.within(tmp_path / "tls")
    make(files, NAMES, days=1, now=NOW - timedelta(days=3))
    assert distrust_of(files) == ""


def test_keys_are_readable_by_their_owner_alone(made):
    assert [stat.S_IMODE(path.stat().st_mode) for path in (made.key, made.ca_key)] == [0o600, 0o600]
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700


def test_a_certificate_tells_its_names_and_when_it_expires(made):
    told = read(made.certificate)
    assert (told.subject, told.names) == ("CN=pacs1.hospital.lan", NAMES)
    assert (told.days_left(NOW), told.days_left(NOW + timedelta(days=91))) == (90, -1)


def test_a_second_certificate_is_from_the_same_authority_and_ends_with_it(files):
    authority, first = files.ca.read_bytes(), read(files.certificate)
    assert make(files, NAMES, days=36_500, now=NOW) == (files.key, files.certificate)
    assert files.ca.read_bytes() == authority
    second = read(files.certificate)
    assert second.fingerprint != first.fingerprint
    assert second.expires_at == read(files.ca).expires_at


def test_without_the_key_of_the_authority_nothing_is_made(files):
    before = files.certificate.read_bytes()
    files.ca_key.unlink()
    with pytest.raises(Refused, match="is not here"):
        make(files, NAMES, days=90, now=NOW)
    files.ca_key.write_bytes(files.key.read_bytes())
    with pytest.raises(ConfigError, match="is not the key of"):
        make(files, NAMES, days=90, now=NOW)
    assert files.certificate.read_bytes() == before


def test_an_authority_that_has_expired_signs_nothing(files):
    with pytest.raises(Refused, match="has expired"):
        make(files, NAMES, days=90, now=NOW + timedelta(days=3_651))


def test_a_certificate_that_cannot_be_used_says_why_and_what_to_do(files, made, tmp_path):
    files.key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        calling(files)
    files.key.chmod(0o600)
    files.key.write_bytes(made.ca_key.read_bytes())
    with pytest.raises(ConfigError, match="belong together"):
        calling(files)
    with pytest.raises(ConfigError, match="pacs tls init"):
        calling(replace(files, key=tmp_path / "nowhere"))
    files.certificate.write_text("no PEM")
    with pytest.raises(ConfigError, match="no certificate in PEM"):
        read(files.certificate)


def test_a_file_that_root_made_is_told_with_whose_it_has_to_be(files, monkeypatch):
    def refuse(path, *_):
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return io.BytesIO()

    monkeypatch.setattr(Path, "open", refuse)
    for closed, use in ((files.key, calling), (files.certificate, calling), (files.ca, distrust_of)):
        with pytest.raises(ConfigError) as told:
            use(files)
        assert str(told.value) == (
            f"{closed} cannot be read: Permission denied; it has to belong to the user of the server (chown)"
        )


def test_a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked_for_it(files):
    locked = files.key.with_name("locked.key")
    openssl("pkcs8", "-topk8", "-in", str(files.key), "-out", str(locked), "-passout", "pass:secret")
    locked.chmod(0o600)
    with pytest.raises(ConfigError, match="without a pass phrase"):
        calling(replace(files, key=locked))


def test_a_full_disk_is_told_with_the_directory(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fdopen", full)
    monkeypatch.setattr("os.open", full)
    files = TlsFiles.within(tmp_path / "tls")
    with pytest.raises(ConfigError, match=f"{files.key.parent} cannot be written: No space left on device"):
        make(files, NAMES, now=datetime.now(UTC), days=30)
