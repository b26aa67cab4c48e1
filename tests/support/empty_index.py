"""An index with the schema of this release and no content: to upgrade an empty file through all revisions takes half a
second, to copy one that was a twentieth.
"""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pacs_server.index.maintenance.schema import upgrade

MODE = 0o660  # of what pacs makes, for whom its directories let in


def copy_empty_index(path: Path) -> None:
    """Make a SQLite file that is like an upgraded empty one."""
    shutil.copyfile(Path(_folder().name, "index.db"), path)
    path.chmod(MODE)


@cache
def _folder() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="pacs-index-")
    upgrade(f"sqlite:///{folder.name}/index.db")
    return folder
