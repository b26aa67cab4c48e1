"""Directories that are kept open: given out while their path leads to them, and no more than so many."""

import errno
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from pacs_server.storage.atomic import read_fully
from pacs_server.storage.descriptors import Descriptor, OpenDirectories
from pacs_server.storage.tree import OPEN_DIRECTORY, Tree

SERIES = PurePosixPath("2026/study/series")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / SERIES).mkdir(parents=True)
    return tmp_path


def opened(path: Path) -> Descriptor:
    return Descriptor(os.open(path, OPEN_DIRECTORY))


def move_away(root: Path) -> None:
    (root / SERIES).rename(root / "elsewhere")
    (root / SERIES).mkdir()


def test_a_directory_is_kept_until_another_one_stands_in_its_place(root: Path) -> None:
    kept = OpenDirectories(opened(root), at_most=2)
    assert kept.get(SERIES) is None
    directory = opened(root / SERIES)
    kept.keep(SERIES, directory)
    assert kept.get(SERIES) is directory
    move_away(root)
    assert kept.get(SERIES) is None


def test_what_was_looked_at_a_moment_ago_is_not_looked_at_again(root: Path) -> None:
    kept = OpenDirectories(opened(root), at_most=2, trusted_s=3_600)
    directory = opened(root / SERIES)
    kept.keep(SERIES, directory)
    move_away(root)
    assert kept.get(SERIES) is directory


def test_the_one_that_was_not_asked_for_longest_is_closed(root: Path) -> None:
    kept = OpenDirectories(opened(root), at_most=2)
    numbers = {}
    for path in (SERIES, SERIES.parent, SERIES.parent.parent):
        directory = opened(root / path)
        numbers[path] = directory.number
        kept.keep(path, directory)
        del directory
        assert kept.get(SERIES) is not None
    assert kept.get(SERIES.parent) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers[SERIES.parent])
    kept.clear()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers[SERIES])


def test_a_file_is_found_in_the_directory_that_took_the_place_of_the_one_that_was_read_from(root: Path) -> None:
    tree = Tree(opened(root))
    (root / SERIES / "first").write_bytes(b"1")
    assert tree.open_file(SERIES / "first")[1] == 1
    move_away(root)
    (root / SERIES / "second").write_bytes(b"22")
    file, size_bytes = tree.open_file(SERIES / "second")
    assert (read_fully(file.number, 0, size_bytes), size_bytes) == (b"22", 2)
    with pytest.raises(FileNotFoundError):
        tree.open_file(SERIES / "third")


def test_no_link_is_followed_on_the_way_to_a_file(root: Path) -> None:
    tree = Tree(opened(root))
    (root / SERIES / "first").write_bytes(b"1")
    tree.open_file(SERIES / "first")
    (root / SERIES).rename(root / "elsewhere")
    (root / SERIES).symlink_to(root / "elsewhere")
    (root / "elsewhere" / "second").write_bytes(b"2")
    (root / SERIES / "second").unlink()
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        tree.open_file(SERIES / "second")


def test_a_writer_enters_anew_what_another_node_removed_although_this_machine_remembers_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does for some seconds."""
    tree = Tree(opened(root))
    tree.durable_directory(SERIES)
    look: Callable[..., os.stat_result] = os.stat
    remembered = {str(path): look(root / path) for path in (SERIES, *SERIES.parents)}
    (root / SERIES).rmdir()
    with monkeypatch.context() as nfs:
        nfs.setattr(os, "stat", lambda path, **how: remembered.get(path) or look(path, **how))
        directory, _ = tree.within(SERIES, lambda entered: os.mkdir("made", dir_fd=entered.number))
    assert (root / SERIES / "made").is_dir()
    assert os.fstat(directory.number).st_ino == (root / SERIES).stat().st_ino


def test_of_a_volume_that_is_stale_as_a_whole_that_is_said_after_some_tries(root: Path) -> None:
    tries = []

    def stale(_: Descriptor) -> None:
        tries.append(1)
        raise OSError(errno.ESTALE, "stale")

    with pytest.raises(OSError, match="stale"):
        Tree(opened(root)).within(SERIES, stale)
    assert len(tries) > 1
