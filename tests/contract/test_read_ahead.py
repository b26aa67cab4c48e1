"""What is read ahead is given out once, and let go when nobody takes it."""

import errno
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from support.samples import tiny
from support.site import Site

from pacs_server.archive.read_ahead import ReadAhead
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.index.engine import Index
from pacs_server.index.queries.search import Deliverable, Search
from pacs_server.storage.condition import Status


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


def test_what_is_read_ahead_is_what_was_received_or_nothing(index: Index, tmp_path: Path) -> None:
    site = Site(index, tmp_path)
    site.take_in(6, need=1, only="a")
    flipped, cut, missing = (site.file(number, "a") for number in (2, 3, 4))
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"?")
    cut.write_bytes(b"DICM")
    missing.unlink()
    request = RetrieveRequest(level=Level.STUDY, study_uids=(site.samples[0].study_uid,))
    items = deque(Search(index).deliverables(request))
    ahead = ReadAhead(site.placement, items)
    read = {}
    while items:
        item = items.popleft()
        data_set = ahead.take(item)
        read[item.sop_uid] = None if data_set is None else bytes(data_set)
    ahead.close()
    whole = {one.sop_uid: one.data_set for one in (site.samples[1], site.samples[5])}
    nothing = dict.fromkeys(site.samples[number].sop_uid for number in (0, 2, 3, 4))  # the first one is sent meanwhile
    assert read == whole | nothing


def test_what_lies_on_another_volume_is_read_after_what_lies_on_one(index: Index, tmp_path: Path) -> None:
    site = Site(index, tmp_path)
    samples = [
        *site.store(*(tiny(number) for number in range(3)), only="a", need=1),
        *site.store(*(tiny(number) for number in range(3, 6)), only="b", need=1),
    ]
    request = RetrieveRequest(level=Level.STUDY, study_uids=(samples[0].study_uid,))
    items = deque(Search(index).deliverables(request))
    ahead = ReadAhead(site.placement, items)
    read = [(item.sop_uid, ahead.take(item)) for item in iter(lambda: items.popleft() if items else None, None)]
    ahead.close()
    expected = {one.sop_uid: one.data_set for one in samples[1:]}
    assert {uid: bytes(data_set) for uid, data_set in read if data_set is not None} == expected


def test_what_is_read_from_a_volume_that_is_seen_to_hang_is_waited_for_only_where_no_other_one_has_it(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(index, tmp_path)
    samples = site.store(tiny(1), tiny(2), need=2)
    request = RetrieveRequest(level=Level.STUDY, study_uids=(samples[0].study_uid,))
    items, hangs, ends = deque(Search(index).deliverables(request)), threading.Event(), threading.Event()
    placement, volume = site.placement(), site.volumes["a"]
    medium = volume.medium()

    def hang(*_: object, **__: object) -> None:
        hangs.set()
        ends.wait()
        raise OSError(errno.EIO, "it ended")

    monkeypatch.setattr(medium, "open_file", hang)
    ahead = ReadAhead(lambda: placement, items)
    ahead.take(items.popleft())
    assert hangs.wait(30)
    monkeypatch.setattr(volume, "_state", replace(volume.state, status=Status.SUSPECT, is_readable=False))
    assert ahead._patience_s(items[0], volume) == 0
    assert ahead.take(items[0]) is None
    other = site.volumes["b"]
    monkeypatch.setattr(other, "_state", replace(other.state, status=Status.OFFLINE, is_readable=False))
    assert ahead._patience_s(items[0], volume) == float("inf")
    ends.set()
