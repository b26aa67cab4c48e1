"""What SIGHUP does: the log settings are read again, and of all others is told that they wait for a restart."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields

from pacs_server import log
from pacs_server.errors import ConfigError
from pacs_server.settings import Settings


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
        except ConfigError as error:
            log.error("settings not reloaded", why=error)
            return
        log.configure(settings.log.level, settings.log.file)
        log.info("reloaded", level=settings.log.level)
        if os.getpid() == self._supervisor and (waiting := self._waiting(settings)):
            log.warning("other settings take effect after a restart", changed=", ".join(waiting))

    def _waiting(self, settings: Settings) -> list[str]:
        names = (field.name for field in fields(Settings) if field.compare and field.name != "log")
        return [name for name in names if getattr(settings, name) != getattr(self._served, name)]
