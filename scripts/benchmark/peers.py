"""The other servers that can be measured, each with the settings that it comes with."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.request import urlopen

from benchmark.processes import Failed, nagle
from benchmark.servers import Started, free_port

_ANSWER_S: Final = 60.0


class _Peer(Started, ABC):
    """A server that is known by its program; `package` is the Debian package that has it."""

    package: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._destinations: dict[str, int] = {}

    @classmethod
    def absent(cls) -> str:
        """Whether the program is installed."""
        if shutil.which(cls.program[0]):
            return ""
        return f"{cls.program[0]} is not installed (on Debian: apt-get install {cls.package})"

    @property
    def objects(self) -> Path:
        """A directory of its own."""
        return self.directory / "objects"

    def prepare(self) -> None:
        """Make the directory that it writes to; its settings are written when it starts."""
        self.objects.mkdir()

    def start(self, *, nagle_on: bool = False) -> float:
        """Run it; DCMTK's network code, which Orthanc has too, reads from the environment whether Nagle is off."""
        return self.run(self.command(), nagle(on=nagle_on))

    @abstractmethod
    def command(self) -> list[str]:
        """How it is started; writes what settings it needs."""

    def stored(self) -> int:
        """Files in its directory, but for an index among them."""
        return sum(name != "index.dat" for _, _, names in os.walk(self.objects) for name in names)

    def know_destination(self, aet: str, port: int) -> None:
        """Remember it for the settings."""
        self._destinations[aet] = port

    def hold_studies(self, count: int, seed: int, objects: int = 1) -> None:
        """It has to be sent them. Raises: Failed always."""
        raise Failed(f"{count} studies of {objects} objects, seed {seed}, have to be sent to it")


class Orthanc(_Peer):
    """Orthanc with its own index on SQLite; it is only told who may ask and where to send."""

    lacks: ClassVar[Mapping[str, str]] = {"index": "is filled by sending"}
    program: ClassVar = ("Orthanc",)
    package: ClassVar = "orthanc"
    success_means: ClassVar = "file flushed, index not"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._http_port = free_port()

    def command(self) -> list[str]:
        """Its settings are written to a file."""
        written = self.directory / "orthanc.json"
        written.write_text(json.dumps(self.settings()), encoding="utf-8")
        return [*self.program, str(written)]

    def settings(self) -> dict[str, Any]:
        """What has no useful default."""
        return {
            "DicomAet": self.aet,
            "DicomPort": self.port,
            "HttpPort": self._http_port,
            "StorageDirectory": str(self.objects),
            "IndexDirectory": str(self.directory / "index"),
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": {aet: [aet, "127.0.0.1", port] for aet, port in self._destinations.items()},
        }

    def stored(self) -> int:
        """Instances in its index, as its REST interface counts them."""
        with urlopen(f"http://127.0.0.1:{self._http_port}/statistics", timeout=_ANSWER_S) as answer:
            return int(json.load(answer)["CountInstances"])


class Dcmqrscp(_Peer):
    """DCMTK's dcmqrscp: a process for each association, and one flat file for the index of a storage area."""

    lacks: ClassVar[Mapping[str, str]] = {
        "index": "is filled by sending",
        # Source: DB_UpperMaxStudies in DCMTK's dcmqrdb/include/dcmtk/dcmqrdb/dcmqrdbi.h.
        "many studies": "holds 500 studies at most",
    }
    program: ClassVar = ("dcmqrscp",)
    package: ClassVar = "dcmtk"
    success_means: ClassVar = "nothing flushed"

    def command(self) -> list[str]:
        """Its settings are those of /etc/dcmtk/dcmqrscp.cfg with one storage area, of the largest size."""
        hosts = [f"{aet.lower()} = ({aet}, 127.0.0.1, {port})" for aet, port in self._destinations.items()]
        lines = [
            f"NetworkTCPPort = {self.port}", "MaxPDUSize = 16384", "MaxAssociations = 16",
            "HostTable BEGIN", *hosts, "HostTable END", "VendorTable BEGIN", "VendorTable END",
            "AETable BEGIN", f"{self.aet} {self.objects} RW (500, 1024mb) ANY", "AETable END",
        ]  # fmt: skip
        written = self.directory / "dcmqrscp.cfg"
        written.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return [*self.program, "-c", str(written)]


class Storescp(_Peer):
    """DCMTK's storescp, one process for each association: writes the bytes as they come, and has no index."""

    lacks: ClassVar[Mapping[str, str]] = {
        "index": "has no index", "find": "has no index", "move": "only receives", "get": "only receives"
    }  # fmt: skip
    program: ClassVar = ("storescp",)
    package: ClassVar = "dcmtk"
    success_means: ClassVar = "nothing flushed"

    def command(self) -> list[str]:
        """It has no settings."""
        options = ["-q", "--fork", "+xa", "+B", "-dhl", "-pdu", "131072", "-aet", self.aet]
        return [*self.program, *options, "-od", str(self.objects), str(self.port)]


class Qrscp(_Peer):
    """The qrscp that comes with pynetdicom. It has no way to turn Nagle's algorithm off."""

    lacks: ClassVar[Mapping[str, str]] = {"index": "is filled by sending"}
    program: ClassVar = (sys.executable, "-m", "pynetdicom", "qrscp")
    package: ClassVar = "python3-pynetdicom"
    success_means: ClassVar = "index flushed, file not"

    @classmethod
    def absent(cls) -> str:
        """Whether this interpreter's pynetdicom has it."""
        if importlib.util.find_spec("pynetdicom.apps.qrscp"):
            return ""
        return f"pynetdicom has no qrscp ({sys.executable} -m pip install pynetdicom)"

    def command(self) -> list[str]:
        """Its settings are those of its default.ini but for the places."""
        default = {
            "ae_title": self.aet,
            "port": self.port,
            "max_pdu": 16382,
            "acse_timeout": 30,
            "dimse_timeout": 30,
            "network_timeout": 30,
            "bind_address": "127.0.0.1",
            "instance_location": self.objects,
            "database_location": self.directory / "instances.sqlite",
            "log_identifier": True,
        }
        sections = {"DEFAULT": default} | {
            aet: {"address": "127.0.0.1", "port": port} for aet, port in self._destinations.items()
        }
        written = self.directory / "qrscp.ini"
        lines = [
            line
            for name, values in sections.items()
            for line in (f"[{name}]", *(f"{key}: {value}" for key, value in values.items()))
        ]
        written.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return [*self.program, "-c", str(written)]
