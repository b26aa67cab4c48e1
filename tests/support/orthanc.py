"""Orthanc as a peer: a process of its own on ports of the loopback, told what to do by its REST interface."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from support.dcmtk import free_port
from support.server import Archive, wait_for

ANSWER_S = 120.0
START_S = 90.0


class Orthanc:
    """One Orthanc that knows an archive as its modality `pacs`, with the settings that it comes with otherwise. To one
    without `allows_get` it offers no C-GET.
    """

    aet = "ORTHANC"

    def __init__(self, folder: Path, archive: Archive, *, allows_get: bool = True) -> None:
        self._program = shutil.which("Orthanc")
        if self._program is None:
            pytest.skip("Orthanc is not installed")
        self._folder = folder
        self._archive = archive
        self._allows_get = allows_get
        self.port, self._http_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        archive = {"AET": self._archive.aet, "Host": "127.0.0.1", "Port": self._archive.port}
        settings = {
            "DicomAet": self.aet,
            "DicomPort": self.port,
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(self._folder / "objects"),
            "IndexDirectory": str(self._folder / "objects"),
            "DicomModalities": {"pacs": archive | {"AllowStorageCommitment": True, "AllowGet": self._allows_get}},
        }
        written = self._folder / "orthanc.json"
        written.write_text(json.dumps(settings), encoding="utf-8")
        with (self._folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen([str(self._program), "--verbose", str(written)], stdout=log, stderr=log)
        wait_for(self._answers, "Orthanc to answer", timeout_s=START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except (URLError, ConnectionError):
            assert self._process is None or self._process.poll() is None, self.log_text()[-3_000:]
            return False

    def ask(self, path: str, content: object = None) -> Any:
        """GET, or POST with a content, and what it answers."""
        return json.loads(self._bytes(path, None if content is None else json.dumps(content).encode()))

    def _bytes(self, path: str, content: bytes | None = None) -> bytes:
        request = Request(f"http://127.0.0.1:{self._http_port}{path}", data=content)
        with urlopen(request, timeout=ANSWER_S) as answer:
            read: bytes = answer.read()
        return read

    def take_in(self, paths: Sequence[Path]) -> list[str]:
        """Upload files; its own names for them."""
        return [json.loads(self._bytes("/instances", path.read_bytes()))["ID"] for path in paths]

    def objects(self, into: Path) -> dict[str, Path]:
        """What it holds, as files, by SOP Instance UID."""
        into.mkdir(exist_ok=True)
        files = {}
        for name in self.ask("/instances"):
            path = into / f"{name}.dcm"
            path.write_bytes(self._bytes(f"/instances/{name}/file"))
            files[self.ask(f"/instances/{name}")["MainDicomTags"]["SOPInstanceUID"]] = path
        return files

    def log_text(self) -> str:
        """What it said, in all detail."""
        return (self._folder / "orthanc.log").read_text(encoding="utf-8", errors="replace")
