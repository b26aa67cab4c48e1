"""The tables of docs/conformance.md, made from the tables in the code: `./scripts/make_conformance` writes them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from pydicom.uid import UID
from pynetdicom import sop_class
from pynetdicom.presentation import AllStoragePresentationContexts

from pacs_server.dicom.attributes import ATTRIBUTES, SEQUENCES, Level
from pacs_server.dicom.coded_sets import SETS, WHOLE
from pacs_server.dicom.elements import EXPLICIT_LE, NATIVE_SYNTAXES
from pacs_server.dicom.pixels.transcoding import DECODABLE, ENCODABLE
from pacs_server.dicom.reencode import can_reencode
from pacs_server.dimse.services import SERVICES
from pacs_server.dimse.status import Status
from pacs_server.index.site.peers import Right
from pacs_server.net.negotiate import READABLE_SYNTAXES
from pacs_server.settings import NetworkLimits

STATEMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "conformance.md"
_TABLE: Final = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

_MEANINGS: Final = {
    Status.SUCCESS: "stored and findable; every answer or object was sent; the transaction is recorded",
    Status.PROCESSING_FAILURE: "the request cannot be worked on as it is",
    Status.NO_SUCH_INSTANCE: "N-ACTION, N-EVENT-REPORT: not the well-known instance of Storage Commitment",
    Status.NO_SUCH_EVENT: "N-EVENT-REPORT: the event type is neither 1 nor 2",
    Status.INVALID_ARGUMENT: "N-ACTION, N-EVENT-REPORT: a damaged data set, what is no UID, an unknown transaction",
    Status.NO_SUCH_CLASS: "N-ACTION, N-EVENT-REPORT: not the SOP class of Storage Commitment",
    Status.MISSING_ATTRIBUTE: "N-ACTION, N-EVENT-REPORT: no Transaction UID, no object, or an object without its UIDs",
    Status.SOP_CLASS_NOT_SUPPORTED: "C-ECHO: not the SOP class of the presentation context",
    Status.NO_SUCH_ACTION: "N-ACTION: the action type is not 1",
    Status.DUPLICATE_TRANSACTION: "N-ACTION: this peer used the Transaction UID for other objects",
    Status.RESOURCE_LIMITATION: "N-ACTION, N-EVENT-REPORT: more objects in one transaction than are worked on at once",
    Status.INVALID_SOP_INSTANCE: "the SOP Instance UID is empty or not a UID",
    Status.UNRECOGNISED_OPERATION: "this operation is not that of the presentation context",
    Status.OUT_OF_RESOURCES: "too few volumes, no index, or too many answers: try later, or narrow the query",
    Status.CANNOT_PERFORM_SUB_OPERATIONS: "no object could be sent; the list of failed UIDs names them",
    Status.MOVE_DESTINATION_UNKNOWN: "the destination is unknown, not allowed or this archive; the Error Comment tells",
    Status.DATA_SET_MISMATCH: "data set and command, or identifier and model, do not agree; the unique key is missing",
    Status.CANNOT_UNDERSTAND: "the data set cannot be read",
    Status.SUB_OPERATIONS_WITH_FAILURES: "some objects were not sent (failed UIDs are listed), or taken with warnings",
    Status.CANCEL: "the peer cancelled",
    Status.PENDING: "an answer, or the counts so far",
    Status.PENDING_OPTIONAL_KEYS: "an answer; a key with a value could not be matched",
}


def services() -> Iterable[tuple[str, ...]]:
    """The SOP classes of ours besides storage."""
    yield "SOP class", "UID", "operation", "right"
    for uid, service in SERVICES.items():
        operation = "N-ACTION, N-EVENT-REPORT" if service.right is Right.COMMIT else f"C-{service.right.value.upper()}"
        yield UID(uid).name, uid, operation, f"`{service.right.value}`"


def storage_classes() -> Iterable[tuple[str, ...]]:
    """The storage SOP classes that are known by name."""
    yield "SOP class", "UID"
    # A class that is too new for pydicom's registry has its keyword for a name.
    keywords = {str(uid): keyword for keyword, uid in vars(sop_class).items() if isinstance(uid, sop_class.SOPClass)}
    uids = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    names = {uid: UID(uid).name if UID(uid).name != uid else keywords[uid] for uid in uids}
    for uid, name in sorted(names.items(), key=lambda one: (one[1], one[0])):
        yield name, uid


def transfer_syntaxes() -> Iterable[tuple[str, ...]]:
    """The transfer syntaxes in which objects are taken and given."""
    yield "transfer syntax", "UID"
    for uid in sorted(
        (UID(syntax) for syntax in READABLE_SYNTAXES), key=lambda one: [int(part) for part in one.split(".")]
    ):
        yield uid.name, str(uid)


def transcoding() -> Iterable[tuple[str, ...]]:
    """The syntaxes out of which objects are transcoded, and whether into them too."""
    yield "out of", "UID", "into"
    for uid in (*sorted(NATIVE_SYNTAXES), *DECODABLE):
        yield UID(uid).name, uid, "yes" if uid in ENCODABLE or can_reencode(EXPLICIT_LE, uid) else "no"


def keys(level: Level) -> Callable[[], Iterable[tuple[str, ...]]]:
    """The keys of one level: each is matched as it says, and is a return key."""

    def rows() -> Iterable[tuple[str, ...]]:
        yield "attribute", "tag", "VR", "matching"
        for one in sorted((one for one in ATTRIBUTES if one.level == level), key=lambda one: one.tag):
            yield one.keyword, _tag(one.tag), one.vr, one.matching.value
        for sequence in (sequence for sequence in SEQUENCES if sequence.level == level):
            yield sequence.keyword, _tag(sequence.tag), "SQ", "sequence: one item fits all that is asked of it"
            for field in sequence.fields:
                yield f"> {field.keyword}", _tag(field.tag), field.vr, field.matching.value

    return rows


def character_sets() -> Iterable[tuple[str, ...]]:
    """The defined terms of Specific Character Set that are read and written."""
    yield "defined terms", "of"
    for number in sorted(set(SETS) - {14}):
        alone = "" if number in (58, 87, 149, 159) else f"`ISO_IR {number}`, "
        yield f"{alone}`ISO 2022 IR {number}`", "PS3.3 tables C.12-2 to C.12-4"
    for term in WHOLE:
        is_standard = term not in ("SHIFT_JIS", "EUC-JP")
        yield (
            f"`{term}`",
            "PS3.3 table C.12-5" if is_standard else "no term of the standard: read where assumed, not written",
        )


def statuses() -> Iterable[tuple[str, ...]]:
    """The statuses that are answered."""
    yield "status", "meaning"
    for status in sorted(Status):
        yield f"`{status:04X}`", _MEANINGS[status]


def limits() -> Iterable[tuple[str, ...]]:
    """The limits of an association."""
    yield "setting", "default"
    defaults = NetworkLimits()
    for name in NetworkLimits.__dataclass_fields__:
        yield f"`network.{name}`", f"{getattr(defaults, name):,}"


TABLES: Final[dict[str, Callable[[], Iterable[tuple[str, ...]]]]] = {
    "services": services,
    "storage-classes": storage_classes,
    "transfer-syntaxes": transfer_syntaxes,
    "transcoding": transcoding,
    **{f"keys-{level.name.lower()}": keys(level) for level in Level},
    "character-sets": character_sets,
    "statuses": statuses,
    "limits": limits,
}


def filled(text: str) -> str:
    """The statement with every table made anew. Raises: KeyError for a table that nobody makes."""
    return _TABLE.sub(lambda found: f"{found[1]}{_written(TABLES[found[2]]())}{found[3]}", text)


def _written(rows: Iterable[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _tag(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def main() -> int:
    """Write the tables into the statement; with --check only tell whether it is up to date."""
    text = STATEMENT.read_text(encoding="utf-8")
    made = filled(text)
    if "--check" in sys.argv[1:]:
        if made != text:
            print(f"{STATEMENT.name} is not what the code does: run ./scripts/make_conformance", file=sys.stderr)
        return 0 if made == text else 1
    STATEMENT.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
