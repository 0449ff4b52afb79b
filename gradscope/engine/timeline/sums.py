"""Sums of the bits of tensors: another one where anything in a tensor is another, at the speed of the memory."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.aside.value_holders import version_of
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.timeline.blocks import parts_of
from gradscope.protocol.arrays import IntArray

SMALL_BYTES = 16 * 1024
"""Smaller tensors are summed together."""
_COLUMNS, _ROWS = 512, 64
"""Of a block, in words of 8 bytes: its columns are added up, and each sum is multiplied by a factor of its own."""
_BLOCK_BYTES = 8 * _COLUMNS * _ROWS
_PLAIN = (Tensor, torch.nn.Parameter)
_SEED = 20_240_229
_UNKNOWN = -1
"""The sum of what cannot be read."""


class Sums:
    """Of one training. Two tensors that differ have the same sum by chance only: each word of 8 bytes is added in whole."""

    def __init__(self) -> None:
        self._numbers = np.random.Generator(np.random.PCG64(_SEED))
        self._factors = self._more_factors(_COLUMNS)
        self._known: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        """Of large tensors that are not trained, by their ids: (tensor, version, sum)."""

    def of(self, tensors: Sequence[Tensor], *, one_in: Sequence[int] | None = None, turn: int = 0) -> IntArray:
        """A sum of each. `one_in`: of a large one only every so many blocks count, other ones in each `turn`."""
        found = np.zeros(len(tensors), dtype=np.int64)
        small: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        with torch.no_grad():
            for i, tensor in enumerate(tensors):
                if not tensor.numel():
                    continue
                if type(tensor) in _PLAIN and tensor.numel() * tensor.element_size() <= SMALL_BYTES:
                    small.setdefault((tensor.dtype, tensor.device), []).append(i)
                else:
                    every = 1 if one_in is None else one_in[i]
                    found[i] = self._of_large(tensor) if every == 1 else self._of_any(tensor, every, turn % every)
            for places in small.values():
                group = [tensors[i] for i in places]
                found[places] = safely(partial(self._of_small, group), np.full(len(group), _UNKNOWN))
        return found

    def _of_small(self, group: list[Tensor]) -> IntArray:
        together = torch.cat([tensor.reshape(-1) for tensor in group]).cpu()
        content = together.view(torch.uint8).numpy() if together.dtype is not torch.bool else together.numpy()
        size = min(8, together.element_size())
        words = content.view(f"i{size}").astype(np.int64)
        if words.size > self._factors.size:
            self._factors = np.concatenate((self._factors, self._more_factors(2 * words.size - self._factors.size)))
        counts = np.array([tensor.numel() for tensor in group]) * (together.element_size() // size)
        starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts[:-1])))
        sums: IntArray = np.add.reduceat(words * self._factors[: words.size], starts)
        return sums

    def _of_large(self, tensor: Tensor) -> int:
        if tensor.requires_grad or tensor.layout is not torch.strided:
            # Its version does not tell: fused kernels leave no mark in it.
            return self._of_any(tensor, 1, 0)
        version = version_of(tensor)
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == version:
            return known[2]
        found = self._of_any(tensor, 1, 0)
        self._known[id(tensor)] = weakref.ref(tensor), version, found
        return found

    def _of_any(self, tensor: Tensor, one_in: int, turn: int) -> int:
        def work() -> int:
            parts = [self._of_memory(part.detach(), one_in, turn) for part in parts_of(tensor)]
            return _wrapped(sum(part * (3**i) for i, part in enumerate(parts)))

        return safely(work, _UNKNOWN)

    def _of_memory(self, tensor: Tensor, one_in: int, turn: int) -> int:
        if tensor.device.type != "cpu":
            words = tensor.contiguous().view(-1).view(torch.uint8)[: tensor.numel() * tensor.element_size() // 8 * 8]
            whole = words.view(torch.int64)
            weights = torch.arange(1, whole.numel() + 1, device=tensor.device) * 2 + 1
            return int((whole * weights).sum())
        content = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        count = content.size // _BLOCK_BYTES
        blocks = content[: count * _BLOCK_BYTES].view(np.int64).reshape(count, _ROWS, _COLUMNS)[turn::one_in]
        of_blocks = np.add.reduce(blocks, axis=1) @ self._factors[:_COLUMNS]
        places = 2 * np.arange(len(of_blocks), dtype=np.int64) + 1
        rest = content[count * _BLOCK_BYTES :]
        padded = np.zeros(-(-rest.size // 8) * 8, dtype=np.uint8)
        padded[: rest.size] = rest
        tail = padded.view(np.int64)
        if tail.size > self._factors.size:
            self._factors = np.concatenate((self._factors, self._more_factors(tail.size)))
        return _wrapped(int(of_blocks @ places) + 5 * int(tail @ self._factors[: tail.size]))

    def _more_factors(self, count: int) -> IntArray:
        return self._numbers.integers(0, 2**63, count, dtype=np.int64) | 1


def _wrapped(number: int) -> int:
    """As 64 bits hold it."""
    return (number + 2**63) % 2**64 - 2**63


def differing(some: IntArray, others: IntArray) -> Any:
    """The first place where two differ; None where they are the same, or not of the same things."""
    if some.shape != others.shape:
        return None
    places = np.flatnonzero(some != others)
    return int(places[0]) if places.size else None
