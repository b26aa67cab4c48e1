"""The settings of one node: frozen values from one YAML file. Site state that changes while it runs is in the index."""

from pacs_server.settings.reading import database_at, load, minimal_file, secret_in
from pacs_server.settings.values import (
    FailoverSettings,
    LogSettings,
    NetworkLimits,
    PartnerSettings,
    PatroniSettings,
    Settings,
    StorageLimits,
    TlsFiles,
    TlsSettings,
    TranscodingLimits,
    charset_term,
    entries,
    host_name,
    shown_url,
    site_aet,
)

__all__ = [
    "FailoverSettings",
    "LogSettings",
    "NetworkLimits",
    "PartnerSettings",
    "PatroniSettings",
    "Settings",
    "StorageLimits",
    "TlsFiles",
    "TlsSettings",
    "TranscodingLimits",
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
