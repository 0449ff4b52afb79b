"""The walk of `aside` as going back needs it: past the data, and past what is gradscope's or torch's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch

from gradscope.engine.aside.places import Place
from gradscope.engine.aside.walk import HOOKS, Reached


class Walk(Reached):
    """Subclasses say what they do with tensors."""

    @property
    def size(self) -> int:
        """How many objects were met."""
        return len(self._seen)

    @property
    def hooks(self) -> set[int]:
        """Ids of the dicts in which modules and optimizers keep hooks: ours are among them."""
        modules = [vars(module) for module in self.modules]
        optimizers = [vars(optimizer) for optimizer in self._seen_of(torch.optim.Optimizer)]
        found = {id(attributes[name]) for attributes in modules for name in HOOKS & attributes.keys()}
        return found | {
            id(inside)
            for attributes in optimizers
            for name, inside in attributes.items()
            if name.startswith("_optimizer_") and name.endswith("_hooks")
        }

    def _visit_of(self, kind: type) -> Callable[[Place, Any], None]:
        visit = super()._visit_of(kind)
        if kind is not FunctionType and not issubclass(kind, partial):
            return visit

        def visit_users(place: Place, value: Any) -> None:
            if not _is_nobodys(value):
                visit(place, value)

        return visit_users


def _is_nobodys(function: Any) -> bool:
    """Gradscope's own, or torch's: what those hold (a cache) says nothing of the training."""
    while isinstance(function, partial):
        function = function.func
    module = getattr(function, "__module__", None)
    return isinstance(module, str) and module.startswith(("gradscope.engine.", "torch."))
