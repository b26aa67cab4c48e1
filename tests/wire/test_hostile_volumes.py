"""Rows of hostile inputs: a volume that answers with an error. No success, nothing left, taken when sent again."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.faulty_volume import FaultyVolume, mounted
from support.raw_objects import identified, storing
from support.samples import uid
from support.server import wait_for
from support.standing_rules import PATIENT, SETTLE_S, Watched

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
SENTINEL = ".pacs-volume.json"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, FaultyVolume]]:
    """An archive whose volume is a file system that fails when it is told to."""
    outside = tmp_path_factory.mktemp("outside")
    with ExitStack() as running:
        ill_treated = Watched(outside, network=PATIENT)
        root = ill_treated.archive.volume
        content = (root / SENTINEL).read_bytes()
        try:
            volume = running.enter_context(mounted(root))
        except OSError as error:
            pytest.skip(str(error))
        (root / SENTINEL).touch(mode=0o640)
        (root / SENTINEL).write_bytes(content)
        running.callback(ill_treated.archive.kill)
        ill_treated.start()
        yield ill_treated, volume
        ill_treated.assert_rules_of_all()
        assert ill_treated.archive.stop() == 0


CALLS = {
    "create": ("EACCES", "EROFS", "ENOSPC", "EDQUOT"),
    "mkdir": ("EACCES", "ENOSPC"),
    "write": ("EIO", "ENOSPC", "EDQUOT", "ESTALE"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"),
    "rename": ("EIO", "EACCES", "ESTALE"),
    "fsyncdir": ("EIO", "ESTALE"),
}


@pytest.mark.parametrize(
    ("call", "error"),
    [(call, error) for call, errors in CALLS.items() for error in errors],
    ids=lambda value: f"row 64: {value}",
)
def test_an_error_of_the_volume_is_no_success_and_the_object_is_taken_when_it_is_sent_again(
    faulty: tuple[Watched, FaultyVolume], call: str, error: str
) -> None:
    ill_treated, volume = faulty
    name = f"row 64: {error} at {call}"
    data_set = identified(name)
    with ill_treated.case(name, stored=1) as case, storing(case) as association:
        volume.tell(f"fail {error} {call}")
        answered = association.store(data_set, uid(name))
        assert answered.status == OUT_OF_RESOURCES, answered
        if call != "fsyncdir":  # what has its final name is found by whoever reconciles
            wait_for(lambda: not left_of(ill_treated, uid(name)), "nothing to be left of it", timeout_s=SETTLE_S)
        volume.tell("ok")
        wait_for(
            lambda: association.store(data_set, uid(name)).status == SUCCESS,
            "it to be stored",
            timeout_s=SETTLE_S,
            every_s=0.1,
        )


def test_a_volume_that_takes_nothing_is_told_by_every_command_until_it_takes_something_again(
    faulty: tuple[Watched, FaultyVolume],
) -> None:
    ill_treated, volume = faulty
    name = "row 64: told of"

    def state() -> str:
        (told,) = ill_treated.archive.report("storage", "list")
        return str(told["state"])

    with ill_treated.case(name) as case, storing(case) as association:
        volume.tell("fail EDQUOT write")
        assert association.store(identified(name), uid(name)).status == OUT_OF_RESOURCES
        wait_for(lambda: state() == "full", "the volume to be full")
        volume.tell("ok")
        wait_for(lambda: state() == "online", "the volume to be online")


def left_of(ill_treated: Watched, sop_uid: str) -> list[Path]:
    """The files of an object, and all that are unfinished."""
    return [path for path in ill_treated.archive.files() if sop_uid in path.name or path.suffix != ".dcm"]
