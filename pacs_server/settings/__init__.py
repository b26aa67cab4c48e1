"""The settings of one node: frozen values from one YAML file. Site state that changes while it runs is in the index."""

from pacs_server.settings.checks import charset_term, host_name, site_aet
from pacs_server.settings.reading import database_at, load, minimal_file, secret_in
from pacs_server.settings.values import (
    AuditSettings,
    ClientCertificates,
    FailoverSettings,
    LogSettings,
    NetworkLimits,
    PartnerSettings,
    PatroniSettings,
    Settings,
    StorageLimits,
    SyslogSettings,
    TlsFiles,
    TlsSettings,
    TranscodingLimits,
    entries,
    shown_url,
)
from pacs_server.settings.watching import AlertSettings, HttpSettings, MailSettings, WebhookSettings

__all__ = [
    "AlertSettings",
    "AuditSettings",
    "ClientCertificates",
    "FailoverSettings",
    "HttpSettings",
    "LogSettings",
    "MailSettings",
    "NetworkLimits",
    "PartnerSettings",
    "PatroniSettings",
    "Settings",
    "StorageLimits",
    "SyslogSettings",
    "TlsFiles",
    "TlsSettings",
    "TranscodingLimits",
    "WebhookSettings",
    "charset_term",
    "database_at",
    "entries",
    "host_name",
    "load",
    "minimal_file",
    "secret_in",
    "shown_url",
    "site_aet",
]
