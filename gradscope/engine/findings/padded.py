"""Where the rows of a batch are only filled up: runs of one id at an end, of different lengths, or what a mask says."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gradscope.engine.model.leaves import tensor_leaves


def padding_of(x: Tensor, known: int | None = None) -> Tensor | None:
    """(B, T) bool: True where a row is filled up. Of tokens (B, T), or vectors (B, T, F) and values (B, T) filled up with
    zeros. `known`: the id, where that is known. None where it cannot be told.

    One id (or all zeros) at the end of rows, or at their beginning; from different places on; and nowhere else.
    """
    if x.dim() < 2 or x.shape[1] < 3 or len(x) < 2:
        return None
    if x.is_floating_point():
        fills: list[Tensor] = [(x == 0) if x.dim() == 2 else (x == 0).flatten(2).all(2)] if x.dim() <= 3 else []
    elif x.dim() == 2 and x.dtype is not torch.bool:
        fills = [
            x == value
            for value in ([known] if known is not None else {int(x[:, -1].mode().values), int(x[:, 0].mode().values)})
        ]
    else:
        return None
    for fill in fills:
        for at_end in (True, False):
            run = run_of(fill, at_end=at_end)
            lengths = run.sum(1)
            # Inside of rows it may stand only where the id is known to fill.
            is_elsewhere = bool((fill & ~run).any())
            if len(lengths.unique()) > 2 and not bool(run.all(1).all()) and (known is not None or not is_elsewhere):
                return run
    return None


def run_of(fill: Tensor, *, at_end: bool) -> Tensor:
    """The unbroken part of it at the end (or beginning) of each row."""
    turned = fill.flip(1) if at_end else fill
    run = turned.long().cumprod(1).bool()
    return run.flip(1) if at_end else run


def masks_in(batch: object, shape: tuple[int, int]) -> Iterable[Tensor]:
    """The tensors of a batch that say which steps are there: (B, T) of 0 and 1, runs of one of them at an end; True where
    a row is filled up."""
    tensors = [tensor for _, tensor in tensor_leaves(batch) if tuple(tensor.shape[:2]) == shape]
    for mask in tensors:
        if tuple(mask.shape) != shape or not bool(((mask == 0) | (mask == 1)).all()):
            continue
        for fill in (mask == 0, mask == 1):
            is_at_end = any(torch.equal(run_of(fill, at_end=at_end), fill) for at_end in (True, False))
            if is_at_end and len(fill.sum(1).unique()) > 2 and _is_filled(fill, mask, tensors):
                yield fill


def _is_filled(fill: Tensor, mask: Tensor, tensors: list[Tensor]) -> bool:
    """Which of 0 and 1 is padding, the mask alone does not say: something in the batch has one value wherever it is."""
    others = [tensor[fill] for tensor in tensors if tensor is not mask]
    return any(len(values) > 0 and bool((values == values[:1]).all()) for values in others)
