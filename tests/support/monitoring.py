"""What monitoring and persons do: they ask the pages of a running server, read its metrics, and are told alarms."""

import http.client
import json
import re
from pathlib import Path
from typing import Any

from support.server import Archive

Metrics = dict[str, float]


def http_port(archive: Archive) -> int:
    told = json.loads((archive.data / "serve.json").read_text(encoding="utf-8"))
    return int(told["http_port"])


def page(archive: Archive, path: str, timeout_s: float = 60.0) -> tuple[int, str]:
    """The status and the text of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", http_port(archive), timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def reasons(archive: Archive) -> list[str]:
    """Why the server is not ready; none when it is."""
    status, text = page(archive, "/ready")
    told: dict[str, Any] = json.loads(text)
    assert (status == 200) == told["ready"] == (not told["reasons"])
    return list(told["reasons"])


def metrics(archive: Archive) -> Metrics:
    """Each sample by its name with its labels, as it stands in the text."""
    status, text = page(archive, "/metrics")
    assert status == 200
    samples = re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    assert len(samples) == sum(not line.startswith("#") for line in text.splitlines())
    return {name: float(value) for name, value in samples}


def keeper(folder: Path) -> tuple[list[str], Path]:
    """A command that keeps every alarm that it is told, and where."""
    program, told = folder / "keep-alarms", folder / "alarms"
    program.write_text(f"#!/bin/sh\ncat >> {told}; echo >> {told}\n", encoding="utf-8")
    program.chmod(0o755)
    return [str(program)], told


def told_alarms(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line]


def words(file: Path) -> list[str]:
    return [f"{one['what']} {one['kind']} {one['about']}" for one in told_alarms(file)]
