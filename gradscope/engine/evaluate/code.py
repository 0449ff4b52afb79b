"""What a person has typed, compiled: statements, and the expression at their end."""

from __future__ import annotations

import ast
import linecache
import textwrap
from dataclasses import dataclass
from types import CodeType

MOST_REMEMBERED = 50
"""Texts whose lines a traceback can show."""


@dataclass(frozen=True)
class Compiled:
    statements: CodeType | None
    expression: CodeType | None
    """Its value is that of the whole; None where the last statement is none."""

    @property
    def names(self) -> frozenset[str]:
        """Every name that is read or written, in functions inside too; and attributes, which have theirs in the same list."""
        return frozenset(name for code in (self.statements, self.expression) if code for name in _names_in(code))


class Sources:
    """The texts by their numbers, so that tracebacks show their lines."""

    def __init__(self, name: str = "console") -> None:
        self._name, self._number = name, 0
        self._files: list[str] = []

    def compiled(self, text: str) -> Compiled:
        """Raises SyntaxError, and what else compiling raises: ValueError, RecursionError, MemoryError."""
        text = textwrap.dedent(text).strip("\n")
        self._number += 1
        file = f"<{self._name} {self._number}>"
        tree = ast.parse(text, file)
        expression: CodeType | None = None
        if tree.body and isinstance(last := tree.body[-1], ast.Expr):
            tree.body.pop()
            expression = compile(ast.Expression(last.value), file, "eval", dont_inherit=True)
        statements = compile(tree, file, "exec", dont_inherit=True) if tree.body else None
        self._remember(file, text)
        return Compiled(statements, expression)

    def _remember(self, file: str, text: str) -> None:
        # Without a time it is never looked for on the disk.
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        self._files.append(file)
        if len(self._files) > MOST_REMEMBERED:
            linecache.cache.pop(self._files.pop(0), None)


def _names_in(code: CodeType) -> list[str]:
    found = [*code.co_names]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _names_in(constant)
    return found
