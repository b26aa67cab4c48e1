"""`*` and `?` of a query key as a regular expression."""

from __future__ import annotations

import re


def regex_of(pattern: str, any_character: str, *, atomic: bool) -> str:
    """An expression that fits what the pattern fits, where `*` and `?` stand for texts of `any_character`.

    `atomic`, for Python: what stands before a `*` is taken where it is met first and never tried again, so that a key
    of many wildcards costs no more than its length. PostgreSQL knows no such groups, and needs none.
    """
    first, *others = (re.escape(run).replace(r"\?", any_character) for run in pattern.split("*"))
    if not others:
        return first
    opens = "(?>" if atomic else "(?:"
    middle = "".join(f"{opens}{any_character}*?{run})" for run in others[:-1])
    return f"{first}{middle}{any_character}*{others[-1]}"


def one_of_list(*patterns: str, atomic: bool) -> str:
    r"""An expression that is found in a text of several values, told apart by `\`, when one of them fits one of the
    patterns: spaces around a value are padding.
    """
    one = "|".join(regex_of(pattern, r"[^\\]", atomic=atomic) for pattern in patterns)
    return rf"(?:^|\\) *(?:{one}) *(?:\\|$)"
