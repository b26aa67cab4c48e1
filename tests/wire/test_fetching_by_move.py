"""Archives that offer no C-GET: what is fetched from them comes by C-MOVE to the server that runs, or it is said why it
cannot.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.dcmtk import QueryRetrieveServer, Receiver
from support.samples import Sample, data_set_of, tiny, write
from support.server import Archive

SINCE = ("--since", "2026-01-01")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Another archive may be silent for a moment only, so that what does not come is not waited for long."""
    running = Archive(tmp_path_factory.mktemp("archive"), settings={"network": {"response_timeout_s": 20.0}})
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log_text(), running.log_text()[-8_000:]


@contextmanager
def foreign(
    archive: Archive, folder: Path, *data_sets: Dataset, moves_to: Mapping[str, int]
) -> Iterator[tuple[QueryRetrieveServer, list[Sample]]]:
    """A dcmqrscp without C-GET that has some objects, and is registered."""
    with QueryRetrieveServer(folder / "dcmqrscp", "--disable-get", moves_to=moves_to) as server:
        archive.pacs("ae", "remove", server.aet, "--yes", expect=(0, 2))
        archive.add_peer(server.aet, server.port)
        samples = [write(one, folder / "in" / f"{number}.dcm") for number, one in enumerate(data_sets)]
        server.take_in(*(one.path for one in samples))
        yield server, samples


def outcomes(archive: Archive, aet: str, study: str, expect: int) -> dict[str, str]:
    rows = archive.report("reconcile", "--with", aet, *SINCE, f"StudyInstanceUID={study}", "--repair", expect=expect)
    return {row["uid"]: row["outcome"] for row in rows}


def test_what_dcmqrscp_without_get_has_more_comes_to_the_running_server_series_by_series(
    archive: Archive, tmp_path: Path
) -> None:
    made = [tiny(n, study="moved", series=n % 2) for n in range(5)]
    with foreign(archive, tmp_path, *made, moves_to={archive.aet: archive.port}) as (server, samples):
        study = samples[0].study_uid
        assert outcomes(archive, server.aet, study, expect=0) == {one.sop_uid: "fetched" for one in samples}
        assert archive.report("reconcile", "--with", server.aet, *SINCE, f"StudyInstanceUID={study}") == []
    held = {path.name.rpartition("-")[0]: data_set_of(path) for path in archive.files()}
    assert {one.sop_uid: held[one.sop_uid] for one in samples} == {one.sop_uid: one.data_set for one in samples}
    shown = archive.report("show", "study", study)
    assert {one["sender"] for series in shown["series"] for one in series["objects"]} == {server.aet}


def test_a_destination_that_is_not_known_there_is_named_with_the_remedy(archive: Archive, tmp_path: Path) -> None:
    with foreign(archive, tmp_path, tiny(0, study="unknown"), moves_to={}) as (server, samples):
        told = archive.pacs("reconcile", "--with", server.aet, *SINCE, "--repair", expect=13).stderr
    assert "does not know PACS as the destination of a C-MOVE (status 0xA801): register PACS there" in told
    assert samples[0].sop_uid not in archive.instance_uids()


def test_objects_that_went_to_another_address_are_not_called_fetched(archive: Archive, tmp_path: Path) -> None:
    with (
        Receiver(tmp_path / "elsewhere", aet=archive.aet) as elsewhere,
        foreign(archive, tmp_path, tiny(0, study="astray"), moves_to={archive.aet: elsewhere.port}) as (
            server,
            samples,
        ),
    ):
        told = archive.pacs("reconcile", "--with", server.aet, *SINCE, "--repair", expect=13).stderr
        assert elsewhere.objects().keys() == {samples[0].sop_uid}
    assert "says that it sent 1 objects to PACS, but none came here: look there whether PACS is registered" in told
    assert samples[0].sop_uid not in archive.instance_uids()


def test_who_may_not_store_here_is_not_asked_to(archive: Archive, tmp_path: Path) -> None:
    moves_to = {archive.aet: archive.port}
    with foreign(archive, tmp_path, tiny(0, study="refused"), moves_to=moves_to) as (server, samples):
        archive.pacs("ae", "set", server.aet, "--allow", "find,move")
        told = archive.pacs("reconcile", "--with", server.aet, *SINCE, "--repair", expect=2).stderr
        assert (
            f"may not store here what it sends for a C-MOVE: pacs ae set {server.aet} --allow store,find,move" in told
        )
        archive.pacs("ae", "set", server.aet, "--allow", "store,find,move")
        assert outcomes(archive, server.aet, samples[0].study_uid, expect=0) == {samples[0].sop_uid: "fetched"}


def test_nothing_is_asked_for_while_no_server_runs_that_would_take_it(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    stopped = new_archive()
    with foreign(stopped, tmp_path, tiny(0, study="stopped"), moves_to={stopped.aet: 1}) as (server, _):
        told = stopped.pacs("reconcile", "--with", server.aet, *SINCE, "--repair", expect=2).stderr
        assert "does not run: start pacs serve, and try again" in told
        assert "Move SCP" not in server.log_text()
