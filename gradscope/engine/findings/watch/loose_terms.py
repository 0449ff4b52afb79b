"""Follows derivatives that were taken without a graph to the loss that they are added to.

`torch.autograd.grad(...)` without `create_graph=True` gives numbers: a residual of a differential equation, or a penalty of a
gradient, that is made of them adds a constant to the loss. As a factor (a weight by the size of gradients), in an input (an
adversarial one) or as the step of a parameter (a first-order MAML) such numbers are meant; so are detached ones. So the sum
has to be the loss that is trained by, or to get there by nothing but additions and scalings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import Record
from gradscope.engine.findings.watch.marks import Marks, tensors_of
from gradscope.engine.stepping.foreign_leaves import leaves_of

_ADDING = frozenset(("add", "sub", "rsub", "iadd", "isub", "add_", "sub_"))
_SCALING = frozenset(("mul", "rmul", "imul", "mul_", "div", "truediv", "idiv", "itruediv", "div_", "neg"))
_KEEPING = frozenset(("clone", "mean", "sum", "squeeze", "reshape", "view", "to", "float", "double", "contiguous"))
_CREATE_GRAPH = 4
"""Its place among the arguments of torch.autograd.grad."""
_SAME = 1e-6
"""Relative: two values are one and the same."""


class LooseTerms:
    def __init__(self, record: Record) -> None:
        self._record = record
        self._loose: Marks[bool] = Marks()
        self._sums: Marks[frozenset[int]] = Marks()
        """Tensor -> the sums with such a term that it is made of."""
        self._values: dict[int, list[float]] = {}
        """Sum -> its value, and those of what was made of it by additions and scalings; without those that went elsewhere."""
        self._count = 0

    def clear(self) -> None:
        self._loose.clear()
        self._sums.clear()

    def settle(self, loss: float) -> int:
        """How many of the sums the loss is made of, by its value. They are forgotten."""
        found = sum(any(math.isclose(v, loss, rel_tol=_SAME) for v in values) for values in self._values.values())
        self._values.clear()
        return found

    def see(
        self, function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        if function is torch.autograd.grad:
            has_graph = kwargs.get("create_graph", args[_CREATE_GRAPH] if len(args) > _CREATE_GRAPH else False)
            if not has_graph and torch.is_grad_enabled():
                self._mark(result)
            return
        if not self._loose or not torch.is_grad_enabled() or name == "detach":
            return
        given = list(tensors_of((args, kwargs)))
        self._follow_sums(name, given, result)
        loose = [tensor for tensor in given if self._loose.get(tensor)]
        if not loose:
            return
        if name not in _ADDING or not isinstance(result, Tensor) or result.dim() != 0:
            self._mark(result)
            return
        known = self._known()
        is_step = any(id(tensor) in known for tensor in given)
        # The coordinates that it was derived by may well be in its graph.
        if not is_step and self._teaches(result) and not any(self._teaches(tensor) for tensor in loose):
            self._count += 1
            self._values[self._count] = []
            self._carry(result, frozenset((self._count,)))

    def _follow_sums(self, name: str, given: list[Tensor], result: Any) -> None:
        sums = frozenset[int]().union(*(self._sums.get(tensor) or () for tensor in given))
        made = [tensor for tensor in tensors_of(result) if tensor.requires_grad]
        if not sums or not made:
            return
        others = [tensor for tensor in given if not self._sums.get(tensor)]
        is_scaled = name in _SCALING and not any(tensor.requires_grad or tensor.dim() for tensor in others)
        if len(made) == 1 and made[0].dim() == 0 and (name in _ADDING or name in _KEEPING or is_scaled):
            self._carry(made[0], sums)
            return
        for number in sums:
            self._values.pop(number, None)

    def _carry(self, tensor: Tensor, sums: frozenset[int]) -> None:
        self._sums.put(tensor, sums | (self._sums.get(tensor) or frozenset()))
        for number in sums & set(self._values):
            self._values[number].append(float(tensor.detach()))

    def _mark(self, result: Any) -> None:
        for tensor in tensors_of(result):
            if tensor.dtype is not torch.bool:
                self._loose.put(tensor, True)

    def _known(self) -> set[int]:
        return {id(p.tensor) for p in self._record.parameters.values()}

    def _teaches(self, tensor: Tensor) -> bool:
        """Its graph leads to a parameter."""
        if tensor.grad_fn is None:
            return False
        known = self._known()
        return any(id(leaf) in known for leaf in leaves_of(tensor))
