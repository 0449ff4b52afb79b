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
from gradscope.engine.timeline.blocks import in_one_piece, parts_of
from gradscope.protocol.arrays import IntArray

SMALL_BYTES = 128 * 1024
"""Smaller tensors are summed together: one by one, torch and numpy would take longer to be asked than to answer."""
_TOGETHER_BYTES = 512 * 1024
"""So much at a time, so that it stays in the processor's caches."""
_COLUMNS, _ROWS = 512, 64
"""Of a block, in words of 8 bytes: its columns are added up, and each sum is multiplied by a factor of its own."""
_BLOCK_BYTES = 8 * _COLUMNS * _ROWS
_PLAIN = (Tensor, torch.nn.Parameter)
_SEED = 20_240_229
_WORDS = {size: np.dtype(f"i{size}") for size in (1, 2, 4, 8)}
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
        small: dict[tuple[torch.dtype, torch.device, bool], list[int]] = {}
        strided = torch.strided
        with torch.no_grad():
            for i, tensor in enumerate(tensors):
                if not tensor.numel():
                    continue
                if type(tensor) in _PLAIN and tensor.layout is strided and (size := tensor.nbytes) <= SMALL_BYTES:
                    small.setdefault((tensor.dtype, tensor.device, not size % 8), []).append(i)
                else:
                    every = 1 if one_in is None else one_in[i]
                    found[i] = self._of_large(tensor) if every == 1 else self._of_any(tensor, every, turn % every)
            for (_, _, is_whole), all_places in small.items():
                for places in _shares([tensors[i].nbytes for i in all_places], all_places):
                    group = [tensors[i] for i in places]
                    work = partial(self._of_small, group, 8 if is_whole else group[0].element_size())
                    found[places] = safely(work, np.full(len(group), _UNKNOWN))
        return found

    def _of_small(self, group: list[Tensor], size: int) -> IntArray:
        """All are of one type; `size` of a word in bytes, of which each of them has a whole number."""
        together = in_one_piece(group).cpu()
        content = together.view(torch.uint8).numpy() if together.dtype is not torch.bool else together.numpy()
        words = content.view(_WORDS[min(8, size)])
        if words.size > self._factors.size:
            self._factors = np.concatenate((self._factors, self._more_factors(2 * words.size - self._factors.size)))
        starts, start = [0], 0
        for tensor in group[:-1]:
            start += tensor.nbytes
            starts.append(start)
        products = np.multiply(words, self._factors[: words.size], dtype=np.int64)
        sums: IntArray = np.add.reduceat(products, np.array(starts) // words.itemsize)
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


def _shares(sizes: list[int], places: list[int]) -> list[list[int]]:
    """The places one after the other, in lists of which each has not too many bytes."""
    if sum(sizes) <= _TOGETHER_BYTES:
        return [places]
    found: list[list[int]] = [[]]
    used = 0
    for size, place in zip(sizes, places, strict=True):
        if used and used + size > _TOGETHER_BYTES:
            found.append([])
            used = 0
        found[-1].append(place)
        used += size
    return found


def _wrapped(number: int) -> int:
    """As 64 bits hold it."""
    return (number + 2**63) % 2**64 - 2**63


def differing(some: IntArray, others: IntArray) -> Any:
    """The first place where two differ; None where they are the same, or not of the same things."""
    if some.shape != others.shape:
        return None
    places = np.flatnonzero(some != others)
    return int(places[0]) if places.size else None
