"""Follows derivatives that were taken without a graph to the loss that they are added to.

`torch.autograd.grad(...)` without `create_graph=True` gives numbers: a residual of a differential equation, or a penalty of a
gradient, that is made of them adds a constant to the loss. As a factor (a weight by the size of gradients) or in an input
(an adversarial one) such numbers are meant; so are detached ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import Record
from gradscope.engine.findings.watch.marks import Marks, tensors_of
from gradscope.engine.stepping.foreign_leaves import leaves_of

_ADDING = frozenset(("add", "sub", "rsub", "iadd", "isub", "add_", "sub_"))
_CREATE_GRAPH = 4
"""Its place among the arguments of torch.autograd.grad."""


class LooseTerms:
    def __init__(self, record: Record) -> None:
        self._record = record
        self._loose: Marks[bool] = Marks()

    def clear(self) -> None:
        self._loose.clear()

    def see(
        self, function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> bool:
        """Whether such a term has just been added to what something is learnt by."""
        if function is torch.autograd.grad:
            has_graph = kwargs.get("create_graph", args[_CREATE_GRAPH] if len(args) > _CREATE_GRAPH else False)
            if not has_graph and torch.is_grad_enabled():
                self._mark(result)
            return False
        if not self._loose or not torch.is_grad_enabled() or name == "detach":
            return False
        loose = [tensor for tensor in tensors_of((args, kwargs)) if self._loose.get(tensor)]
        if not loose:
            return False
        if name in _ADDING and isinstance(result, Tensor) and result.dim() == 0:
            # The coordinates that it was derived by may well be in its graph.
            return self._teaches(result) and not any(self._teaches(tensor) for tensor in loose)
        self._mark(result)
        return False

    def _mark(self, result: Any) -> None:
        for tensor in tensors_of(result):
            if tensor.dtype is not torch.bool:
                self._loose.put(tensor, True)

    def _teaches(self, tensor: Tensor) -> bool:
        """Its graph leads to a parameter."""
        if tensor.grad_fn is None:
            return False
        known = {id(p.tensor) for p in self._record.parameters.values()}
        return any(id(leaf) in known for leaf in leaves_of(tensor))
