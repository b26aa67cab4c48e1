"""Certificates of devices, good ones and others."""

import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pacs_server.cluster.certificates import make
from pacs_server.settings import TlsFiles


def from_authority(authority: TlsFiles, folder: Path, *, days: int = 30, now: datetime | None = None) -> TlsFiles:
    """A certificate of that authority."""
    folder.mkdir(exist_ok=True)
    shutil.copy(authority.ca, folder)
    shutil.copy(authority.ca_key, folder)
    files = TlsFiles.within(folder)
    make(files, ["localhost", "127.0.0.1"], days=days, now=now or datetime.now(UTC))
    return files


def trusting(files: TlsFiles) -> ssl.SSLContext:
    """A client with that certificate, which checks ours."""
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return context


def self_signed(
    folder: Path, authority: TlsFiles | None = None, *, use: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH
) -> TlsFiles:
    """A certificate for one role, by nobody but itself or by the authority."""
    key = generate_private_key(public_exponent=65_537, key_size=2_048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "itself")])
    issuer, signs = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority.ca.read_bytes()).subject
        loaded = load_pem_private_key(authority.ca_key.read_bytes(), password=None)
        assert isinstance(loaded, RSAPrivateKey)
        signs = loaded
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .sign(signs, hashes.SHA256())
    )
    folder.mkdir()
    files = TlsFiles.within(folder)
    files.certificate.write_bytes(made.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files.key.chmod(0o600)
    return files
