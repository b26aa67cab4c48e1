"""Certificates for a site that has no authority for them: its own authority, and a certificate for each node.

RSA of 3,072 bits, because modalities that speak TLS at all take it, and not all of them take elliptic curves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

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

from pacs_server.errors import ConfigError, Refused
from pacs_server.net.tls import fingerprint_of
from pacs_server.ownership import make_folder
from pacs_server.settings import TlsFiles
from pacs_server.whole_file import write_together

AUTHORITY_DAYS: Final = 3_650

_KEY_BITS: Final = 3_072
_EXPONENT: Final = 65_537
# Clocks of a hospital differ; a certificate that is not valid yet is refused.
_BEFORE: Final = timedelta(days=1)
_MAX_COMMON_NAME: Final = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What there is to know of a certificate in a file. `names` are the host names and addresses that it is for."""

    path: Path
    subject: str
    issuer: str
    names: tuple[str, ...]
    fingerprint: str
    begins_at: datetime
    expires_at: datetime

    def days_left(self, now: datetime) -> int:
        """For how many whole days it is still valid; negative when it is not any more."""
        return (self.expires_at - now) // timedelta(days=1)


def make(files: TlsFiles, names: Sequence[str], *, days: int, now: datetime) -> tuple[Path, ...]:
    """Make a certificate for a node of these names, and an authority where there is none; what was written.

    An authority that is there is used, never replaced; a certificate of the node is replaced. A key is readable by its
    owner alone, and is there before its certificate.

    Raises: Refused when the authority's key is not here, or it is not valid any more; ConfigError when a file cannot be
    read or written.
    """
    try:
        make_folder(files.ca_key.parent, 0o700)
        written: list[Path] = []
        if not files.ca.exists():
            _write_pair(files.ca, files.ca_key, *_authority(names[0], now))
            written += [files.ca_key, files.ca]
        authority, key = _read_authority(files, now)
        _write_pair(files.certificate, files.key, *_node(names, authority, key, now, days))
    except OSError as error:
        place = error.filename or files.key.parent  # a write to an open file names none
        raise ConfigError(f"{place} cannot be written: {error.strerror}; is tls.directory right?") from error
    return (*written, files.key, files.certificate)


def read(path: Path) -> Certificate:
    """What a file says of the first certificate in it. Raises: ConfigError when there is none."""
    found = _load(path)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        told = tuple(str(one.value) for one in names)
    except x509.ExtensionNotFound:
        told = ()
    return Certificate(
        path=path,
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        names=told,
        fingerprint=fingerprint_of(found.public_bytes(Encoding.DER)),
        begins_at=found.not_valid_before_utc,
        expires_at=found.not_valid_after_utc,
    )


def end_of(certificate: bytes) -> datetime:
    """Until when a certificate in DER, which OpenSSL has read already, is valid."""
    return x509.load_der_x509_certificate(certificate).not_valid_after_utc


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; pacs tls init makes certificates") from error
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate in PEM; is it all there?") from error


def _read_authority(files: TlsFiles, now: datetime) -> tuple[x509.Certificate, RSAPrivateKey]:
    authority = _load(files.ca)
    if not files.ca_key.exists():
        raise Refused(
            f"{files.ca_key} is not here: make certificates where the key of that authority is, and copy them, or move "
            f"{files.ca} away to begin with another authority"
        )
    try:
        key = load_pem_private_key(files.ca_key.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{files.ca_key} holds no key in PEM without a pass phrase: {error}") from error
    if not isinstance(key, RSAPrivateKey) or key.public_key() != authority.public_key():
        raise ConfigError(f"{files.ca_key} is not the key of {files.ca}")
    if authority.not_valid_after_utc <= now:
        raise Refused(f"the authority {files.ca} has expired: move it away, and every node and peer needs the new one")
    return authority, key


def _authority(name: str, now: datetime) -> tuple[x509.Certificate, RSAPrivateKey]:
    key = _new_key()
    subject = _subject(f"PACS authority of {name}")
    usage = _usage(signs_certificates=True)
    builder = (
        _builder(subject, subject, key, now, now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


def _node(
    names: Sequence[str], authority: x509.Certificate, authority_key: RSAPrivateKey, now: datetime, days: int
) -> tuple[x509.Certificate, RSAPrivateKey]:
    """It is for both roles: a node calls, and is called."""
    key = _new_key()
    ends_at = min(now + timedelta(days=days), authority.not_valid_after_utc)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _builder(_subject(names[0]), authority.subject, key, now, ends_at)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(_alternatives(names))), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(of_authority, critical=False)
    )
    return builder.sign(authority_key, hashes.SHA256()), key


def _new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=_EXPONENT, key_size=_KEY_BITS)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_MAX_COMMON_NAME])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: RSAPrivateKey, now: datetime, ends_at: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(ends_at)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Iterable[str]) -> Iterator[x509.GeneralName]:
    for name in names:
        try:
            yield x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            yield x509.DNSName(name)


def _write_pair(path: Path, key_path: Path, certificate: x509.Certificate, key: RSAPrivateKey) -> None:
    """A crash leaves the pair that was there, or one that does not belong together, which every use refuses by name. A
    disk that is full leaves the pair that was there.
    """
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_together((key_path, text, 0o600), (path, certificate.public_bytes(Encoding.PEM), 0o644))
