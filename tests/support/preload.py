"""What every process of processes.py has loaded when it is forked: all that a command may load, as `pacs` loads it."""

import gc
import importlib
import pkgutil
import sys

import pacs_server
from pacs_server.cli.main import UNUSED

for unused in UNUSED:
    sys.modules[unused] = None  # type: ignore[assignment]
importlib.import_module("alembic.command")
for one in pkgutil.walk_packages(pacs_server.__path__, "pacs_server."):
    if one.name.removeprefix("pacs_server.") not in ("__main__", "codecs.child", "codecs.frames"):
        importlib.import_module(one.name)
pacs_server.this_release()  # which every server reads the whole program for as it starts
# What the forked process runs first. It loads pytest: 0.14 s of the processor, of the 0.16 s of a `pacs --version`.
importlib.import_module("support.processes")
gc.collect()
gc.freeze()  # else each process looks through all of it, and copies it
