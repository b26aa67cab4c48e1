"""What is proposed to a receiver, and in which transfer syntax an object goes to it, by what it is stored in and what
was accepted.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from pacs_server.archive.deliver import AS_STORED, NotAcceptable, contexts_for, usable_contexts
from pacs_server.dicom.elements import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.pixels.transcoding import ENCODABLE, UNCOMPRESSED
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association, Context

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
JPEG, JPEG_2000, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
VIDEO = "1.2.840.10008.1.2.4.102"
BOTH, LOSSLESS = (EXPLICIT_LE, IMPLICIT_LE), tuple(ENCODABLE)


def item(transfer_syntax: str, sop_class: str = CT) -> Deliverable:
    return Deliverable(
        sop_class=sop_class, sop_uid="1.2.3", transfer_syntax=transfer_syntax, size_bytes=2, digest="0" * 64,
        study_uid="1", series_uid="1.1", copies=(),
    )  # fmt: skip


def accepted(*syntaxes: str, sop_class: str = CT, as_scu: bool = True) -> Association:
    contexts = {
        number: Context(id=number, abstract_syntax=sop_class, transfer_syntax=one, as_scp=not as_scu, as_scu=as_scu)
        for number, one in enumerate(syntaxes)
    }
    return cast(Association, SimpleNamespace(contexts=contexts))


@pytest.mark.parametrize(
    ("stored", "preferred", "taken", "order"),
    [
        (EXPLICIT_LE, "", (IMPLICIT_LE, EXPLICIT_LE), (EXPLICIT_LE, IMPLICIT_LE)),
        (IMPLICIT_LE, "", (EXPLICIT_LE, IMPLICIT_LE), (IMPLICIT_LE, EXPLICIT_LE)),
        (EXPLICIT_BE, "", (RLE, IMPLICIT_LE, EXPLICIT_LE), (EXPLICIT_LE, IMPLICIT_LE, RLE)),
        (EXPLICIT_LE, "", (EXPLICIT_BE, IMPLICIT_LE), (IMPLICIT_LE,)),
        (EXPLICIT_LE, JPEG_2000, (EXPLICIT_LE, JPEG_2000), (JPEG_2000, EXPLICIT_LE)),
        (JPEG, JPEG_2000, (EXPLICIT_LE, JPEG_2000, JPEG), (JPEG, JPEG_2000, EXPLICIT_LE)),
        (JPEG, "", (RLE, DEFLATED_LE, IMPLICIT_LE, EXPLICIT_LE), (EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE, RLE)),
        (VIDEO, "", (EXPLICIT_LE, VIDEO), (VIDEO,)),
        (EXPLICIT_LE, AS_STORED, (IMPLICIT_LE, EXPLICIT_LE), (EXPLICIT_LE,)),
    ],
)
def test_what_was_accepted_is_tried_in_the_order_that_changes_least(
    stored: str, preferred: str, taken: Sequence[str], order: Sequence[str]
) -> None:
    found = usable_contexts(item(stored), accepted(*taken), preferred)
    assert tuple(one.transfer_syntax for one in found) == order


@pytest.mark.parametrize(
    ("stored", "preferred", "association", "why"),
    [
        (EXPLICIT_LE, "", accepted(EXPLICIT_LE, sop_class=MR), "accepted no context for CT Image Storage"),
        (EXPLICIT_LE, "", accepted(EXPLICIT_LE, as_scu=False), "accepted no context for CT Image Storage"),
        (VIDEO, "", accepted(EXPLICIT_LE), "it fits no transfer syntax that the destination took"),
        (EXPLICIT_LE, AS_STORED, accepted(IMPLICIT_LE), "it fits no transfer syntax that the destination took"),
    ],
)
def test_what_can_go_in_nothing_that_was_accepted_is_told_apart(
    stored: str, preferred: str, association: Association, why: str
) -> None:
    with pytest.raises(NotAcceptable, match=why):
        usable_contexts(item(stored), association, preferred)


@pytest.mark.parametrize(
    ("stored", "preferred", "proposed"),
    [
        (EXPLICIT_LE, "", {EXPLICIT_LE: (EXPLICIT_LE,), "uncompressed": BOTH, "compressed": LOSSLESS}),
        (JPEG, "", {JPEG: (JPEG,), "uncompressed": BOTH, "compressed": LOSSLESS}),
        (
            EXPLICIT_LE,
            RLE,
            {"preferred": (RLE,), EXPLICIT_LE: (EXPLICIT_LE,), "uncompressed": BOTH, "compressed": LOSSLESS},
        ),
        (VIDEO, RLE, {VIDEO: (VIDEO,)}),
        (JPEG, UNCOMPRESSED, {"uncompressed": BOTH}),
        (EXPLICIT_LE, UNCOMPRESSED, {"uncompressed": BOTH}),
        (IMPLICIT_LE, UNCOMPRESSED, {"uncompressed": BOTH}),
        (VIDEO, UNCOMPRESSED, {VIDEO: (VIDEO,)}),
        (JPEG, AS_STORED, {JPEG: (JPEG,)}),
    ],
)
def test_what_is_proposed_for_an_object(stored: str, preferred: str, proposed: dict[str, tuple[str, ...]]) -> None:
    assert contexts_for([item(stored)], preferred) == {(CT, what): syntaxes for what, syntaxes in proposed.items()}
