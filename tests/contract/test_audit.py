"""Who did what: rows in the transactions of what they tell, in chains in which every later change shows."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import blake3
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from sqlalchemy import delete, event, func, insert, select, update
from support.arrivals import arrival

from pacs_server.cluster.signing import Signer
from pacs_server.dicom.audit import COLUMNS, Actor, Event, EventKind, EventOutcome, digest_over, hash_of, sum_of
from pacs_server.dicom.checkpoints import Problem, from_text, problems_of_chains, to_text
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.operations import Content, OperationKind
from pacs_server.errors import ConfigError, IndexUnavailable, Undecodable
from pacs_server.index.audit import Audit, Row, Wanted
from pacs_server.index.engine import Index
from pacs_server.index.objects import Arrival
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site.registry import Policy, Registry, VolumeRow
from pacs_server.index.site_tables import audit, checkpoints
from pacs_server.service.assemble import Node
from pacs_server.service.upkeep.checkpoints import (
    DailyCheckpoint,
    key_file,
    problems_of_trail,
    put_key_aside,
    take_checkpoint,
)
from pacs_server.service.upkeep.initialise import initialise
from pacs_server.settings import load
from pacs_server.storage.sentinel import adopt

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CT1 = Actor(who="CT1", address="10.0.0.7", association=17)
CT2 = Actor(who="CT2", address="10.0.0.8", association=18)


def happened(kind: EventKind = EventKind.QUERY, **values: Any) -> Event:
    return Event(**{"kind": kind, "at": NOW, "who": "CT1"} | values)


def rows_of(index: Index) -> list[Row]:
    return list(Audit(index).rows(Wanted()))


def events_of(index: Index) -> list[Event]:
    return [row.event for row in rows_of(index)]


def sent_by(actor: Actor, *, study: str, number: int = 1) -> list[Arrival]:
    return [replace(arrival(study=study), actor=actor) for _ in range(number)]


# --- rows and what they tell of ---


def test_objects_that_are_recorded_together_are_one_row_for_each_association_and_study(index: Index) -> None:
    group = [*sent_by(CT1, study="1.1", number=3), *sent_by(CT1, study="1.2"), *sent_by(CT2, study="1.1", number=2)]
    Instances(index).record_in_order(group)
    told = {(one.who, one.study_uid): one for one in events_of(index)}
    assert {who: one.count for who, one in told.items()} == {("CT1", "1.1"): 3, ("CT1", "1.2"): 1, ("CT2", "1.1"): 2}
    first = told["CT1", "1.1"]
    assert (first.kind, first.address, first.patient_id, first.detail) == (
        EventKind.STORE, "10.0.0.7", "P1", "association 17",
    )  # fmt: skip
    assert first.uid_digest == digest_over(one.description.sop_uid for one in group[:3])


def test_the_digests_of_rows_add_up_to_that_over_all_their_objects_in_whatever_order() -> None:
    uids = [f"1.2.{number}" for number in range(20)]
    assert sum_of([digest_over(uids[:7]), digest_over(uids[7:])]) == digest_over(reversed(uids))
    assert digest_over(uids) != digest_over(uids[1:])


def test_an_object_that_is_imported_or_found_on_a_volume_says_so(index: Index) -> None:
    person = Actor(who="admin@pacs1")
    Instances(index).record(replace(arrival(study="1.1"), actor=person))
    Instances(index).record(arrival(study="1.2"))
    assert {(one.kind, one.who) for one in events_of(index)} == {
        (EventKind.IMPORT, "admin@pacs1"),
        (EventKind.ADOPT, "CT1"),
    }


def test_an_object_that_is_found_on_a_volume_is_told_of_at_the_moment_of_that(index: Index) -> None:
    began = datetime.now(UTC)
    for days in (3, 900, 2):
        old = began - timedelta(days=days)
        Instances(index).record(replace(arrival(f"1.2.{days}", study="1.1"), received_at=old))
    told = events_of(index)
    assert [one for one in told if one.at < began.replace(microsecond=0)] == []
    assert len({row.chain for row in rows_of(index)}) == 1


def test_a_deed_that_fails_leaves_no_row(index: Index) -> None:
    with pytest.raises(RuntimeError), index.write([happened()]):
        raise RuntimeError
    broken = replace(arrival(), transfer_syntax=None)  # type: ignore[arg-type]
    with pytest.raises(IndexUnavailable):
        Instances(index).record(broken)
    assert rows_of(index) == []


def test_a_row_that_cannot_be_written_takes_its_deed_with_it(index: Index) -> None:
    Instances(index).record(arrival(study="1.1"))
    with index.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    with pytest.raises(IndexUnavailable):
        Instances(index).record(arrival("1.2.9", study="1.1"))
    assert Instances(index).known("1.2.9", "1.1").objects == ()


def test_an_operation_is_told_with_its_patient_also_when_nothing_is_left_of_the_study(index: Index) -> None:
    objects = Instances(index)
    new = arrival("1.2.9", study="1.1", patient_id="4711", issuer="HOSPITAL")
    objects.record(new)
    content = [Content(sop_uid="1.2.9", digest=new.digest, role="current")]
    for kind in (OperationKind.DELETE, OperationKind.PURGE):
        drafted = objects.operations.draft(kind, "1.1", content, now=NOW, who="admin", reason="wrong patient")
        objects.operations.record(drafted, missed=(), now=NOW)
        objects.operations.record(drafted, missed=(), now=NOW)
    told = [one for one in events_of(index) if one.who == "admin"]
    assert sorted(one.kind for one in told) == [EventKind.DELETE, EventKind.PURGE]
    assert {(one.patient_id, one.issuer, one.count, one.detail) for one in told} == {
        ("4711", "HOSPITAL", 1, "wrong patient")
    }


def test_a_command_is_told_with_the_first_thing_that_it_changes_and_once(index: Index) -> None:
    index.trail.command = happened(EventKind.COMMAND, detail="pacs policy set --want 2")
    with pytest.raises(RuntimeError), index.write():
        raise RuntimeError
    assert rows_of(index) == []
    registry = Registry(index)
    registry.set_policy(Policy(want=2))
    registry.set_policy(Policy(want=3))
    assert [one.detail for one in events_of(index)] == ["pacs policy set --want 2"]


def test_what_a_peer_sends_cannot_break_a_row_or_the_screen_it_is_shown_on(index: Index) -> None:
    hostile = "\0\x1b[2J\ud800'; DROP TABLE audit; -- %s ? 山田" + "x" * 10_000
    Audit(index).record(happened(who=hostile, address=hostile, patient_id=hostile, detail=hostile))
    (told,) = events_of(index)
    assert told.detail.startswith("\\x00\\x1b[2J\\ud800'; DROP TABLE audit; -- %s ? 山田")
    assert len(told.detail) < 2_100
    assert len(told.who) < 300
    assert problems_in(index) == []


def test_what_is_typed_with_the_space_of_japanese_is_told_as_it_was_typed(index: Index) -> None:
    reason = "佐藤\u3000花子: 患者の取り違え"
    Audit(index).record(happened(detail=reason, person="山田\u3000太郎"))
    (told,) = events_of(index)
    assert (told.detail, told.person) == (reason, "山田\u3000太郎")
    assert problems_in(index) == []


# --- what has no transaction of its own ---


def test_a_thousand_queries_are_rows_of_one_commit(index: Index) -> None:
    for number in range(1_000):
        index.trail.note(happened(detail=f"PatientID={number}"))
    assert rows_of(index) == []
    commits: list[object] = []
    event.listen(index._writer, "commit", commits.append)
    assert Audit(index).write_down()
    assert not Audit(index).write_down()
    assert len(commits) == 1
    assert len(rows_of(index)) == 1_000


def test_what_is_refused_again_and_again_is_one_row_that_counts(index: Index) -> None:
    refused = happened(EventKind.ASSOCIATION, outcome=EventOutcome.REFUSED, count=1, detail="calling AE not recognised")
    for _ in range(500):
        index.trail.note(refused)
    for changed in ({"address": "10.0.0.9"}, {"patient_id": "4711"}, {"patient_id": "4711", "issuer": "HOSPITAL"}):
        index.trail.note(replace(refused, **changed))
    Audit(index).write_down()
    assert sorted(one.count for one in events_of(index)) == [1, 1, 1, 500]


def test_more_than_can_be_written_down_is_counted_and_said(index: Index) -> None:
    for number in range(10_050):
        index.trail.note(happened(detail=str(number)))
    Audit(index).write_down()
    (alert,) = Audit(index).rows(Wanted(kinds=("alert",)))
    assert alert.event.count == 50
    assert len(rows_of(index)) == 10_001


def test_what_waits_gets_its_patient_and_waits_again_when_the_index_fails(index: Index) -> None:
    Instances(index).record(arrival(study="1.1", patient_id="4711"))
    index.trail.note(happened(EventKind.SEND, study_uid="1.1"))
    index.trail.note(happened(EventKind.SEND, study_uid="1.9"))
    with index.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    with pytest.raises(IndexUnavailable):
        Audit(index).write_down()
    # Back under its name, without a row, so that `write` has nothing to enter meanwhile.
    with index.write() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit")
    assert Audit(index).write_down()
    sent = Audit(index).rows(Wanted(kinds=("send",)))
    assert sorted((row.event.study_uid, row.event.patient_id) for row in sent) == [("1.1", "4711"), ("1.9", "")]


# --- what a person asks for ---


def test_the_rows_of_a_patient_a_peer_a_person_and_a_time_are_found_and_no_others(index: Index) -> None:
    moments = [NOW + timedelta(hours=hour) for hour in range(4)]
    for one in (
        happened(EventKind.STORE, at=moments[0], who="CT1", patient_id="1"),
        happened(EventKind.SEND, at=moments[1], who="VIEWER", patient_id="1", target="CT1"),
        happened(EventKind.SEND, at=moments[2], who="VIEWER", patient_id="11", target="CT11"),
        happened(EventKind.COMMAND, at=moments[3], who="admin@pacs1", detail="pacs ae add CT1"),
    ):
        Audit(index).record(one)

    def hours(**wanted: Any) -> list[int]:
        return [moments.index(row.event.at) for row in Audit(index).rows(Wanted(**wanted))]

    assert hours() == [0, 1, 2, 3]
    assert hours(patient_id="1") == [0, 1]
    assert hours(peer="CT1") == [0, 1]
    assert hours(who="ADMIN") == [3]
    assert hours(who="%") == []
    assert hours(since=moments[1], until=moments[3]) == [1, 2]
    assert hours(kinds=("send", "store"), patient_id="1") == [0, 1]


@pytest.mark.parametrize("patient_id", ["1\t2", "カナ\u30001", "Z" * 1_000])
def test_the_rows_of_a_patient_are_found_by_the_id_that_came_also_where_rows_have_it_otherwise(
    index: Index, patient_id: str
) -> None:
    Audit(index).record(happened(EventKind.STORE, patient_id=patient_id))
    assert len(list(Audit(index).rows(Wanted(patient_id=patient_id)))) == 1


def test_more_rows_than_are_read_at_once_come_in_their_order(index: Index) -> None:
    with index.write([happened(at=NOW + timedelta(seconds=number % 7)) for number in range(2_500)]):
        pass
    told = rows_of(index)
    assert [(row.event.at, row.chain, row.number) for row in told] == sorted(
        (row.event.at, row.chain, row.number) for row in told
    )
    assert len({row.number for row in told}) == 2_500


# --- chains ---


def problems_in(index: Index) -> list[Problem]:
    return list(problems_of_chains(Audit(index).rows(Wanted()), ()))


def filled(index: Index, number: int = 5) -> list[Row]:
    for count in range(number):
        Audit(index).record(happened(count=count, patient_id=str(count), at=NOW + timedelta(seconds=count)))
    return rows_of(index)


def changed(index: Index, row: int, **values: Any) -> None:
    with index.write() as connection:
        assert connection.execute(update(audit).where(audit.c.number == row).values(values)).rowcount == 1


def test_a_chain_is_whole_whatever_was_written_and_by_however_many_threads(index: Index) -> None:
    def work(number: int) -> None:
        for count in range(20):
            Audit(index).record(happened(count=count, who=f"CT{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = rows_of(index)
    assert sorted(row.number for row in rows) == list(range(1, 81))
    assert len({row.chain for row in rows}) == 1
    assert problems_in(index) == []


def test_each_process_has_a_chain_of_its_own(index: Index, new_url: Callable[[], str]) -> None:
    filled(index)
    with closing(Index.open(index.engine.url.render_as_string(hide_password=False))) as other:
        filled(other)
    assert len({row.chain for row in rows_of(index)}) == 2
    assert problems_in(index) == []


def test_a_row_without_a_person_has_the_hash_that_it_had_before_there_were_persons() -> None:
    values = Event(kind=EventKind.STORE, at=NOW, who="CT1").values()
    before = "\n".join(("", "chain", "1", *map(str, values[: COLUMNS.index("person")])))
    assert hash_of("", "chain", 1, values) == blake3.blake3(before.encode()).hexdigest()


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_byte_of_a_row_is_found(index: Index, column: str) -> None:
    filled(index)
    with index.read() as connection:
        before = connection.execute(select(audit.c[column]).where(audit.c.number == 3)).scalar_one()
    changed(index, 3, **{column: before + 1 if isinstance(before, int) else f"{before}x"})
    (found,) = problems_in(index)
    assert (found.number, "edited" in found.problem) == (3, True)


def test_a_changed_hash_is_found(index: Index) -> None:
    filled(index)
    changed(index, 3, hash="0" * 64)
    assert [one.number for one in problems_in(index)] == [3]


def test_a_removed_row_is_found_also_the_first(index: Index) -> None:
    filled(index)
    for number in (3, 1):
        with index.write() as connection:
            connection.execute(delete(audit).where(audit.c.number == number))
        (found,) = problems_in(index)
        assert (found.number, found.problem) == (number, "1 rows were removed")


def test_rows_that_changed_places_are_found(index: Index) -> None:
    filled(index)
    for before, after in ((2, 99), (4, 2), (99, 4)):
        changed(index, before, number=after)
    assert [one.number for one in problems_in(index)] == [2]


def test_after_a_commit_of_which_nobody_knows_the_outcome_another_chain_begins(index: Index) -> None:
    filled(index)
    with pytest.raises(RuntimeError), index.trail.continued([happened()]):
        raise RuntimeError
    filled(index)
    assert len({row.chain for row in rows_of(index)}) == 2
    assert problems_in(index) == []


def test_a_row_is_never_before_the_one_before_it_and_a_clock_that_is_set_back_begins_another_chain(
    index: Index,
) -> None:
    for minutes in (0, -59, 1, -60, -59):
        Audit(index).record(happened(at=NOW + timedelta(minutes=minutes), detail=str(minutes)))
    told = {row.event.detail: (row.number, row.event.at - NOW) for row in rows_of(index)}
    assert told["-60"] == (1, timedelta(minutes=-60))
    assert {row.chain for row in rows_of(index)} == {row.chain for row in rows_of(index) if row.number == 1}
    assert problems_in(index) == []


# --- checkpoints ---


@pytest.fixture
def node(new_upgraded_url: Callable[[], str], tmp_path: Path) -> Iterator[Node]:
    """An archive with two volumes, on either database."""
    url = new_upgraded_url()
    data = tmp_path / "data"
    initialise(data, aet=AeTitle("PACS"), host="127.0.0.1", port=0, database=None)
    with (data / "pacs.yaml").open("a", encoding="utf-8") as file:
        yaml.safe_dump({"database": url}, file)
    with Node.open(load(data / "pacs.yaml")) as opened:
        for name in ("first", "second"):
            add_volume(opened, tmp_path / name)
        yield opened


def add_volume(node: Node, path: Path) -> None:
    path.mkdir()
    node.registry.add_volume(
        VolumeRow(id=adopt(path, name=path.name), name=path.name, path=str(path), tier="hot", domain=path.name)
    )
    node.look_at_site_state(max_age_s=0)


def signer_of(node: Node) -> Signer:
    return Signer.made(key_file(node.settings.data_dir))


def told(node: Node) -> list[str]:
    return [one.problem for one in problems_of_trail(node)]


@contextmanager
def forging(node: Node) -> Iterator[list[Row]]:
    """Rows that are taken away, and put back with hashes that fit, as one would who may write to the database."""
    rows = list(node.audit.rows(Wanted()))
    with node.index.write() as connection:
        connection.execute(delete(audit))
    yield rows
    chains: dict[str, list[Row]] = {}
    for row in rows:
        chains.setdefault(row.chain, []).append(row)
    with node.index.write() as connection:
        for chain, links in chains.items():
            before = ""
            for number, row in enumerate(links, 1):
                before = hash_of(before, chain, number, row.values)
                values = dict(zip(COLUMNS, row.values, strict=True))
                connection.execute(insert(audit).values(chain=chain, number=number, hash=before, **values))


def test_what_goes_on_after_a_checkpoint_is_no_problem(node: Node) -> None:
    filled(node.index)
    DailyCheckpoint(node).look(NOW)
    filled(node.index)
    assert told(node) == []
    DailyCheckpoint(node).look(NOW + timedelta(days=1))
    assert told(node) == []
    heads = [from_text(text).heads for text in node.audit.checkpoints()]
    assert [next(iter(one.values()))[0] for one in heads] == [5, 10]


def test_a_checkpoint_is_taken_once_a_day_and_lies_on_every_volume(node: Node) -> None:
    filled(node.index)
    daily = DailyCheckpoint(node)
    for hours in (0, 1, 23, 24, 30, 49):
        daily.look(NOW + timedelta(hours=hours))
    DailyCheckpoint(node).look(NOW + timedelta(hours=50))  # a process that begins anew
    texts = node.audit.checkpoints()
    assert [from_text(text).number for text in texts] == [1, 2, 3]
    for volume in node.volumes():
        files = sorted((Path(str(volume.spec.path)) / "v1" / "audit" / "2026" / "01").iterdir())
        assert [file.read_text() for file in files] == texts


def test_a_checkpoint_is_taken_once_the_clock_is_put_back_and_sees_what_was_written_since(node: Node) -> None:
    daily = DailyCheckpoint(node)
    daily.look(NOW + timedelta(days=300))
    filled(node.index)
    for one in (daily, DailyCheckpoint(node)):  # also a process that begins anew
        one.look(NOW + timedelta(hours=1))
    last = from_text(node.audit.checkpoints()[-1])
    assert (last.number, last.at) == (2, NOW + timedelta(hours=1))
    assert [number for number, _ in last.heads.values()] == [5]


def test_another_key_begins_another_series_and_what_the_former_one_signed_still_counts(node: Node) -> None:
    filled(node.index)
    for days in range(3):
        put_key_aside(node.settings.data_dir, f"key-{days}")
        DailyCheckpoint(node).look(NOW + timedelta(days=days))
        filled(node.index, 2)
    assert told(node) == []
    assert len({from_text(text).series for text in node.audit.checkpoints()}) == 3
    with forging(node) as rows:
        del rows[-2:]
    assert told(node) == []  # nobody has seen the last ones
    with forging(node) as rows:
        del rows[-1:]
    assert "1 rows were removed from its end" in told(node)[0]


def test_the_key_is_for_the_server_alone(node: Node) -> None:
    signer_of(node)
    path = key_file(node.settings.data_dir)
    assert path.stat().st_mode & 0o777 == 0o600
    assert signer_of(node).public_key == signer_of(node).public_key
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        signer_of(node)


def test_a_key_that_cannot_sign_is_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    sealed = BestAvailableEncryption(b"a pass phrase")
    for content, reason in (
        (b"none", "holds no key in PEM"),
        (pem(ed25519.Ed25519PrivateKey.generate(), sealed), "holds no key in PEM without a pass phrase"),
        (pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()), "another kind than Ed25519"),
    ):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match=reason):
            Signer.made(path)
        assert path.read_bytes() == content
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Signer.of(path)


def pem(key: PrivateKeyTypes, sealed: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)


@pytest.mark.parametrize("is_taken", [False, True], ids=["not taken", "taken, then killed"])
def test_a_key_whose_first_checkpoint_is_still_to_come_is_no_problem_and_stays_in_use(
    node: Node, monkeypatch: pytest.MonkeyPatch, is_taken: bool
) -> None:
    filled(node.index)
    signers = []

    def dying(node: Node, signer: Signer, now: datetime) -> None:
        signers.append(signer.public_key)
        if is_taken:
            take_checkpoint(node, signer, now)
        raise IndexUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr("pacs_server.service.upkeep.checkpoints.take_checkpoint", dying)
        with pytest.raises(IndexUnavailable):
            DailyCheckpoint(node).look(NOW)
    assert told(node) == []
    DailyCheckpoint(node).look(NOW)
    assert told(node) == []
    assert [signer_of(node).public_key] == signers
    assert [from_text(text).number for text in node.audit.checkpoints()] == [1]


def test_rows_that_were_cut_off_after_a_checkpoint_are_found(node: Node) -> None:
    filled(node.index)
    take_checkpoint(node, signer_of(node), NOW)
    with forging(node) as rows:
        del rows[-2:]
    (found,) = told(node)
    assert "2 rows were removed from its end: checkpoint 1 of 2026-01-02" in found
    with node.index.write() as connection:
        connection.execute(update(audit).where(audit.c.number == 2).values(who="somebody else"))
    (found,) = told(node)
    assert "the row was edited" in found, "of a chain the first problem alone is told"


def test_a_chain_that_was_removed_whole_after_a_checkpoint_is_found(node: Node) -> None:
    filled(node.index)
    take_checkpoint(node, signer_of(node), NOW)
    with forging(node) as rows:
        rows.clear()
    assert "5 rows were removed from its end" in told(node)[0]


def test_a_chain_that_was_made_to_fit_what_was_edited_is_found(node: Node) -> None:
    filled(node.index)
    take_checkpoint(node, signer_of(node), NOW)
    with forging(node) as rows:
        values = dict(zip(COLUMNS, rows[2].values, strict=True)) | {"who": "somebody else"}
        rows[2] = replace(rows[2], values=tuple(values.values()))
    (found,) = told(node)
    assert "made to fit" in found


def test_a_chain_that_was_made_to_fit_between_two_checkpoints_is_found(node: Node) -> None:
    filled(node.index)
    take_checkpoint(node, signer_of(node), NOW)
    filled(node.index)
    with forging(node) as rows:
        values = dict(zip(COLUMNS, rows[2].values, strict=True)) | {"who": "somebody else"}
        rows[2] = replace(rows[2], values=tuple(values.values()))
    take_checkpoint(node, signer_of(node), NOW + timedelta(days=1))  # which has seen the forged rows only
    (found,) = told(node)
    assert "made to fit: checkpoint 1 of 2026-01-02" in found


def test_a_checkpoint_that_was_edited_or_signed_by_another_is_found(node: Node, tmp_path: Path) -> None:
    filled(node.index)
    taken = take_checkpoint(node, signer_of(node), NOW)
    chain, (number, row_hash) = next(iter(taken.heads.items()))
    edited = replace(taken, heads={chain: (number - 1, row_hash)})
    stranger = Signer.made(tmp_path / "another.key")
    forged = replace(edited, signature=stranger.sign(edited.signed_text()))
    for one in (edited, forged):
        with node.index.write() as connection:
            connection.execute(update(checkpoints).values(content=to_text(one)))
        assert any("its signature is not over what it says" in problem for problem in told(node))
        assert any("there is no good checkpoint signed with" in problem for problem in told(node))


@pytest.mark.parametrize("edited", ['"format":2', '"key":"none"', '"key":7', '"number":Infinity', '"signature":"none"'])
def test_a_checkpoint_of_which_a_part_is_none_is_told_like_one_that_was_edited(node: Node, edited: str) -> None:
    filled(node.index)
    text = to_text(take_checkpoint(node, signer_of(node), NOW))
    content = re.sub(edited.partition(":")[0] + r':("[^"]*"|\d+)', edited, text)
    assert content != text
    with node.index.write() as connection:
        connection.execute(update(checkpoints).values(content=content))
    assert any("there is no good checkpoint signed with" in problem for problem in told(node))


def test_nesting_without_end_is_no_checkpoint() -> None:
    with pytest.raises(Undecodable):
        from_text("[" * 100_000)


def test_a_checkpoint_that_was_taken_out_of_the_database_is_found_on_a_volume(node: Node) -> None:
    filled(node.index)
    DailyCheckpoint(node).look(NOW)
    filled(node.index)
    DailyCheckpoint(node).look(NOW + timedelta(days=1))
    with node.index.write() as connection:
        connection.execute(delete(checkpoints).where(checkpoints.c.number == 1))
    found = told(node)
    assert sum("the database does not have the checkpoint that is on volume" in one for one in found) == 2
    assert any("does not follow the one before it" in one for one in found)


def test_a_checkpoint_is_no_litter_and_no_object(node: Node) -> None:
    DailyCheckpoint(node).look(NOW)
    later = datetime.now(UTC) + timedelta(days=400)
    for volume in node.volumes():
        assert list(volume.walk()) == []
        assert list(volume.litter(later)) == []
        folder = Path(str(volume.spec.path)) / "v1" / "audit" / "2026" / "01"
        (folder / ".x.tmp").touch()
        assert [path.name for path in volume.litter(later)] == [".x.tmp"]


def test_rows_are_only_ever_added(node: Node) -> None:
    filled(node.index)
    with node.index.read() as connection:
        before = connection.execute(select(func.count()).select_from(audit)).scalar_one()
    DailyCheckpoint(node).look(NOW)
    node.audit.tell_reading()
    with node.index.read() as connection:
        assert connection.execute(select(func.count()).select_from(audit)).scalar_one() == before
