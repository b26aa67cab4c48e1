"""./scripts/bench [ROW]... : measures rows, prints a table with floors and goals, writes JSON when asked to."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmark.association_rows import echo_row, idle_row, start_row
from benchmark.figures import Figure, medians
from benchmark.find_row import find_million_row, find_row
from benchmark.processes import Failed
from benchmark.report import floors, surroundings, table, write_json
from benchmark.retrieve_rows import get_row, move_row
from benchmark.servers import SERVERS
from benchmark.store_rows import store_ct, store_large, store_mr
from benchmark.surroundings import Bench

_ROOT: Final = Path(__file__).resolve().parents[2]
_NEEDED_BYTES: Final = 4 << 30
_PROGRAMS: Final = ("storescu", "storescp", "findscu", "getscu")


class Row(NamedTuple):
    """A row, and what a server has to be able to do for it."""

    measure: Callable[[Bench], Iterator[Figure]]
    needs: frozenset[str]


ROWS: Final = {
    "store-ct": Row(store_ct, frozenset({"store"})),
    "store-mr": Row(store_mr, frozenset({"store"})),
    "store-large": Row(store_large, frozenset({"store"})),
    "move": Row(move_row, frozenset({"store", "move"})),
    "get": Row(get_row, frozenset({"store", "get"})),
    "find": Row(find_row, frozenset({"find", "index"})),
    "find-million": Row(find_million_row, frozenset({"find", "index"})),
    "echo": Row(echo_row, frozenset({"store"})),
    "idle": Row(idle_row, frozenset()),
    "start": Row(start_row, frozenset()),
}

_USUAL: Final = [name for name in ROWS if name != "find-million"]  # it takes ten minutes and 6 GB


def main() -> int:
    """Run what the command line asks for; answers the exit code: 0, 1 when a row failed, 2 when it cannot begin."""
    arguments = _arguments()
    # SIGTERM ends the run like Ctrl-C does, so that servers are stopped and data is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if complaint := _complaint(arguments.work):
        print(complaint, file=sys.stderr)
        return 2
    bench = Bench(work=arguments.work, server_name=arguments.server, seed=arguments.seed, studies=arguments.studies)
    about = surroundings(
        bench.work, server=arguments.server, seed=bench.seed, repeat=arguments.repeat, started=datetime.now(UTC)
    )
    print(", ".join(f"{name} {value}" for name, value in about.items()), file=sys.stderr)
    try:
        runs, failed = _measure(bench, arguments.rows or _USUAL, arguments.repeat)
    except KeyboardInterrupt:
        return 130
    finally:
        if not arguments.keep:
            bench.clear()
    figures = medians(runs)
    print(table(figures))
    print(floors(figures))
    if arguments.json:
        write_json(arguments.json, figures, about)
    return 1 if failed else 0


def _measure(bench: Bench, rows: list[str], repeat: int) -> tuple[list[list[Figure]], bool]:
    """The figures of each run through all rows; a row that fails is told and left out."""
    services = SERVERS[bench.server_name].services
    runs, failed = [], False
    for number in range(1, repeat + 1):
        figures: list[Figure] = []
        for name in rows:
            if not ROWS[name].needs <= services:
                print(f"{name}: {bench.server_name} has no {', '.join(ROWS[name].needs - services)}", file=sys.stderr)
                continue
            print(f"{name} ({number} of {repeat}) ...", file=sys.stderr)
            try:
                figures.extend(ROWS[name].measure(bench))
            except (Failed, OSError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed = True
        runs.append(figures)
    return runs, failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog="example: ./scripts/bench store-ct find --repeat 3 --json run.json",
    )
    parser.add_argument(
        "rows", nargs="*", type=_row, metavar="ROW", help=f"of: {', '.join(ROWS)}; else all but find-million"
    )
    parser.add_argument("--server", choices=list(SERVERS), default="archive", help="what is measured (archive)")
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N", help="run all N times, tell medians")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--studies", type=_positive, default=100_000, metavar="N", help="indexed for find and start")
    parser.add_argument("--seed", type=int, default=1338, metavar="N", help="of the data that is made (1338)")
    work = _ROOT / "build" / "bench"
    parser.add_argument("--work", type=Path, default=work, metavar="DIR", help="on the disk to measure (build/bench)")
    parser.add_argument("--keep", action="store_true", help="leave DIR and its objects for the next run")
    return parser.parse_args()


def _row(text: str) -> str:
    if text not in ROWS:
        raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(ROWS)}")
    return text


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("is 1 or more")
    return value


def _complaint(work: Path) -> str:
    """Why nothing can be measured here, and what to do; empty when it can. Makes the directory."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (on Debian: apt-get install dcmtk)"
    work.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(work).free < _NEEDED_BYTES:
        return f"{work} has less than {_NEEDED_BYTES >> 30} GiB of free space; name another --work"
    return ""


if __name__ == "__main__":
    sys.exit(main())
