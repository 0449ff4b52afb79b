"""The summaries of one phase: CPU tensors at once, device tensors stacked and fetched in one transfer at the end.

A summary is always computed when `add` is called: later in-place changes of the tensor do not reach it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import exponents
from gradscope.engine.quantities.kernel.library import load
from gradscope.engine.quantities.moments import moments
from gradscope.engine.quantities.on_device import packed_summary
from gradscope.engine.quantities.values import Readable
from gradscope.protocol.messages import FloatArray, IntArray
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS

KERNEL = load()
"""None: every summary is computed by torch and numpy."""
_FIRST_ROOM = 64


class SummaryBatch:
    """Summaries in the order in which they were added; a position can be set anew."""

    def __init__(self) -> None:
        self._count = 0
        self._on_device: dict[int, Tensor] = {}
        """Position -> packed summary that is still on its device."""
        self._take(np.empty((_FIRST_ROOM, len(COLUMNS))), np.empty((_FIRST_ROOM, HISTOGRAM_BINS), dtype=np.int32))
        self._sampled = np.empty(_FIRST_ROOM, dtype=np.int64)

    def __len__(self) -> int:
        return self._count

    def add(self, values: Readable) -> int:
        """Summarise now; returns the position."""
        position = self._next()
        self.replace(position, values)
        return position

    def repeat(self, position: int) -> int:
        """Add the summary of an earlier position once more (the same tensor under another name)."""
        again = self._next()
        if position in self._on_device:
            self._on_device[again] = self._on_device[position]
        else:
            self._summaries[again] = self._summaries[position]
            self._histograms[again] = self._histograms[position]
            self._sampled[again] = self._sampled[position]
        return again

    def replace(self, position: int, values: Readable) -> None:
        """Summarise now, at a position that was given before."""
        tensor = values.values
        if not tensor.is_cpu:
            with torch.no_grad():
                self._on_device[position] = packed_summary(values.flat())
            return
        self._on_device.pop(position, None)
        count = tensor.numel()
        if KERNEL is not None and count and tensor.dtype is torch.float32 and tensor.is_contiguous():
            KERNEL.describe(
                tensor.data_ptr(),
                None if values.before is None else values.before.data_ptr(),
                count,
                self._row_address + position * self._row_bytes,
                self._histogram_address + position * self._histogram_bytes,
            )
            self._sampled[position] = count
            return
        flat = values.flat()
        self._summaries[position] = moments(flat)
        self._histograms[position], self._sampled[position] = exponents(flat)

    def finish(self) -> tuple[FloatArray, npt.NDArray[np.int32], IntArray]:
        """(summaries (n, 9), histograms (n, HISTOGRAM_BINS), sampled (n,)), copies."""
        n, columns = self._count, len(COLUMNS)
        summaries, histograms = self._summaries[:n].copy(), self._histograms[:n].copy()
        sampled = self._sampled[:n].copy()
        if self._on_device:
            waiting = list(self._on_device)
            packed = _fetch(list(self._on_device.values()))
            summaries[waiting] = packed[:, :columns]
            histograms[waiting] = packed[:, columns:-1]
            sampled[waiting] = packed[:, -1]
        return summaries, histograms, sampled

    def _next(self) -> int:
        if self._count == len(self._sampled):
            self._make_room()
        self._count += 1
        return self._count - 1

    def _make_room(self) -> None:
        self._take(_doubled(self._summaries), _doubled(self._histograms))
        self._sampled = _doubled(self._sampled)

    def _take(self, summaries: FloatArray, histograms: npt.NDArray[np.int32]) -> None:
        self._summaries, self._histograms = summaries, histograms
        # The kernel writes there; asking numpy for an address takes longer than summarising a small tensor.
        self._row_address, self._row_bytes = summaries.ctypes.data, summaries.strides[0]
        self._histogram_address, self._histogram_bytes = histograms.ctypes.data, histograms.strides[0]


def _doubled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([array, np.empty_like(array)])


def _fetch(packed: list[Tensor]) -> FloatArray:
    """One transfer for each device and dtype (there is seldom more than one)."""
    rows = np.empty((len(packed), packed[0].numel()), dtype=np.float64)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, vector in enumerate(packed):
        groups.setdefault((vector.device, vector.dtype), []).append(i)
    for positions in groups.values():
        rows[positions] = torch.stack([packed[i] for i in positions]).cpu().numpy()
    return rows
