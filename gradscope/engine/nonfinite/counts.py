"""How many elements of a tensor, or of many, are NaN, Inf and -Inf."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.quantities.values import Unreadable, readable


@dataclass(frozen=True)
class Counts:
    """Of one tensor."""

    nan: int
    inf: int
    """Of both signs."""
    negative: int
    """Those of `inf` that are -Inf."""
    count: int

    @property
    def is_bad(self) -> bool:
        return self.nan + self.inf > 0

    @property
    def is_mask_like(self) -> bool:
        """Nothing but -Inf: a mask, which a softmax takes away, looks so."""
        return self.is_bad and self.negative == self.nan + self.inf

    def words(self) -> str:
        """ "3 NaN and 1 Inf of 32"."""
        sign = "-" if self.inf and self.negative == self.inf else ""
        parts = [f"{self.nan} NaN"] * (self.nan > 0) + [f"{self.inf} {sign}Inf"] * (self.inf > 0)
        return f"{' and '.join(parts)} of {self.count}"


NONE = Counts(0, 0, 0, 0)


def counts_of(tensor: Tensor) -> Counts:
    """Of a tensor that has no numbers to look at: none."""
    try:
        values = readable(tensor.detach()).values
    except Unreadable:
        return NONE
    if not values.is_floating_point():
        return NONE
    with torch.no_grad():
        if bool(torch.isfinite(values).all()):
            return Counts(0, 0, 0, values.numel())
        nan, inf, negative = torch.isnan(values), torch.isinf(values), torch.isneginf(values)
        return Counts(int(nan.sum()), int(inf.sum()), int(negative.sum()), values.numel())


def first_bad(value: Any) -> tuple[str, Counts] | None:
    """(path, counts) of the first tensor in a structure that is not finite."""
    return next(((path, counts) for path, counts in _each(tensor_leaves(value)) if counts.is_bad), None)


def first_bad_of(tensors: Iterable[tuple[str, Tensor]]) -> tuple[str, Counts] | None:
    """The same of named tensors."""
    return next(((name, counts) for name, counts in _each(tensors) if counts.is_bad), None)


def _each(tensors: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Counts]]:
    return ((name, counts_of(tensor)) for name, tensor in tensors)
