"""./scripts/make_index STUDIES: fills the empty index of an archive with realistic studies that have no files."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmark.studies import record_studies, volume_away
from pacs_server.cli.invocation import DEFAULT_DATA, SETTINGS_NAME
from pacs_server.errors import PacsError
from pacs_server.index.engine import Index
from pacs_server.settings import load


def main() -> int:
    """Fill the index; answers the exit code: 0, or 1 when it could not be filled."""
    parser = argparse.ArgumentParser(prog="make_index", description=__doc__)
    parser.add_argument("studies", type=int, help="how many")
    parser.add_argument("--objects", type=int, default=10, metavar="N", help="instances of each study (10)")
    parser.add_argument("--seed", type=int, default=1338, metavar="N", help="of the values (1338)")
    # That of ./scripts/serve. Not what other commands find: nothing invented gets into /etc/pacs unasked.
    usual = Path(os.environ.get("PACS_DATA") or DEFAULT_DATA, SETTINGS_NAME)
    parser.add_argument("-c", "--config", type=Path, default=usual, help=f"settings ({usual})")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        with closing(Index.open(load(arguments.config).database)) as index:
            volume_id = volume_away(index, arguments.config.parent)
            record_studies(index, volume_id, count=arguments.studies, objects=arguments.objects, seed=arguments.seed)
    except (PacsError, ValueError) as error:
        print(f"make_index: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    print(f"{arguments.studies} studies, {arguments.studies * arguments.objects} instances in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
