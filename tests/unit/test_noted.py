"""Small files of the data directory that were cut, emptied or changed by hand say nothing, and end nobody."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pacs_server.errors import ConfigError
from pacs_server.service import contacts, volume_states
from pacs_server.service.locks import backup_lock, failover_lock, instance_lock, is_serving, rebuild_lock, tier_lock
from pacs_server.service.monitoring.alarm_book import AlarmBook, standing_alarms, undelivered
from pacs_server.service.telling import Teller, forget_workers, running, served_before, server_teller, worker_teller
from pacs_server.settings import AlertSettings

MOMENT = "2026-01-02T03:04:05+00:00"
VOLUME = {"status": "online", "is_readable": True, "reason": "", "since": MOMENT}
STANDING = {"kind": "volume", "about": "nas", "text": "nas is offline", "since": MOMENT}
STANDING |= {"raised_at": MOMENT, "told_at": MOMENT}
PARTNER: dict[str, Any] = {
    **dict.fromkeys(("name", "fingerprint", "problem", "node", "aet", "schema", "version"), "x"),
    **dict.fromkeys(("since", "at", "told_at"), MOMENT),
    "is_reached": True,
    "clock_ahead_s": 0.5,
}
DELIVERY: dict[str, Any] = {"way": "mail", "attempts": 1, "due_at": MOMENT, "problem": "no"}
DELIVERY |= {"notice": dict.fromkeys(("what", "kind", "about", "text", "since", "at", "node", "aet"), "x")}
SERVER: dict[str, Any] = {"aet": "PACS", "host": "127.0.0.1", "port": 104, "tls_host": None, "tls_port": None, "pid": 9}
SERVER |= {"partner_port": None, "http_port": None, "started_at": MOMENT}
WORKER: dict[str, Any] = {"served": 3, "associations": []}
CALL: dict[str, Any] = {
    **dict.fromkeys(("number", "stored", "refused", "answered", "sent"), 1),
    **dict.fromkeys(("calling_aet", "address", "since", "doing"), "x"),
}

RUBBISH = [b"", b'{"standing": {"a": {"ki', b"[]", b"null", b"7", b'"x"', b"[" * 100_000, os.urandom(200), b"\0" * 80]
WRONG = ([], {}, None, [7], {"a": 7}, ["x"], [{}], {"a": {}})
NO_MOMENTS = ("x", "2026-01-02T03:04:05", "2026-13-02T03:04:05+00:00", 7)


def changed(right: dict[str, Any], *way: str | int) -> Iterator[bytes]:
    """Such a file as rubbish, and with something wrong in the place of each value at the end of the way."""
    yield from RUBBISH
    for key, was in inner_of(right, way).items():
        for value in (*WRONG, *(NO_MOMENTS if was == MOMENT else ())):
            told = json.loads(json.dumps(right))
            inner_of(told, way)[key] = value
            yield json.dumps(told).encode()


def inner_of(told: Any, way: tuple[str | int, ...]) -> dict[str, Any]:
    for step in way:
        told = told[step]
    inner: dict[str, Any] = told
    return inner


def look(folder: Path) -> list[Any]:
    """Everything that reads such a file."""
    with instance_lock(folder):
        AlarmBook(folder, AlertSettings(), node="one", aet="PACS", ways=("mail",))
        told = running(folder)
        return [
            volume_states.remembered(folder),
            contacts.remembered(folder),
            standing_alarms(folder),
            undelivered(folder),
            told and told["associations"],
            served_before(folder, 0),
        ]


NOTHING = [{}, {}, [], {}, [], 0]


@pytest.mark.parametrize(
    ("name", "right", "way"),
    [
        ("volumes.json", {"id": VOLUME}, ("id",)),
        ("partners.json", {"partners": [PARTNER]}, ("partners", 0)),
        ("alarms.json", {"standing": {"a": STANDING}}, ("standing", "a")),
        ("alarms.json", {"waiting": [DELIVERY]}, ("waiting", 0)),
        ("alarms.json", {"waiting": [DELIVERY]}, ("waiting", 0, "notice")),
        ("serve-0.json", WORKER | {"associations": [CALL]}, ("associations", 0)),
        ("serve-0.json", {"served": 3}, ()),
    ],
)
def test_a_file_that_is_not_as_it_was_noted_says_nothing(
    tmp_path: Path, name: str, right: dict[str, Any], way: tuple[str | int, ...]
) -> None:
    (tmp_path / "serve.json").write_text(json.dumps(SERVER))
    for content in changed(right, *way):
        (tmp_path / name).write_bytes(content)
        assert look(tmp_path) == NOTHING, content


def test_a_server_that_tells_nothing_of_itself_is_starting(tmp_path: Path) -> None:
    for content in (*RUBBISH, json.dumps(SERVER | {"port": "x"}).encode(), json.dumps({"pid": 9}).encode()):
        (tmp_path / "serve.json").write_bytes(content)
        with instance_lock(tmp_path):
            assert running(tmp_path) == {}, content


def test_a_file_as_it_was_noted_says_so(tmp_path: Path) -> None:
    for name, told in {
        "volumes.json": {"id": VOLUME},
        "partners.json": {"partners": [PARTNER]},
        "alarms.json": {"standing": {"a": STANDING}},
        "serve.json": SERVER,
        "serve-0.json": WORKER | {"associations": [CALL]},
    }.items():
        (tmp_path / name).write_text(json.dumps(told))
    volumes, partners, alarms, _, calls, served = look(tmp_path)
    assert list(volumes) == ["id"]
    assert list(partners) == ["x"]
    assert alarms == [STANDING | {"gone_since": ""}]  # an older release noted no such thing
    assert (calls, served) == ([CALL], 3)


def test_who_may_not_read_such_a_file_is_not_told_that_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, *_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", closed)  # the rights themselves keep nobody out who is root
    for look_at in (standing_alarms, running, is_serving):
        with pytest.raises(ConfigError, match="Permission denied; run pacs as the user of the server"):
            look_at(tmp_path)


def test_a_directory_in_the_place_of_such_a_file_ends_nobody(tmp_path: Path) -> None:
    for name in ("volumes.json", "partners.json", "alarms.json", "serve-0.json"):
        (tmp_path / name / "in it").mkdir(parents=True)
    (tmp_path / "serve.json").write_text(json.dumps(SERVER))
    assert look(tmp_path) == NOTHING
    teller = Teller(tmp_path / "alarms.json")
    teller.tell({"standing": {}})
    teller.forget()


def test_what_was_told_is_told_anew_where_the_file_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "serve-0.json"
    teller = Teller(path)
    teller.tell(WORKER)
    for change in (path.unlink, lambda: path.write_text("[1"), lambda: path.write_text("")):
        change()
        teller.tell(WORKER)
        assert json.loads(path.read_text()) == WORKER


def full(path: Path, _: bytes) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize("more", [1, 20])
def test_more_is_told_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    teller = Teller(tmp_path / "alarms.json")
    teller.tell({"standing": {}})
    blocks = (tmp_path / "alarms.json").stat().st_size
    monkeypatch.setattr(Path, "write_bytes", full)
    teller.tell({"standing": {"index/disk": STANDING | {"text": "x" * 100 * more}}})
    assert [one["text"] for one in standing_alarms(tmp_path)] == ["x" * 100 * more]
    assert (tmp_path / "alarms.json").stat().st_size == blocks
    teller.tell({"standing": {}})
    assert standing_alarms(tmp_path) == []


def test_a_server_that_is_started_again_on_a_full_disk_tells_where_it_listens_and_who_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tellers = server_teller(tmp_path), worker_teller(tmp_path, 0)

    def tell() -> None:
        for teller, told in zip(tellers, (SERVER, WORKER | {"associations": [CALL]}), strict=True):
            teller.tell(told)

    tell()
    tellers[0].forget()
    forget_workers(tmp_path)
    with instance_lock(tmp_path):
        assert running(tmp_path) == {}
        monkeypatch.setattr(Path, "write_bytes", full)
        tell()
        told = running(tmp_path)
    assert told
    assert (told["port"], told["associations"]) == (SERVER["port"], [CALL])


@pytest.mark.parametrize("lock", [backup_lock, failover_lock, instance_lock, rebuild_lock, tier_lock])
def test_a_lock_that_cannot_be_opened_is_named(
    tmp_path: Path, lock: Callable[[Path], AbstractContextManager[None]]
) -> None:
    for name in ("backup", "failover", "rebuild", "serve", "tier"):
        (tmp_path / f"{name}.lock").mkdir()
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"), lock(tmp_path):
        pass
