"""How large can logits get that are cosines, times a number that is not learnt?"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.watch.einsum import summed_over
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_NORMS = frozenset(("norm", "vector_norm", "linalg_norm", "linalg_vector_norm"))
_GUARDS = frozenset(("clamp", "clamp_min", "add", "unsqueeze", "expand_as", "expand", "maximum"))
"""What a norm goes through before something is divided by it."""
_SAME = frozenset(
    [
        "view", "reshape", "flatten", "transpose", "permute", "t", "T", "mT", "unsqueeze", "squeeze", "contiguous", "clone",
        "detach", "__getitem__", "getitem", "chunk", "split", "unbind", "cat", "concat", "stack", "to", "float", "half",
        "expand",
    ]
)  # fmt: skip
"""What shows the same numbers in another shape, or only some of them."""
_TIMES = frozenset(("mul", "mul_", "imul", "multiply"))
_OVER = frozenset(("div", "div_", "truediv", "itruediv", "true_divide", "divide"))
_PRODUCTS = frozenset(("matmul", "mm", "bmm", "einsum", "linear"))
_ONE = 1.001
"""The norm of a row that was divided by its norm, but for rounding."""


class Cosines:
    def __init__(self) -> None:
        self._norms: Marks[bool] = Marks()
        self._units: Marks[bool] = Marks()
        """What was divided by a norm: whether the rows that meet in a product have one of 1 is looked at there."""
        self._reach: Marks[float] = Marks()

    def reach(self, tensor: object) -> float:
        """The greatest size that its elements can have, whatever is learnt; Inf where that is not known."""
        known = self._reach.get(tensor)
        return math.inf if known is None else known

    def see(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if name in _NORMS and isinstance(result, Tensor):
            self._norms.put(result, True)
        elif name == "normalize" and isinstance(result, Tensor):
            self._units.put(result, True)
        elif name == "cosine_similarity" and isinstance(result, Tensor):
            self._reach.put(result, 1.0)
        elif name in _PRODUCTS and isinstance(result, Tensor):
            has_bias = kwargs.get("bias") is not None
            if self._units and not has_bias and self._is_of_units(name, args):
                self._reach.put(result, 1.0)
        elif self._norms or self._units or self._reach:
            self._pass_on(name, args, result)

    def _pass_on(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        first, second = args[0] if args else None, args[1] if len(args) > 1 else None
        if name in _OVER and self._norms.get(second) and isinstance(result, Tensor):
            self._units.put(result, True)
            return
        if name in _GUARDS and self._norms.get(first) and isinstance(result, Tensor):
            self._norms.put(result, True)
        given = list(tensors_of(args[:1]))
        if name in _SAME and given:
            reaches = [self.reach(tensor) for tensor in given]
            are_units = all(self._units.get(tensor) for tensor in given)
            for made in tensors_of(result):
                if are_units:
                    self._units.put(made, True)
                if math.isfinite(max(reaches)):
                    self._reach.put(made, max(reaches))
            return
        if name in _TIMES or name in _OVER:
            self._scaled(name, first, second, result)
        elif isinstance(result, Tensor) and isinstance(first, Tensor) and result is first:
            # Changed in place by something else.
            self._reach.drop(result)
            self._units.drop(result)

    def _scaled(self, name: str, first: object, second: object, result: Any) -> None:
        if name in _TIMES and self._reach.get(first) is None:
            first, second = second, first
        reach, factor = self._reach.get(first), _number(second)
        if not isinstance(result, Tensor):
            return
        if reach is None or factor is None or (name in _OVER and factor == 0):
            self._reach.drop(result)
        else:
            self._reach.put(result, reach / factor if name in _OVER else reach * factor)

    def _is_of_units(self, name: str, args: tuple[Any, ...]) -> bool:
        operands = list(tensors_of(args))[:2]
        if len(operands) < 2 or not all(self._units.get(operand) for operand in operands):
            return False
        if name == "linear" and len(list(tensors_of(args))) > 2:
            return False
        return all(_has_unit_rows(operand, _dims(name, args, operand, place)) for place, operand in enumerate(operands))

    def clear(self) -> None:
        for marks in (self._norms, self._units, self._reach):
            marks.clear()


def _dims(name: str, args: tuple[Any, ...], operand: Tensor, place: int) -> list[int]:
    """The dimensions of an operand that the product sums over."""
    if name == "einsum":
        return summed_over(args, place)
    return [operand.dim() - 2 if place == 1 and name != "linear" and operand.dim() > 1 else operand.dim() - 1]


def _has_unit_rows(operand: Tensor, dims: list[int]) -> bool:
    if not dims or operand.is_sparse or operand.is_complex() or not operand.numel():
        return False
    with torch.no_grad():
        return bool((operand.detach().float().pow(2).sum(dims).sqrt() <= _ONE).all())


def _number(value: object) -> float | None:
    """The size of a factor that is not learnt; None for another one."""
    if isinstance(value, (int, float)):
        return abs(float(value))
    if isinstance(value, Tensor) and value.numel() == 1 and not value.requires_grad and not value.is_complex():
        return abs(float(value.detach()))
    return None
