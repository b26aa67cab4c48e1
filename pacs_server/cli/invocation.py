"""What every command shares: where the settings are found, the --json switch, and help that ends in an example."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pacs_server.cli.help_layout import Context
from pacs_server.cli.output import printable
from pacs_server.errors import Busy, ConfigError, PacsError, Refused

if TYPE_CHECKING:
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.service.assemble import Node
    from pacs_server.settings import Settings

Decorated = TypeVar("Decorated", bound=Callable[..., object])

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
# What Python makes of bytes that are no text, which the name of a file may have. Those are Paths here; any other word
# is looked for, or kept, in the database, which takes text alone.
_NO_TEXT: Final = re.compile("[\udc80-\udcff]")
# As a script leaves a word whose variable has no value: without it, more would be taken than was meant.
_EMPTY: Final = "it is empty"
MOMENT: Final = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
SETTINGS_NAME: Final = "pacs.yaml"
DEFAULT_DATA: Final = Path("pacs-data")
SYSTEM_SETTINGS: Final = Path("/etc/pacs") / SETTINGS_NAME


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One call of `pacs`, in its words. Settings and database are opened only by a command that needs them."""

    config: Path | None = None
    as_json: bool = False
    words: Sequence[str] = ()

    def settings_path(self) -> Path:
        """The settings file that applies. Raises: ConfigError when there is none."""
        return find_settings(self.config, os.environ)

    def settings(self) -> Settings:
        """The checked settings. Raises: ConfigError."""
        from pacs_server.settings import load

        return load(self.settings_path(), os.environ)

    @contextmanager
    def node(self, *, only_tries: bool = False) -> Iterator[Node]:
        """The archive, beside a server that may be running. What is changed in it, refused or broken off is told to the
        audit trail as done by this command; not that it `only_tries` whether something can be written.

        Raises: ConfigError, SchemaMismatch, IndexUnavailable.
        """
        from pacs_server.service.assemble import Node
        from pacs_server.service.person import command_of

        command = command_of(self.words, datetime.now(UTC))
        with Node.open(self.settings(), None if only_tries else command) as node:
            try:
                yield node
            except Refused as refusal:
                node.audit.refused(command, str(refusal))
                raise
            except PacsError as error:
                if not only_tries:
                    node.audit.broken_off(command, str(error))
                raise
            finally:
                node.audit.write_down()


def tell_of(invocation: Invocation) -> None:
    """Have the audit trail tell of a command that changed something outside of the index.

    Raises: ConfigError, SchemaMismatch, IndexUnavailable.
    """
    with invocation.node() as node:
        node.audit.tell_command()


def find_settings(given: Path | None, environment: Mapping[str, str]) -> Path:
    """The settings file: the given one, else PACS_CONFIG, else that of PACS_DATA, else the first that exists.

    Raises: ConfigError when none of the usual places has one, or one may not be looked into.
    """
    if given is not None:
        return given
    if config := environment.get("PACS_CONFIG"):
        return Path(config)
    if data := environment.get("PACS_DATA"):
        return Path(data) / SETTINGS_NAME
    places = (DEFAULT_DATA / SETTINGS_NAME, SYSTEM_SETTINGS)
    for place in places:
        try:
            if is_there(place):
                return place
        except OSError as error:
            raise ConfigError(
                f"{place} cannot be read: {error.strerror}; run pacs as the user of the server, or name a file with -c"
            ) from error
    raise ConfigError(f"no settings file at {' or '.join(map(str, places))}: name one with -c, or make one: pacs init")


def is_there(path: Path) -> bool:
    """Whether there is anything at a path.

    Raises: OSError when that cannot be told; Path.exists() says no then from Python 3.14 on.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def refuse_while_serving(data_dir: Path, deed: str) -> None:
    """Refuse what must not happen under a running server. Raises: Busy."""
    from pacs_server.service.telling import serving

    if (server := serving(data_dir)) is None:
        return
    if Path(f"/proc/{server.get('pid')}").exists():
        raise Busy(f"a server runs on {data_dir} (process {server['pid']}): stop it before {deed}")
    raise Busy(f"another pacs works on {data_dir}: wait until it has ended, or stop it, before {deed}")


def _remember_config(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


def _remember_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).as_json = True


def _config_option() -> click.Option:
    return click.Option(
        ["-c", "--config"],
        type=PathWord(),
        metavar="FILE",
        expose_value=False,
        callback=_remember_config,
        help="Settings file; else PACS_CONFIG, else pacs.yaml in PACS_DATA, in ./pacs-data or in /etc/pacs.",
    )


def _json_option() -> click.Option:
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_remember_json, help="Print JSON instead of a table."
    )


# How many rows, or the number of one: the database takes no greater ones.
ROWS: Final = click.IntRange(1, 2**31 - 1)
# Up to a thousand years: so long ago is still a date.
DAYS: Final = click.IntRange(0, 365_000)


class Number(click.FloatRange):
    """A number that may have a fraction, within bounds; not nan, which the library finds within all of them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises: click.BadParameter with the reason."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"'{value}' is not a valid {self.name}.", param, ctx)
        return number


class PathWord(click.Path):
    """A path; not an empty one, which the library takes for the current directory."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path_type=Path, **kwargs)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises: click.BadParameter with the reason."""
        if value == "":
            self.fail(_EMPTY, param, ctx)
        return super().convert(value, param, ctx)


class Command(click.Command):
    """A command whose help ends in an example. `reports` gives it --json."""

    context_class = Context

    def __init__(self, *args: Any, example: str = "", reports: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params.append(_config_option())
        if reports:
            self.params.append(_json_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of a command line. Raises: click.UsageError; click.BadParameter for one that is no text."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            given = ctx.params.get(parameter.name or "")
            for value in given if isinstance(given, tuple) else (given,):
                if isinstance(value, str) and _NO_TEXT.search(value):
                    raise click.BadParameter(_why_no_text(value), ctx, parameter)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the example under the options, in one line however narrow the terminal is: it is there to be pasted."""
        with formatter.section("Example"):
            formatter.write(f"{'':{formatter.current_indent}}{self.example}\n")


class Group(click.Group):
    """A group of such commands; the top one takes --config and --json for all below it."""

    command_class = Command
    group_class = type
    context_class = Context

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the example of the first command."""
        next(iter(self.commands.values())).format_epilog(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their first sentences whole, however long the longest name is."""
        named = [(name, self.commands[name].get_short_help_str(formatter.width)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(named)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a person meets them, not by letter."""
        return list(self.commands)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def add_global_options(group: click.Group) -> None:
    """Let --config and --json also stand before the name of a command."""
    group.params += [_config_option(), _json_option()]


def confirmed(decorated: Decorated) -> Decorated:
    """Give a command that removes or overwrites its --yes; without it the command only says what it would do."""
    return click.option("--yes", is_flag=True, help="Do it. Without this, only say what would be done.")(decorated)


def replacing(decorated: Decorated) -> Decorated:
    """Give a command its --yes, without which it only makes what is not there yet, and changes nothing that is."""
    return click.option("--yes", is_flag=True, help="Also change what is there already.")(decorated)


def _why_no_text(word: str) -> str:
    encoding = sys.getfilesystemencoding()
    return f"'{printable(word)}' is no text in {encoding}: write it so, or set LANG to what the terminal writes"


def key_values(words: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE words as a mapping. Raises: click.UsageError for any other word, or a key that comes twice."""
    keys: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise click.UsageError(f"'{word}' is not KEY=VALUE, like PatientID=1234 or StudyDate=20260101-")
        if key in keys:
            raise click.UsageError(f"{key} is given twice")
        keys[key] = value
    return keys


def name_value(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The name of something of ours, where one is given. Raises: click.BadParameter with the reason."""
    if value is not None and not _NAME.fullmatch(value):
        raise click.BadParameter("a name is up to 32 letters, digits, '-', '_' and '.'", context, parameter)
    return value


def text_value(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """The text of an option, "" where it is not given. Raises: click.BadParameter for one that is given and empty."""
    if value is not None and not value.strip():
        raise click.BadParameter(_EMPTY, context, parameter)
    return value or ""


def aet_value(context: click.Context, parameter: click.Parameter, value: str) -> AeTitle:
    """The AE title of an argument or option. Raises: click.BadParameter with the reason."""
    from pacs_server.settings import site_aet

    try:
        return site_aet(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def aet_or_none(context: click.Context, parameter: click.Parameter, value: str | None) -> AeTitle | None:
    """The AE title where one is given. Raises: click.BadParameter with the reason."""
    return None if value is None else aet_value(context, parameter, value)


def aet_values(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[AeTitle, ...]:
    """The AE titles of an option that is repeated, each once. Raises: click.BadParameter with the reason."""
    return tuple(dict.fromkeys(aet_value(context, parameter, value) for value in values))
