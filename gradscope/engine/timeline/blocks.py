"""Copies of tensors in memory, shared between checkpoints, and how much memory they take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradscope.engine.aside.value_holders import is_same
from gradscope.engine.model.copies import put_back
from gradscope.engine.surroundings.error_parts import safely

_SMALL_BYTES = 16 * 1024
"""Smaller tensors are copied together, into one piece of memory."""


class Block:
    """One piece of memory; `users` checkpoints hold it."""

    __slots__ = ("size_bytes", "tensor", "users")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.users = tensor, 0
        self.size_bytes = _bytes_of(tensor)


@dataclass(slots=True)
class Copy:
    """Of one tensor: the whole of a block, or so many elements of it from `start` on."""

    block: Block
    shape: tuple[int, ...] = ()
    """Of a part. A plain tuple: Python's garbage collector has not to look at it, and there are many."""
    start: int = -1

    @property
    def tensor(self) -> Tensor:
        """Not to be changed."""
        if self.start < 0:
            return self.block.tensor
        return self.block.tensor[self.start : self.start + math.prod(self.shape)].view(self.shape)


def copies_of(tensors: Sequence[Tensor]) -> list[Copy]:
    """A copy of each, in the same order."""
    found: list[Copy | None] = [None] * len(tensors)
    small: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    with torch.no_grad():
        for i, tensor in enumerate(tensors):
            is_plain = type(tensor) in _PLAIN and tensor.layout is torch.strided
            if is_plain and tensor.numel() * tensor.element_size() <= _SMALL_BYTES:
                small.setdefault((tensor.dtype, tensor.device), []).append(i)
            else:
                found[i] = Copy(Block(tensor.detach().clone()))
        for places in small.values():
            block = Block(torch.cat([tensors[i].reshape(-1) for i in places]))
            start = 0
            for i in places:
                found[i] = Copy(block, tuple(tensors[i].shape), start)
                start += tensors[i].numel()
    return [copy for copy in found if copy is not None]


_PLAIN = (Tensor, torch.nn.Parameter)


def give(tensor: Tensor, copy: Tensor) -> None:
    """Make a tensor hold what it held, in place where it still has the same form."""
    is_form = tensor.shape == copy.shape and tensor.dtype is copy.dtype and tensor.device == copy.device
    if is_form and tensor.layout is copy.layout:
        if not safely(lambda: is_same(tensor, copy), False):
            put_back(tensor, copy)
        return
    tensor.data = copy.clone()


def _bytes_of(tensor: Tensor) -> int:
    if tensor.layout is torch.strided:
        return tensor.numel() * tensor.element_size()
    return int(safely(lambda: sum(part.numel() * part.element_size() for part in parts_of(tensor)), 0))


def parts_of(tensor: Tensor) -> Iterable[Tensor]:
    """What a tensor is made of: itself, or the indices and values of a sparse one."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_csc):
        return (tensor.values(),)
    return (tensor,)


class Ledger:
    """How much memory all blocks take that somebody holds."""

    def __init__(self) -> None:
        self.used_bytes = 0

    def hold(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            if not block.users:
                self.used_bytes += block.size_bytes
            block.users += 1

    def let_go(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            block.users -= 1
            if not block.users:
                self.used_bytes -= block.size_bytes
