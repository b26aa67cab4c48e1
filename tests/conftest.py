"""Fixtures of the tests that use a whole archive: its process, and the peers that call it or are called by it."""

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from support import dcmtk
from support.dcmtk import Receiver, Station
from support.faulty_volume import FaultyVolume, mounted
from support.server import LONG, Archive
from support.standing_rules import PATIENT, Watched, watched

if TYPE_CHECKING:
    from support.buckets import S3Server
    from support.seaweedfs import SeaweedFS


# On a busy machine one example may take longer than the 200 ms that are usual.
hypothesis.settings.register_profile("usual", deadline=None)
hypothesis.settings.load_profile("usual")
# By ./scripts/fuzz --target values.
hypothesis.settings.register_profile("many", max_examples=5_000, deadline=None)

COLLECTED_AFTER = 50_000
# A scenario takes minutes and mostly waits; one that begins last is waited for by all other workers. What is asked of
# databases mostly computes: it is spread over the same time, so that the processors have something to do meanwhile.
WAITING, COMPUTING, SHORT = ("scenario", "wire"), ("contract",), ("unit", "fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the files of those that wait and of those that compute take turns."""
    paths = dict.fromkeys(item.path for item in items)
    places: dict[Path, tuple[bool, float]] = {}
    for folders in (WAITING, COMPUTING, SHORT):
        files = [path for folder in folders for path in paths if path.parent.name == folder]
        places |= {path: (folders is SHORT, number / len(files)) for number, path in enumerate(files)}
    items.sort(key=lambda item: places[item.path])


def pytest_collection_finish() -> None:
    """Seven thousand tests are four hundred thousand objects, which are looked through each time garbage is sought. To
    freeze them would hide from Hypothesis who holds its random numbers.
    """
    gc.set_threshold(COLLECTED_AFTER)


@pytest.fixture(scope="module")
def hangs() -> bool:
    """Whether the tests of a module tell that volume to hang."""
    return True


@pytest.fixture
def forgetful(tmp_path: Path, hangs: bool) -> Iterator[FaultyVolume]:
    """A volume that can be cut off, and forgets what was not flushed."""
    try:
        with mounted(tmp_path / "forgetful", hangs=hangs) as volume:
            yield volume
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Notes what a scenario at full length has shown, a line each in build/evidence.txt, so that runs can be compared:
    docs/evidence.md has those of the last one.
    """

    def note(**figures: object) -> None:
        if LONG:
            told = ", ".join(f"{name} {value}" for name, value in figures.items())
            folder = request.config.rootpath / "build"
            folder.mkdir(exist_ok=True)
            with (folder / "evidence.txt").open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M} {request.node.name}: {told}\n")

    return note


@pytest.fixture(scope="session")
def s3_server() -> Iterator["S3Server"]:
    """An S3 server that all tests share; each has buckets of its own."""
    from support.buckets import S3Server  # takes a second to load

    server = S3Server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SeaweedFS"]:
    """A real S3 server, where its program is installed."""
    from support.seaweedfs import SeaweedFS

    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A running archive that the tests of one module share, so each takes studies of its own."""
    running = Archive(tmp_path_factory.mktemp("archive"))
    running.start()
    yield running
    code = running.stop()
    assert code == 0, running.log_text()[-4_000:]
    assert "Traceback" not in running.log_text(), running.log_text()[-8_000:]


@pytest.fixture
def new_archive(tmp_path: Path) -> Iterator[Callable[..., Archive]]:
    """Makes archives that belong to one test; they are not started. Whatever runs is killed at the end."""
    made: list[Archive] = []

    def make(*, aet: str = Archive.aet, **settings: object) -> Archive:
        made.append(Archive(tmp_path / f"archive-{len(made)}", settings=settings, aet=aet))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    """What is set for the archive that a module ill-treats. In place of these, it may have short deadlines."""
    return {"network": PATIENT}


@pytest.fixture(scope="module")
def ill_treated(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]) -> Iterator[Watched]:
    """A running archive that the tests of one module ill-treat, under the standing rules."""
    with watched(tmp_path_factory.mktemp("outside"), **settings) as running:
        yield running


@pytest.fixture
def station(archive: Archive, tmp_path: Path) -> Station:
    """DCMTK's clients, calling the module's archive from this machine."""
    dcmtk.require()
    return Station(archive=archive, folder=tmp_path)


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Starts DCMTK's storescp with options, under an AE title; it ends with the test."""
    dcmtk.require()
    with ExitStack() as running:

        def start(aet: str, *options: str) -> Receiver:
            return running.enter_context(Receiver(tmp_path / f"received-by-{aet}", *options, aet=aet))

        yield start
