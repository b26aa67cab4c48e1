"""A report goes from the thread that decides to the thread of an association, once, or it is known that it did not."""

import threading

import pytest
from support.server import wait_for

from pacs_server.dicom.commitment import Reference, Report
from pacs_server.dimse import reporting
from pacs_server.dimse.reporting import OpenRequests, Requester

REPORT = Report(transaction_uid="1.2.9", committed=(Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),))


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> OpenRequests:
    monkeypatch.setattr(reporting, "_TAKEN_WITHIN_S", 60.0)  # on a busy machine, too
    return OpenRequests()


class Association:
    """A thread that waits for one report, does something with it, and ends."""

    def __init__(self, requests: OpenRequests, deed: str) -> None:
        self.requester = Requester()
        self.was_taken = False
        requests.wait("CT1", "1.2.9", self.requester, 1)
        self.thread = threading.Thread(target=self._serve, args=(requests, deed))
        self.thread.start()

    def _serve(self, requests: OpenRequests, deed: str) -> None:
        pause = threading.Event()
        while deed != "leave" and not self.requester.offers:
            pause.wait(0.001)
        if deed in ("answer", "fall silent"):
            offer = self.requester.offers.popleft()
            self.was_taken = offer.take()
            self.requester.sent[1] = offer
            if deed == "answer":
                self.requester.sent.pop(1).settle(0x0000)
        requests.close("CT1", self.requester)


@pytest.mark.parametrize(
    ("deed", "status"), [("answer", 0x0000), ("fall silent", None), ("end before it is sent", None), ("leave", None)]
)
def test_whoever_reports_learns_the_answer_or_that_none_comes(
    requests: OpenRequests, deed: str, status: int | None
) -> None:
    association = Association(requests, deed)
    assert requests.report("CT1", REPORT, answered_within_s=3_600) == status
    association.thread.join(60)
    assert association.was_taken is (deed in ("answer", "fall silent"))


def test_a_report_that_is_not_taken_in_time_is_never_sent(
    requests: OpenRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "_TAKEN_WITHIN_S", 0.01)
    busy = Requester()
    requests.wait("CT1", "1.2.9", busy, 1)
    assert requests.report("CT1", REPORT, answered_within_s=30) is None
    assert not busy.offers.popleft().take()


def test_a_report_goes_only_to_the_peer_and_the_association_that_wait_for_it(requests: OpenRequests) -> None:
    first, second = Requester(), Requester()
    requests.wait("CT1", "1.2.9", first, 1)
    assert requests.report("CT2", REPORT, answered_within_s=30) is None
    requests.wait("CT1", "1.2.9", second, 3)
    requests.close("CT1", first)  # the request came once more, on another association: that one goes on waiting
    reporter = threading.Thread(target=requests.report, args=("CT1", REPORT), kwargs={"answered_within_s": 30})
    reporter.start()
    wait_for(lambda: second.offers, "the offer")
    assert not first.offers
    requests.close("CT1", second)
    reporter.join(60)
    assert not reporter.is_alive()
    assert requests.report("CT1", REPORT, answered_within_s=30) is None
