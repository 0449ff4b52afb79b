"""Which dimensions of an operand torch.einsum sums over, by its equation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradscope.engine.findings.watch.marks import tensors_of


def summed_over(args: tuple[Any, ...], place: int) -> list[int]:
    """The dimensions of operand `place` that it shares with another operand, and that are not in the result.

    Empty where the equation is not given as a text, or cannot be followed.
    """
    equation = args[0] if args else None
    operands = list(tensors_of(args[1:]))
    if not isinstance(equation, str) or place >= len(operands):
        return []
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands) or any(term.count("...") > 1 for term in terms):
        return []
    letters = _letters(terms[place], operands[place])
    others = "".join(term for at, term in enumerate(terms) if at != place)
    kept = right if arrow else "".join(letter for letter in left if left.count(letter) == 1)
    if letters is None:
        return []
    return [dim for dim, letter in enumerate(letters) if letter and letter in others and letter not in kept]


def _letters(term: str, operand: Tensor) -> list[str] | None:
    """One for each dimension; "" for those that three dots stand for."""
    before, dots, behind = term.partition("...")
    hidden = operand.dim() - len(before) - len(behind)
    if hidden < 0 or (hidden and not dots):
        return None
    return [*before, *[""] * hidden, *behind]
