"""Which part of a tensor is shown as a table or a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from gradscope.snapshots import slices


def dense(tensor: Tensor) -> Tensor:
    """The same with every element in its place."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.dequantize() if tensor.is_quantized else tensor


def plane_of(tensor: Tensor, index: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """(the rows x columns at `index` of the leading dimensions, the index as it was used)."""
    tensor = dense(tensor)
    if tensor.dim() == 0:
        return tensor.reshape(1, 1), ()
    if tensor.dim() == 1:
        return tensor.reshape(-1, 1), ()
    if 0 in tensor.shape[:-2]:
        return tensor.new_empty((0, 0)), ()
    used = slices.used_index(tuple(tensor.shape), index)
    return tensor[used], used
