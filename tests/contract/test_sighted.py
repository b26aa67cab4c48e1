"""How a command tells the volumes beside a server that sees them otherwise, in either database."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.house import House

from pacs_server.cli.doctor_checks import CHECKS
from pacs_server.service.assemble import Node
from pacs_server.service.locks import instance_lock
from pacs_server.service.present import volumes_of
from pacs_server.service.volume_states import note
from pacs_server.storage.condition import Status

CLOSED = "/mnt/nas: .pacs-volume.json cannot be read: Permission denied"


@pytest.fixture
def house(tmp_path: Path, new_upgraded_url: Callable[[], str]) -> House:
    """An archive with the volume `first`."""
    return House(tmp_path / "archive", new_upgraded_url())


def note_closed(node: Node) -> None:
    """What a server notes that is a user who may not read the volume."""
    (volume,) = node.volumes()
    closed = replace(volume.state, status=Status.OFFLINE, is_readable=False, reason=CLOSED)
    note(node.settings.data_dir, {volume.spec.id: closed})


def test_what_the_server_cannot_read_is_not_told_as_online_by_a_command_that_can(house: House) -> None:
    with house.node() as node:
        note_closed(node)
        with instance_lock(node.settings.data_dir):
            (told,) = volumes_of(node)
            problems = dict(CHECKS["volumes"](node))
        assert (told["state"], told["reason"]) == ("offline", CLOSED)
        assert f"first: {CLOSED}" in problems


def test_without_a_server_a_command_tells_what_it_sees(house: House) -> None:
    with house.node() as node:
        note_closed(node)
        (told,) = volumes_of(node)
    assert (told["state"], told["reason"]) == ("online", "")


def test_a_volume_whose_path_is_gone_is_told_with_the_way_to_name_another(house: House) -> None:
    with house.node() as node:
        (volume,) = node.volumes()
        path = Path(str(volume.spec.path))
        path.rename(path.with_name("moved"))
        ((problem, remedy),) = CHECKS["volumes"](node)
    assert problem == f"first: {path}: No such file or directory"
    assert remedy == "mount it; where it is at another path now: pacs storage set first --path PATH"
