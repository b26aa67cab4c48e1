"""What a peer is told in the comment of a response."""

import pytest

from pacs_server.dimse.status import comment_for


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
