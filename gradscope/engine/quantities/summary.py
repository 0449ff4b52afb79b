"""The summaries of one phase: CPU tensors at once, device tensors stacked and fetched in one transfer at the end.

A summary is always computed when `add` is called: later in-place changes of the tensor do not reach it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import exponents
from gradscope.engine.quantities.kernel.library import Kernel, load
from gradscope.engine.quantities.moments import CANCELLING, SAFE_HIGH, SAFE_LOW, Row, moments
from gradscope.engine.quantities.on_device import packed_summary
from gradscope.engine.quantities.values import Readable
from gradscope.protocol.messages import FloatArray, IntArray
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS

KERNEL = load()
"""None: every summary is computed by torch and numpy."""


@dataclass(frozen=True)
class Summary:
    """One tensor's numbers, on the CPU."""

    row: Row
    histogram: npt.NDArray[np.int32]
    sampled: int


class SummaryBatch:
    """Summaries in the order in which they were added; a position can be set anew."""

    def __init__(self) -> None:
        self._entries: list[Summary | Tensor] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, values: Readable) -> int:
        """Summarise now; returns the position."""
        self._entries.append(_summarise(values))
        return len(self._entries) - 1

    def repeat(self, position: int) -> int:
        """Add the summary of an earlier position once more (the same tensor under another name)."""
        self._entries.append(self._entries[position])
        return len(self._entries) - 1

    def replace(self, position: int, values: Readable) -> None:
        self._entries[position] = _summarise(values)

    def finish(self) -> tuple[FloatArray, npt.NDArray[np.int32], IntArray]:
        """(summaries (n, 9), histograms (n, HISTOGRAM_BINS), sampled (n,))."""
        n, columns = len(self._entries), len(COLUMNS)
        summaries = np.empty((n, columns), dtype=np.float64)
        histograms = np.empty((n, HISTOGRAM_BINS), dtype=np.int32)
        sampled = np.empty(n, dtype=np.int64)
        waiting: list[int] = []
        for i, entry in enumerate(self._entries):
            if isinstance(entry, Tensor):
                waiting.append(i)
            else:
                summaries[i], histograms[i], sampled[i] = entry.row, entry.histogram, entry.sampled
        if waiting:
            packed = _fetch([self._entries[i] for i in waiting])  # type: ignore[misc]
            summaries[waiting] = packed[:, :columns]
            histograms[waiting] = packed[:, columns:-1]
            sampled[waiting] = packed[:, -1]
        return summaries, histograms, sampled


def _summarise(values: Readable) -> Summary | Tensor:
    tensor = values.values
    if tensor.device.type != "cpu":
        with torch.no_grad():
            return packed_summary(values.change())
    if KERNEL is not None and tensor.dtype is torch.float32 and tensor.numel() and tensor.is_contiguous():
        return _fused(KERNEL, values)
    tensor = values.change()
    return Summary(moments(tensor), *exponents(tensor))


def _fused(kernel: Kernel, values: Readable) -> Summary:
    """As `moments` and `exponents` have it, in one pass; the histogram is complete at any size."""
    tensor, count = values.values, values.values.numel()
    before = None if values.before is None else values.before.data_ptr()
    (low, high, total, square, nan, inf, zero), histogram = kernel.describe(tensor.data_ptr(), before, count)
    largest = max(abs(low), abs(high))
    if nan or inf or not (SAFE_LOW < largest < SAFE_HIGH):
        return Summary(moments(values.change()), histogram, count)
    if low == high:
        # All equal: exact, and no rounding noise in std.
        mean, variance, square = low, 0.0, low * low * count
    else:
        mean = total / count
        variance = square / count - mean * mean
        if variance < CANCELLING * square / count:
            mean, variance = kernel.variance(tensor.data_ptr(), before, count, mean)
    row = (float(count), 0.0, 0.0, float(zero), low, high, mean, math.sqrt(max(variance, 0.0)), math.sqrt(square))
    return Summary(row, histogram, count)


def _fetch(packed: list[Tensor]) -> FloatArray:
    """One transfer for each device and dtype (there is seldom more than one)."""
    rows = np.empty((len(packed), packed[0].numel()), dtype=np.float64)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, vector in enumerate(packed):
        groups.setdefault((vector.device, vector.dtype), []).append(i)
    for positions in groups.values():
        rows[positions] = torch.stack([packed[i] for i in positions]).cpu().numpy()
    return rows
