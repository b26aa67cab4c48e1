"""Files that are written whole: after a power cut there is the new one or the one before, and never a part."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pacs_server.whole_file import flush_folder, write_together, write_whole


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed, and what gets its name, in their order."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        calls.append(f"flush {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    def named(path: Path, target: Path) -> Any:
        calls.append(f"name {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", named)
    return calls


def test_files_are_flushed_before_any_of_them_gets_its_name_and_their_folder_when_asked(
    tmp_path: Path, done: list[str]
) -> None:
    write_together((tmp_path / "a", b"1", 0o600), (tmp_path / "b", b"2", 0o600))
    flush_folder(tmp_path)
    assert done == ["flush a.part", "flush b.part", "name a", "name b", f"flush {tmp_path.name}"]


def test_what_a_killed_writer_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"half of")
    write_whole(tmp_path / "a", b"new", 0o600)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


def test_where_one_cannot_be_flushed_all_stay_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        write_together((tmp_path / "a", b"new", 0o600), (tmp_path / "b", b"new", 0o600))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}
