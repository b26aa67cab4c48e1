"""What the success of a server means: which of its files are flushed for each object, counted with strace."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmark.all_servers import SERVERS
from benchmark.objects import MR
from benchmark.processes import Failed
from benchmark.surroundings import Bench, send

_IMAGES: Final = 50
# fsync(12</path/of/the/file>) = 0, with the number of the thread before it.
_FLUSH: Final = re.compile(r"\d+ +\w+\((?:0x[0-9a-f]+|\d+<(?P<path>[^>]*)>)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What is on disk when a server answers with success, and how often an object makes it flush what."""

    means: str
    flushes: dict[str, float] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether it was counted in this run; otherwise it is what was found once."""
        return bool(self.flushes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self) | {"counted": self.counted}


def durability(bench: Bench) -> Durability:
    """Store objects one after the other from one sender under strace; without strace, tell what was found once.

    With one sender each object has been answered before the next one comes, so that fewer flushes than objects
    mean that some were answered before they were on disk.
    """
    stated = Durability(means=SERVERS[bench.server_name].success_means)
    if shutil.which("strace") is None:
        print("durability is not counted: strace is not installed (on Debian: apt-get install strace)", file=sys.stderr)
        return stated
    (directory,) = bench.objects(MR, studies=1, images=_IMAGES)
    with bench.prepared() as server:
        server.flush_log = server.directory / "flushes"
        try:
            server.start()
            send(server, [[directory]])
        except Failed as error:
            print(f"durability of {bench.server_name} is not counted: {error}", file=sys.stderr)
            return stated
        finally:
            server.stop()
        return counted(server.flushes(), server.objects, _IMAGES)


def counted(lines: Iterable[str], objects: Path, count: int) -> Durability:
    """From strace's lines about `count` objects: what was flushed at least once for each of them."""
    flushed: Counter[str] = Counter({"file": 0, "directory": 0, "index": 0})
    for line in lines:
        if (found := _FLUSH.match(line)) is None:
            continue
        path = Path(found["path"] or "")
        if objects not in (path, *path.parents) or path.name == "index.dat":
            flushed["index"] += 1
        else:
            flushed["directory" if path.is_dir() else "file"] += 1
    file, index = (flushed[name] >= count for name in ("file", "index"))
    means = {
        (True, True): "file and index flushed",
        (True, False): "file flushed, index not",
        (False, True): "index flushed, file not",
        (False, False): "nothing flushed",
    }[file, index]
    return Durability(means=means, flushes={name: times / count for name, times in flushed.items()})
