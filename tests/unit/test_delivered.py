"""What of an object goes to its receiver: as it is, padded, put into another syntax or transcoded, or nothing of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from support.raw_objects import element

from pacs_server.archive import deliver as delivering
from pacs_server.archive.deliver import AS_STORED, NotAcceptable, Sender, deliver
from pacs_server.dicom.elements import DEFLATED_LE, EXPLICIT_LE, IMPLICIT_LE, Buffer
from pacs_server.dicom.part10 import IMPLEMENTATION_VERSION
from pacs_server.errors import CopyUnknown, DecoderUnavailable, PacsError, Unconvertible, Undecodable
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association, Context

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG, JPEG_2000, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
EXPLICIT = element(0x00100020, "LO", b"P-1 ", 4)
IMPLICIT = element(0x00100020, "", b"P-1 ", 4)
ODD, PADDED = element(0x00204000, "LT", b"odd", 3), element(0x00204000, "LT", b"odd ", 4)
CUT = EXPLICIT + element(0x00204000, "LT", b"cut", 400)


@dataclass
class Receiver:
    """Who gets one object. `makes` is what each transcoding makes, or how it fails, by transfer syntax; `found` what
    the cache has.
    """

    monkeypatch: pytest.MonkeyPatch
    found: dict[str, Iterable[Buffer]] = field(default_factory=dict)
    makes: dict[str, bytes | PacsError] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    got: list[tuple[str, bytes]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    originators: list[object] = field(default_factory=list)

    def gets(
        self, data_set: bytes, stored: str, *accepted: str, preferred: str = "", implementation: str = "ANOTHER",
        size_bytes: int | None = None,
    ) -> int:  # fmt: skip
        self.monkeypatch.setattr(delivering, "store", self._store)
        self._syntaxes = accepted
        contexts = {
            number: Context(id=number, abstract_syntax=CT, transfer_syntax=one, as_scp=False, as_scu=True)
            for number, one in enumerate(accepted)
        }
        item = Deliverable(
            sop_class=CT, sop_uid="1.2.3", transfer_syntax=stored, digest="d", study_uid="1", series_uid="1.1",
            copies=(), size_bytes=len(data_set) if size_bytes is None else size_bytes,
        )  # fmt: skip
        association = SimpleNamespace(contexts=contexts, implementation=implementation)
        sender = SimpleNamespace(
            transcoder=SimpleNamespace(found=lambda _, syntax: self.found.get(syntax), made=self._made),
            ahead=SimpleNamespace(take=lambda _: data_set), meanwhile=lambda: None,
        )  # fmt: skip
        return deliver(
            item, cast(Association, association), cast(Sender, sender), originator=("ASKING", 7), preferred=preferred
        )

    def _store(
        self, _: Association, *, context_id: int, data_set: Iterable[Buffer], originator: object, **__: object
    ) -> int:
        self.begun.append(self._syntaxes[context_id])
        self.got.append((self._syntaxes[context_id], b"".join(map(bytes, data_set))))
        self.originators.append(originator)
        return 0x0000

    def _made(
        self, _: str, source: Callable[[], Iterable[Buffer]], stored: str, target: str, __: object
    ) -> Iterable[Buffer]:
        self.made.append(target)
        made = self.makes[target]
        if isinstance(made, PacsError):
            raise made
        return [made]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Receiver:
    return Receiver(monkeypatch)


def test_what_is_taken_as_it_is_goes_as_it_is(receiver: Receiver) -> None:
    assert receiver.gets(EXPLICIT, EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_LE) == 0x0000
    assert receiver.got == [(EXPLICIT_LE, EXPLICIT)]
    assert receiver.originators == [("ASKING", 7)]


@pytest.mark.parametrize(
    ("how", "data_set"),
    [({}, PADDED), ({"preferred": AS_STORED}, ODD), ({"implementation": IMPLEMENTATION_VERSION}, ODD)],
)
def test_what_is_of_odd_length_is_padded_for_who_does_not_give_it_back(
    receiver: Receiver, how: dict[str, str], data_set: bytes
) -> None:
    receiver.gets(ODD, EXPLICIT_LE, EXPLICIT_LE, **how)  # type: ignore[arg-type]
    assert receiver.got == [(EXPLICIT_LE, data_set)]


def test_what_is_of_odd_length_because_it_is_damaged_goes_as_it_is(receiver: Receiver) -> None:
    assert len(CUT) % 2
    receiver.gets(CUT, EXPLICIT_LE, EXPLICIT_LE)
    assert receiver.got == [(EXPLICIT_LE, CUT)]


def test_an_uncompressed_object_is_put_into_the_syntax_that_is_taken(receiver: Receiver) -> None:
    receiver.gets(EXPLICIT, EXPLICIT_LE, IMPLICIT_LE)
    assert receiver.got == [(IMPLICIT_LE, IMPLICIT)]
    assert receiver.made == []


@pytest.mark.parametrize(
    ("data_set", "stored", "size_bytes"), [(CUT, EXPLICIT_LE, 1 << 30), (b"no stream", DEFLATED_LE, 10)]
)
def test_nothing_is_sent_of_what_cannot_be_rewritten_to_its_end(
    receiver: Receiver, data_set: bytes, stored: str, size_bytes: int
) -> None:
    with pytest.raises(Undecodable):
        receiver.gets(data_set, stored, IMPLICIT_LE, size_bytes=size_bytes)
    assert receiver.begun == []


def test_what_was_transcoded_before_is_sent_and_made_anew_where_it_cannot_be_read(receiver: Receiver) -> None:
    receiver.found, receiver.makes = {EXPLICIT_LE: [b"found"]}, {EXPLICIT_LE: b"made"}
    receiver.gets(b"", JPEG, EXPLICIT_LE)
    assert receiver.got == [(EXPLICIT_LE, b"found")]

    def unreadable() -> Iterable[Buffer]:
        raise CopyUnknown("it is damaged")
        yield b""

    receiver.found = {EXPLICIT_LE: unreadable()}
    receiver.gets(b"", JPEG, EXPLICIT_LE)
    assert receiver.got[1:] == [(EXPLICIT_LE, b"made")]


def test_nothing_is_taken_from_the_cache_that_was_never_transcoded(receiver: Receiver) -> None:
    receiver.found = {IMPLICIT_LE: [b"found"]}
    receiver.gets(EXPLICIT, EXPLICIT_LE, IMPLICIT_LE)
    assert receiver.got == [(IMPLICIT_LE, IMPLICIT)]


def test_what_cannot_be_compressed_in_one_way_is_tried_in_the_next_and_each_reason_told(receiver: Receiver) -> None:
    receiver.makes = {JPEG_2000: Unconvertible("too many bits"), RLE: b"made"}
    receiver.gets(EXPLICIT, EXPLICIT_LE, RLE, JPEG_2000)
    assert receiver.got == [(RLE, b"made")]
    assert receiver.made == [JPEG_2000, RLE]
    receiver.makes[RLE] = Unconvertible("no pixels")
    with pytest.raises(NotAcceptable, match=r"^too many bits; no pixels, and the destination accepted no other"):
        receiver.gets(EXPLICIT, EXPLICIT_LE, RLE, JPEG_2000)


def test_damaged_pixels_are_tried_once_and_go_only_as_they_are(receiver: Receiver) -> None:
    receiver.makes = dict.fromkeys((RLE, JPEG_2000), Undecodable("the frame is damaged"))
    receiver.gets(EXPLICIT, EXPLICIT_LE, RLE, EXPLICIT_LE, preferred=RLE)
    assert receiver.got == [(EXPLICIT_LE, EXPLICIT)]
    receiver.made.clear()
    with pytest.raises(Undecodable, match="the frame is damaged"):
        receiver.gets(EXPLICIT, EXPLICIT_LE, RLE, JPEG_2000)
    assert receiver.made == [JPEG_2000]


def test_a_decoder_that_is_not_there_now_is_told_of(receiver: Receiver) -> None:
    receiver.makes = {EXPLICIT_LE: DecoderUnavailable("it does not start"), IMPLICIT_LE: b"made"}
    with pytest.raises(DecoderUnavailable):
        receiver.gets(b"", JPEG, EXPLICIT_LE, IMPLICIT_LE)


@pytest.mark.parametrize(
    ("accepted", "implementation", "syntax", "data_set"),
    [
        ((JPEG, IMPLICIT_LE), "ANOTHER", IMPLICIT_LE, IMPLICIT),
        ((JPEG, EXPLICIT_LE), "ANOTHER", EXPLICIT_LE, EXPLICIT),
        ((JPEG,), "ANOTHER", JPEG, EXPLICIT),
        ((JPEG, EXPLICIT_LE), IMPLEMENTATION_VERSION, JPEG, EXPLICIT),
    ],
)
def test_uncompressed_pixels_under_a_compressed_syntax_go_as_what_they_are_where_that_is_taken(
    receiver: Receiver, accepted: tuple[str, ...], implementation: str, syntax: str, data_set: bytes
) -> None:
    receiver.monkeypatch.setattr(delivering, "is_mislabelled", lambda *_: True)
    receiver.gets(EXPLICIT, JPEG, *accepted, implementation=implementation)
    assert receiver.got == [(syntax, data_set)]


def test_uncompressed_pixels_never_go_under_a_compressed_syntax_that_they_did_not_come_under(
    receiver: Receiver,
) -> None:
    receiver.monkeypatch.setattr(delivering, "is_mislabelled", lambda *_: True)
    receiver.makes = {RLE: Unconvertible("no pixels")}
    with pytest.raises(NotAcceptable, match="no pixels"):
        receiver.gets(EXPLICIT, JPEG, RLE)
    assert receiver.begun == []
