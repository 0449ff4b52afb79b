"""The summaries of one phase: CPU tensors at once, device tensors stacked and fetched in one transfer at the end.

A summary is always computed when `add` is called: later in-place changes of the tensor do not reach it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import exponents
from gradscope.engine.quantities.moments import Row, moments
from gradscope.engine.quantities.on_device import packed_summary
from gradscope.engine.quantities.values import Readable
from gradscope.protocol.messages import FloatArray, IntArray
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS


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
    if values.values.device.type == "cpu":
        return Summary(moments(values.values), *exponents(values.values))
    with torch.no_grad():
        return packed_summary(values.values)


def _fetch(packed: list[Tensor]) -> FloatArray:
    """One transfer for each device and dtype (there is seldom more than one)."""
    rows = np.empty((len(packed), packed[0].numel()), dtype=np.float64)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, vector in enumerate(packed):
        groups.setdefault((vector.device, vector.dtype), []).append(i)
    for positions in groups.values():
        rows[positions] = torch.stack([packed[i] for i in positions]).cpu().numpy()
    return rows
