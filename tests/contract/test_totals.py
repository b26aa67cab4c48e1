"""How much is held, counted in portions: what arrives is told at once, what changes or goes when its turn comes."""

from collections import Counter

from sqlalchemy import delete, update
from support.arrivals import arrival

from pacs_server.index.engine import Index
from pacs_server.index.recording.instances import Instances
from pacs_server.index.retiring import TRASH
from pacs_server.index.tables import copies, instances
from pacs_server.index.totals import Counting, Totals

PORTION = 3
HELD = 10


def told(size_bytes: int, **by_role: int) -> Totals:
    return Totals(by_role=Counter(by_role), size_bytes=size_bytes)


def test_what_arrives_is_counted_at_once_and_what_changes_or_goes_in_turn(index: Index) -> None:
    objects, counting = Instances(index), Counting(index, portion=PORTION, in_turn=1)
    assert counting.totals() == told(0)
    for number in range(1, HELD + 1):
        objects.record(arrival(f"1.2.3.{number}", study="1.2.3"))
        assert counting.totals() == told(1000 * number, current=number)
    with index.write() as connection:
        connection.execute(update(instances).where(instances.c.sop_uid == "1.2.3.2").values(role=TRASH))
        connection.execute(delete(copies).where(copies.c.instance_row == HELD))
        connection.execute(delete(instances).where(instances.c.id == HELD))
    after = told(9000, current=8, **{TRASH: 1})
    assert after in [counting.totals() for _ in range(HELD // PORTION + 1)]
    assert counting.totals() == after
    assert Counting(index, portion=PORTION).totals() == after


def test_an_index_that_was_emptied_holds_nothing(index: Index) -> None:
    objects, counting = Instances(index), Counting(index, portion=PORTION, in_turn=1)
    for number in range(1, HELD + 1):
        objects.record(arrival(f"1.2.3.{number}", study="1.2.3"))
    counting.totals()
    with index.write() as connection:
        connection.execute(delete(copies))
        connection.execute(delete(instances))
    assert counting.totals() == told(0)
