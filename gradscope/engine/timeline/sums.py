"""Sums of the bits of tensors: another one where anything in a tensor is another, at the speed of the memory.

The bytes of a tensor are words of 8, in blocks of 256 KB: in a block the columns of its 512 x 64 words are added up, and each
sum is multiplied by a factor of its own. What is left after the whole blocks, all of a small tensor, has a factor for each
word. The kernel does the same where there is one, and comes to the same numbers.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradscope.engine.aside.value_holders import version_of
from gradscope.engine.quantities import summary
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.timeline.blocks import parts_of
from gradscope.engine.timeline.spans import PLAIN, Spans, spans_of
from gradscope.protocol.arrays import IntArray

SMALL_BYTES = 16 * 1024
"""Smaller tensors are summed together, where there is no kernel."""
_COLUMNS, _ROWS, _WORD_BYTES = 512, 64, 8
_BLOCK_BYTES = _WORD_BYTES * _COLUMNS * _ROWS
_SEED = 20_240_229
_UNKNOWN = -1
"""The sum of what cannot be read."""


@dataclass(eq=False)
class _Plan:
    """The kernel's work of the last time, where it could do all of it."""

    spans: Spans
    one_in: list[int]
    jobs: NDArray[np.int64]
    is_in_turns: bool
    """Of some of them other blocks count in each turn."""
    untrained: list[int]
    """Places of large tensors that are not trained: the plan has one of their blocks only."""
    tensors: list[weakref.ref[Tensor]]
    """Those: they are not held for longer than the training does."""
    versions: list[int]
    blocks: IntArray
    """Sums of these blocks."""
    sums: IntArray
    """Of those tensors in whole, while neither their versions nor these blocks are others."""

    def holds(self, tensors: Sequence[Tensor], spans: Spans, one_in: list[int]) -> bool:
        """The same memory is to be summed."""
        if one_in != self.one_in or spans != self.spans:
            return False
        untrained = [tensors[i] for i in self.untrained]
        return (
            all(map(operator.is_, untrained, [ref() for ref in self.tensors]))
            and not any(tensor.requires_grad for tensor in untrained)
            and [*map(version_of, untrained)] == self.versions
        )

    def found(self, kernel: Any, factors: int, turn: int) -> IntArray | None:
        """None where one that is not trained was written to past its version."""
        if self.is_in_turns:
            self.jobs[:, 3] = turn % self.jobs[:, 2]
            self.jobs[self.untrained, 3] = 0
        found: IntArray = kernel.sum_all(self.jobs, factors)
        if self.untrained:
            if not np.array_equal(found[self.untrained], self.blocks):
                return None
            found[self.untrained] = self.sums
        return found


class Sums:
    """Of one training. Two tensors that differ have the same sum by chance only: each word of 8 bytes is added in whole."""

    def __init__(self) -> None:
        numbers = np.random.Generator(np.random.PCG64(_SEED))
        self._factors = numbers.integers(0, 2**63, _COLUMNS * _ROWS, dtype=np.int64) | 1
        self._address: int = self._factors.ctypes.data
        self._known: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        """Of large tensors that are not trained, by their ids: (tensor, version, sum)."""
        self._plans: dict[str, _Plan] = {}

    def of(
        self, tensors: Sequence[Tensor], *, what: str = "", one_in: Sequence[int] | None = None, turn: int = 0
    ) -> IntArray:
        """A sum of each. `what` they are: those of one name are mostly the ones of the last time. `one_in`: of a large one
        only every so many blocks count, other ones in each `turn`."""
        kernel, plan, spans = summary.KERNEL, self._plans.pop(what, None), spans_of(tensors)
        one_in = [1] * len(tensors) if one_in is None else [*one_in]
        if kernel is not None and plan is not None and plan.holds(tensors, spans, one_in):
            planned = plan.found(kernel, self._address, turn)
            if planned is not None:
                self._plans[what] = plan
                return planned
            self._known.clear()
        found = self._of_each(tensors, spans, one_in, turn)
        plan = None if kernel is None else self._planned(kernel, tensors, spans, one_in, found)
        if plan is not None:
            self._plans[what] = plan
        return found

    def of_new(self, tensors: Sequence[Tensor]) -> IntArray:
        """The same, of tensors that were made just now: nothing is known of them."""
        kernel, spans = summary.KERNEL, spans_of(tensors)
        if kernel is None or not spans.is_whole:
            return self._of_each(tensors, spans, [1] * len(tensors), 0)
        jobs = np.zeros((len(tensors), 4), dtype=np.int64)
        jobs[:, :2], jobs[:, 2] = spans.rows(), 1
        found: IntArray = kernel.sum_all(jobs, self._address)
        return found

    def _of_each(self, tensors: Sequence[Tensor], spans: Spans, one_in: Sequence[int], turn: int) -> IntArray:
        kernel = summary.KERNEL
        found = np.zeros(len(tensors), dtype=np.int64)
        small: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        untrained: list[int] = []
        places: list[int] = []
        jobs: list[tuple[int, int, int, int]] = []
        """(address, bytes, one in so many of its blocks, from this one on)"""
        with torch.no_grad():
            for i, (tensor, address) in enumerate(zip(tensors, spans.numbers()[::2], strict=True)):
                size = tensor.numel() * tensor.element_size()
                if not size:
                    continue
                every = 1
                if size > SMALL_BYTES:
                    every = one_in[i]
                    if every == 1 and not tensor.requires_grad and tensor.layout is torch.strided:
                        known = self._known.get(id(tensor))
                        if known is not None and known[0]() is tensor and known[1] == version_of(tensor):
                            found[i] = known[2]
                            continue
                        untrained.append(i)
                if kernel is not None and address:
                    places.append(i)
                    jobs.append((address, size, every, turn % every))
                elif type(tensor) in PLAIN and size <= SMALL_BYTES:
                    small.setdefault((tensor.dtype, tensor.device), []).append(i)
                else:
                    found[i] = self._of_any(tensor, every, turn % every)
            if kernel is not None and jobs:
                table = np.array(jobs, dtype=np.int64)
                found[places] = kernel.sum_all(table, self._address)
            for group in small.values():
                several = [tensors[i] for i in group]
                found[group] = safely(partial(self._of_small, several), np.full(len(group), _UNKNOWN))
        for i in untrained:
            # The version of one that is trained does not tell: fused kernels leave no mark in it.
            self._known[id(tensors[i])] = weakref.ref(tensors[i]), version_of(tensors[i]), int(found[i])
        return found

    def _planned(
        self, kernel: Any, tensors: Sequence[Tensor], spans: Spans, one_in: list[int], found: IntArray
    ) -> _Plan | None:
        """None where the kernel cannot do all of it."""
        if not len(tensors) or not spans.is_whole:
            return None
        rows = spans.rows()
        jobs = np.zeros((len(tensors), 4), dtype=np.int64)
        is_large = rows[:, 1] > SMALL_BYTES
        jobs[:, :2], jobs[:, 2] = rows, np.where(is_large, one_in, 1)
        places = np.flatnonzero(is_large & (jobs[:, 2] == 1)).tolist()
        untrained = [i for i in places if not tensors[i].requires_grad]
        jobs[untrained, 2] = np.maximum(1, rows[untrained, 1] // _BLOCK_BYTES)
        blocks = kernel.sum_all(jobs[untrained], self._address) if untrained else np.zeros(0, dtype=np.int64)
        return _Plan(
            spans=spans,
            one_in=one_in,
            jobs=jobs,
            is_in_turns=bool((jobs[:, 2] > 1).any()),
            untrained=untrained,
            tensors=[weakref.ref(tensors[i]) for i in untrained],
            versions=[version_of(tensors[i]) for i in untrained],
            blocks=blocks,
            sums=found[untrained],
        )

    def _of_small(self, several: list[Tensor]) -> IntArray:
        """Of one dtype, on one device."""
        together = torch.cat([tensor.reshape(-1) for tensor in several]).cpu().view(torch.uint8).numpy()
        sizes = np.array([tensor.numel() * tensor.element_size() for tensor in several])
        counts = -(-sizes // _WORD_BYTES)
        words = np.zeros(int(counts.sum()), dtype=np.int64)
        content, starts = words.view(np.uint8), np.cumsum(counts) - counts
        for from_, to, size in zip(np.cumsum(sizes) - sizes, starts * _WORD_BYTES, sizes, strict=True):
            content[to : to + size] = together[from_ : from_ + size]
        numbers = np.arange(words.size) - np.repeat(starts, counts)
        sums: IntArray = 5 * np.add.reduceat(words * self._factors[numbers], starts)
        return sums

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
        padded = np.zeros(-(-rest.size // _WORD_BYTES) * _WORD_BYTES, dtype=np.uint8)
        padded[: rest.size] = rest
        tail = padded.view(np.int64)
        return _wrapped(int(of_blocks @ places) + 5 * int(tail @ self._factors[: tail.size]))


def _wrapped(number: int) -> int:
    """As 64 bits hold it."""
    return (number + 2**63) % 2**64 - 2**63


def differing(some: IntArray, others: IntArray) -> Any:
    """The first place where two differ; None where they are the same, or not of the same things."""
    if some.shape != others.shape:
        return None
    places = np.flatnonzero(some != others)
    return int(places[0]) if places.size else None
