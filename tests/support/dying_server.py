"""Runs the `pacs` command in a process that kills itself at one step of an object's journey.

    python dying_server.py STEP COUNT [pacs arguments]

It dies by SIGKILL when the COUNTth object reaches STEP: `received` (all bytes are here, nothing is written), `written`
(the file is flushed under its final name, there is no row) or `recorded` (the row is committed, no status was sent);
when the COUNTth copy that was owed is `read back` (its file is whole, it has no row) or `counted`;
or when the COUNTth operation is `decided` (its file is on every volume, it has no effect yet) or `effective`;
or when the COUNTth object on its way to another tier is `chosen` (nothing is copied yet), `copied`, `switching` (its
copies are not yet others) or `switched`; or when the COUNTth file that is released is `leaving` (still at its place),
`set aside`, `removed` or `released` (nothing of it is owed any more);
or when for the COUNTth time some objects are `deposited` (an archive server has them, which is not noted yet), `asked`
(their commitment is about to be asked for), `answered` (it has come), `giving up` or `given up` (it keeps them);
or when the COUNTth object is `backed up`, or `brought back` from a backup. `soon after STEP`: at any moment of the next
hundredth of a second, whatever is done then.

Other steps do not kill it: `unflushed-file` and `unflushed-directory` leave one flush out, to see whether a test
notices, `impatient` has the supervisor take a process for stuck that did not come round for 20 s, and `deaf` has it
take the server for ill when no port has answered for 10 s.
"""

import itertools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from pacs_server.archive import backup, ingest, releasing, restoring, tiering
from pacs_server.cli.main import main
from pacs_server.index.copies import Copies
from pacs_server.index.deposits import Deposits
from pacs_server.index.operations import Operations
from pacs_server.index.recording.instances import Instances
from pacs_server.index.releases import Releases
from pacs_server.index.sending.commitments import Commitments
from pacs_server.index.tiering import Tiering
from pacs_server.service.processes import crew
from pacs_server.storage.tree import Tree

# A step is reached before or after a call of a method or function.
STEPS: dict[str, tuple[Any, str, bool]] = {
    "received": (ingest.Reception, "describe", True),
    "written": (Instances, "record", True),
    "recorded": (Instances, "record", False),
    "read back": (Copies, "add", True),
    "counted": (Copies, "add", False),
    "decided": (Operations, "_recorded", True),
    "effective": (Operations, "_recorded", False),
    "chosen": (tiering, "intact_copy", True),
    "copied": (tiering, "one_more", False),
    "switching": (Tiering, "switch", True),
    "switched": (Tiering, "switch", False),
    "leaving": (releasing, "set_leaving", True),
    "set aside": (releasing, "set_leaving", False),
    "removed": (releasing, "remove_left", False),
    "released": (Releases, "settled", False),
    "deposited": (Deposits, "note_sent", True),
    "asked": (Deposits, "note_asked", False),
    "answered": (Commitments, "answer", False),
    "giving up": (Deposits, "give_up", True),
    "given up": (Deposits, "give_up", False),
    "backed up": (backup, "carry", False),
    "brought back": (restoring, "carry", False),
}
_SOON, _SOON_S = "soon after ", 0.01


def die_at(step: str, count: int) -> None:
    owner, name, is_before = STEPS[step.removeprefix(_SOON)]
    method: Callable[..., Any] = getattr(owner, name)
    reached, program = itertools.count(1), os.getpid()

    def die() -> None:
        if os.getpid() != program:  # the supervisor; its other processes end with it
            os.kill(program, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(*arguments: Any, **named: Any) -> Any:
        result = None if is_before else method(*arguments, **named)
        if (number := next(reached)) >= count and not step.startswith(_SOON):
            die()
        elif number == count:
            threading.Timer(random.uniform(0, _SOON_S), die).start()
        return method(*arguments, **named) if is_before else result

    setattr(owner, name, dying)


def leave_out(step: str) -> bool:
    if step == "unflushed-file":
        os.fdatasync = lambda descriptor: None
    elif step == "unflushed-directory":
        Tree.flush = lambda self, directory: None  # type: ignore[method-assign]
    elif step == "impatient":
        crew._SILENT_S = 20.0  # type: ignore[misc]
    elif step == "deaf":
        crew._UNANSWERED_S = 10.0  # type: ignore[misc]
    return step.startswith(("unflushed-", "impatient", "deaf"))


if __name__ == "__main__":
    if not leave_out(sys.argv[1]):
        die_at(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:3] = []
    main()
