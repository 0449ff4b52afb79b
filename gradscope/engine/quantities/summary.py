"""The summaries of one phase: CPU tensors at once, device tensors stacked and fetched in one transfer at the end.

A summary is always computed when it is added: later in-place changes of the tensor do not reach it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import exponents
from gradscope.engine.quantities.kernel.library import Jobs, Output, load
from gradscope.engine.quantities.moments import moments, norm
from gradscope.engine.quantities.on_device import packed_norm, packed_summary
from gradscope.engine.quantities.values import Readable
from gradscope.protocol.messages import FloatArray, IntArray
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS

KERNEL = load()
"""None: every summary is computed by torch and numpy."""
_FIRST_ROOM = 64


class SummaryBatch:
    """Summaries in the order in which they were added; a position can be set anew. Used again for phase after phase.

    With `norms_only`: counts (but not of zeros) and L2 norms; everything else is NaN, and there are no histograms.
    """

    def __init__(self) -> None:
        self._count = 0
        self._norms_only = False
        self._on_device: dict[int, Tensor] = {}
        """Position -> packed summary that is still on its device."""
        self._take(*_NO_ROOM)

    def clear(self, *, norms_only: bool) -> None:
        """Begin anew, in the memory that is there."""
        self._count, self._norms_only = 0, norms_only
        self._on_device = {}

    def __len__(self) -> int:
        return self._count

    def add(self, values: Readable) -> int:
        """Summarise now; returns the position."""
        position = self._next()
        self.replace(position, values)
        self._count = position + 1
        return position

    def add_plain(self, address: int, count: int) -> int:
        """The same for `count` > 0 neighbouring float32 on the CPU, where there is a KERNEL."""
        position = self._next()
        self.replace_plain(position, address, count)
        self._count = position + 1
        return position

    def add_all(self, jobs: Jobs) -> None:
        """For several such tensors and their changes, each position the next one."""
        assert KERNEL is not None
        count = self._count + sum(2 if before else 1 for _, before, _ in jobs)
        while count > self._room:
            self._make_room()
        KERNEL.summarise_all(self._output, jobs, self._count, norms=self._norms_only)
        self._count = count

    def repeat(self, position: int) -> int:
        """Add the summary of an earlier position once more (the same tensor under another name)."""
        again = self._next()
        self._count = again + 1
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
                self._on_device[position] = (packed_norm if self._norms_only else packed_summary)(values.flat())
            return
        self._on_device.pop(position, None)
        count = tensor.numel()
        if KERNEL is not None and count and tensor.dtype is torch.float32 and tensor.is_contiguous():
            before = None if values.before is None else values.before.data_ptr()
            self.replace_plain(position, tensor.data_ptr(), count, before)
            return
        flat = values.flat()
        if self._norms_only:
            self._summaries[position], self._histograms[position], self._sampled[position] = norm(flat), 0, 0
        else:
            self._summaries[position] = moments(flat)
            self._histograms[position], self._sampled[position] = exponents(flat)

    def replace_plain(self, position: int, address: int, count: int, before: int | None = None) -> None:
        """As `add_plain`; `before` is the address of what is to be taken off."""
        assert KERNEL is not None
        summarise = KERNEL.measure if self._norms_only else KERNEL.summarise
        summarise(self._output.address, address, before, count, position)

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
        """The position of the next summary; it is counted when it is there."""
        position = self._count
        if position == self._room:
            self._make_room()
        return position

    def _make_room(self) -> None:
        # Nothing is taken before there is something to be written.
        more = max(_FIRST_ROOM, self._room)
        self._take(*(_longer(array, more) for array in (self._summaries, self._histograms, self._sampled)))

    def _take(self, summaries: FloatArray, histograms: npt.NDArray[np.int32], sampled: IntArray) -> None:
        self._summaries, self._histograms, self._sampled = summaries, histograms, sampled
        self._room = len(sampled)
        if self._room:
            self._output = Output(summaries, histograms, sampled)


_NO_ROOM = (
    np.empty((0, len(COLUMNS))),
    np.empty((0, HISTOGRAM_BINS), dtype=np.int32),
    np.empty(0, dtype=np.int64),
)


def _longer(array: npt.NDArray[Any], more: int) -> npt.NDArray[Any]:
    longer = np.empty((len(array) + more, *array.shape[1:]), dtype=array.dtype)
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
