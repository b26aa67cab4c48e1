"""Who gave a command, as decisions and the audit trail tell of it: whoever the kernel knows, not the environment."""

import os
import pwd
import socket
from pathlib import Path

import pytest

from pacs_server.service import person
from pacs_server.service.person import this_person

USER = pwd.getpwuid(os.geteuid()).pw_name
OTHER = next(one for one in pwd.getpwall() if one.pw_uid != os.geteuid())
HERE = socket.gethostname()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the kernel tells who logged in, on a machine that is no container."""
    login, processes = tmp_path / "loginuid", tmp_path / "pid"
    processes.touch()
    monkeypatch.setattr(person, "_LOGIN", login)
    monkeypatch.setattr(person, "_PROCESSES", processes)
    monkeypatch.setattr(person, "_OF_THE_MACHINE", processes.stat().st_ino)
    return login


def test_nobody_gives_a_command_in_the_name_of_another(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "suzuki")
    assert this_person() == f"{USER}@{HERE}"


def test_who_became_another_user_by_sudo_is_named_beside_that_one(session: Path) -> None:
    session.write_text(str(OTHER.pw_uid), encoding="ascii")
    assert this_person() == f"{OTHER.pw_name} as {USER}@{HERE}"


@pytest.mark.parametrize("number", [str(os.geteuid()), "4294967295", ""])
def test_who_is_themselves_or_logged_in_nowhere_is_named_alone(number: str, session: Path) -> None:
    session.write_text(number, encoding="ascii")
    assert this_person() == f"{USER}@{HERE}"


def test_a_container_does_not_take_a_number_of_the_machine_for_a_user_of_its_own(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.write_text(str(OTHER.pw_uid), encoding="ascii")
    monkeypatch.setattr(person, "_OF_THE_MACHINE", 0)
    assert this_person() == f"{USER}@{HERE}"


def test_a_user_without_a_name_is_named_by_number(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_999)
    assert this_person() == f"uid 3999999999@{HERE}"
