"""The settings of those who watch over a node: where monitoring asks, and how alarms are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pacs_server.settings.checks import (
    hook_url,
    host_name,
    host_or_none,
    mail_address_or_none,
    mail_addresses,
    number_within,
    within,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Where monitoring asks for /live, /ready and /metrics. `port` is None while that is off."""

    host: str = field(default="127.0.0.1", metadata={"check": host_name})
    port: int | None = field(default=11180, metadata={"check": number_within(0, 65_535)})


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """The mail server that takes alarms, from whom they are and to whom they go; an empty `host` is none. With
    `password_file` this node says who it is, as `user`.
    """

    host: str = field(default="", metadata={"check": host_or_none})
    port: int = within(25, 1, 65_535)
    starttls: bool = True
    ca_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    sender: str = field(default="", metadata={"check": mail_address_or_none})
    recipients: tuple[str, ...] = field(default=(), metadata={"check": mail_addresses})


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Where alarms are posted as JSON, if there is a `url`; a `ca_file` is in place of the system's authorities."""

    url: str = field(default="", metadata={"check": hook_url})
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """How alarms are told, each way if it is given, and from when on something is one."""

    command: tuple[str, ...] = ()
    mail: MailSettings = field(default_factory=MailSettings)
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    timeout_s: float = within(30.0, 0.1, 600.0)
    repeat_after_s: float = within(86_400.0, 60.0, 31_536_000.0)
    hold_s: float = within(60.0, 0.0, 86_400.0)
    clear_after_s: float = within(300.0, 0.0, 86_400.0)
    copies_after_s: float = within(900.0, 0.0, 2_592_000.0)
    backlog_after_s: float = within(14_400.0, 0.0, 2_592_000.0)
    partner_after_s: float = within(3_600.0, 0.0, 2_592_000.0)
    disk_full_within_days: int = within(14, 0, 3_650)
    certificate_days: int = within(30, 0, 3_650)
    silence: bool = True
