"""A server that may write only where config/systemd/pacs.service says, in a file system of its own as systemd makes it,
without any right of root."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.mounts import mount
from support.processes import environment
from support.samples import tiny, write
from support.senders import Sender
from support.server import Archive, files_below, wait_for

UNIT = Path(__file__).parents[2] / "config" / "systemd" / "pacs.service"

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]

# What systemd does for ProtectSystem=strict: the paths that may be written to are mounts of their own, all else is
# read-only, and of what the host mounts and unmounts later everything is seen.
CONFINED = """
for path in "$1" "$2"; do mount --bind "$path" "$path"; done
mount -o bind,remount,ro "$3" && mount -o bind,remount,ro /
shift 3
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A file system whose mounts show in others that were made of it, as those of a machine with systemd do."""
    for program in ("unshare", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    with ExitStack() as mounts:
        root = tmp_path / "host"
        root.mkdir()
        mount("-t", "tmpfs", "tmpfs", root)
        mounts.callback(subprocess.run, ["umount", "-R", "-l", str(root)], capture_output=True)
        mount("--make-shared", root)
        yield root


def test_a_nas_that_is_mounted_after_the_service_began_is_taken_up_although_the_rest_is_read_only(host: Path) -> None:
    told = re.search(r"^ReadWritePaths=/srv/pacs -/mnt$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert told, "the folder above the mount points may be written to, as below"
    nas, backing = host / "mnt" / "nas1", host / "nas1.backing"
    nas.mkdir(parents=True)
    backing.mkdir()
    archive = Archive(host / "srv")
    mount("--bind", backing, nas)
    archive.pacs("storage", "add", "nas1", str(nas), "--domain", "nas1")
    archive.pacs("policy", "set", "--want", "2")
    mount("--make-shared", nas)
    subprocess.run(["umount", str(nas)], check=True)

    words = [
        "unshare",
        "--mount",
        "--propagation",
        "slave",
        "sh",
        "-c",
        CONFINED,
        "sh",
        host / "srv",
        host / "mnt",
        host,
    ]
    program = [sys.executable, "-m", "pacs_server", "-c", archive.config, "serve"]
    variables = environment() | {"TMPDIR": str(host / "srv")}  # there is no other place as PrivateTmp gives one
    with archive.log.open("wb") as log:
        running = subprocess.Popen(list(map(str, words + program)), stdout=log, stderr=log, env=variables)
    try:
        lines = rf"{archive.aet} listens on \S+:(\d+)$"
        archive.port = int(
            wait_for(lambda: re.findall(lines, archive.log_text(), re.MULTILINE), "it", timeout_s=120)[0]
        )
        status = Path(f"/proc/{running.pid}/status").read_text(encoding="ascii")
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        sample = write(tiny("confined"), host / "confined.dcm")
        Sender(archive, [sample]).send_some()
        assert files_below(backing, "*.dcm") == list(nas.iterdir()) == []
        mount("--bind", backing, nas)
        wait_for(lambda: files_below(nas, "*.dcm"), "the second copy on the NAS", timeout_s=240)
        running.terminate()
        assert running.wait(90) == 0
    finally:
        running.kill()
        running.wait()
