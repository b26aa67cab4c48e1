"""A NAS as several servers see it, each with what it remembers; nas_program.py is what one of them sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.faulty_volume import FaultyVolume, made_by

PROGRAM = Path(__file__).with_name("nas_program.py")
# What nfs(5) calls acdirmax, the longest that it believes what it knows of a directory.
BELIEVED_S = 60.0


@contextmanager
def seen(files: Path, path: Path) -> Iterator[FaultyVolume]:
    """What one more server sees at `path` of a NAS that has these files, and how it is told to fail; it is unmounted at
    the end. Raises: OSError where that is not possible.
    """
    with made_by(PROGRAM, path, str(files), str(BELIEVED_S)):
        yield FaultyVolume(path)
