"""The coded character sets that Specific Character Set (0008,0005) names, and how devices misspell their names.

Source: PS3.3 section C.12.1.1.2 (terms and escape sequences), PS3.5 section 6.1.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from unicodedata import normalize

from pacs_server.dicom.guessing import read_utf8

UTF8: Final = "ISO_IR 192"


@dataclass(frozen=True, slots=True)
class CodedSet:
    """One coded character set; `read` and `write` raise UnicodeError for what is not in it.

    `escape` is the sequence that calls it; it then stands in G0 (bytes below 80 hexadecimal, in pairs but for kana) or
    above. A `whole` set cannot be called: it is used for all bytes of a data set or not at all. `wider` is the codec of
    a set that Windows has in its place, with more characters, which devices send under its name.
    """

    escape: bytes
    read: Callable[[bytes], str]
    write: Callable[[str], bytes]
    in_g0: bool = False
    whole: bool = False
    latin: bool = False
    wider: str = ""


def _coded(escape: bytes, codec: str, *, latin: bool = False, wider: str = "") -> CodedSet:
    return CodedSet(escape, lambda raw: raw.decode(codec), lambda text: text.encode(codec), latin=latin, wider=wider)


def _whole(codec: str) -> CodedSet:
    return CodedSet(b"", lambda raw: raw.decode(codec), lambda text: text.encode(codec), whole=True)


_KANA_TABLE: Final = "".join(
    chr(code) if code < 0x80 else chr(0xFF61 + code - 0xA1) if 0xA1 <= code <= 0xDF else "\ufffe" for code in range(256)
)
_KANA_MAP: Final = codecs.charmap_build(_KANA_TABLE)
_HIGH: Final = bytes(code | 0x80 for code in range(256))
_LOW: Final = bytes(code & 0x7F for code in range(256))
_FIRST_CELL, _CELLS = 0x21, 94
_USER_DEFINED_ROW, _WINDOWS_ROW = 0x75, 0x7F  # rows 85 and 95, counted from 1


def _read_kana(raw: bytes) -> str:
    return codecs.charmap_decode(raw, "strict", _KANA_TABLE)[0]


def _write_kana(text: str) -> bytes:
    return codecs.charmap_encode(text, "strict", _KANA_MAP)[0]


def _read_0208(raw: bytes) -> str:
    try:
        if max(raw) < _WINDOWS_ROW:
            return raw.translate(_HIGH).decode("euc_jp")
    except UnicodeDecodeError:
        pass
    return "".join(_read_vendor_pair(raw[at], raw[at + 1]) for at in range(0, len(raw), 2))


def _read_vendor_pair(row: int, cell: int) -> str:
    """A pair of JIS X 0208, or of its vendor rows (① ㈱), which only the Shift_JIS of Windows knows, and of which it
    has twenty behind the last row that there is (code page 50220).
    """
    lead = (row + 1 >> 1) + (0x70 if row < 0x5F else 0xB0)
    trail = cell + (0x7E if row % 2 == 0 else 0x20 if cell >= 0x60 else 0x1F)
    try:
        return bytes((lead, trail)).decode("cp932")
    except UnicodeDecodeError:
        return _user_defined(row, cell, first=0xE000)


def _read_0212(raw: bytes) -> str:
    return "".join(_read_0212_pair(raw[at], raw[at + 1]) for at in range(0, len(raw), 2))


def _read_0212_pair(row: int, cell: int) -> str:
    try:
        return bytes((0x8F, row | 0x80, cell | 0x80)).decode("euc_jp")
    except UnicodeDecodeError:
        return _user_defined(row, cell, first=0xE3AC)


def _user_defined(row: int, cell: int, *, first: int) -> str:
    """What a hospital drew itself (外字) in the last ten rows of a set: a character for private use, counted from
    `first`, the same that Windows makes of it in Shift_JIS. One character also for a pair that stands for nothing.
    """
    if not _USER_DEFINED_ROW <= row < _WINDOWS_ROW:
        return "\ufffd"
    return chr(first + (row - _USER_DEFINED_ROW) * _CELLS + cell - _FIRST_CELL)


def _write_0208(text: str) -> bytes:
    return _pairs(text, text.encode("euc_jp"), 2)


def _write_0212(text: str) -> bytes:
    return _pairs(text, text.encode("euc_jp").replace(b"\x8f", b""), 3)


def _pairs(text: str, high: bytes, width: int) -> bytes:
    """The 7-bit form of EUC pairs, when each character of `text` took `width` bytes of it."""
    if len(text.encode("euc_jp")) != width * len(text) or min(high) < 0xA1:
        raise UnicodeEncodeError("jis", text, 0, len(text), "not in this set")
    return high.translate(_LOW)


def _read_low_kana(raw: bytes) -> str:
    return _read_kana(raw.translate(_HIGH))


def _write_low_kana(text: str) -> bytes:
    return _write_kana(text).translate(_LOW)


LOW_KANA: Final = CodedSet(b"\x1b(I", _read_low_kana, _write_low_kana, in_g0=True)  # not of DICOM, yet sent
_JIS_0208: Final = CodedSet(b"\x1b$B", _read_0208, _write_0208, in_g0=True)
_JIS_0212: Final = CodedSet(b"\x1b$(D", _read_0212, _write_0212, in_g0=True)

# The registered sets by number. Source: PS3.3 section C.12.1.1.2, tables C.12-2 to C.12-5.
SETS: Final = {
    6: _coded(b"\x1b(B", "ascii"),
    13: CodedSet(b"\x1b)I", _read_kana, _write_kana),
    14: _coded(b"\x1b(J", "ascii"),
    58: _coded(b"\x1b$)A", "gb2312", wider="gbk"),
    87: _JIS_0208,
    100: _coded(b"\x1b-A", "latin_1", latin=True),
    101: _coded(b"\x1b-B", "iso8859_2", latin=True, wider="cp1250"),
    109: _coded(b"\x1b-C", "iso8859_3", latin=True),
    110: _coded(b"\x1b-D", "iso8859_4", latin=True),
    126: _coded(b"\x1b-F", "iso8859_7", wider="cp1253"),
    127: _coded(b"\x1b-G", "iso8859_6"),
    138: _coded(b"\x1b-H", "iso8859_8", wider="cp1255"),
    144: _coded(b"\x1b-L", "iso8859_5"),
    148: _coded(b"\x1b-M", "iso8859_9", latin=True, wider="cp1254"),
    149: _coded(b"\x1b$)C", "euc_kr", wider="cp949"),
    159: _JIS_0212,
    166: _coded(b"\x1b-T", "tis_620", wider="cp874"),
    203: _coded(b"\x1b-b", "iso8859_15", latin=True),
}
BY_ESCAPE: Final = {one.escape: one for one in (*SETS.values(), LOW_KANA)} | {
    b"\x1b$@": _JIS_0208,
    b"\x1b$(B": _JIS_0208,
    b"\x1b&@": _JIS_0208,  # says of the ESC $ B behind it that it is the edition of 1990
    b"\x1b(H": SETS[14],  # that of Swedish names, which old Japanese programs take for it
}
TO_ASCII: Final = frozenset({b"\x1b(B", b"\x1b(J", b"\x1b(H"})
EXTENSIONS_ONLY: Final = frozenset({58, 87, 149, 159})
JAPANESE: Final = frozenset({SETS[13], SETS[87], SETS[159]})
WHOLE: Final = {
    UTF8: CodedSet(b"", read_utf8, str.encode, whole=True),
    "GB18030": _whole("gb18030"),
    "GBK": _whole("gbk"),
    # Not terms of the standard, so never written: what an operator may say that a device really sends.
    "SHIFT_JIS": _whole("cp932"),
    "EUC-JP": _whole("euc_jp"),
}
_ALIASES: Final = {
    "UTF8": UTF8, "UTF-8": UTF8, "UNICODE": UTF8, "GB 18030": "GB18030", "SJIS": "SHIFT_JIS", "SHIFT-JIS": "SHIFT_JIS",
    "CP932": "SHIFT_JIS", "MS932": "SHIFT_JIS", "WINDOWS-31J": "SHIFT_JIS", "EUC_JP": "EUC-JP", "EUCJP": "EUC-JP",
    "LATIN1": "ISO_IR 100", "LATIN-1": "ISO_IR 100", "ISO-8859-1": "ISO_IR 100", "ISO8859-1": "ISO_IR 100",
    "ISO 2022 GBK": "GBK", "ISO 2022 58": "ISO 2022 IR 58", "ASCII": "ISO_IR 6",
}  # fmt: skip

# Characters of JIS X 0208 that Windows, and its Shift_JIS, has elsewhere in Unicode than ISO 2022 IR 87 is read to.
_JIS, _WINDOWS = "〜‖−¢£¬", "～∥－￠￡￢"
_TO_JIS: Final = str.maketrans(_WINDOWS, _JIS)
_TO_WINDOWS: Final = str.maketrans(_JIS, _WINDOWS)
_MORE_THAN_A_KANA: Final = re.compile("[｡-ﾟ]{2}|[^\0-\x7f｡-ﾟ]")
_KEPT: Final = re.compile("([\uf900-\ufaff\U0002f800-\U0002fa1f]+)")

_TERM: Final = re.compile(r"ISO[ _-]*(20\d\d)?[ _-]*IR[ _-]*(\d{1,3})")


def canonical_term(term: str) -> str | None:
    """The term as the standard spells it, None when it names no set that we know."""
    plain = " ".join(term.upper().split())
    plain = _ALIASES.get(plain, plain)
    if plain in WHOLE or not plain:
        return plain
    found = _TERM.fullmatch(plain)
    if found is None:
        return None
    number = int(found[2])
    if number == 192:
        return UTF8
    if number not in SETS or number == 14:
        return None
    return f"ISO 2022 IR {number}" if found[1] or number in EXTENSIONS_ONLY else f"ISO_IR {number}"


def read_elsewhere(text: str) -> tuple[str, ...]:
    """The text, and what it is where it was read from another coded form of JIS X 0208: 胸部〜 of ISO 2022 IR 87 is
    胸部～ of Shift_JIS, and ÔÏÀÞ is ﾔﾏﾀﾞ of a viewer that asks in Shift_JIS under the label of Latin-1. Each also with
    the marks of its kana and letters as characters of their own, as macOS writes them, and with none.
    """
    if text.isascii():
        return (text,)
    read = text, text.translate(_TO_JIS), text.translate(_TO_WINDOWS), _shifted(text)
    marked = (_marked(one, form) for one in read for form in ("NFC", "NFD"))
    return tuple(dict.fromkeys((*read, *marked)))


def _shifted(text: str) -> str:
    """The text of Shift_JIS that was read as Latin-1; as it is where it is none, or but a kana, for É* is not ﾉ*."""
    try:
        shifted = text.encode("latin-1").decode("cp932")
    except UnicodeError:
        return text
    return shifted if _MORE_THAN_A_KANA.search(shifted) else text


def _marked(text: str, form: Literal["NFC", "NFD"]) -> str:
    """The text in a normal form of Unicode, but for ideographs that it would replace by others."""
    return "".join(part if _KEPT.match(part) else normalize(form, part) for part in _KEPT.split(text))
