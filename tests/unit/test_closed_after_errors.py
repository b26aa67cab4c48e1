"""What had something open when it failed is closed when the error was dealt with, not when garbage is collected."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pacs_server.archive import releasing, scrub
from pacs_server.errors import VolumeUnavailable
from pacs_server.service.duties import each_in_turn

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Failing:
    """Has something open while it fails."""

    def __init__(self) -> None:
        self.opened: list[weakref.ref[set[int]]] = []

    def __call__(self, *_: object) -> Iterator[None]:
        opened: set[int] = set()
        self.opened.append(weakref.ref(opened))
        raise VolumeUnavailable("away")


def volume(*, is_readable: bool) -> Any:
    return SimpleNamespace(spec=SimpleNamespace(id="nas"), check=lambda: SimpleNamespace(is_readable=is_readable))


def duties(failing: Failing, _: pytest.MonkeyPatch, is_readable: bool) -> None:
    each_in_turn(failing, ["a", "b"] if is_readable else ["a"])


def verifying(failing: Failing, monkeypatch: pytest.MonkeyPatch, is_readable: bool) -> None:
    monkeypatch.setattr(scrub, "noted_damage_of", failing)
    one = SimpleNamespace(path="p", digest="d")
    copies: Any = SimpleNamespace(least_verified=lambda *_, without, **__: [] if without else [one])
    list(scrub.verify(volume(is_readable=is_readable), copies, before=NOW, clock=lambda: NOW))


def removing(failing: Failing, monkeypatch: pytest.MonkeyPatch, is_readable: bool) -> None:
    monkeypatch.setattr(releasing, "put_back_unknown", lambda *_: None)
    monkeypatch.setattr(releasing, "keep_last", lambda *_, **__: None)
    monkeypatch.setattr(releasing, "release", failing)
    releases: Any = SimpleNamespace(due=lambda *_, without, **__: [] if without else ["p"])
    rows: Any = SimpleNamespace(has_come_again=lambda *_: False)
    list(releasing.release_due(volume(is_readable=is_readable), releases, rows, rows, rows, now=NOW))


@pytest.mark.parametrize("is_readable", [False, True], ids=["at once", "at the end"])
@pytest.mark.parametrize("deed", [duties, verifying, removing])
def test_an_error_that_was_dealt_with_holds_nothing(
    monkeypatch: pytest.MonkeyPatch, deed: Callable[..., None], is_readable: bool
) -> None:
    failing = Failing()
    gc.disable()
    try:
        with suppress(VolumeUnavailable):
            deed(failing, monkeypatch, is_readable)
        assert failing.opened
        assert [one() for one in failing.opened if one() is not None] == []
    finally:
        gc.enable()
