"""The studies that the bench writes straight into an index are such as the archive would have written."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmark import make_index
from benchmark.studies import UNKNOWN_PATIENT_ID, record_studies
from sqlalchemy import func, select
from support.arrivals import arrival

from pacs_server.index.contents import Contents
from pacs_server.index.engine import Index
from pacs_server.index.objects import Outcome
from pacs_server.index.recording.instances import Instances
from pacs_server.index.tables import instances, patients, series, studies

STUDIES, OBJECTS = 40, 3


def test_the_studies_of_the_bench_have_the_counts_and_sums_that_the_archive_keeps(index: Index) -> None:
    record_studies(index, "bench-volume", count=STUDIES, objects=OBJECTS, seed=1)
    with index.read() as connection:
        of_study = connection.execute(select(studies.c.id, studies.c.series_count, studies.c.instance_count)).all()
        counted = dict(
            connection.execute(
                select(series.c.study_row, func.count(instances.c.id))
                .join_from(series, instances)
                .group_by(series.c.study_row)
            ).all()
        )
        of_patients = connection.execute(select(func.sum(patients.c.study_count))).scalar_one()
        unknown = connection.execute(select(func.count()).where(patients.c.patient_id == UNKNOWN_PATIENT_ID)).scalar()
    assert {row.id: row.instance_count for row in of_study} == counted
    assert set(counted.values()) == {OBJECTS}
    assert (len(of_study), of_patients, unknown) == (STUDIES, STUDIES, 0)
    assert Contents(index).recount() == []


def test_an_archive_stores_on_among_the_studies_of_the_bench(index: Index) -> None:
    record_studies(index, "bench-volume", count=STUDIES, objects=OBJECTS, seed=1)
    assert Instances(index).record(arrival("1.2.3.4")).outcome is Outcome.NEW


@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_an_index_is_filled_where_serve_makes_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], chosen: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PACS_DATA", raising=False)
    if chosen:
        monkeypatch.setenv("PACS_DATA", chosen)
    data = tmp_path / (chosen or "pacs-data")
    subprocess.run([sys.executable, "-m", "pacs_server", "init", "--data", data], check=True, capture_output=True)
    monkeypatch.setattr(sys, "argv", ["make_index", "2", "--objects", "3"])
    assert make_index.main() == 0
    assert "2 studies, 6 instances" in capsys.readouterr().out
