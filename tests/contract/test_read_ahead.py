"""What is read ahead is given out once, and let go when nobody takes it."""

from collections import deque
from pathlib import Path

import pytest
from support.samples import tiny
from support.site import Site

from pacs_server.archive.deliver import ReadAhead
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.index.engine import Index
from pacs_server.index.queries.search import Deliverable, Search


@pytest.fixture
def waiting(index: Index, tmp_path: Path) -> tuple[Site, deque[Deliverable]]:
    """A site, and sixty objects of it that wait to be sent."""
    site = Site(index, tmp_path)
    samples = site.store(*(tiny(number) for number in range(60)), only="a", need=1)
    request = RetrieveRequest(level=Level.STUDY, study_uids=(samples[0].study_uid,))
    return site, deque(Search(index).deliverables(request))


def test_what_was_read_and_is_sent_from_elsewhere_is_let_go(waiting: tuple[Site, deque[Deliverable]]) -> None:
    site, items = waiting
    ahead = ReadAhead(site.placement, items)
    taken, most = 0, 0
    while items:
        item = items.popleft()
        if len(items) % 2:
            taken += ahead.take(item) is not None
        most = max(most, len(ahead._read))
    ahead.close()
    assert taken > 20
    assert most <= 32
