"""What the source says to a person: the texts that are given to a call, followed to what they are put together from."""

import ast
import itertools
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

# A value that is put into a text, and is no text of the same module.
VALUE: Final = "{}"
_PLAIN: Final = (ast.Constant, ast.IfExp, ast.JoinedStr)
_NAMED: Final = (ast.Name, ast.Call)
_UNKNOWN: Final = ast.Constant(None)
# So many names, choices and functions are followed one behind the other.
_DEPTH: Final = 5


class Module:
    """The source of one module."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._tree = ast.parse(path.read_text(encoding="utf-8"))

    def said(self, calls: Collection[str]) -> Iterator[tuple[int, str]]:
        """The line and each text of what is given to one of these calls."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and _name(node.func) in calls:
                given = [*node.args, *(one.value for one in node.keywords)]
                yield from self._each_text(node, given)

    def yielded(self) -> Iterator[tuple[int, str]]:
        """The line and each text of what its functions yield, alone or beside others."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Yield) and node.value is not None:
                yield from self._each_text(node, node.value.elts if isinstance(node.value, ast.Tuple) else [node.value])

    def _each_text(self, node: ast.expr, given: Iterable[ast.expr]) -> Iterator[tuple[int, str]]:
        function = self._within.get(id(node))
        known = {**self._globals, **(self._known_in(function) if function else {})}
        texts = {one for value in given for one in self._texts(value, known, _DEPTH)}
        yield from ((node.lineno, text) for text in sorted(texts))

    @cached_property
    def _within(self) -> dict[int, ast.FunctionDef]:
        return {id(node): function for function in self._functions for node in ast.walk(function)}

    def classes(self) -> Iterator[tuple[str, set[str]]]:
        """The name of each class, and of those that it is derived from."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ClassDef):
                yield node.name, set(map(_name, node.bases))

    @cached_property
    def _globals(self) -> dict[str, list[ast.expr]]:
        return _assigned(self._tree.body)

    @cached_property
    def _functions(self) -> list[ast.FunctionDef]:
        return [node for node in ast.walk(self._tree) if isinstance(node, ast.FunctionDef)]

    def _known_in(self, function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
        """What names stand for in a function: what it is given, where only this module calls it, and gives itself."""
        known = dict[str, list[ast.expr]]()
        calls = [
            node for node in ast.walk(self._tree) if isinstance(node, ast.Call) and _name(node.func) == function.name
        ]
        for call in calls if function.name.startswith("_") else ():
            named = [(one.arg or "", one.value) for one in call.keywords]
            placed = zip((one.arg for one in function.args.args if one.arg != "self"), call.args, strict=False)
            for name, value in (*placed, *named):
                known.setdefault(name, []).append(value if isinstance(value, _PLAIN) else _UNKNOWN)
        return known | _assigned(ast.walk(function))

    def _texts(self, node: ast.expr, known: dict[str, list[ast.expr]], depth: int) -> set[str]:
        choices = self._choices(node, known) if depth else []
        if choices:
            texts = set().union(*(self._texts(one, known, depth - 1) for one in choices))
            # An empty text that has a name says that there is nothing to tell.
            return (isinstance(node, _NAMED) and texts - {""}) or texts
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                parts = [left, right]
            case ast.JoinedStr(values=values):
                parts = values
            case ast.FormattedValue(value=value, format_spec=None):
                return self._texts(value, known, depth)
            case _:
                return {VALUE}
        return {"".join(one) for one in itertools.product(*(self._texts(part, known, depth) for part in parts))}

    def _choices(self, node: ast.expr, known: dict[str, list[ast.expr]]) -> list[ast.expr]:
        """What an expression stands for: each of several, what a name was given, what a function of here answers."""
        match node:
            case ast.IfExp(body=one, orelse=other):
                return [one, other]
            case ast.BoolOp(values=values):
                return values
            case ast.NamedExpr(value=value):
                return [value]
            case ast.Name(id=name):
                return known.get(name, [])
            case ast.Subscript(value=ast.Name(id=name)) | ast.Call(func=ast.Attribute(ast.Name(id=name), "get")):
                tables = [one for one in self._globals.get(name, []) if isinstance(one, ast.Dict)]
                return [value for table in tables for value in table.values]
            case ast.Call(func=ast.Name(id=name)):
                bodies = [node for one in self._functions if one.name == name for node in ast.walk(one)]
                return [one.value for one in bodies if isinstance(one, ast.Return) and one.value]
        return []


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _assigned(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """What each name was given."""
    given = dict[str, list[ast.expr]]()
    for node in nodes:
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs = [pair for target in targets for pair in _pairs(target, value)]
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                pairs = [(target, value)]
            case _:
                continue
        for target, value in pairs:
            if isinstance(target, ast.Name):
                given.setdefault(target.id, []).append(value)
    return given


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=True))
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return [(name, value) for name in names]
