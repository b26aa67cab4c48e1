"""Two nodes of one archive, on one PostgreSQL and the same volumes: the database is lost and promoted, a node is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from support import dcmtk
from support.dcmtk import STUDY_ROOT, Station, objects_in
from support.kept import assert_no_row_lies
from support.losses import given_back
from support.nas import seen
from support.postgres import Cluster
from support.samples import Sample, data_set_of
from support.senders import GIVE_UP_S, Sender, acknowledged_by, objects
from support.server import LONG, Archive, files_below, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000 if LONG else 300)]

SENDERS, EACH = 4, 1_500 if LONG else 60
TAKEN_UP_S = 120.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own, because it is ended."""
    with Cluster.new() as running:
        running.execute("CREATE DATABASE pacs")
        yield running


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Callable[..., tuple[Archive, Archive]]]:
    """Makes and starts two nodes of one archive, whose objects have two copies on volumes that both have."""
    with ExitStack() as running:

        def make(url: str, *, need: int = 2, other_dies_at: tuple[str, int] | None = None) -> tuple[Archive, Archive]:
            one, other = (Archive(tmp_path / name, database=url) for name in ("one", "other"))
            assert not (other.data / "volumes").exists()
            for node, death in ((one, None), (other, other_dies_at)):
                running.callback(node.kill)
                node.start(dies_at=death)
            (tmp_path / "second").mkdir()
            other.pacs("storage", "add", "second", str(tmp_path / "second"), "--domain", "second")
            one.pacs("policy", "set", "--want", "2", "--need", str(need), "--degraded", "1")
            return one, other

        yield make


def look_for(node: Archive, volume: str, path: Path) -> None:
    """From its next start on, a node looks for a volume at another path than the others."""
    settings = yaml.safe_load(node.config.read_text(encoding="utf-8"))
    text = yaml.safe_dump(settings | {"volume_paths": {volume: str(path)}})
    node.config.write_text(text, encoding="utf-8")


def begin(nodes: tuple[Archive, Archive], folder: Path) -> list[Sender]:
    folder.mkdir()
    one, other = nodes
    senders = [Sender(one, objects(folder, number, EACH), others=[other]) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    return senders


def wait_for_objects(senders: list[Sender], each: int) -> None:
    told = f"{each} objects of each sender"
    wait_for(lambda: all(len(one.acknowledged) >= each for one in senders), told, timeout_s=GIVE_UP_S)


def assert_given_back(node: Archive, acknowledged: list[Sample], folder: Path) -> None:
    """A node answers for each object, and gives back exactly what was sent."""
    dcmtk.require()
    station = Station(archive=node, folder=folder)
    assert {sample.sop_uid for sample in acknowledged} <= node.instance_uids()
    for study_uid in sorted({sample.study_uid for sample in acknowledged}):
        keys = {"StudyInstanceUID": study_uid}
        assert station.get(STUDY_ROOT, "STUDY", keys, folder / f"from-{node.data.parent.name}").code == 0
    given = objects_in(folder / f"from-{node.data.parent.name}")
    changed = [one.sop_uid for one in acknowledged if data_set_of(given[one.sop_uid]) != one.data_set]
    assert changed == []


def ended_well(*nodes: Archive) -> None:
    for node in nodes:
        assert node.stop() == 0
        assert "Traceback" not in node.log_text(), node.log_text()[-8_000:]


def test_nothing_acknowledged_is_lost_with_the_primary_and_both_nodes_go_on_with_the_standby(
    nodes: Callable[..., tuple[Archive, Archive]],
    cluster: Cluster,
    tmp_path: Path,
    evidence: Callable[..., None],
) -> None:
    with cluster.standby() as standby:
        url = f"postgresql://pacs@/pacs?host={standby.home}&host={cluster.home}&target_session_attrs=read-write"
        one, other = nodes(url)
        served_by = one.pid, other.pid
        senders = begin((one, other), tmp_path / "objects")
        wait_for_objects(senders, EACH // 4)
        cluster.kill()
        standby.execute("SELECT pg_promote()")
        acknowledged = acknowledged_by(senders)
        assert (one.pid, other.pid) == served_by
        assert one.is_running()
        assert other.is_running()
        for node in (one, other):
            assert_given_back(node, acknowledged, tmp_path)
        assert_no_row_lies(other)
        # Either tells of itself again up to 12 s after it could not.
        told = lambda: {row["address"]: row["state"] for row in one.report("status")["nodes"]}  # noqa: E731
        both = {f"127.0.0.1:{node.port}": "serving" for node in (one, other)}
        wait_for(lambda: told() == both, "both nodes to be seen to serve", timeout_s=TAKEN_UP_S)
        ended_well(one, other)
        evidence(acknowledged=len(acknowledged), lost=0)


def test_what_a_killed_node_had_under_way_is_done_by_the_other(
    nodes: Callable[..., tuple[Archive, Archive]], cluster: Cluster, tmp_path: Path
) -> None:
    one, other = nodes(cluster.url("pacs"), need=1, other_dies_at=("read back", 1))
    assert one.stop() == 0
    look_for(one, "second", tmp_path / "mounted-later")
    one.start()
    senders = begin((one, other), tmp_path / "objects")
    other.wait_for_death(TAKEN_UP_S)  # with a job under lease, because no other node reaches the volume
    (tmp_path / "second").rename(tmp_path / "mounted-later")
    acknowledged = acknowledged_by(senders)
    owed = "SELECT count(*) FROM jobs WHERE kind = 'copy'"
    wait_for(lambda: not cluster.execute(owed, "pacs"), "every copy to be made", timeout_s=TAKEN_UP_S, every_s=0.2)
    assert one.report("status")["backlog"]["lacking_copies"] == 0
    states = lambda: {row["state"] for row in one.report("status")["nodes"]}  # noqa: E731
    wait_for(lambda: states() == {"serving", "silent"}, "one node to be silent", timeout_s=TAKEN_UP_S)
    assert_given_back(one, acknowledged, tmp_path)
    assert_no_row_lies(one)
    ended_well(one)


def test_a_node_without_a_volume_stores_on_the_others_and_the_copy_is_made_where_it_is(
    nodes: Callable[..., tuple[Archive, Archive]], cluster: Cluster, tmp_path: Path
) -> None:
    one, other = nodes(cluster.url("pacs"))
    assert other.stop() == 0
    wait_for(
        lambda: [row["volumes"] for row in one.report("status")["nodes"]] == [2],
        "the other to tell of both",
        timeout_s=TAKEN_UP_S,
    )
    look_for(other, "second", tmp_path / "not-mounted")
    other.start()
    (tmp_path / "objects").mkdir()
    sender = Sender(other, objects(tmp_path / "objects", 1, 20))
    sender.run()
    assert len(sender.acknowledged) == 20
    second = tmp_path / "second" / "v1"
    wait_for(lambda: len(files_below(second, "*.dcm")) == 20, "the other node to make the copies", timeout_s=TAKEN_UP_S)
    wait_for(lambda: not one.report("jobs", "list"), "nothing to be owed any more", timeout_s=TAKEN_UP_S)
    wait_for(lambda: "kind=copy" in one.log_text(), "the job to be logged, once it is done")
    assert "kind=copy" not in other.log_text()
    other.pacs("delete", f"StudyInstanceUID={sender.acknowledged[0].study_uid}", "--reason", "a trial", "--yes")
    decided = tmp_path / "second" / "v1" / "ops"
    wait_for(lambda: files_below(decided, "*.json"), "the decision to reach the volume", timeout_s=TAKEN_UP_S)
    failed = [line for line in other.log_text().splitlines() if " job " in line and " why=" in line]
    assert failed == [], "what is for a volume is left to the node that reaches it"
    ended_well(one, other)


def test_what_one_node_stores_on_a_nas_the_other_gives_back_at_once_whatever_it_remembers_of_it(
    nodes: Callable[..., tuple[Archive, Archive]], cluster: Cluster, tmp_path: Path
) -> None:
    one, other = nodes(cluster.url("pacs"))
    with ExitStack() as mounts:
        (tmp_path / "files").mkdir()
        seen_by = []
        for node in (one, other):
            try:
                seen_by.append(mounts.enter_context(seen(tmp_path / "files", node.data.parent / "nas")))
            except OSError as error:
                pytest.skip(str(error))
        assert other.stop() == 0
        look_for(other, "nas", seen_by[1].path)
        other.start()
        for volume in ("first", "second"):
            one.pacs("storage", "set", volume, "--tier", "cold")  # written and read only where the NAS is not
        one.pacs("policy", "set", "--want", "1", "--need", "1", "--degraded", "1")
        one.pacs("storage", "add", "nas", str(seen_by[0].path), "--domain", "nas")
        has_nas = lambda: {row["volumes"] for row in one.report("status")["nodes"]} == {3}  # noqa: E731
        wait_for(has_nas, "both nodes to have the NAS", timeout_s=TAKEN_UP_S)
        assert not (seen_by[1].path / "v1").exists()  # which is remembered
        (tmp_path / "objects").mkdir()
        sent = objects(tmp_path / "objects", 1, 20)
        for node, giver, portion in ((one, other, sent[:10]), (other, one, sent[10:])):
            sender = Sender(node, portion)
            sender.run()
            # Without a command there in between, which would look at the NAS anew.
            assert given_back(giver, portion) == {one.sop_uid for one in sender.acknowledged}
        assert len(files_below(tmp_path / "files", "*.dcm")) == len(sent)
        for node in (one, other):
            assert node.report("reconcile") == []
            node.pacs("verify")
        ended_well(one, other)
