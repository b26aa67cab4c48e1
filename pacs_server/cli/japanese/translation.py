"""Help and messages in Japanese, where the locale asks for it. What has no entry stays English, and data is data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

_VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
_SHORT: Final = 14  # letters of a template besides its values
_PREFIX: Final = "pacs: "


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the locale of messages is Japanese, as POSIX finds it: the first of these variables that is not empty."""
    return next((value for name in _VARIABLES if (value := environment.get(name))), "").startswith("ja")


def help_in_japanese(command: click.Command) -> None:
    """Give a command and all below it their help in Japanese."""
    import click

    text = _help_of(command.help)
    if text is not None:
        command.short_help = text.partition("。")[0].strip() + "。" if "。" in text else text
        command.help = text
    context = click.Context(command, help_option_names=["-h", "--help"])
    for parameter in command.get_params(context):  # with the --help that the library adds
        if isinstance(parameter, click.Option):
            parameter.help = _help_of(parameter.help) or parameter.help
    if isinstance(command, click.Group):
        for below in command.commands.values():
            help_in_japanese(below)


def _help_of(text: str | None) -> str | None:
    from pacs_server.cli.japanese.help import HELP

    return HELP.get(" ".join(text.split())) if text else None


def label_in_japanese(label: str, key: str) -> str:
    """The heading of the column of a key, or the name of a fact, in Japanese, or as it is."""
    from pacs_server.cli.japanese.tables import LABELS

    return LABELS.get(f"{label} {key}") or LABELS.get(label, label)


@lru_cache(maxsize=1_000)  # in a long table the same words come again and again
def in_japanese(message: str) -> str:
    """A message in Japanese with the same values, or as it is."""
    if message.startswith(_PREFIX):
        return _PREFIX + in_japanese(message.removeprefix(_PREFIX))
    for pattern, japanese in _templates():
        if found := pattern.fullmatch(message):
            return japanese.format(*map(_cause, found.groups()))
    return _cause(message)


def _cause(value: str) -> str:
    """A value that is the cause of something, and the cause of that, also behind what it is about (a volume, a setting);
    any other value is data and stays as it is.
    """
    for pattern, japanese in _causes():
        if found := pattern.fullmatch(value):
            return japanese.format(*map(_cause, found.groups()))
    subject, colon, rest = value.partition(": ")
    return subject + colon + _cause(rest) if colon else value


@lru_cache(maxsize=1)
def _templates() -> list[tuple[re.Pattern[str], str]]:
    from pacs_server.cli.japanese.messages import MESSAGES

    return _by_how_much_they_say(MESSAGES)


@lru_cache(maxsize=1)
def _causes() -> list[tuple[re.Pattern[str], str]]:
    from pacs_server.cli.japanese.messages_peers import CAUSES

    return _by_how_much_they_say(CAUSES)


def _by_how_much_they_say(messages: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """Those that say most come first, so that "changed {}" does not take what "changed volume {}" is for."""
    ordered = sorted(messages.items(), key=lambda one: -len(one[0].replace("{}", "")))
    return [(re.compile(_pattern(english), re.DOTALL), japanese) for english, japanese in ordered]


def _pattern(english: str) -> str:
    """A value with which a short one begins is a word, so that "{} rows" takes no sentence that ends with rows."""
    first, *rest = map(re.escape, english.split("{}"))
    is_short = not first and len(english.replace("{}", "")) <= _SHORT
    values = [r"((?:(?![:;] ).)+?)" if is_short else "(.+?)", *["(.+?)"] * len(rest)]
    return first + "".join(value + piece for value, piece in zip(values, rest, strict=False))
