"""That an archive keeps its promise: what was acknowledged is there, and no row lies."""

import os
import time
from contextlib import suppress

from support.samples import Sample, data_set_of
from support.server import Archive

LONGER_AGO_S = 3600


def assert_kept(archive: Archive, acknowledged: list[Sample]) -> None:
    """Each is in the index, and a file of its name holds exactly what was sent."""
    found = archive.instance_uids()
    files = {path.name.rpartition("-")[0]: path for path in archive.files()}
    lost = [sample.sop_uid for sample in acknowledged if sample.sop_uid not in found]
    changed = [s.sop_uid for s in acknowledged if data_set_of(files[s.sop_uid]) != s.data_set]
    assert (lost, changed) == ([], [])


def assert_no_row_lies(archive: Archive) -> None:
    for path in archive.files():  # what the crash left may be looked at now, not in a quarter of an hour
        then = time.time() - LONGER_AGO_S
        with suppress(FileNotFoundError):  # of an object whose sender had hung up
            os.utime(path, (then, then))
    findings = archive.report("reconcile", expect=(0, 12))
    harmless = ("file without row", "unfinished file that nobody writes to")
    assert [finding for finding in findings if finding["kind"] not in harmless] == []
