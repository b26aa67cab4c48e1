"""A DICOM File-set, for a CD, a DVD or a stick to another hospital: names of eight characters, and a DICOMDIR."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from pacs_server.archive.exporting import Folder
from pacs_server.dicom.describe import describe
from pacs_server.dicom.dicomdir import MediumDirectory
from pacs_server.dicom.stored import head_of
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.errors import Refused
from pacs_server.index.queries.search import Deliverable

_DIRECTORY: Final = "DICOMDIR"
_OBJECTS: Final = "DICOM"
_PIECE_BYTES: Final = 1 << 20


class FileSet(Folder):
    """Objects are written as DICOM/ST000001/SE000001/IM000001. Source: PS3.10 section 8.2, PS3.12 annex F."""

    def __init__(self, path: Path, assumed_of: Callable[[Deliverable], tuple[str, str]]) -> None:
        """Begin one; `assumed_of` is the character set and the issuer of patient IDs that are assumed of an object.

        Raises: Refused when there is one already, or the folder cannot be made.
        """
        super().__init__(path)
        for name in (_DIRECTORY, _OBJECTS):
            if (path / name).exists():
                raise Refused(f"{path / name} is there already; choose an empty folder, with --to")
        self._assumed_of = assumed_of
        self._directory = MediumDirectory()
        self._studies: dict[str, int] = {}
        self._series: dict[str, dict[str, int]] = defaultdict(dict)
        self._objects: dict[tuple[str, str], int] = defaultdict(int)

    def path_for(self, item: Deliverable) -> Path:
        """Where this object is to be written."""
        of_study = self._series[item.study_uid]
        study = self._studies.setdefault(item.study_uid, len(self._studies) + 1)
        series = of_study.setdefault(item.series_uid, len(of_study) + 1)
        self._objects[item.study_uid, item.series_uid] += 1
        number = self._objects[item.study_uid, item.series_uid]
        return self.path / _OBJECTS / f"ST{study:06}" / f"SE{series:06}" / f"IM{number:06}"

    def written(self, item: Deliverable, path: Path) -> None:
        """The object is there, and is named in the DICOMDIR. Raises: BadObject."""
        charset, issuer = self._assumed_of(item)
        file_id = path.relative_to(self.path).parts
        with path.open("rb") as file:
            pieces = (memoryview(piece) for piece in iter(partial(file.read, _PIECE_BYTES), b""))
            head = head_of(pieces, item.transfer_syntax, STANDARD)
            told = describe(head, assumed_charset=charset, default_issuer=issuer)
            file.seek(0)
            self._directory.add(told, item.transfer_syntax, file_id, file, assumed_charset=charset)

    def finish(self) -> None:
        """Write the DICOMDIR, if there is anything. Raises: OSError when that fails."""
        if not self._studies:
            return
        path = self.path / _DIRECTORY
        content = self._directory.encoded()
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)  # a part of one leads a reader nowhere
            raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error
