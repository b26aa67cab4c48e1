"""`scripts/soak`: a soak of the length that one wants, and its summary. Ends with 1 when it was not clean."""

import argparse
import sys
import tempfile
from pathlib import Path

import pytest
from support import dcmtk
from support.soak.course import soak


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Let a crowd of good and rude callers wear a server."
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long, 10 without it")
    minutes = parser.parse_args().minutes
    try:
        dcmtk.require()
    except pytest.skip.Exception as reason:
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        outcome = soak(Path(folder), minutes * 60)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
