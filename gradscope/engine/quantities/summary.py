"""The summaries of one phase: CPU tensors at once, device tensors stacked and fetched in one transfer at the end.

A summary is always computed when it is added: later in-place changes of the tensor do not reach it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import exponents
from gradscope.engine.quantities.fused_on_device import fused_summary
from gradscope.engine.quantities.kernel.library import Jobs, Output, load
from gradscope.engine.quantities.moments import moments, norm
from gradscope.engine.quantities.on_device import (
    number_on_device,
    packed_norm,
    packed_summary,
    rows_of_numbers,
    unpacked,
)
from gradscope.engine.quantities.values import Readable, plain_address
from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, INF, L2, NAN

KERNEL = load()
"""None: every summary is computed by torch and numpy."""
_FIRST_ROOM = 64


class SummaryBatch:
    """Summaries by their position; a position can be set anew. Used again for phase after phase.

    With `norms_only`: counts (but not of zeros) and L2 norms; everything else is NaN, and there are no histograms. Not for
    two threads at once: the kernel writes without the GIL.
    """

    def __init__(self) -> None:
        self._norms_only = False
        self._on_device: dict[int, tuple[Tensor, int]] = {}
        """Position -> packed summary that is still on its device, and how many numbers it is of: of one whole number that
        number itself."""
        self._take(*_NO_ROOM)

    def clear(self, *, norms_only: bool) -> None:
        """Begin anew, in the memory that is there."""
        self._norms_only, self._on_device = norms_only, {}
        if KERNEL is not None:
            KERNEL.follow_threads()

    def set(self, position: int, values: Readable) -> None:
        """Summarise now."""
        self._make_room(position)
        tensor = values.values
        if not tensor.is_cpu:
            with torch.no_grad():
                is_number = tensor.numel() == 1 and not tensor.is_floating_point()
                packed = number_on_device(tensor) if is_number else fused_summary(values)
                if packed is None:
                    flat = values.flat()
                    packed = packed_norm(flat) if self._norms_only else packed_summary(flat)
            self._on_device[position] = packed, tensor.numel()
            return
        self._on_device.pop(position, None)
        address = plain_address(tensor)
        if KERNEL is not None and address:
            self.set_plain(position, address, tensor.numel(), values.before)
            return
        # What looks on at the functions of a training must not take these for the training's.
        with torch._C.DisableTorchFunction():
            flat = values.flat()
            if self._norms_only:
                self._summaries[position], self._histograms[position], self._sampled[position] = norm(flat), 0, 0
            else:
                self._summaries[position] = moments(flat)
                self._histograms[position], self._sampled[position] = exponents(flat)

    def set_plain(self, position: int, address: int, count: int, before: Tensor | None = None) -> None:
        """The same for `count` > 0 neighbouring float32 on the CPU, where there is a KERNEL; `before` is taken off."""
        assert KERNEL is not None
        self._make_room(position)
        summarise = KERNEL.measure if self._norms_only else KERNEL.summarise
        summarise(self._output.address, address, None if before is None else before.data_ptr(), count, position)

    def set_all(self, position: int, jobs: Jobs) -> None:
        """For several such tensors and their changes, from a position on, each the next one."""
        assert KERNEL is not None
        self._make_room(position + 2 * len(jobs))
        KERNEL.summarise_all(self._output, jobs, position, norms=self._norms_only)

    def set_numbers(self, position: int, values: list[float]) -> None:
        """For several tensors with one whole number each, from a position on."""
        end = position + len(values)
        self._make_room(end)
        self._summaries[position:end] = rows_of_numbers(np.array(values), norms_only=self._norms_only)
        self._histograms[position:end], self._sampled[position:end] = 0, 0
        for number in range(position, end) if self._on_device else ():
            self._on_device.pop(number, None)

    def copy(self, position: int, other: int) -> None:
        """The summary of another position once more (the same tensor under another name)."""
        self._make_room(position)
        if other in self._on_device:
            self._on_device[position] = self._on_device[other]
        else:
            self._summaries[position] = self._summaries[other]
            self._histograms[position] = self._histograms[other]
            self._sampled[position] = self._sampled[other]

    def is_known_bad(self, position: int) -> bool:
        """Whether there is NaN or Inf in it, where that is known already: not on a device, whose work is not waited for."""
        numbers, start = self._numbers, position * len(COLUMNS)
        return bool(numbers[start + NAN] or numbers[start + INF]) and position not in self._on_device

    def is_known_nan(self, position: int) -> bool:
        """The same of NaN alone."""
        return bool(self._numbers[position * len(COLUMNS) + NAN]) and position not in self._on_device

    def known(self, position: int) -> FloatArray | None:
        """A copy of a summary; None while it is on a device, whose work is not waited for."""
        return None if position in self._on_device else self._summaries[position].copy()

    def finish(self, count: int) -> tuple[FloatArray, npt.NDArray[np.int32], IntArray]:
        """(summaries (n, 9), histograms (n, HISTOGRAM_BINS), sampled (n,)) of the first n positions, copies."""
        if not count:
            return _NO_ROOM
        summaries, histograms = self._summaries[:count].copy(), self._histograms[:count].copy()
        sampled = self._sampled[:count].copy()
        on_device = [position for position in self._on_device if position < count]
        numbers = [position for position in on_device if self._on_device[position][0].numel() == 1]
        if numbers:
            values = _fetch([self._on_device[position][0] for position in numbers])[:, 0]
            summaries[numbers] = rows_of_numbers(values, norms_only=self._norms_only)
            histograms[numbers], sampled[numbers] = 0, 0
        waiting = [position for position in on_device if self._on_device[position][0].numel() > 1]
        if waiting:
            packed = _fetch([self._on_device[position][0] for position in waiting])
            sizes = np.array([self._on_device[position][1] for position in waiting], dtype=np.float64)
            summaries[waiting], histograms[waiting], sampled[waiting] = unpacked(
                packed, sizes, norms_only=self._norms_only
            )
        return summaries, histograms, sampled

    def _make_room(self, position: int) -> None:
        """For this position, and then for some more."""
        if position < self._room:
            return
        room = max(_FIRST_ROOM, 2 * position)
        self._take(*(_longer(array, room) for array in (self._summaries, self._histograms, self._sampled)))

    def _take(self, summaries: FloatArray, histograms: npt.NDArray[np.int32], sampled: IntArray) -> None:
        self._summaries, self._histograms, self._sampled = summaries, histograms, sampled
        self._room = len(sampled)
        self._output = Output(summaries, histograms, sampled)
        self._numbers = summaries.reshape(-1).data
        """Of one element, numpy takes three times as long."""


_NO_ROOM = (
    np.empty((0, len(COLUMNS))),
    np.empty((0, HISTOGRAM_BINS), dtype=np.int32),
    np.empty(0, dtype=np.int64),
)


def total_l2(rows: FloatArray) -> float | None:
    """The L2 norm of several subjects together, by their summaries: NaN if one has NaN or Inf, None if there are none."""
    if not len(rows):
        return None
    if rows[:, NAN : INF + 1].any():
        return math.nan
    return math.hypot(*rows[:, L2].tolist())


def _longer(array: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    longer = np.empty((room, *array.shape[1:]), dtype=array.dtype)
    longer[: len(array)] = array
    return longer


def _fetch(packed: list[Tensor]) -> FloatArray:
    """One transfer for each device and dtype (there is seldom more than one)."""
    rows = np.empty((len(packed), packed[0].numel()), dtype=np.float64)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, vector in enumerate(packed):
        groups.setdefault((vector.device, vector.dtype), []).append(i)
    for positions in groups.values():
        rows[positions] = torch.stack([packed[i] for i in positions]).cpu().numpy()
    return rows
