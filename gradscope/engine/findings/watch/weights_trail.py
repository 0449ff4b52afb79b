"""Follows what a softmax has put out to the product or the sum that uses it: over which dimension do its weights sum to 1,
and over which are they summed?

That the two differ is no fault by itself: soft assignments (NetVLAD, DiffPool, slot attention, responsibilities) sum over the
other one on purpose. They give it away: their scores are no product of two activations, or they are transposed first, or
divided by their sum. What is left, and told, is an attention whose weights are taken as they are, and weights that are all 1
because the softmax was taken over a single element.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import SoftmaxUse
from gradscope.engine.findings.watch import nodes
from gradscope.engine.findings.watch.einsum import summed_over
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_PRODUCTS = frozenset(("matmul", "bmm", "einsum", "baddbmm"))
_SCALING = frozenset(
    [
        "mul",
        "div",
        "truediv",
        "add",
        "sub",
        "masked_fill",
        "where",
        "to",
        "float",
        "half",
        "bfloat16",
        "type",
        "type_as",
        "contiguous",
        "clone",
        "dropout",
        "masked_fill_",
        "view",
        "reshape",
        "softcap",
        "tanh",
        "mul_",
        "div_",
        "add_",
        "sub_",
        "clamp",
        "unsqueeze",
        "squeeze",
        "transpose",
        "permute",
        "flatten",
        "unflatten",
        "expand",
    ]
)
"""What scores may go through between the product that made them and the softmax."""
_KEEPING = frozenset(
    [
        "dropout",
        "to",
        "float",
        "half",
        "bfloat16",
        "type",
        "type_as",
        "contiguous",
        "clone",
        "masked_fill",
        "mul",
        "expand",
        "expand_as",
    ]
)
"""What leaves weights as they are, by and large, where the shape stays."""
_SUMS = frozenset(("sum", "mean"))


@dataclass(frozen=True)
class _Weights:
    layer: str
    dim: int
    """The dimension that they sum to 1 over, as the tensor lies now."""
    shape: tuple[int, ...]
    is_attention: bool
    is_transposed: bool = False
    summed: set[int] = field(default_factory=set)
    """Dimensions that a sum of the weights was taken over: they are about to be normalised once more."""


class WeightsTrail:
    def __init__(self, step: int) -> None:
        self._step = step
        self._weights: Marks[_Weights] = Marks()
        self._weighted: Marks[_Weights] = Marks()
        """Products of weights and values, element by element, which may be summed next."""
        self._scores: Marks[bool] = Marks()
        self._uses: list[tuple[_Weights, int]] = []

    def finish(self) -> list[SoftmaxUse]:
        """The uses that are wrong; the trail is empty afterwards."""
        uses = [
            SoftmaxUse(step=self._step, layer=w.layer, dim=w.dim, contracted=dim, shape=w.shape)
            for w, dim in self._uses
            if dim not in w.summed
        ]
        for marks in (self._weights, self._weighted, self._scores):
            marks.clear()
        self._uses.clear()
        return uses

    def see(self, name: str, layer: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if name == "softmax":
            self._softmax(layer, args, kwargs, result)
        elif name in _PRODUCTS:
            self._product(name, args, result)
        elif isinstance(result, Tensor) and args:
            self._pass_scores_on(name, args, result)
            self._pass_weights_on(name, args, kwargs, result)

    def _softmax(self, layer: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        given = kwargs.get("input", args[0] if args else None)
        if not isinstance(result, Tensor) or not isinstance(given, Tensor) or not result.dim():
            return
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if dim is None:
            dim = 0 if result.dim() in (0, 1, 3) else 1  # what F.softmax chooses where nobody says it
        is_attention = bool(self._scores.get(given))
        if isinstance(dim, int):
            self._weights.put(result, _Weights(layer, dim % result.dim(), tuple(result.shape), is_attention))

    def _product(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        operands = list(tensors_of(args))
        factors = operands[1:] if name == "baddbmm" else operands
        for place, factor in enumerate(factors[:2]):
            weights = self._weights.get(factor)
            if weights is not None:
                for dim in _contracted(name, args, factors, place):
                    self._use(weights, dim, is_left=place == 0 or name == "einsum")
        if len(factors) == 2 and isinstance(result, Tensor) and all(_is_activation(factor) for factor in factors):
            self._scores.put(result, True)

    def _use(self, weights: _Weights, dim: int, *, is_left: bool) -> None:
        if dim == weights.dim:
            return
        size, summed = weights.shape[weights.dim], weights.shape[dim]
        last = len(weights.shape) - 1
        is_plain = weights.is_attention and not weights.is_transposed and size > 1
        # value @ weights: right if the weights were transposed before, and wrong if that was forgotten.
        is_swapped = not is_left and size == summed and weights.dim == last and dim == last - 1
        if summed > 1 and (size == 1 or (is_plain and (dim == last if is_left else is_swapped))):
            self._uses.append((weights, dim))

    def _pass_scores_on(self, name: str, args: tuple[Any, ...], result: Tensor) -> None:
        if name in _SCALING and self._scores and any(self._scores.get(tensor) for tensor in tensors_of(args)):
            self._scores.put(result, True)

    def _pass_weights_on(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> None:
        if not self._weights and not self._weighted:
            return
        first = args[0]
        weights, weighted = self._weights.get(first), self._weighted.get(first)
        if name in _SUMS:
            dims = _dims(args, kwargs, first)
            for w in (weights, weighted) if isinstance(first, Tensor) else ():
                for dim in dims if w is not None else ():
                    if w is weights and w is not None:
                        w.summed.add(dim)
                    elif w is not None:
                        self._use(w, dim, is_left=False) if w.shape[w.dim] == 1 and dim < len(w.shape) else None
            return
        if name == "mul":
            self._multiplied(args, result)
        if weights is None:
            return
        if name.endswith("_") and result is first:
            self._weights.drop(result)
        elif name in _KEEPING and tuple(result.shape) == weights.shape:
            self._weights.put(result, weights)
        else:
            moved = _moved(name, args, kwargs, weights, result)
            if moved is not None:
                self._weights.put(result, moved)

    def _multiplied(self, args: tuple[Any, ...], result: Tensor) -> None:
        for factor in args[:2]:
            weights = self._weights.get(factor)
            if weights is not None and result.dim() == len(weights.shape):
                self._weighted.put(result, weights)


def _is_activation(tensor: Tensor) -> bool:
    return tensor.requires_grad and not nodes.is_parameter(tensor)


def _contracted(name: str, args: tuple[Any, ...], factors: list[Tensor], place: int) -> list[int]:
    if name == "einsum":
        return summed_over(args, place)
    factor = factors[place]
    return [factor.dim() - 1 if place == 0 else max(0, factor.dim() - 2)]


def _dims(args: tuple[Any, ...], kwargs: dict[str, Any], first: Any) -> list[int]:
    if not isinstance(first, Tensor):
        return []
    dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    dims = [dims] if isinstance(dims, int) else list(dims) if isinstance(dims, (tuple, list)) else []
    return [dim % first.dim() for dim in dims if isinstance(dim, int) and first.dim()]


def _moved(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], weights: _Weights, result: Tensor
) -> _Weights | None:
    """The weights in another shape; None where it cannot be told where their dimension has gone."""
    n, shape = len(weights.shape), tuple(result.shape)
    find: Callable[[], tuple[int | None, bool]] | None = {
        "transpose": lambda: _swap(args, kwargs, n, weights.dim),
        "swapaxes": lambda: _swap(args, kwargs, n, weights.dim),
        "permute": lambda: _permuted(args, kwargs, n, weights.dim),
        "T": lambda: (n - 1 - weights.dim, True),
        "mT": lambda: ({n - 1: n - 2, n - 2: n - 1}.get(weights.dim, weights.dim), True),
        "t": lambda: (n - 1 - weights.dim, True),
        "unsqueeze": lambda: (_same_place(weights, shape, _one(args, kwargs, n + 1)), False),
        "__getitem__": lambda: (_indexed(args[1], weights.dim, n), False),
        "view": lambda: (_reshaped(weights, shape), False),
        "reshape": lambda: (_reshaped(weights, shape), False),
    }.get(name)
    if find is None:
        return None
    dim, is_transposed = find()
    if dim is None or dim >= len(shape) or shape[dim] != weights.shape[weights.dim]:
        return None
    return replace(weights, dim=dim, shape=shape, is_transposed=weights.is_transposed or is_transposed)


def _one(args: tuple[Any, ...], kwargs: dict[str, Any], n: int) -> int:
    return int(kwargs.get("dim", args[1] if len(args) > 1 else 0)) % n


def _same_place(weights: _Weights, shape: tuple[int, ...], new: int) -> int:
    return weights.dim + 1 if new <= weights.dim else weights.dim


def _swap(args: tuple[Any, ...], kwargs: dict[str, Any], n: int, dim: int) -> tuple[int, bool]:
    a, b = kwargs.get("dim0", args[1] if len(args) > 1 else 0), kwargs.get("dim1", args[2] if len(args) > 2 else 1)
    a, b = int(a) % n, int(b) % n
    return {a: b, b: a}.get(dim, dim), True


def _permuted(args: tuple[Any, ...], kwargs: dict[str, Any], n: int, dim: int) -> tuple[int | None, bool]:
    order = kwargs.get("dims", args[1:] if len(args) > 2 else args[1] if len(args) > 1 else ())
    places = [int(place) % n for place in order]
    return (places.index(dim) if dim in places else None), True


def _reshaped(weights: _Weights, shape: tuple[int, ...]) -> int | None:
    """Where what lies behind the dimension, or before it, is the same as before."""
    behind = weights.shape[weights.dim :]
    if shape[-len(behind) :] == behind:
        return len(shape) - len(behind)
    before = weights.shape[: weights.dim + 1]
    return weights.dim if shape[: len(before)] == before else None


def _indexed(index: Any, dim: int, n: int) -> int | None:
    """Only new and whole dimensions can be followed."""
    parts = list(index) if isinstance(index, tuple) else [index]
    kept = sum(isinstance(part, slice) for part in parts)
    if any(
        not (part is None or part is Ellipsis or part == slice(None)) for part in parts if not torch.is_tensor(part)
    ):
        return None
    if any(torch.is_tensor(part) for part in parts):
        return None
    whole: list[Any] = []
    for part in parts:
        whole += [slice(None)] * (n - kept) if part is Ellipsis else [part]
    whole += [slice(None)] * (n - sum(isinstance(part, slice) for part in whole))
    places = [place for place, part in enumerate(whole) if part is not None]
    return places[dim] if dim < len(places) else None
