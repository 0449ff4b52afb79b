"""Follows shapes where the loss is computed: what was seen in another layout, or broadcast."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import Broadcast
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_VIEWS = frozenset(("view", "reshape", "flatten", "unflatten"))
_RAISING = frozenset(("unsqueeze", "__getitem__", "view", "reshape", "expand", "repeat", "outer", "tile"))
_PASSING = frozenset(
    [
        "float",
        "half",
        "double",
        "to",
        "long",
        "contiguous",
        "clone",
        "view",
        "reshape",
        "flatten",
        "squeeze",
        "log_softmax",
        "unsqueeze",
    ]
)
_ELEMENTWISE = frozenset(
    [
        "sub",
        "rsub",
        "add",
        "mul",
        "div",
        "truediv",
        "rdiv",
        "where",
        "maximum",
        "minimum",
        "max",
        "min",
        "dist",
        "pow",
        "hypot",
        "logaddexp",
    ]
)
_LOSSES = frozenset(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss"))


class ShapesTrail:
    def __init__(self, step: int) -> None:
        self._step = step
        self._raised: Marks[bool] = Marks()
        """Tensors that were given another dimension on purpose."""
        self._relaid: Marks[bool] = Marks()
        """Tensors whose axes were exchanged by a view, not by a transpose."""
        self._folded: Marks[tuple[int, ...]] = Marks()
        """Flattened tensors -> the shape before."""

    def clear(self) -> None:
        for marks in (self._raised, self._relaid, self._folded):
            marks.clear()

    def see(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Broadcast | None:
        """Only losses are to be shown, and operations outside of all layers or in the model's own code."""
        given = next(tensors_of(args), None)
        if not isinstance(result, Tensor) or given is None:
            return self._of_loss(name, args, kwargs) if name in _LOSSES else None
        if (name in _VIEWS and given.is_contiguous() and exchanges_axes(tuple(given.shape), tuple(result.shape))) or (
            name in _PASSING and self._relaid.get(given)
        ):
            self._relaid.put(result, True)
        if name in _VIEWS and result.dim() < given.dim():
            self._folded.put(result, self._folded.get(given) or tuple(given.shape))
        elif name in _PASSING and self._folded.get(given):
            self._folded.put(result, self._folded.get(given) or ())
        if (name in _RAISING and result.dim() > given.dim()) or (name in _PASSING and self._raised.get(given)):
            self._raised.put(result, True)
        if name in _LOSSES:
            return self._of_loss(name, args, kwargs)
        return self._by_hand(name, args, result) if name in _ELEMENTWISE else None

    def is_relaid(self, given: object, target: object, output: Tensor | None) -> bool:
        """Whether the loss sees `given` with its axes mixed up, against the model's output or against the target."""
        if self._relaid.get(given):
            return True
        a, b = self._folded.get(given), self._folded.get(target)
        if a and b and len(a) > 2 and len(b) == 2 and a[0] != a[1] and a[:2] == (b[1], b[0]):
            return True
        return isinstance(given, Tensor) and output is not None and _is_other_view(given, output)

    def _of_loss(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Broadcast | None:
        given = kwargs.get("input", args[0] if args else None)
        target = kwargs.get("target", args[1] if len(args) > 1 else None)
        if isinstance(given, Tensor) and isinstance(target, Tensor) and given.requires_grad:
            if self._raised.get(given) and self._raised.get(target):
                # Both were given a dimension for it: each with each is meant (quantile regression, matching).
                return None
            return self._broadcast(name, given, target)
        return None

    def _by_hand(self, name: str, args: tuple[Any, ...], result: Tensor) -> Broadcast | None:
        """A (B, 1) and a (B,) that make a (B, B), one of which is learnt and the other is not: a prediction and a target.
        Whoever means that writes the new dimension there."""
        tensors = list(tensors_of(args))[-2:]
        if len(tensors) < 2 or tensors[0].requires_grad == tensors[1].requires_grad or not result.requires_grad:
            return None
        high, low = sorted(tensors, key=lambda tensor: -tensor.dim())
        is_column = tuple(high.shape) == (*low.shape, 1) and low.dim() > 0
        if not is_column or self._raised.get(high) or self._raised.get(low):
            return None
        return self._broadcast(name, *tensors)

    def _broadcast(self, name: str, left: Tensor, right: Tensor) -> Broadcast | None:
        try:
            shape = torch.broadcast_shapes(left.shape, right.shape)
        except RuntimeError:
            return None
        if math.prod(shape) <= max(left.numel(), right.numel()):
            return None
        return Broadcast(
            step=self._step, function=name, left=tuple(left.shape), right=tuple(right.shape), result=tuple(shape)
        )


def exchanges_axes(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """(B, T, C) and (B, C, T), (B, H, W, C) and (B, C, H, W): the same sizes, the first one in its place."""
    return (
        len(before) == len(after) > 2 and before != after and before[0] == after[0] and sorted(before) == sorted(after)
    )


def _is_other_view(given: Tensor, output: Tensor) -> bool:
    if given is output or not exchanges_axes(tuple(output.shape), tuple(given.shape)):
        return False
    try:
        return given.is_contiguous() and output.is_contiguous() and given.data_ptr() == output.data_ptr()
    except RuntimeError:
        return False  # it has no memory of its own
