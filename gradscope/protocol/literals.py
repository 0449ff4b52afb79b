"""Values as text: Python literals, which are parsed and never evaluated."""

from __future__ import annotations

import ast
import math
import warnings
from typing import Any

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.edits import ArgumentInfo, ArgumentKind

_EXPECTED = {
    ArgumentKind.NUMBER: "a number",
    ArgumentKind.INTEGER: "a whole number",
    ArgumentKind.NUMBERS: "a list of numbers",
    ArgumentKind.NUMBER_OR_NUMBERS: "a number, or a list of numbers",
    ArgumentKind.BOOL: "True or False",
    ArgumentKind.TEXT: "a text in quotes",
}
_MAX_LENGTH = 10_000
"""In characters: a literal may nest so deep that Python's parser fails."""


def parsed(argument: ArgumentInfo, text: str, *, where: str) -> Any:
    """The value that a text means for an argument. Raises BadInput: what, where, what was expected."""
    value = literal(text)
    if value is None and argument.can_be_none and text.strip() == "None":
        return None
    checked = _checked(argument, value)
    if checked is None:
        shown = text.strip()
        raise BadInput(f"{where} is {shown if shown else 'empty'!s:.80}; expected {expected(argument)}")
    return checked


def expected(argument: ArgumentInfo) -> str:
    """What has to be given, in words."""
    words = _EXPECTED.get(argument.kind) or " or ".join(map(repr, argument.choices))
    default = literal(argument.default or "")
    if argument.kind is ArgumentKind.NUMBERS and isinstance(default, tuple):
        words = f"{len(default)} numbers, as {argument.default}"
    return f"{words}, or None" if argument.can_be_none else words


def literal(text: str) -> Any:
    """The value that a text stands for; None also for what is no literal."""
    if len(text) > _MAX_LENGTH:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _checked(argument: ArgumentInfo, value: Any) -> Any:
    """The value as the argument takes it; None if it does not."""
    default = literal(argument.default or "")
    match argument.kind:
        case ArgumentKind.BOOL:
            return value if isinstance(value, bool) else None
        case ArgumentKind.CHOICE:
            return value if value in argument.choices else None
        case ArgumentKind.TEXT:
            return value if isinstance(value, str) else None
        case ArgumentKind.INTEGER:
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        case ArgumentKind.NUMBER:
            return value if _is_number(value) else None
        case ArgumentKind.NUMBER_OR_NUMBERS if _is_number(value):
            return value
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if isinstance(default, (list, tuple)):
        if len(value) != len(default) and isinstance(default, tuple):
            return None
        may_be_none = [item is None for item in default] + [False] * len(value)
        if not all(_is_number(item) or (item is None and may) for item, may in zip(value, may_be_none, strict=False)):
            return None
        return type(default)(value)
    return list(value) if all(map(_is_number, value)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
