"""The settings of one node as frozen values, each with its default and what it may be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from pacs_server.dicom.identity import AeTitle
from pacs_server.settings.checks import (
    absolute_paths,
    api_urls,
    charset_term,
    database_url,
    host_name,
    host_or_none,
    log_level,
    number_within,
    within,
)
from pacs_server.settings.watching import AlertSettings, HttpSettings

ENVIRONMENT: Final = {"aet": "PACS_AET", "host": "PACS_HOST", "port": "PACS_PORT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLimits:
    """Deadlines and caps of the network engine, for every phase of an association."""

    max_associations: int = within(300, 1, 10_000)
    max_connections_per_address: int = within(100, 1, 10_000)
    max_pdu_bytes: int = within(131_072, 4_096, 1 << 24)
    max_command_bytes: int = within(16_384, 1_024, 1 << 20)
    max_object_bytes: int = within(1 << 40, 1 << 20, 1 << 50)
    max_identifier_bytes: int = within(1 << 20, 4_096, 1 << 26)
    association_timeout_s: float = within(10.0, 0.1, 600.0)
    pdu_timeout_s: float = within(30.0, 0.1, 3_600.0)
    idle_timeout_s: float = within(300.0, 1.0, 86_400.0)
    send_timeout_s: float = within(30.0, 0.1, 3_600.0)
    connect_timeout_s: float = within(10.0, 0.1, 600.0)
    response_timeout_s: float = within(120.0, 1.0, 3_600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLimits:
    """How objects are held while they arrive, how long a volume may take, how often and fast copies are read again,
    how long those stay that moved away, and how long Storage Commitment waits for a volume.
    """

    memory_per_object_bytes: int = within(4 << 20, 1 << 16, 1 << 30)
    write_timeout_s: float = within(30.0, 0.1, 3_600.0)
    reserve_bytes: int = within(1 << 28, 0, 1 << 50)
    verify_every_days: int = within(90, 0, 3_650)
    verify_bytes_per_s: int = within(20 << 20, 1 << 16, 1 << 40)
    release_delay_s: float = within(3_600.0, 0.0, 2_592_000.0)
    commitment_wait_s: float = within(600.0, 0.0, 86_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscodingLimits:
    """What putting objects into another transfer syntax may take: processes, memory and time for a frame, disk."""

    processes: int = within(2, 1, 256)
    memory_bytes: int = within(2 << 30, 1 << 26, 1 << 40)
    frame_timeout_s: float = within(60.0, 0.1, 3_600.0)
    cache_bytes: int = within(10 << 30, 0, 1 << 50)


class ClientCertificates(StrEnum):
    """Whether a peer that calls over TLS has to show a certificate."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


def _client_certificates(text: str) -> str:
    offered = [one.value for one in ClientCertificates]
    if text not in offered:
        raise ValueError(f"is one of {', '.join(offered)}, not '{text[:80]}'")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """Where peers reach this node over TLS: `port` is None while that is off, `host` is empty for that of the plain
    port. And where its certificate is: in `directory`, which `pacs tls init` fills, or in files of their own.
    """

    host: str = field(default="", metadata={"check": host_or_none})
    port: int | None = field(default=None, metadata={"check": number_within(0, 65_535)})
    client_certificates: str = field(default="required", metadata={"check": _client_certificates})
    directory: Path = Path("tls")
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files of this node's certificate, of its key, and of the certificate authority that it is from. `ca_key` is
    there only where certificates are made.
    """

    certificate: Path
    key: Path
    ca: Path
    ca_key: Path

    @classmethod
    def within(cls, directory: Path) -> Self:
        """Those that `pacs tls init` puts into a directory."""
        names = {"certificate": "node.crt", "key": "node.key", "ca": "ca.crt", "ca_key": "ca.key"}
        return cls(**{part: directory / name for part, name in names.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerSettings:
    """Where partners reach this node, with deadlines and caps. `port` is None while the partner port is closed."""

    host: str = field(default="127.0.0.1", metadata={"check": host_name})
    port: int | None = field(default=None, metadata={"check": number_within(0, 65_535)})
    max_connections: int = within(16, 1, 1_000)
    greet_every_s: float = within(10.0, 0.1, 3_600.0)
    send_bytes_per_s: int = within(0, 0, 1 << 40)
    connect_timeout_s: float = within(10.0, 0.1, 600.0)
    handshake_timeout_s: float = within(10.0, 0.1, 600.0)
    message_timeout_s: float = within(30.0, 0.1, 3_600.0)
    idle_timeout_s: float = within(60.0, 0.1, 86_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatroniSettings:
    """The REST API of the Patroni that runs the database: `urls` of its members, none where there is no Patroni; with
    `password_file`, changes are asked for as `user`.
    """

    urls: tuple[str, ...] = field(default=(), metadata={"check": api_urls})
    timeout_s: float = within(5.0, 0.1, 600.0)
    ca_file: Path | None = None
    user: str = "patroni"
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverSettings:
    """What a failover runs besides, how long that may take, and whether a site that is not the preferred one takes what
    is sent to it. `hook` is a program with its arguments; nothing runs when it is empty.
    """

    hook: tuple[str, ...] = ()
    hook_timeout_s: float = within(30.0, 0.1, 3_600.0)
    standby_stores: bool = True


def _claim(text: str) -> str:
    if not text:
        raise ValueError("needs the name of a claim, like sub")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """Which JSON Web Tokens prove who a person is: none without an `issuer` and `key_files`, which are relative to
    `data_dir`. An empty `audience` is the AE title of this archive; with an empty `titles_claim` a person may be at
    any peer that asks for a token.
    """

    issuer: str = ""
    audience: str = ""
    key_files: tuple[str, ...] = ()
    user_claim: str = field(default="sub", metadata={"check": _claim})
    titles_claim: str = ""
    leeway_s: float = within(30.0, 0.0, 600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """How persons at peers log in: after `max_failures` wrong attempts from one address within `pause_s`, whoever calls
    from there waits for the rest of that time.
    """

    max_failures: int = within(10, 1, 1_000)
    pause_s: float = within(60.0, 1.0, 86_400.0)
    jwt: TokenSettings = field(default_factory=TokenSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogSettings:
    """Where the audit trail is sent: over TLS, or by explicit choice as datagrams. An empty `host` is nowhere; without
    a `ca_file` the receiver's certificate is from the authority of `tls`.
    """

    host: str = field(default="", metadata={"check": host_or_none})
    port: int = within(6514, 1, 65_535)
    udp: bool = False
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """What is done with the audit trail besides keeping it."""

    syslog: SyslogSettings = field(default_factory=SyslogSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged: `level` is DEBUG, INFO, WARNING or ERROR; `file` is a path, or None for standard error."""

    level: str = field(default="INFO", metadata={"check": log_level})
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything one node needs to run. `port` is None while only TLS is spoken. `database` is complete: it holds the
    password, and is not in the repr.
    """

    data_dir: Path
    aet: AeTitle = field(default_factory=lambda: AeTitle("PACS"))
    host: str = field(default="127.0.0.1", metadata={"check": host_name})
    port: int | None = field(default=11112, metadata={"check": number_within(0, 65_535)})
    public_without_tls: bool = False
    database: str = field(repr=False, metadata={"check": database_url})
    database_password_file: Path | None = None
    volume_paths: Mapping[str, Path] = field(default_factory=dict, metadata={"check": absolute_paths})
    check_called: bool = True
    accept_private_sop_classes: bool = True
    default_issuer: str = ""
    default_charset: str = field(default="", metadata={"check": charset_term})
    max_find_answers: int = within(0, 0, 1 << 31)
    workers: int = within(0, 0, 64)
    network: NetworkLimits = field(default_factory=NetworkLimits)
    storage: StorageLimits = field(default_factory=StorageLimits)
    transcoding: TranscodingLimits = field(default_factory=TranscodingLimits)
    tls: TlsSettings = field(default_factory=TlsSettings)
    partner: PartnerSettings = field(default_factory=PartnerSettings)
    patroni: PatroniSettings = field(default_factory=PatroniSettings)
    failover: FailoverSettings = field(default_factory=FailoverSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    alert: AlertSettings = field(default_factory=AlertSettings)
    log: LogSettings = field(default_factory=LogSettings)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False, metadata={"internal": True})

    @property
    def workers_here(self) -> int:
        """How many processes serve associations: one for each processor, unless a number is set."""
        return self.workers or os.cpu_count() or 1

    @property
    def tls_host(self) -> str:
        """The address on which peers reach this node over TLS."""
        return self.tls.host or self.host

    @property
    def tls_files(self) -> TlsFiles:
        """Where the certificates lie; relative paths are relative to `data_dir`."""
        usual = TlsFiles.within(self.data_dir / self.tls.directory)
        return TlsFiles(
            certificate=self.data_dir / (self.tls.certificate_file or usual.certificate),
            key=self.data_dir / (self.tls.key_file or usual.key),
            ca=self.data_dir / (self.tls.ca_file or usual.ca),
            ca_key=usual.ca_key,
        )

    def overridden(self) -> dict[str, str]:
        """The settings that an environment variable changed for this run, each with that variable."""
        return {name: origin for name, origin in self.origins.items() if origin in ENVIRONMENT.values()}


def entries(settings: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every setting as (dotted name, value), in the order of the classes; a password is not among them."""
    for item in fields(settings):  # type: ignore[arg-type]
        if item.metadata.get("internal"):
            continue
        value = getattr(settings, item.name)
        if is_dataclass(value):
            yield from entries(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", _shown(item.name, value)


def _shown(name: str, value: object) -> object:
    """A value as the settings file would have it, without a password."""
    if isinstance(value, tuple):
        return list(value)
    if name == "url":
        return hidden_path(str(value))
    return shown_url(str(value)) if name == "database" else value


def hidden_path(url: str) -> str:
    """A URL without its path, in which many receivers of alarms have their secret."""
    parts = urlsplit(url)
    return parts._replace(path="/***", query="").geturl() if parts.path.strip("/") or parts.query else url


def shown_url(url: str) -> str:
    """The database URL without its passwords, which may stand behind its `?` too."""
    parts = urlsplit(url)
    if parts.password is not None:
        netloc = f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"
        url = parts._replace(netloc=netloc).geturl()
    before, mark, query = url.partition("?")
    return before + mark + "&".join(map(_shown_parameter, query.split("&")))


def _shown_parameter(parameter: str) -> str:
    """One of libpq's: the password, or that of the key of a certificate, is hidden."""
    name, equals, _ = parameter.partition("=")
    return f"{name}=***" if equals and unquote(name) in ("password", "sslpassword") else parameter
