"""DCMTK's own clients and its receiver, run as the processes that they are: peers that share no line with us."""

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import pydicom
import pytest
from pydicom.charset import convert_encodings, encode_string
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from support.server import Archive, wait_for

from pacs_server.settings import TlsFiles

CLIENT_S = 180.0

PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY = "-P", "-S", "-O"

# The option with which getscu, movescu and storescp prefer a transfer syntax; without it they take uncompressed ones.
PREFER = {
    "1.2.840.10008.1.2": "+xi",
    "1.2.840.10008.1.2.1": "+xe",
    "1.2.840.10008.1.2.1.99": "+xd",
    "1.2.840.10008.1.2.2": "+xb",
    "1.2.840.10008.1.2.4.50": "+xy",
    "1.2.840.10008.1.2.4.51": "+xx",
    "1.2.840.10008.1.2.4.70": "+xs",
    "1.2.840.10008.1.2.4.80": "+xt",
    "1.2.840.10008.1.2.4.81": "+xu",
    "1.2.840.10008.1.2.4.90": "+xv",
    "1.2.840.10008.1.2.4.91": "+xw",
    "1.2.840.10008.1.2.5": "+xr",
}

Keys = Mapping[str, str]

# Below those that the system gives to whoever asks for any; each once.
_ports = iter(random.SystemRandom().sample(range(20_000, 32_000), 12_000))


@cache
def program(name: str) -> str | None:
    """Where a program of DCMTK is. pynetdicom installs some of the same names beside Python, which are not meant."""
    own = Path(sys.executable).parent
    return shutil.which(name, path=os.pathsep.join(folder for folder in os.get_exec_path() if Path(folder) != own))


def require() -> None:
    """Skip the test when DCMTK is not installed."""
    for name in ("echoscu", "storescu", "dcmsend", "findscu", "movescu", "getscu", "storescp", "dcmconv"):
        if program(name) is None:
            pytest.skip(f"DCMTK is not installed: no {name}")


def environment() -> dict[str, str]:
    """The environment in which DCMTK behaves as shipped: Nagle's algorithm is on unless TCP_NODELAY is set."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TCP_")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a client said and how it ended. `rows` are the identifiers of the answers of findscu."""

    code: int
    output: str
    rows: tuple[Dataset, ...] = ()

    @property
    def status(self) -> int:
        """The DIMSE status of the last response."""
        return self.statuses[-1]

    @property
    def statuses(self) -> list[int]:
        """The DIMSE status of each response, in order."""
        told = re.findall(r"DIMSE Status\s+: (0x[0-9a-fA-F]{4})|Received Echo Response \((Success)\)", self.output)
        return [int(code, 16) if code else 0 for code, _ in told]

    def count(self, kind: str) -> list[int]:
        """The number of Remaining, Completed, Failed or Warning sub-operations in each response that tells it."""
        return [int(text) for text in re.findall(rf"{kind} Suboperations\s+: (\d+)", self.output)]

    @property
    def failed_uids(self) -> list[str]:
        """The Failed SOP Instance UID List of the final response."""
        found = re.findall(r"\(0008,0058\) UI \[([0-9.\\]+)", self.output)
        return found[-1].split("\\") if found else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One workstation: DCMTK's clients under one calling AE title, calling one archive, without TLS unless `port` is
    another one. `usual` are options of every call.
    """

    archive: Archive
    folder: Path
    aet: str = "STATION"
    called: str = Archive.aet
    host: str = "127.0.0.1"
    port: int = 0
    prefix: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()

    def echo(self, *options: str) -> Finished:
        """Run echoscu."""
        return self._run("echoscu", *options)

    def store(self, *paths: Path, options: Sequence[str] = ()) -> Finished:
        """Run storescu on files, or with +sd +r on folders."""
        return self._run("storescu", *options, files=paths)

    def send(self, *paths: Path, options: Sequence[str] = ()) -> Finished:
        """Run dcmsend, which proposes for each file the transfer syntax that it has."""
        return self._run("dcmsend", *options, files=paths)

    def find(self, model: str, level: str, keys: Keys, *, options: Sequence[str] = (), charset: str = "") -> Finished:
        """Run findscu; the values of `keys` are sent in `charset`, which the identifier then names."""
        answers = self._new_folder("answers")
        words = _key_words(level, keys, charset)
        done = self._run("findscu", model, "-X", "-od", str(answers), *options, *words)
        rows = tuple(pydicom.dcmread(path) for path in sorted(answers.iterdir()))
        return Finished(code=done.code, output=done.output, rows=rows)

    def move(self, model: str, destination: str, level: str, keys: Keys, *, options: Sequence[str] = ()) -> Finished:
        """Run movescu, with another AE as the destination."""
        return self._run("movescu", model, "-aem", destination, *options, *_key_words(level, keys))

    def get(self, model: str, level: str, keys: Keys, into: Path, *, options: Sequence[str] = ()) -> Finished:
        """Run getscu, which writes what it receives into a folder."""
        into.mkdir(parents=True, exist_ok=True)
        return self._run("getscu", model, "+B", "-od", str(into), *options, *_key_words(level, keys))

    def command(self, name: str, *words: str | bytes, files: Iterable[Path] = ()) -> list[str | bytes]:
        """The command line of a client, for those who run it themselves."""
        address = [self.host, str(self.port or self.archive.port)]
        titles = ["-aet", self.aet, "-aec", self.called]
        return [*self.prefix, str(program(name)), "-d", *self.usual, *titles, *words, *address, *map(str, files)]

    def _run(self, name: str, *words: str | bytes, files: Iterable[Path] = ()) -> Finished:
        command = self.command(name, *words, files=files)
        done = subprocess.run(command, capture_output=True, timeout=CLIENT_S, env=environment(), check=False)
        return Finished(code=done.returncode, output=(done.stdout + done.stderr).decode(errors="replace"))

    def _new_folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


def _key_words(level: str, keys: Keys, charset: str = "") -> list[bytes]:
    words = [f"QueryRetrieveLevel={level}".encode()]
    if charset:
        words.append(f"SpecificCharacterSet={charset}".encode())
    words += [f"{keyword}=".encode() + _in_charset(value, charset) for keyword, value in keys.items()]
    return [part for word in words for part in (b"-k", word)]


def _in_charset(text: str, charset: str) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    encodings = convert_encodings(charset.split("\\"))
    # A code extension ends before each delimiter of a person name (PS3.5 section 6.1.2.5.3), so each part is by itself.
    return b"".join(encode_string(part, encodings) for part in re.split(r"([\^=\\])", text))


def over_tls(files: TlsFiles) -> tuple[str, ...]:
    """The options with which a program of DCMTK shows that certificate, and trusts its authority."""
    return ("+tls", str(files.key), str(files.certificate), "+cf", str(files.ca))


class Receiver:
    """DCMTK's storescp. It keeps every byte as it came (+B), and takes every transfer syntax unless told otherwise."""

    def __init__(self, folder: Path, *options: str, aet: str = "RECEIVER", tls: Sequence[str] = ()) -> None:
        self.folder = folder
        self.aet = aet
        self.port = 0
        self._options = options or ("+xa",)
        self._tls = tuple(tls)
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(5):  # another process may take the port between our look at it and storescp's
            self.port = free_port()
            if self._started():
                return self
        raise AssertionError(f"storescp did not start:\n{self.log_text()}")

    def _started(self) -> bool:
        words = [
            str(program("storescp")),
            "-d",
            "-dhl",
            *(() if "-xf" in self._options else ("-pm",)),  # a profile says itself which classes are taken
            "+B",
            *self._options,
            *self._tls,
            "-aet",
            self.aet,
            "-od",
            str(self.folder),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*words, str(self.port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()
            )
        process = self._process
        return bool(
            wait_for(lambda: process.poll() is not None or _echoes(self.port, tls=self._tls), "storescp")
            and not process.poll()
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def objects(self) -> dict[str, Path]:
        """The files that were received, by the SOP Instance UID in their data set."""
        return objects_in(self.folder)

    def log_text(self) -> str:
        """What storescp said, with each command it received."""
        return self._log.read_text(encoding="utf-8", errors="replace")


class QueryRetrieveServer:
    """DCMTK's dcmqrscp as a foreign archive with one storage area. `moves_to` are the AE titles to which it can move
    objects, each with its port on this machine.
    """

    aet = "FOREIGN"

    def __init__(self, folder: Path, *options: str, moves_to: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self._options = options
        self._moves_to = moves_to or {}
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if program("dcmqrscp") is None:
            pytest.skip("DCMTK is not installed: no dcmqrscp")
        objects = self.folder / "objects"
        objects.mkdir(parents=True)
        self.port = free_port()
        settings = self.folder / "dcmqrscp.cfg"
        lines = [
            f"NetworkTCPPort = {self.port}", "MaxPDUSize = 16384", "MaxAssociations = 16",
            "HostTable BEGIN",
            *(f"{aet.lower()} = ({aet}, 127.0.0.1, {port})" for aet, port in self._moves_to.items()),
            "HostTable END", "VendorTable BEGIN", "VendorTable END",
            "AETable BEGIN", f"{self.aet} {objects} RW (500, 1024mb) ANY", "AETable END",
        ]  # fmt: skip
        settings.write_text("\n".join([*lines, ""]), encoding="ascii")
        words = [str(program("dcmqrscp")), "-v", *self._options, "-c", str(settings)]
        with (self.folder / "dcmqrscp.log").open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
        try:
            wait_for(lambda: _echoes(self.port, self.aet), "dcmqrscp to answer")
        except AssertionError:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def take_in(self, *paths: Path) -> None:
        """Have storescu send files to it, and wait until its index has them: it was seen to answer a query without."""
        words = [str(program("storescu")), "-aec", self.aet, "127.0.0.1", str(self.port), *map(str, paths)]
        assert subprocess.run(words, env=environment(), timeout=CLIENT_S, check=False).returncode == 0
        sent = {str(read_file_meta_info(path).MediaStorageSOPInstanceUID) for path in paths}
        wait_for(lambda: all(uid in self._index_text() for uid in sent), "dcmqrscp to list what it was sent")

    def _index_text(self) -> str:
        words = [str(program("dcmqridx")), "-p", str(self.folder / "objects")]
        return subprocess.run(words, capture_output=True, timeout=CLIENT_S, check=True).stdout.decode(errors="replace")

    def log_text(self) -> str:
        """What it said of each association and request."""
        return (self.folder / "dcmqrscp.log").read_text(encoding="utf-8", errors="replace")


def objects_in(folder: Path) -> dict[str, Path]:
    """The DICOM files of a folder, by the SOP Instance UID in their file meta information; none that is only begun."""
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with suppress(InvalidDicomError, AttributeError):
            found[str(read_file_meta_info(path).MediaStorageSOPInstanceUID)] = path
    return found


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now, and nobody else is given before somebody does."""
    while True:
        port = next(_ports)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _echoes(port: int, called: str = "ANY-SCP", tls: Sequence[str] = ()) -> bool:
    words = [str(program("echoscu")), "-to", "2", "-ta", "2", *tls, "-aec", called, "127.0.0.1", str(port)]
    return subprocess.run(words, capture_output=True, timeout=CLIENT_S, check=False).returncode == 0
