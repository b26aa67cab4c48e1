"""The one table of exit codes: what each means, and which error ends in which."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from pacs_server import errors


class ExitCode(IntEnum):
    """What `pacs` ends with."""

    DONE = 0
    UNEXPECTED = 1
    REFUSED = 2
    PARTLY = 3
    CONFIGURATION = 10
    SCHEMA = 11
    DAMAGE = 12
    UNREACHABLE = 13
    BUSY = 14


MEANINGS: Final = {
    ExitCode.DONE: "done",
    ExitCode.UNEXPECTED: "unexpected",
    ExitCode.REFUSED: "usage, or refused as unsafe",
    ExitCode.PARTLY: "partly done",
    ExitCode.CONFIGURATION: "configuration",
    ExitCode.SCHEMA: "schema not current",
    ExitCode.DAMAGE: "damage found",
    ExitCode.UNREACHABLE: "not reachable",
    ExitCode.BUSY: "busy",
}

_BY_ERROR: Final[dict[type[BaseException], ExitCode]] = {
    errors.PacsError: ExitCode.UNEXPECTED,
    errors.BadObject: ExitCode.REFUSED,
    errors.Undecodable: ExitCode.DAMAGE,
    errors.Unconvertible: ExitCode.REFUSED,
    errors.BadQuery: ExitCode.REFUSED,
    errors.PeerFailed: ExitCode.UNREACHABLE,
    errors.NotProven: ExitCode.REFUSED,
    errors.ConfigError: ExitCode.CONFIGURATION,
    errors.Refused: ExitCode.REFUSED,
    errors.UnknownName: ExitCode.REFUSED,
    errors.SchemaMismatch: ExitCode.SCHEMA,
    errors.Busy: ExitCode.BUSY,
    errors.VolumeUnavailable: ExitCode.UNREACHABLE,
    errors.DecoderUnavailable: ExitCode.UNREACHABLE,
    errors.NotEnoughCopies: ExitCode.UNREACHABLE,
    errors.CopyUnreadable: ExitCode.DAMAGE,
    errors.CopyDiffers: ExitCode.DAMAGE,
    errors.IndexUnavailable: ExitCode.UNREACHABLE,
    errors.IndexUnfit: ExitCode.CONFIGURATION,
    errors.IndexDamaged: ExitCode.DAMAGE,
    errors.PatroniUnavailable: ExitCode.UNREACHABLE,
    errors.AlarmNotTold: ExitCode.UNREACHABLE,
}


def exit_code(error: BaseException) -> ExitCode:
    """The code for an error: that of its own class, else of the nearest class above it that the table names."""
    return next((_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR), ExitCode.UNEXPECTED)
