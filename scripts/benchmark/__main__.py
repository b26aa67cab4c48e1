"""./scripts/bench [ROW]... : measures rows, prints a table with floors and goals, writes JSON when asked to."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmark import against, comparison
from benchmark.all_servers import SERVERS
from benchmark.association_rows import echo_row, idle_row, start_row
from benchmark.durability import durability
from benchmark.figures import Figure, medians
from benchmark.find_row import find_million_row, find_row
from benchmark.processes import Failed
from benchmark.report import floors, surroundings, table, write_json
from benchmark.retrieve_rows import get_row, move_row
from benchmark.scale_row import scale_row
from benchmark.steady import fill_memory
from benchmark.store_rows import store_ct, store_large, store_mr
from benchmark.surroundings import Bench

_ROOT: Final = Path(__file__).resolve().parents[2]
_NEEDED_GIB: Final = 4
_NEEDED_LONG_GIB: Final = 12
_PROGRAMS: Final = ("storescu", "storescp", "findscu", "getscu")
_ROUNDS_AGAINST: Final = 3


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
    "find": Row(find_row, frozenset({"find"})),
    "find-million": Row(find_million_row, frozenset({"find", "index"})),
    "echo": Row(echo_row, frozenset({"store"})),
    "idle": Row(idle_row, frozenset()),
    "start": Row(start_row, frozenset()),
    "scale": Row(scale_row, frozenset({"store", "index"})),
}

_LONG: Final = ("find-million", "scale")  # each takes more than ten minutes and 8 GB
_USUAL: Final = [name for name in ROWS if name not in _LONG]


def main() -> int:
    """Run what the command line asks for; answers the exit code: 0, 1 when a row failed, 2 when it cannot begin."""
    arguments = _arguments()
    # SIGTERM ends the run like Ctrl-C does, so that servers are stopped and data is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    long = not set(_LONG).isdisjoint(arguments.rows)
    if complaint := _complaint(arguments.work, _NEEDED_LONG_GIB if long else _NEEDED_GIB):
        print(complaint, file=sys.stderr)
        return 2
    bench = Bench(work=arguments.work, server_name=arguments.server, seed=arguments.seed, studies=arguments.studies)
    rounds = arguments.repeat or (_ROUNDS_AGAINST if arguments.against else 1)
    server = ", ".join([bench.server_name, *(arguments.against or ())])
    about = surroundings(bench.work, server=server, seed=bench.seed, repeat=rounds, started=datetime.now(UTC))
    print(", ".join(f"{name} {value}" for name, value in about.items()), file=sys.stderr)
    try:
        fill_memory(bench.work)
        if arguments.against:
            told, failed = _compare(bench, arguments.rows or list(against.ROWS), arguments.against, rounds)
        else:
            told, failed = _measure(bench, arguments.rows or _USUAL, rounds)
    except KeyboardInterrupt:
        return 130
    finally:
        bench.clear(objects=not arguments.keep)
    if arguments.json:
        write_json(arguments.json, {"surroundings": about} | told)
    return 1 if failed else 0


def _measure(bench: Bench, rows: list[str], repeat: int) -> tuple[dict[str, Any], bool]:
    """Print the figures of all runs through all rows, and answer them; a row that fails is told and left out."""
    lacks = SERVERS[bench.server_name].lacks
    runs, failed = [], False
    for number in range(1, repeat + 1):
        figures: list[Figure] = []
        for name in rows:
            if lacking := ROWS[name].needs & lacks.keys():
                print(f"{name}: {bench.server_name} {lacks[min(lacking)]}", file=sys.stderr)
                continue
            print(f"{name} ({number} of {repeat}) ...", file=sys.stderr)
            try:
                figures.extend(ROWS[name].measure(bench))
            except (Failed, OSError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed = True
        runs.append(figures)
    told = medians(runs)
    print(table(told))
    print(floors(told))
    return {"figures": [figure.to_json() for figure in told]}, failed


def _compare(bench: Bench, rows: list[str], peers: list[str], rounds: int) -> tuple[dict[str, Any], bool]:
    """Print the figures of the archive and its peers side by side, and answer them; a failure of the archive fails."""
    absent = {peer: reason for peer in peers if (reason := SERVERS[peer].absent())}
    left_out = [f"{peer} is left out: {reason}" for peer, reason in absent.items()]
    print("\n".join(left_out), file=sys.stderr)
    servers = [bench.server_name, *(peer for peer in peers if peer not in absent)]
    versions = {server: SERVERS[server].version() for server in servers}
    durabilities = {server: durability(replace(bench, server_name=server)) for server in servers}
    compared = against.compare(bench, rows, servers, rounds)
    print(comparison.table(compared, durabilities))
    print()
    print(comparison.cpu_table(compared, servers))
    print()
    print(comparison.flushes(durabilities))
    print("\n".join([comparison.remarks(compared), *left_out]))
    told = {
        "servers": {server: {"version": versions[server]} | durabilities[server].to_json() for server in servers},
        "absent": absent,
        "comparisons": [figure.to_json() for figure in compared],
    }
    return told, any(bench.server_name not in figure.figures for figure in compared)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog="example: ./scripts/bench --against orthanc,dcmqrscp store-ct move --json run.json",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {', '.join(ROWS)}; else all but the long ones")
    parser.add_argument(
        "--server", choices=list(SERVERS), default=comparison.ARCHIVE, help="what is measured (archive)"
    )
    parser.add_argument(
        "--against",
        type=_peers,
        metavar="PEER,...",
        help=f"measure the server and these in turn, three times; rows: {', '.join(against.ROWS)}",
    )
    parser.add_argument("--repeat", type=_positive, metavar="N", help="run all N times, tell medians (1; --against 3)")
    parser.add_argument("--json", type=_writable, metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--studies", type=_positive, default=100_000, metavar="N", help="indexed for find and start")
    parser.add_argument("--seed", type=int, default=1338, metavar="N", help="of the data that is made (1338)")
    work = _ROOT / "build" / "bench"
    parser.add_argument("--work", type=Path, default=work, metavar="DIR", help="on the disk to measure (build/bench)")
    parser.add_argument("--keep", action="store_true", help="leave DIR and its objects for the next run")
    arguments = parser.parse_args()
    if arguments.server in (arguments.against or ()):
        parser.error(f"--against names the others: leave {arguments.server} out of it")
    known = against.ROWS if arguments.against else ROWS
    if unknown := [row for row in arguments.rows if row not in known]:
        parser.error(f"{', '.join(unknown)}: none of {', '.join(known)}")
    return arguments


def _peers(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in SERVERS]:
        raise argparse.ArgumentTypeError(f"'{', '.join(unknown)}' is none of {', '.join(SERVERS)}")
    return names


def _writable(text: str) -> Path:
    """A file that can be written, tried before an hour of measuring."""
    path = Path(text)
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("is 1 or more")
    return value


def _complaint(work: Path, needed_gib: int) -> str:
    """Why nothing can be measured here, and what to do; empty when it can. Makes the directory."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (on Debian: apt-get install dcmtk)"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{work} cannot be made: {error.strerror}; name another --work"
    if shutil.disk_usage(work).free < needed_gib << 30:
        return f"{work} has less than {needed_gib} GiB of free space; name another --work"
    return ""


if __name__ == "__main__":
    sys.exit(main())
