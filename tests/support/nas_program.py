"""One client of a NAS: a folder as one server sees it over NFS.

Several of them over one folder are servers that share the NAS. Each remembers, as the NFS client of Linux does, what it
looked up, for as many seconds as it is told: a name that was not there is not there until the attributes of its
directory are asked for again, which is when they are too old, or when that directory itself is opened (close-to-open).
A file that another client removed is stale; one that is removed while it is open here stays as .nfs and a number.

Writing words into `.control` at its root tells it what to do: `fail ERROR CALL`, or `fail ERROR CALL PART` where that
part is in the path, `once` in the place of `fail`, `ahead SECONDS` for the clock of the NAS, `ok`.

Source: nfs(5), "Data and metadata coherence"; fs/nfs/dir.c of Linux, nfs_do_lookup_revalidate.
"""

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mfusepy

CONTROL = "/.control"
_CHANGES = ("create", "mkdir", "rmdir", "unlink", "rename", "truncate", "write", "utimens")


def parent_of(path: str) -> str:
    return str(Path(path).parent)


class Memory:
    """What a client knows of its NAS, and how long NFS believes it."""

    def __init__(self, folder: str, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._lock = threading.RLock()
        self._seen: dict[str, tuple[os.stat_result | None, float]] = {}
        self._names: dict[str, set[str]] = {}  # those that were looked up in a directory

    def look(self, path: str) -> os.stat_result:
        """Look a name up. Raises: OSError."""
        with self._lock:
            if path != "/" and self._is_old(parent_of(path)):
                self._ask_for_directory(parent_of(path))
            known, _ = self._seen.get(path, (None, 0.0))
            if path not in self._seen or (known is not None and self._is_old(path)):
                known = self._ask(path)
            if known is None:
                raise OSError(errno.ENOENT, path)
            return known

    def open_directory(self, path: str) -> None:
        """Open one, for which the server is asked. Raises: OSError, ESTALE when it is not there any more."""
        with self._lock:
            self._ask_for_directory(path)

    def forget(self, path: str) -> None:
        """Ask anew: this client itself changed it."""
        with self._lock:
            self._drop_names(path)
            self._drop_names(parent_of(path))
            self._seen.pop(path, None)
            self._seen.pop(parent_of(path), None)

    def _is_old(self, path: str) -> bool:
        return path not in self._seen or time.monotonic() - self._seen[path][1] >= self._seconds

    def _ask_for_directory(self, path: str) -> None:
        known, _ = self._seen.get(path, (None, 0.0))
        now = self._ask(path)
        if now is None or (known is not None and known.st_ino != now.st_ino):
            self._seen.pop(path, None)
            raise OSError(errno.ESTALE, path)

    def _ask(self, path: str) -> os.stat_result | None:
        known, _ = self._seen.get(path, (None, 0.0))
        found = None
        with suppress(FileNotFoundError, NotADirectoryError):
            found = Path(self._folder + path).lstat()
        if found is None and not Path(self._folder + parent_of(path)).exists():
            self._seen.pop(parent_of(path), None)  # its handle is stale, and found out to be gone when it is looked up
            raise OSError(errno.ESTALE, path)
        if None in (known, found) or (known.st_ino, known.st_mtime_ns) != (found.st_ino, found.st_mtime_ns):
            self._drop_names(path)
        self._seen[path] = found, time.monotonic()
        if path != "/":
            self._names.setdefault(parent_of(path), set()).add(path)
        return found

    def _drop_names(self, directory: str) -> None:
        for name in self._names.pop(directory, set()):
            self._seen.pop(name, None)


class Nas(mfusepy.Operations):
    use_ns = True

    def __init__(self, folder: str, seconds: float) -> None:
        self._folder = folder
        self._memory = Memory(folder, seconds)
        self._failing = ("", 0, "")
        self._is_once = False
        self._ahead_s = 0.0
        self._open: dict[int, str] = {}
        self._lock = threading.RLock()

    @contextmanager
    def _doing(self, call: str, path: str | None) -> Iterator[Path]:
        """Where something is done in the folder, unless it is to fail."""
        path = path or ""  # of a file that was removed
        failing, number, part = self._failing
        if call == failing and part in path:
            if self._is_once:
                self._failing = ("", 0, "")
            raise mfusepy.FuseOSError(number)
        try:
            yield Path(self._folder + path)
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno) from error
        finally:
            if call in _CHANGES:
                self._memory.forget(path)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == CONTROL:
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": 0}
        with self._doing("getattr", path):
            seen = self._memory.look(path) if fh is None else os.fstat(fh)
        ahead = int(self._ahead_s * 1e9)
        return {
            name: getattr(seen, name) for name in ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
        } | {name: getattr(seen, f"{name}_ns") + ahead for name in ("st_mtime", "st_ctime", "st_atime")}

    def opendir(self, path: str) -> int:
        with self._doing("opendir", path) as real:
            self._memory.open_directory(path)
            return os.open(real, os.O_RDONLY | os.O_DIRECTORY)

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        with self._doing("readdir", path):
            if not os.fstat(fh).st_nlink:
                raise OSError(errno.ESTALE, "another client removed it")
            names = os.listdir(fh)
        # Of which kind each is remains unknown (DT_UNKNOWN), as with some servers.
        return [(name, {"st_ino": 1, "st_mode": 0}, 0) for name in names]

    def releasedir(self, path: str, fh: int) -> None:
        os.close(fh)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        with self._doing("fsyncdir", path):
            pass

    def mkdir(self, path: str, mode: int) -> None:
        with self._doing("mkdir", path) as real:
            real.mkdir(mode)

    def rmdir(self, path: str) -> None:
        with self._doing("rmdir", path) as real:
            real.rmdir()

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        with self._doing("create", path) as real:
            return self._opened(path, os.open(real, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))

    def open(self, path: str, flags: int) -> int:
        if path == CONTROL:
            return 0
        with self._doing("open", path) as real:
            self._memory.look(path)
            return self._opened(path, os.open(real, flags & os.O_ACCMODE))

    def _opened(self, path: str, fh: int) -> int:
        with self._lock:
            self._open[fh] = path
        return fh

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self._doing("read", path):
            if not os.fstat(fh).st_nlink:
                raise OSError(errno.ESTALE, "another client removed it")
            return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == CONTROL:
            self._take(data.decode().split())
            return len(data)
        with self._doing("write", path):
            return os.pwrite(fh, data, offset)

    def _take(self, words: list[str]) -> None:
        if words[0] in ("fail", "once"):
            self._is_once = words[0] == "once"
            self._failing = (words[2], getattr(errno, words[1]), "".join(words[3:]))
        elif words[0] == "ok":
            self._failing, self._ahead_s = ("", 0, ""), 0.0
        else:
            self._ahead_s = float(words[1])

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        if path != CONTROL:
            with self._doing("truncate", path) as real:
                os.truncate(real, length)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        with self._doing("fsync", path):
            os.fsync(fh)

    def flush(self, path: str, fh: int) -> None:
        """What a program is told when it closes a file."""
        if path != CONTROL:
            with self._doing("flush", path):
                pass

    def release(self, path: str, fh: int) -> None:
        if path == CONTROL:
            return
        with self._lock:
            name = self._open.pop(fh)
            if Path(name).name.startswith(".nfs") and name not in self._open.values():
                Path(self._folder + name).unlink(missing_ok=True)
        os.close(fh)

    def _rename(self, old: str, new: str) -> None:
        Path(self._folder + old).replace(self._folder + new)
        self._open |= {fh: new for fh, path in self._open.items() if path == old}
        self._memory.forget(new)

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        with self._lock, self._doing("rename", old):
            self._rename(old, new)

    def unlink(self, path: str) -> None:
        with self._lock, self._doing("unlink", path) as real:
            if path in self._open.values():
                self._rename(path, f"{parent_of(path)}/.nfs{real.lstat().st_ino:016x}")
            else:
                real.unlink()

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        with self._doing("utimens", path) as real:
            os.utime(real, ns=times)

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 22, "f_bfree": 1 << 22, "f_bavail": 1 << 22}


if __name__ == "__main__":
    mfusepy.FUSE(
        Nas(sys.argv[2], float(sys.argv[3])), sys.argv[1], foreground=True, nothreads=False, hard_remove=True,
        use_ino=True, attr_timeout=0, entry_timeout=0, negative_timeout=0, subtype="sshfs",
    )  # fmt: skip
