"""What a peer is told of an error: the status of a response, and its comment."""

import pytest

from pacs_server import errors
from pacs_server.archive.deliver import NotAcceptable
from pacs_server.dimse.status import comment_for, normalised_status_for, status_for


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidUid, 0x0117),
        (errors.ObjectMismatch, 0xA900),
        (errors.Undecodable, 0xC000),
        (errors.NotAsGiven, 0xC000),
        (errors.BadQuery, 0xA900),
        (errors.TooLarge, 0xA900),
        (errors.NoHome, 0xA700),
        (errors.VolumeFull, 0xA700),
        (errors.IndexUnreachable, 0xA700),
        (errors.CopyUnknown, 0xA702),
        (errors.DecoderUnavailable, 0xA702),
        (NotAcceptable, 0xA702),
        (errors.Refused, 0x0110),
    ],
)
def test_each_error_is_told_by_the_status_that_says_who_can_do_something(
    error: type[errors.PacsError], status: int
) -> None:
    assert status_for(error("why")) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.TooLarge, 0x0213),
        (errors.MissingAttribute, 0x0120),
        (errors.BadQuery, 0x0115),
        (errors.IndexUnavailable, 0x0110),
    ],
)
def test_an_error_of_a_normalised_service_is_told_by_a_status_of_those(
    error: type[errors.PacsError], status: int
) -> None:
    assert normalised_status_for(error("why")) == status


@pytest.mark.parametrize(
    ("why", "comment"),
    [
        (
            'the index at postgresql://pacs@a:5432,b:5432/pacs failed: connection to server at "a", port 5432 failed: '
            'FATAL:  too many connections for role "pacs": let it have more there',
            'the index failed: FATAL:  too many connections for role "pacs": let it have more there',
        ),
        (
            "the index at sqlite:////srv/index.db failed: database or disk is full: make room on the disk",
            "the index failed: database or disk is full: make room on the disk",
        ),
        (
            "the identifier is damaged: it ends inside an element",
            "the identifier is damaged: it ends inside an element",
        ),
        ("", ""),
    ],
)
def test_a_peer_is_told_what_failed_and_not_where_our_database_is(why: str, comment: str) -> None:
    assert comment_for(why) == comment
