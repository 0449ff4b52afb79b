"""Copies of tensors in memory, shared between checkpoints, and how much memory they take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.aside.value_holders import is_same
from gradscope.engine.model.copies import put_back
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.kernel.extension import NATIVE
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.timeline.spans import PLAIN, spans_of

_TOGETHER_BYTES = 64 * 1024
"""Tensors that are not larger are copied together, into pieces of memory."""
_PIECE_BYTES = 60 * 1024
"""A piece that has so much already is full. Pieces of 128 KB would not come from the heap, but from the system."""
_ALIGNED_BYTES = 64


class Block:
    """One piece of memory; `users` checkpoints hold it."""

    __slots__ = ("address", "size_bytes", "tensor", "users")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.users = tensor, 0
        self.size_bytes = _bytes_of(tensor)
        self.address = 0
        """0: it is not known here."""


@dataclass(slots=True)
class Copy:
    """Of one tensor: the whole of a block, or a part of it."""

    block: Block
    shape: tuple[int, ...] = ()
    """Of a part. A plain tuple: Python's garbage collector has not to look at it, and there are many."""
    start: int = 0
    """Where it begins in the block, in elements."""
    dtype: torch.dtype | None = None
    """Of a part; None: it is the whole block."""

    @property
    def tensor(self) -> Tensor:
        """Not to be changed."""
        whole = self.block.tensor
        if self.dtype is None:
            return whole
        return whole.view(self.dtype)[self.start : self.start + math.prod(self.shape)].view(self.shape)

    def address_for(self, tensor: Tensor) -> int:
        """Where a tensor's bytes lie, if it is as it was; 0 where that is not known, or it has another form."""
        if self.dtype is None or not self.block.address or tensor.dtype is not self.dtype:
            return 0
        return self.block.address + self.start * self.dtype.itemsize if tensor.shape == self.shape else 0


def copies_of(tensors: Sequence[Tensor]) -> list[Copy]:
    """A copy of each, in the same order."""
    found: list[Copy | None] = [None] * len(tensors)
    with torch.no_grad():
        if summary.KERNEL is not None:
            _copy_together(summary.KERNEL, tensors, found)
        small: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        for i, tensor in enumerate(tensors):
            if found[i] is not None:
                continue
            is_plain = type(tensor) in PLAIN and tensor.layout is torch.strided
            if is_plain and tensor.numel() * tensor.element_size() <= _TOGETHER_BYTES:
                small.setdefault((tensor.dtype, tensor.device), []).append(i)
            else:
                found[i] = Copy(Block(tensor.detach().clone()))
        for (dtype, _), places in small.items():
            block = Block(torch.cat([tensors[i].reshape(-1) for i in places]))
            start = 0
            for i in places:
                found[i] = Copy(block, tuple(tensors[i].shape), start, dtype)
                start += tensors[i].numel()
    return [copy for copy in found if copy is not None]


def _copy_together(kernel: Any, tensors: Sequence[Tensor], found: list[Copy | None]) -> None:
    """By the kernel, those that are small, whatever their dtypes are."""
    numbers = spans_of(tensors).numbers()
    jobs: list[tuple[int, int, int]] = []
    waiting: list[tuple[int, int, int, int]] = []
    """(place, address, bytes, where in the piece)"""
    size = 0
    for i, (address, bytes_) in enumerate(zip(numbers[::2], numbers[1::2], strict=True)):
        if not address or bytes_ > _TOGETHER_BYTES:
            continue
        waiting.append((i, address, bytes_, size))
        size += -(-bytes_ // _ALIGNED_BYTES) * _ALIGNED_BYTES
        if size > _PIECE_BYTES:
            _put(waiting, size, tensors, found, jobs)
            waiting, size = [], 0
    if waiting:
        _put(waiting, size, tensors, found, jobs)
    kernel.copy_all(jobs)


def _put(
    waiting: list[tuple[int, int, int, int]],
    size: int,
    tensors: Sequence[Tensor],
    found: list[Copy | None],
    jobs: list[tuple[int, int, int]],
) -> None:
    """Into one piece."""
    block = Block(torch.empty(size, dtype=torch.uint8, device="cpu"))
    to = block.address = block.tensor.data_ptr()
    for i, address, bytes_, start in waiting:
        dtype = tensors[i].dtype
        found[i] = Copy(block, tuple(tensors[i].shape), start // dtype.itemsize, dtype)
        jobs.append((address, to + start, bytes_))


def are_same(tensors: list[Tensor], copies: Sequence[Copy]) -> list[bool]:
    """Whether each holds what was copied of it, bit for bit; False where that cannot be told."""
    addresses = [copy.address_for(tensor) for tensor, copy in zip(tensors, copies, strict=True)]
    told = bytes([_UNTOLD]) * len(tensors) if NATIVE is None else NATIVE.same(tensors, addresses)
    return [
        bool(how) if how != _UNTOLD else safely(partial(_is_same_as, tensor, copy), False)
        for tensor, copy, how in zip(tensors, copies, told, strict=True)
    ]


_UNTOLD = 2
"""By the extension, whether two are the same."""


def _is_same_as(tensor: Tensor, copy: Copy) -> bool:
    return is_same(tensor, copy.tensor)


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
