"""Help and messages in Japanese, where the locale asks for it. What has no entry stays English, and data is data."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

_VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
_SHORT: Final = 14  # letters of a template besides its values
_PREFIX: Final = "pacs: "
_JOINT: Final = "; "  # between causes, and in many a template
_MOST_JOINED: Final = 12


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
    return _told(message, _templates()) or _cause(message)


def _cause(value: str) -> str:
    """A value that is the cause of something, and the cause of that; or several causes that stand behind each other. Any
    other value is data and stays as it is.
    """
    return _told(value, _causes()) or _of_a_subject(value)


def _of_a_subject(value: str) -> str:
    """A cause behind what it is about: a volume, a setting."""
    subject, colon, rest = value.partition(": ")
    return subject + colon + _cause(rest) if colon else value


def _told(text: str, templates: list[_Template]) -> str:
    """A text by the template that says most of it; several causes each by its own; "" where there is none for it."""
    if 1 <= text.count(_JOINT) <= _MOST_JOINED and (each := _each(text.split(_JOINT), templates)):
        return "。".join(each)
    for template in templates:
        if (values := template.values_in(text)) is not None:
            return template.told_with(values)
    return ""


def _each(pieces: list[str], templates: list[_Template]) -> list[str]:
    """The causes that these pieces are, each of as many as it can be; none where a piece belongs to no cause."""
    each = list[str]()
    while pieces:
        beginnings = ((count, _one(_JOINT.join(pieces[:count]), templates)) for count in range(len(pieces), 0, -1))
        count, told = next((one for one in beginnings if one[1] is not None), (0, None))
        if told is None:
            return []
        each.append(told)
        pieces = pieces[count:]
    return each


def _one(text: str, templates: list[_Template]) -> str | None:
    """One cause, also behind what it is about: none of its values is two of them."""
    for template in templates:
        if (values := template.values_in(text)) is not None and all(map(_is_one, values)):
            return template.told_with(values)
    subject, _, rest = text.partition(": ")
    is_of_a_subject = templates is _causes() and rest and _JOINT not in subject
    told = _one(rest, templates) if is_of_a_subject else None
    return None if told is None else f"{subject}: {told}"


def _is_one(value: str) -> bool:
    return _JOINT not in value or _one(value, _causes()) is not None


class _Template:
    """An English text with values, and its Japanese. What it says for itself is looked for first: most are not meant, and
    to compile the patterns of all took longer than to load them.
    """

    def __init__(self, english: str, japanese: str) -> None:
        self._pieces = english.split("{}")
        self._japanese = japanese

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """A value with which a short one begins is a word, so that "{} rows" takes no sentence that ends with rows."""
        first, *rest = map(re.escape, self._pieces)
        is_short = not first and len("".join(self._pieces)) <= _SHORT
        values = [r"((?:(?![:;] ).)+?)" if is_short else "(.+?)", *["(.+?)"] * len(rest)]
        return re.compile(first + "".join(map(operator.add, values, rest)), re.DOTALL)

    def values_in(self, text: str) -> tuple[str, ...] | None:
        """The values that a text has, where it is this one."""
        if not text.startswith(self._pieces[0]) or any(piece not in text for piece in self._pieces):
            return None
        found = self._pattern.fullmatch(text)
        return found.groups() if found else None

    def told_with(self, values: Iterable[str]) -> str:
        """The Japanese with these values, which are told in Japanese too where they are causes."""
        return self._japanese.format(*map(_cause, values))


@lru_cache(maxsize=1)
def _templates() -> list[_Template]:
    from pacs_server.cli.japanese.messages import MESSAGES

    return _by_how_much_they_say(MESSAGES)


@lru_cache(maxsize=1)
def _causes() -> list[_Template]:
    from pacs_server.cli.japanese.messages_peers import CAUSES

    return _by_how_much_they_say(CAUSES)


def _by_how_much_they_say(messages: Mapping[str, str]) -> list[_Template]:
    """Those that say most come first, so that "changed {}" does not take what "changed volume {}" is for."""
    ordered = sorted(messages.items(), key=lambda one: -len(one[0].replace("{}", "")))
    return [_Template(english, japanese) for english, japanese in ordered]
