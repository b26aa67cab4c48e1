"""Types that cannot hold rubbish: a UID, an AE title, a digest.

Each is a `str`, so it is a dictionary key, a SQL parameter and a log word as it stands.
"""

from __future__ import annotations

import re
import uuid
from typing import Self

import blake3

from pacs_server.errors import InvalidUid

_UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")
_HEX64 = re.compile(r"[0-9a-f]{64}")

MAX_UID_CHARACTERS = 64
MAX_AET_CHARACTERS = 16


def uid_text(raw: bytes) -> str:
    """Return the text of a UI value without its padding (trailing NULs and spaces; the latter are a common fault).

    Source: PS3.5 section 9.1 and table 6.2-1 (UI).
    """
    return raw.rstrip(b"\0 ").decode("latin-1")


class Uid(str):
    """A UID in the standard's form. Leading zeros of a component are tolerated, because devices send them.

    Raises: InvalidUid when the text is empty, longer than 64 characters or not dotted numbers.
    Source: PS3.5 section 9.1.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text. Raises: InvalidUid."""
        if not is_uid(text):
            shown = text[:MAX_UID_CHARACTERS].encode("unicode_escape").decode("ascii")
            raise InvalidUid(f"'{shown}' is not a UID (dotted numbers, at most {MAX_UID_CHARACTERS} characters)")
        return super().__new__(cls, text)

    @property
    def has_leading_zero(self) -> bool:
        """Whether a component starts with a superfluous zero, which the standard forbids."""
        return any(len(part) > 1 and part[0] == "0" for part in self.split("."))


def is_uid(text: str) -> bool:
    """Whether the text has the form of a UID."""
    return len(text) <= MAX_UID_CHARACTERS and _UID_FORM.fullmatch(text) is not None


def new_uid() -> str:
    """A UID that nothing else has. Source: PS3.5 section B.2."""
    return f"2.25.{uuid.uuid4().int}"


class AeTitle(str):
    """An AE title: 1 to 16 printable ASCII characters without backslash; padding spaces are not significant.

    Raises: ValueError when the text is anything else.
    Source: PS3.5 table 6.2-1 (AE), PS3.8 section 9.3.2.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text. Raises: ValueError."""
        title = text.strip(" ")
        printable = all(" " <= character <= "~" and character != "\\" for character in title)
        if not title or len(title) > MAX_AET_CHARACTERS or not printable:
            shown = text[:64]
            if not shown.isprintable():
                shown = shown.encode("unicode_escape").decode("ascii")
            raise ValueError(
                f"'{shown}' is not an AE title: 1 to {MAX_AET_CHARACTERS} printable ASCII characters, no backslash"
            )
        return super().__new__(cls, title)


class Digest(str):
    """A BLAKE3 digest as 64 lower-case hexadecimal characters."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text. Raises: ValueError."""
        if not _HEX64.fullmatch(text):
            raise ValueError(f"'{text[:80]}' is not a BLAKE3 digest")
        return super().__new__(cls, text)


class ObjectHasher:
    """Digest of one object: BLAKE3 over the transfer syntax UID, a NUL, and the data set bytes as received."""

    def __init__(self, transfer_syntax: str) -> None:
        self._hash = blake3.blake3(transfer_syntax.encode("ascii") + b"\0")

    def update(self, fragment: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the data set."""
        self._hash.update(fragment)

    def digest(self) -> Digest:
        """The digest of everything added so far."""
        return Digest(self._hash.hexdigest())
