"""SERVERS: everything that can be measured, by the name that the command line has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmark.on_postgresql import ArchiveOnPostgresql, OrthancOnPostgresql
from benchmark.peers import Dcmqrscp, Orthanc, Qrscp, Storescp
from benchmark.servers import Archive, Server

SERVERS: Final[Mapping[str, type[Server]]] = {
    "archive": Archive,
    "archive-postgresql": ArchiveOnPostgresql,
    "orthanc": Orthanc,
    "orthanc-postgresql": OrthancOnPostgresql,
    "dcmqrscp": Dcmqrscp,
    "storescp": Storescp,
    "pynetdicom": Qrscp,
}
