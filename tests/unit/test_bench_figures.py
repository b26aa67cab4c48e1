"""What the bench makes of its figures: medians, how many times better the archive is, goals, flushes counted."""

from pathlib import Path

import pytest
from benchmark.comparison import Comparison, Missing, remarks, table
from benchmark.durability import Durability, counted
from benchmark.figures import Figure, medians
from benchmark.tiny_objects import dealt, messages

FLUSHED = Durability(means="file and index flushed", flushes={"file": 1.0})
NOTHING = Durability(means="nothing flushed")


def figure(value: float, unit: str = "objects/s", **extra: float) -> Figure:
    return Figure(row="store-ct", name="1 sender", value=value, unit=unit, extra=extra)


def comparison(
    figures: dict[str, Figure],
    *,
    row: str = "store-ct",
    name: str = "1 sender",
    missing: dict[str, Missing] | None = None,
) -> Comparison:
    return Comparison(row=row, name=name, figures=figures, missing=missing or {})


def test_several_runs_become_the_median_of_each_figure_and_of_each_further_measure() -> None:
    runs = [[figure(value, **{"CPU ms": value / 100})] for value in (90.0, 300.0, 100.0)]
    (told,) = medians(runs)
    assert told.value == 100
    assert told.extra == {"CPU ms": 1.0}


def test_a_run_in_which_a_figure_is_missing_does_not_count_for_it() -> None:
    (told,) = medians([[figure(90.0)], [], [figure(110.0)]])
    assert told.value == 100


@pytest.mark.parametrize(("unit", "times"), [("objects/s", 4.0), ("ms", 0.25)])
def test_more_of_a_rate_and_less_of_a_duration_are_better(unit: str, times: float) -> None:
    told = comparison({"archive": figure(400.0, unit), "orthanc": figure(100.0, unit)})
    assert told.times("orthanc") == times


def test_the_archive_on_postgresql_is_compared_with_another_server_on_it() -> None:
    figures = {"archive-postgresql": figure(400.0), "orthanc-postgresql": figure(100.0)}
    told = Comparison(row="store-ct", name="1 sender", figures=figures, missing={}, ours="archive-postgresql")
    assert told.times("orthanc-postgresql") == 4


def test_a_server_without_a_figure_is_not_compared_and_has_no_goal() -> None:
    told = comparison({"archive": figure(400.0)}, missing={"orthanc": Missing("refused", "it said no")})
    assert told.times("orthanc") is None
    assert told.judged() == []


def test_each_peer_is_judged_by_its_own_goal() -> None:
    told = comparison({"archive": figure(250.0), "orthanc": figure(100.0), "dcmqrscp": figure(200.0)})
    assert told.judged() == [("≥ 3 × orthanc", False), ("≥ 1 × dcmqrscp", True)]


def test_every_query_has_to_be_ahead_of_every_peer() -> None:
    told = comparison({"archive": figure(20.0, "ms"), "orthanc": figure(10.0, "ms")}, row="find", name="all")
    assert told.judged() == [("≥ 1 × orthanc", False)]


def test_the_table_has_the_durability_of_each_server_and_says_refused_where_one_was() -> None:
    told = table(
        [
            comparison(
                {"archive": figure(400.0), "orthanc": figure(100.0)},
                missing={"dcmqrscp": Missing("refused", "storescu exited with 192")},
            )
        ],
        {"archive": FLUSHED, "orthanc": NOTHING, "dcmqrscp": NOTHING},
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in told.splitlines()]
    assert cells[2] == ["", "success means", "file and index flushed", "nothing flushed", "nothing flushed", ""]
    assert cells[3] == ["store-ct", "1 sender", "400 objects/s", "100 (4.00 ×)", "refused", "✓ ≥ 3 × orthanc"]


def test_a_reason_is_told_once_for_all_figures_that_it_is_about() -> None:
    missing = {"dcmqrscp": Missing("refused", "storescu exited with 192")}
    told = remarks([comparison({}, name=name, missing=missing) for name in ("4 senders", "8 senders")])
    assert told == "dcmqrscp, store-ct (4 senders; 8 senders): storescu exited with 192"


def test_a_peer_that_fails_in_a_later_round_keeps_its_figure_and_is_told() -> None:
    missing = {"dcmqrscp": Missing("refused", "storescu exited with 192")}
    assert remarks([comparison({"dcmqrscp": figure(200.0)}, missing=missing)]) == (
        "dcmqrscp, store-ct (1 sender): not in every round: storescu exited with 192"
    )


def test_a_peer_that_answers_a_query_with_less_is_named() -> None:
    figures = {"archive": figure(1.0, "ms", answers=863.0), "orthanc": figure(9.0, "ms", answers=100.0)}
    assert remarks([comparison(figures, row="find", name="one month")]) == (
        "orthanc, find (one month): 100 answers, the archive 863"
    )


def test_flushes_of_objects_of_their_directory_and_of_the_index_are_told_apart(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    lines = [
        f"12 fsync(5<{objects}/a.tmp>) = 0",
        f"13 fsync(5<{objects}/b.tmp> <unfinished ...>",
        "13 <... fsync resumed>) = 0",
        f"12 fsync(6<{objects}>) = 0",
        f"12 fdatasync(7<{tmp_path}/index.db-wal>) = 0",
    ]
    told = counted(lines, objects, 2)
    assert told.flushes == {"file": 1.0, "directory": 0.5, "index": 0.5}
    assert told.means == "file flushed, index not"


@pytest.mark.parametrize(
    ("files", "rows", "means"),
    [
        (2, 2, "file and index flushed"),
        (1, 2, "index flushed, file not"),
        (1, 1, "nothing flushed"),
    ],
)
def test_what_is_flushed_less_often_than_objects_come_is_not_flushed(files: int, rows: int, means: str) -> None:
    objects = Path("/nowhere/objects")
    lines = ["1 fsync(5</nowhere/objects/a.dcm>) = 0"] * files + ["1 fsync(6</nowhere/index>) = 0"] * rows
    assert counted(lines, objects, 2).means == means


def test_an_index_that_lies_among_the_objects_is_no_object() -> None:
    lines = ["1 fsync(5</nowhere/objects/index.dat>) = 0"]
    assert counted(lines, Path("/nowhere/objects"), 1).means == "index flushed, file not"


def test_what_is_sent_is_the_same_each_time_and_every_object_is_another() -> None:
    first, again = (list(messages(range(1, 30), objects=3, seed=7)) for _ in range(2))
    assert first == again
    assert len(set(first)) == 29 * 3


def test_shares_have_every_object_once_and_none_is_empty() -> None:
    waiting = iter([b"1", b"2", b"3"])
    assert dealt(waiting, 5, 4) == [[b"1"], [b"2"], [b"3"]]
    assert dealt(waiting, 5, 4) == []
