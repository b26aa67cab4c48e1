"""A self-hosted DICOM archive: what it acknowledges, it keeps."""

import hashlib
from functools import cache
from pathlib import Path

__version__ = "0.1.0"


@cache
def this_release() -> str:
    """The version, and behind a plus the beginning of a digest of the program: equal on two machines that run the same
    one. What is installed from two commits may have one version. A server goes on telling what it was started with.

    Migrations do not count: an installed package has them in it, a checkout beside it, and the schema tells them apart.
    """
    root, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] != "migrations":
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
