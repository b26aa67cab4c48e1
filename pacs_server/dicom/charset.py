"""Text from bytes and back by Specific Character Set (0008,0005), tolerant of what devices do in the field.

Reading never raises and says by flags where it had to guess; writing never puts a `?` for what does not fit.
In JIS X 0201 the bytes 5C and 7E are read as backslash and tilde, not ¥ and ‾: the backslash delimits values whatever
the set (PS3.5 section 6.1.2.5.3), and so every ASCII text comes back as it was. A text with ¥ or ‾ goes out as UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final

from pacs_server.dicom.coded_sets import (
    BY_ESCAPE,
    EXTENSIONS_ONLY,
    JAPANESE,
    LOW_KANA,
    SETS,
    TO_ASCII,
    WHOLE,
    CodedSet,
    canonical_term,
)
from pacs_server.dicom.guessing import guess, is_rather_utf8, read_strictly

_DEFAULT_REPLY: Final = ("ISO_IR 100",)  # what a viewer takes for granted where no set is named
_MAX_TERMS: Final = 16
_MAX_TERM_CHARACTERS: Final = 64
_SHOWN_CHARACTERS: Final = 24
_MAX_KEPT_CHARACTERS: Final = 256

_NO_FLAGS: Final[frozenset[str]] = frozenset()
_WRONG: Final = frozenset({"charset-wrong"})
_ASSUMED: Final = frozenset({"charset-assumed"})

_ESC: Final = b"\x1b"
_ESCAPE: Final = re.compile(rb"(\x1b(?:\$[@B]|&@|\$\([BD]|\([BHIJ]|\)I|\$\)[AC]|-[ABCDFGHLMTb]))")
# Kana of seven bits between the shift functions of JIS X 0202, as old devices send them.
_SHIFTED_OUT: Final = re.compile(rb"\x0e([ -_]+)\x0f")
_PAIRS: Final = re.compile(rb"((?:[\x21-\x92][\x21-\x7e])+)")  # behind 7E: what a hospital drew itself, by Windows
_KANA: Final = re.compile(rb"([\x21-\x5f]+)")
_RESETS: Final = {
    "PN": re.compile(rb"([\\^=\t\n\f\r])"),
    "LO": re.compile(rb"([\\\t\n\f\r])"),
    "LT": re.compile(rb"([\t\n\f\r])"),
}
_COMPONENTS: Final = re.compile(r"([\\^=\t\n\f\r])")
_DELIMITERS: Final = frozenset({b"\\", b"^", b"=", b"\t", b"\n", b"\f", b"\r"})
_SINGLE_VALUED: Final = frozenset({"LT", "ST", "UT", "UR"})

_LOOKS_PAIRED: Final = re.compile(rb"[\x81-\xfe]{2}")
_CONTROLS: Final = re.compile("[\x80-\x9f]")
_REMOVED: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text without NULs and lone surrogates, padding kept; `flags` say what was wrong with its character set."""

    text: str
    flags: frozenset[str]


def declared(raw: bytes) -> tuple[str, ...]:
    """The terms of a raw (0008,0005), padding removed; at most the first 16, each cut at 64 characters."""
    text = raw.decode("latin-1").strip(" \0")
    if not text:
        return ()
    return tuple(term.strip(" \0")[:_MAX_TERM_CHARACTERS] for term in text.split("\\", _MAX_TERMS)[:_MAX_TERMS])


def is_known_charset(text: str) -> bool:
    """Whether every term of `text` (joined by backslashes) is one that we read, spelled as in the standard.

    `SHIFT_JIS` and `EUC-JP` count too: they can be assumed of a peer that says nothing, but are never written.
    """
    return all(canonical_term(term) == term for term in text.split("\\"))


@dataclass(frozen=True, slots=True)
class _Repertoire:
    """What the terms of one (0008,0005) say: either one set for all bytes, or sets called by escape sequences."""

    terms: tuple[str, ...]
    first: CodedSet | None  # what bytes from 80 up mean at the start; None: the default repertoire, which has none
    sets: tuple[CodedSet, ...]
    flags: frozenset[str]

    @property
    def is_japanese(self) -> bool:
        """Whether one of the sets is of Japan alone."""
        return not JAPANESE.isdisjoint(self.sets)


@lru_cache(maxsize=256)
def _repertoire(terms: tuple[str, ...]) -> _Repertoire:
    flags: set[str] = set()
    spelled: list[str] = []
    for term in terms[:_MAX_TERMS]:
        canonical = canonical_term(term)
        if canonical is None:
            shown = term[:_SHOWN_CHARACTERS].encode("unicode_escape").decode("ascii")
            flags.add(f"charset-unknown:{shown}")
            continue
        if canonical != term.strip():
            flags.add("charset-misspelt")
        spelled.append(canonical)
    if spelled and spelled[0] in WHOLE:
        whole = WHOLE[spelled[0]]
        return _Repertoire((spelled[0],), whole, (whole,), frozenset(flags))
    spelled = [term for term in spelled if term not in WHOLE]
    sets = tuple(SETS[int(term.rpartition(" ")[2])] for term in spelled if term)
    first = sets[0] if sets and spelled[0] and not sets[0].in_g0 and sets[0] is not SETS[6] else None
    return _Repertoire(tuple(spelled), first, sets, frozenset(flags))


def decode(raw: bytes, specific_character_set: Sequence[str], *, vr: str, assumed: str = "") -> Decoded:
    """Decode one value by the terms of (0008,0005), else by the `assumed` ones (joined by backslashes), else guess.

    Never raises. Flags: `charset-assumed` (nothing was declared), `charset-wrong` (the bytes are not what was
    declared), `charset-misspelt` and `charset-unknown:<term>`. Decode before splitting at delimiters: their bytes occur
    inside characters of Shift_JIS, GBK and ISO 2022.

    Source: PS3.5 section 6.1 and 6.2.1, PS3.3 section C.12.1.1.2.
    """
    if b"\x0e" in raw:
        raw = _SHIFTED_OUT.sub(b"\x1b(I\\1\x1b(J", raw)
    if raw.isascii() and _ESC not in raw:
        return Decoded(raw.decode("ascii").replace("\0", ""), _NO_FLAGS)
    repertoire = _repertoire(tuple(specific_character_set))
    text, flags = _read_declared(raw, repertoire, vr, assumed)
    return Decoded(_REMOVED.sub("", text), flags | repertoire.flags)


def _read_declared(raw: bytes, repertoire: _Repertoire, vr: str, assumed: str) -> tuple[str, frozenset[str]]:
    first = repertoire.first
    flags = _WRONG if repertoire.terms else _ASSUMED
    is_extended = _ESCAPE.search(raw) is not None
    if is_extended and (raw.isascii() or first is None or not first.whole or _read_all(raw, first) is None):
        if repertoire.terms:
            return _read_extended(raw, repertoire, vr)
        return _read_extended(raw, _repertoire(declared(assumed.encode())), vr)[0], _ASSUMED
    text = _read_all(raw, first)
    presumed = _repertoire(declared(assumed.encode()))
    other = presumed.first or next(_uncalled(presumed), None)
    # A Latin label on what looks like pairs of bytes is doubted where something else is assumed of the sender.
    is_doubtful = first is not None and first.latin and other is not None and _LOOKS_PAIRED.search(raw) is not None
    if text is not None and not is_doubtful:
        return text, _NO_FLAGS
    if other is not None and not (is_doubtful and other.latin):
        assumed_text = _read_all(raw, other)
        if assumed_text is not None:
            return assumed_text, flags
    if text is not None:
        return text, _NO_FLAGS
    is_japanese = repertoire.is_japanese or presumed.is_japanese
    guessed = _read_uncalled(raw, repertoire) or _read_uncalled(raw, presumed) or guess(raw, is_japanese=is_japanese)
    return guessed, flags


def _uncalled(repertoire: _Repertoire) -> Iterator[CodedSet]:
    """The sets that an escape sequence calls for bytes from 80 up, which some devices leave out."""
    return (one for one in repertoire.sets if not one.in_g0 and one is not SETS[6])


def _read_uncalled(raw: bytes, repertoire: _Repertoire) -> str | None:
    """Bytes of a set that was declared, without the escape sequence that calls it: pydicom writes GB 2312 so."""
    in_utf8 = read_strictly(raw, "utf-8")
    if max(in_utf8 or "\0") >= "\u0800":  # two bytes of UTF-8 may be one character of the set, three not
        return None
    uncalled = list(_uncalled(repertoire))
    readings = [_read_all(raw, one) for one in uncalled]
    if in_utf8 is None:  # the wider set would read many letters of UTF-8
        readings += [_read_wider(raw, one) for one in uncalled]
    return next((text for text in readings if text is not None), None)


def _read_all(raw: bytes, one: CodedSet | None) -> str | None:
    """All bytes by one set; None when they cannot be meant so.

    No text of a single-byte set has C1 controls, but Shift_JIS and UTF-8 misread as one of them have.
    """
    if raw.isascii():
        return raw.decode("ascii")
    try:
        text = None if one is None else one.read(raw)
    except UnicodeDecodeError:
        return None
    if one is None or text is None or one.whole:
        return text
    misread = _CONTROLS.search(text) is not None or (one.latin and is_rather_utf8(raw, text))
    return None if misread else text


def _read_extended(raw: bytes, repertoire: _Repertoire, vr: str) -> tuple[str, frozenset[str]]:
    """Bytes with escape sequences. At a delimiter or line end the first set is valid again.

    Source: PS3.5 section 6.1.2.5.3.
    """
    resets = _RESETS["LT" if vr in _SINGLE_VALUED else "PN" if vr == "PN" else "LO"]
    known = {one.escape for one in repertoire.sets} | TO_ASCII
    parts: list[str] = []
    wrong = False
    g0: CodedSet | None = None
    first = repertoire.first
    if first is not None and first.latin and not _called(raw).isdisjoint(JAPANESE.difference(repertoire.sets)):
        first = None  # no label of who sends Japanese under it
    high = first
    for piece in _ESCAPE.split(raw):
        called = BY_ESCAPE.get(piece)
        if called is not None:
            wrong |= called.escape not in known
            g0, high = (called, high) if called.in_g0 else (None, high) if piece in TO_ASCII else (g0, called)
            continue
        for token in (_KANA if g0 is LOW_KANA else _PAIRS if g0 else resets).split(piece):
            text = _read_token(token, g0, high)
            wrong |= text is None or "\ufffd" in text
            if text is None:
                text = _read_wider(token, high) or guess(token, is_japanese=repertoire.is_japanese)
            parts.append(text)
            if g0 is None and token in _DELIMITERS:
                high = first or high
    return "".join(parts), _WRONG if wrong else _NO_FLAGS


def _called(raw: bytes) -> set[CodedSet]:
    return {BY_ESCAPE[sequence] for sequence in _ESCAPE.findall(raw)}


def _read_token(token: bytes, g0: CodedSet | None, high: CodedSet | None) -> str | None:
    try:
        if g0 is not None and (_KANA if g0 is LOW_KANA else _PAIRS).fullmatch(token):
            return g0.read(token)
        return token.decode("ascii") if token.isascii() else high.read(token) if high is not None else None
    except UnicodeDecodeError:
        return None


def _read_wider(token: bytes, called: CodedSet | None) -> str | None:
    """The text by the wider set that devices send under the name of this one; None where there is no such set, or these
    are no bytes of it.
    """
    return read_strictly(token, called.wider) if called is not None and called.wider else None


@lru_cache(maxsize=256)
def reply_charset(preferred: tuple[str, ...]) -> ReplyCharset:
    """The set in which an answer is tried first: `preferred`, or Latin-1 when that names none we can write."""
    return ReplyCharset(preferred)


def _in_jis(text: str) -> bytes | None:
    """A text in ASCII and JIS X 0208; None when it has anything else, as half-width kana or an escape of its own."""
    if "\x1b" in text:
        return None
    try:
        raw = text.encode("iso2022_jp")
    except UnicodeEncodeError:
        return None
    return raw if SETS[14].escape not in raw and raw.decode("iso2022_jp") == text else None


@lru_cache(maxsize=8192)
def _written(charset: ReplyCharset, vr: str, text: str) -> bytes | None:
    """The names of a hospital come again in list after list. In kanji and kana by ISO 2022 a row takes 8 times as long
    to encode without this.
    """
    return charset.write(vr, text)


def _as_labelled(preferred: Sequence[str]) -> tuple[str, ...]:
    """The terms as the standard has them: a set alone by its name without code extensions, behind an empty value where
    it has no such name, and none empty but the first.

    Source: PS3.3 section C.12.1.1.2.
    """
    first, *others = [canonical_term(term) or term for term in preferred] or [""]
    others = [term for term in others if term]
    if not others and (number := first.removeprefix("ISO 2022 IR ")) != first:
        return ("", first) if int(number) in EXTENSIONS_ONLY else (f"ISO_IR {number}",)
    return ("" if others and first in ("ISO_IR 6", "ISO 2022 IR 6") else first, *others)


class ReplyCharset:
    """Writes values in one character set; `terms` is its value of (0008,0005)."""

    def __init__(self, preferred: Sequence[str]) -> None:
        repertoire = _repertoire(_as_labelled(preferred))
        unknown = any(flag.startswith("charset-unknown") for flag in repertoire.flags)
        if unknown or set(repertoire.terms) <= {"", "ISO_IR 6", "ISO 2022 IR 6", "SHIFT_JIS", "EUC-JP"}:
            repertoire = _repertoire(_DEFAULT_REPLY)
        terms = list(repertoire.terms)
        if repertoire.first is None and terms[0] not in ("", "ISO 2022 IR 6"):
            terms.insert(0, "")  # a set of pairs cannot be the first value (PS3.3 section C.12.1.1.2)
        extended = len(terms) > 1
        self._terms = tuple(term.replace("ISO_IR", "ISO 2022 IR") if extended else term for term in terms)
        self._sets = repertoire.sets
        self._first = repertoire.first
        # Python's iso2022_jp writes kanji and kana in C, a twentieth of the time; it returns to ASCII before each
        # delimiter and at the end, where JIS X 0201 is returned to if that is the first set.
        self._is_jis = set(self._sets) - {SETS[6], self._first} == {SETS[87]} and self._first in (None, SETS[13])
        self._to_first = SETS[14].escape if self._first is SETS[13] else SETS[6].escape
        self.terms = "\\".join(self._terms)

    def encode(self, vr: str, text: str) -> bytes | None:
        """The bytes of a text, None when they would not be read as the same text again."""
        if text.isascii() and "\x1b" not in text:
            return text.encode("ascii")
        return _written(self, vr, text) if len(text) <= _MAX_KEPT_CHARACTERS else self.write(vr, text)

    def write(self, vr: str, text: str) -> bytes | None:
        """The same without a look at what was written before."""
        if self._is_jis and (raw := _in_jis(text)) is not None:
            return raw.replace(SETS[6].escape, self._to_first)
        try:
            alone = self._first is not None and len(self._sets) == 1
            raw = self._first.write(text) if self._first is not None and alone else b"".join(self._extended(text))
        except UnicodeEncodeError:
            return None
        read = decode(raw, self._terms, vr=vr)
        return raw if read.text == text and not read.flags else None

    def _extended(self, text: str) -> Iterator[bytes]:
        """Pieces with escape sequences; each component stands by itself, as the reset at delimiters wants it."""
        for component in _COMPONENTS.split(text):
            high = self._first
            for chosen, characters in groupby(component, self._set_of):
                run = "".join(characters)
                if chosen is None:
                    yield run.encode("ascii")
                elif chosen.in_g0:
                    yield chosen.escape + chosen.write(run) + self._to_first
                else:
                    yield (b"" if chosen is high else chosen.escape) + chosen.write(run)
                    high = chosen
            if self._first is not None and high is not self._first:
                yield self._first.escape  # before each delimiter and at the end (PS3.5 section 6.1.2.5.3)

    def _set_of(self, character: str) -> CodedSet | None:
        if character.isascii():
            return None
        for one in self._sets:
            try:
                one.write(character)
            except UnicodeEncodeError:
                continue
            return one
        raise UnicodeEncodeError("dicom", character, 0, 1, "in none of the sets")
