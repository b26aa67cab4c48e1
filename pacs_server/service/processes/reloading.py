"""What SIGHUP does: the log settings are read again, and of all others is told that they wait for a restart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

from pacs_server import log
from pacs_server.errors import ConfigError
from pacs_server.settings import LogSettings, Settings


def use_log(settings: LogSettings) -> None:
    """Write the log as the settings say. Raises: ConfigError when its file cannot be opened; nothing changes then."""
    try:
        log.configure(settings.level, settings.file)
    except OSError as error:
        raise ConfigError(
            f"log.file: {settings.file} cannot be written: {error.strerror}; its folder has to be there, and the file, "
            "where there is one, belong to the user of the server"
        ) from error


class Reloading:
    """Belongs to the supervisor, and to each process that it forks."""

    def __init__(self, load: Callable[[], Settings], served: Settings) -> None:
        """`served` are the settings with which the server runs."""
        self._load = load
        self._served = served
        self._supervisor = os.getpid()

    def reload(self) -> None:
        """Use the log settings as they are now. What is wrong with the settings is logged, and then nothing changes."""
        try:
            settings = self._load()
            use_log(settings.log)
        except ConfigError as error:
            log.error("settings not reloaded", why=error)
            return
        log.info("reloaded", level=settings.log.level)
        if os.getpid() == self._supervisor and (waiting := list(_differing(self._served, settings))):
            log.warning("other settings take effect after a restart", changed=", ".join(waiting))


def _differing(served: object, found: object, prefix: str = "") -> Iterator[str]:
    """The names of the settings, besides those of the log, that are not as they are served."""
    for item in fields(served):  # type: ignore[arg-type]
        before, now = getattr(served, item.name), getattr(found, item.name)
        if before == now or not item.compare or item.name == "log":
            continue
        name = f"{prefix}{item.name}"
        if is_dataclass(before):
            yield from _differing(before, now, f"{name}.")
        else:
            yield name
