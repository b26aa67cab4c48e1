"""What tells the program of one machine from that of another."""

import shutil
import subprocess
import sys
from pathlib import Path

import pacs_server
from pacs_server import __version__, this_release


def told_by(root: Path) -> str:
    command = [sys.executable, "-c", "import pacs_server; print(pacs_server.this_release())"]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def test_the_same_program_is_the_same_release_wherever_it_lies_and_a_changed_one_is_another(tmp_path: Path) -> None:
    copy = shutil.copytree(Path(pacs_server.__file__).parent, tmp_path / "pacs_server")
    assert told_by(tmp_path) == this_release()
    with (copy / "errors.py").open("a") as file:
        file.write("# changed\n")
    assert told_by(tmp_path) != this_release()
    assert told_by(tmp_path).startswith(f"{__version__}+")


def test_a_package_that_has_the_migrations_in_it_is_the_same_release_as_a_checkout(tmp_path: Path) -> None:
    package = Path(pacs_server.__file__).parent
    copy = shutil.copytree(package, tmp_path / "pacs_server")
    shutil.copytree(package.parent / "migrations", copy / "migrations", dirs_exist_ok=True)
    assert told_by(tmp_path) == this_release()
