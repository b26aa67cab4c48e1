"""Runs the `pacs` command in a process that kills itself at one step of an object's journey.

    python dying_server.py STEP COUNT [pacs arguments]

It dies by SIGKILL when the COUNTth object reaches STEP: `received` (all bytes are here, nothing is written), `written`
(the file is flushed under its final name, there is no row) or `recorded` (the row is committed, no status was sent).

Two other steps do not kill it, but leave one flush out, to see whether a test notices: `unflushed-file` and
`unflushed-directory`.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pacs_server.archive.ingest as ingest
from pacs_server.cli.main import main
from pacs_server.index.instances import Instances
from pacs_server.storage.atomic import Tree


def die_at(step: str, count: int) -> None:
    reached = itertools.count(1)

    def perhaps_die() -> None:
        if next(reached) >= count:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*arguments: Any, **named: Any) -> Any:
            perhaps_die()
            return function(*arguments, **named)

        return dying

    def after(function: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            perhaps_die()
            return result

        return dying

    if step == "received":
        ingest.Reception.describe = before(ingest.Reception.describe)  # type: ignore[method-assign]
    elif step == "written":
        Instances.record = before(Instances.record)  # type: ignore[method-assign]
    elif step == "recorded":
        Instances.record = after(Instances.record)  # type: ignore[method-assign]
    else:
        raise SystemExit(f"unknown step {step}")


def leave_out(step: str) -> bool:
    if step == "unflushed-file":
        os.fdatasync = lambda descriptor: None
    elif step == "unflushed-directory":
        Tree.flush = lambda self, directory: None  # type: ignore[method-assign]
    return step.startswith("unflushed-")


if __name__ == "__main__":
    if not leave_out(sys.argv[1]):
        die_at(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:3] = []
    main()
