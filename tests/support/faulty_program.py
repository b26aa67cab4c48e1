"""A file system in memory that fails when it is told to: EIO, one call with one error, hanging calls, and cuts that
forget what was not flushed.

Writing a word into `.control` at its root tells it what to do: `ok`, `eio`, `fail ERROR CALL` (`fail ENOSPC write`)
or `fail ERROR CALL NAME`, for what lies below that name, `once ERROR CALL`, `hang SECONDS` or `hang SECONDS CALL`, or
`cut`, which leaves of every file the bytes that were flushed, and of every directory the names. It mounts itself at the
path that is given, and answers `at-once` or `in-turn`, which takes half of the processor where nothing hangs. It is a
file system of the kind that is named last, if one is: a `fuse.` of that kind to the kernel.
"""

import errno
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mfusepy

CONTROL = ".control"


class Node:
    """A file or a directory, as it is and as it would be after a cut."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.changed = time.time()
        self.content = bytearray()
        self.durable_content = b""
        self.entries: dict[str, Node] = {}
        self.durable_entries: dict[str, Node] = {}

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def forget(self) -> None:
        """What a power cut does."""
        self.content = bytearray(self.durable_content)
        self.entries = dict(self.durable_entries)
        for entry in self.entries.values():
            entry.forget()


class Faulty(mfusepy.Operations):
    use_ns = True

    def __init__(self) -> None:
        self.root = Node(stat.S_IFDIR | 0o755)
        self.mode = "ok"
        self.hang_s = 0.0
        self.failing = ("", 0, "")
        self.is_once = False
        self._mutex = threading.RLock()

    def _fail(self, path: str, call: str = "") -> None:
        if path == f"/{CONTROL}" or path == "/":
            return
        if self.mode == "hang" and self.failing[0] in ("", call):
            time.sleep(self.hang_s)
        if self.mode == "eio":
            raise mfusepy.FuseOSError(errno.EIO)
        if self.mode == "fail" and call == self.failing[0] and self.failing[2] in ("", *Path(path).parts):
            self.mode = "ok" if self.is_once else "fail"
            raise mfusepy.FuseOSError(self.failing[1])

    def _find(self, path: str) -> Node:
        node = self.root
        for name in filter(None, path.split("/")):
            if name not in node.entries:
                raise mfusepy.FuseOSError(errno.ENOENT)
            node = node.entries[name]
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        folder, _, name = path.rpartition("/")
        return self._find(folder or "/"), name

    def _command(self, words: list[str]) -> None:
        if words[0] == "cut":
            with self._mutex:
                self.root.forget()
        elif words[0] == "hang":
            self.hang_s, self.failing = float(words[1]), ("".join(words[2:]), 0, "")
        elif words[0] in ("fail", "once"):
            self.failing = (words[2], getattr(errno, words[1]), "".join(words[3:]))
            self.is_once = words[0] == "once"
        self.mode = {"eio": "eio", "fail": "fail", "once": "fail", "hang": "hang"}.get(words[0], "ok")

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == f"/{CONTROL}":
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": 0}
        self._fail(path)
        node = self._find(path)
        moment = int(node.changed * 1e9)
        return {
            "st_mode": node.mode, "st_nlink": 1, "st_size": len(node.content),
            "st_mtime": moment, "st_ctime": moment, "st_atime": moment, "st_uid": os.getuid(),
        }  # fmt: skip

    def readdir(self, path: str, fh: int) -> list[str]:
        self._fail(path, "readdir")
        return [".", "..", *self._find(path).entries]

    def mkdir(self, path: str, mode: int) -> None:
        self._fail(path, "mkdir")
        with self._mutex:
            parent, name = self._parent(path)
            parent.entries[name] = Node(stat.S_IFDIR | mode)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._fail(path, "create")
        with self._mutex:
            parent, name = self._parent(path)
            parent.entries[name] = Node(stat.S_IFREG | mode)
        return 0

    def open(self, path: str, flags: int) -> int:
        self._fail(path, "open")
        if path != f"/{CONTROL}":
            self._find(path)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._fail(path, "read")
        return bytes(self._find(path).content[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == f"/{CONTROL}":
            self._command(data.decode().split())
            return len(data)
        self._fail(path, "write")
        node = self._find(path)
        if len(node.content) < offset:
            node.content.extend(bytes(offset - len(node.content)))
        node.content[offset : offset + len(data)] = data
        node.changed = time.time()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        if path != f"/{CONTROL}":
            self._fail(path)
            del self._find(path).content[length:]

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        self._fail(path, "fsync")
        with self._mutex:
            node = self._find(path)
            node.durable_content = bytes(node.content)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        self._fail(path, "fsyncdir")
        with self._mutex:
            node = self._find(path)
            node.durable_entries = dict(node.entries)

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        self._fail(old, "rename")
        with self._mutex:
            source, old_name = self._parent(old)
            target, new_name = self._parent(new)
            target.entries[new_name] = source.entries.pop(old_name)

    def unlink(self, path: str) -> None:
        self._fail(path, "unlink")
        with self._mutex:
            parent, name = self._parent(path)
            if name not in parent.entries:
                raise mfusepy.FuseOSError(errno.ENOENT)
            del parent.entries[name]

    def rmdir(self, path: str) -> None:
        self._fail(path)
        with self._mutex:
            if self._find(path).entries:
                raise mfusepy.FuseOSError(errno.ENOTEMPTY)
            self.unlink(path)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        self._find(path).changed = times[1] / 1e9 if times else time.time()

    def chmod(self, path: str, mode: int) -> None:
        self._find(path).mode = mode

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 22, "f_bfree": 1 << 22, "f_bavail": 1 << 22}


if __name__ == "__main__":
    mount_point, order, *kind = sys.argv[1:]
    mfusepy.FUSE(
        Faulty(), mount_point, foreground=True, nothreads=order == "in-turn",
        attr_timeout=0, entry_timeout=0, negative_timeout=0, **({"subtype": kind[0]} if kind else {}),
    )  # fmt: skip
