"""Identifiers of queries and retrieves that we ask, as data sets, and what is read from the answers.

Source: PS3.4 sections C.4.1.1.3 and C.4.3.1.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pacs_server.dicom.attributes import BY_KEYWORD, QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET, Level
from pacs_server.dicom.elements import encoding_of
from pacs_server.dicom.queries.identifier import read_identifier
from pacs_server.errors import BadQuery

# UIDs in one list: 64 take 4 KiB, which every archive reads.
MAX_UIDS: Final = 64
_FAILED_UID_LIST: Final = 0x00080058


def identifier(level: Level, keys: Mapping[str, str], transfer_syntax: str) -> bytes:
    """The identifier with these keys, by keyword; several values are told apart by backslashes, and an empty one asks
    for the attribute. It is in UTF-8 where ASCII is not enough.
    """
    encoding = encoding_of(transfer_syntax)
    values = {BY_KEYWORD[keyword].tag: (BY_KEYWORD[keyword].vr, value) for keyword, value in keys.items()}
    values[QUERY_RETRIEVE_LEVEL] = ("CS", level.name)
    if not "".join(keys.values()).isascii():
        values[SPECIFIC_CHARACTER_SET] = ("CS", "ISO_IR 192")
    write = encoding.write_element
    return b"".join(write(tag, vr.encode("ascii"), text.encode()) for tag, (vr, text) in sorted(values.items()))


def answered(answer: bytes, keywords: Iterable[str], transfer_syntax: str) -> dict[str, str]:
    """What an answer to a query says of these keywords; empty texts for what it does not.

    Raises: BadQuery when it is damaged.
    """
    found = read_identifier(answer, transfer_syntax)
    return {keyword: found.text(BY_KEYWORD[keyword].tag).strip(" \0") for keyword in keywords}


def failed_uids(identifier_bytes: bytes, transfer_syntax: str) -> frozenset[str]:
    """The objects that the final response to a retrieve names as failed; none when it cannot be read.

    Source: PS3.4 section C.4.3.1.4.2.
    """
    try:
        listed = read_identifier(identifier_bytes, transfer_syntax).text(_FAILED_UID_LIST)
    except BadQuery:
        return frozenset()
    return frozenset(uid.strip(" \0") for uid in listed.split("\\") if uid.strip(" \0"))
