"""What a peer did here lately, in either database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from support.arrivals import arrival

from pacs_server.dicom.audit import Actor, Event, EventKind, EventOutcome
from pacs_server.dicom.describe import Flag
from pacs_server.index.audit import Audit
from pacs_server.index.engine import Index
from pacs_server.index.objects import Arrival
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site.dealings import Dealings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def sent(index: Index, sender: str, study: str, *flags: Flag, at: datetime = NOW) -> Arrival:
    one = arrival(study=study, flags=flags)
    one = replace(one, received_at=at, sender=sender, actor=Actor(who=sender, association=1))
    Instances(index).record(one)
    return one


def test_what_a_peer_sent_is_told_with_its_flags_and_not_what_others_did(index: Index) -> None:
    assumed, unknown = Flag(kind="charset-assumed", detail="PatientName"), Flag(kind="charset-unknown:X", detail="")
    sent(index, "CT1", "1.1", assumed, unknown, at=NOW - timedelta(minutes=1))
    sent(index, "CT1", "1.1", assumed)
    sent(index, "CT1", "1.2", at=NOW + timedelta(minutes=1))
    sent(index, "CT2", "1.3", assumed)
    told = Dealings(index).sent("CT1")
    assert told.flagged == {"charset-assumed": 1, "charset-unknown": 1}
    assert [one.received_at for one in told.studies] == [NOW + timedelta(minutes=1), NOW]
    nothing = Dealings(index).sent("NOBODY")
    assert (nothing.studies, nothing.flagged) == ([], {})
    ((_, _, number),) = Dealings(index).kinds()
    assert number == 4


def test_the_last_deed_and_what_was_refused_are_read_from_the_trail(index: Index) -> None:
    done = Event(kind=EventKind.QUERY, at=NOW, who="CT1")
    refused = Event(
        kind=EventKind.ASSOCIATION, at=NOW + timedelta(hours=1), who="CT1", outcome=EventOutcome.REFUSED,
        detail="not allowed: 1.2.3 1.2.4",
    )  # fmt: skip
    for event in (done, refused, replace(refused, detail="not allowed: 1.2.3"), replace(done, who="CT2", at=NOW)):
        Audit(index).record(event)
    dealings = Dealings(index)
    assert dealings.last_deed("CT1", NOW - timedelta(days=1)) == NOW
    assert dealings.last_deed("CT1", NOW + timedelta(minutes=1)) is None
    assert dealings.refused_services("CT1", NOW) == ["1.2.3", "1.2.4"]
    assert dealings.refused_services("CT2", NOW) == []


def test_what_comes_to_a_node_whose_clock_is_behind_is_counted_as_come(index: Index) -> None:
    dealings, since = Dealings(index), NOW - timedelta(minutes=10)
    sent(index, "CT1", "1.1", at=NOW - timedelta(hours=1))
    assert dealings.times_stored("1.1", since) == 0
    sent(index, "CT1", "1.1")
    sent(index, "CT1", "1.2")
    assert dealings.times_stored("1.1", since) == 1
    sent(index, "CT1", "1.1", at=NOW - timedelta(minutes=5))
    assert dealings.times_stored("1.1", since) == 2
