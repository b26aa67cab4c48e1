"""One answer in its character set, out of what encodes many of them."""

from __future__ import annotations

from collections.abc import Sequence

from pacs_server.dicom.queries.reply import TextColumn, encode_columns


def reply(texts: Sequence[str], vrs: Sequence[str], terms: Sequence[str]) -> tuple[str, list[bytes]]:
    """The value of (0008,0005) of an answer with these texts, and their bytes."""
    (label,), values = encode_columns([TextColumn(vr) for vr in vrs], [[text] for text in texts], terms, answers=1)
    return label.decode("ascii"), [value for (value,) in values]
