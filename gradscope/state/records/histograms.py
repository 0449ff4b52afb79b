"""Histograms of earlier steps: at most MAX_COLUMNS of them, evenly over the run, and in a bounded number of bytes.

As in `history.Block`, when there is no more room every second one is dropped, and from then on only every second step is
taken; so a step that is not taken costs next to nothing. The newest step is always there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages import Report
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS
from gradscope.snapshots.format.saved_history import SavedHistograms

MAX_COLUMNS = 64
MAX_BYTES = 16 * 1024 * 1024
"""Of one kind of subject."""
_LEAST_COLUMNS = 2


@dataclass(frozen=True, kw_only=True)
class HistogramColumn:
    """The histograms of one step. Subjects are numbered as in the Block of their kind."""

    step: int
    rows: IntArray
    """Shape (n,)."""
    summaries: FloatArray
    """Shape (n, len(COLUMNS))."""
    sampled: IntArray
    """Shape (n,)."""
    first: int
    """The first bin that any of them uses; the bins from there on are in `used`."""
    used: npt.NDArray[np.integer]
    """Shape (n, bins)."""

    @classmethod
    def of(cls, report: Report, positions: IntArray | list[int], rows: IntArray | list[int]) -> HistogramColumn:
        """A copy of those positions of a report, without the bins that nothing is in."""
        # Looked for in all of the report first: to copy whole rows of a hundred thousand subjects takes longest of all.
        start, end = _reach(report.histograms)
        histograms = report.histograms[:, start:end][positions]
        first, last = _reach(histograms)
        used = histograms[:, first:last]
        # At most some 32,000 elements are looked at; more only by an engine that samples otherwise.
        fits = used.max(initial=0) <= np.iinfo(np.uint16).max
        return cls(
            step=report.step,
            rows=np.asarray(rows, dtype=np.int64),
            summaries=report.summaries[positions],
            sampled=report.sampled[positions],
            first=start + first,
            used=used.astype(np.uint16 if fits else np.int32),
        )

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.summaries.nbytes + self.sampled.nbytes + self.used.nbytes

    def counts(self, position: int) -> npt.NDArray[np.int32]:
        """All bins of the subject at a position of `rows`, shape (HISTOGRAM_BINS,)."""
        counts = np.zeros(HISTOGRAM_BINS, dtype=np.int32)
        counts[self.first : self.first + self.used.shape[1]] = self.used[position]
        return counts


def _reach(histograms: npt.NDArray[np.int32]) -> tuple[int, int]:
    """Between which bins all of them lie: the first, and the one after the last; one bin, where all are empty."""
    filled = np.flatnonzero(histograms.any(axis=0))
    return (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 1)


class HistogramHistory:
    """The histograms of all subjects of one kind."""

    def __init__(self, *, max_columns: int = MAX_COLUMNS, max_bytes: int = MAX_BYTES) -> None:
        self._max_columns, self._max_bytes = max_columns, max_bytes
        self._columns: list[HistogramColumn] = []
        self._newest: tuple[Report, IntArray | list[int], IntArray | list[int]] | None = None
        self._arrived = 0
        self._stride = 1

    def __iter__(self) -> Iterator[HistogramColumn]:
        """Oldest first; the newest step is the last."""
        yield from self._columns
        if self._newest is not None and self._newest[0].step != self._columns[-1].step:
            yield HistogramColumn.of(*self._newest)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self._columns)

    @property
    def steps(self) -> list[int]:
        """Of which there are histograms, the newest last."""
        steps = [column.step for column in self._columns]
        if self._newest is not None and (not steps or self._newest[0].step != steps[-1]):
            steps.append(self._newest[0].step)
        return steps

    def at(self, step: int) -> HistogramColumn | None:
        """Those of a step; None where they were not kept."""
        found = next((column for column in reversed(self._columns) if column.step == step), None)
        if found is None and self._newest is not None and self._newest[0].step == step:
            return HistogramColumn.of(*self._newest)
        return found

    def add(self, report: Report, positions: IntArray | list[int], rows: IntArray | list[int]) -> None:
        """Take in those positions of a report, which are the subjects `rows`. A step that comes again replaces itself."""
        comes_again = self._newest is not None and self._newest[0].step == report.step
        self._newest = (report, positions, rows)
        if comes_again:
            if self._columns[-1].step == report.step:
                self._columns[-1] = HistogramColumn.of(report, positions, rows)
            return
        if self._arrived % self._stride == 0:
            self._columns.append(HistogramColumn.of(report, positions, rows))
            self._make_room()
        self._arrived += 1

    def copy(self) -> HistogramHistory:
        """Another one that can be added to by itself; what is in both is the same memory, which nobody changes."""
        other = HistogramHistory(max_columns=self._max_columns, max_bytes=self._max_bytes)
        other._columns, other._newest = list(self._columns), self._newest
        other._arrived, other._stride = self._arrived, self._stride
        return other

    def cut(self, step: int) -> None:
        """Forget the columns from `step` on."""
        self._columns = [column for column in self if column.step < step]
        self._newest = None
        self._arrived = len(self._columns) * self._stride

    def saved(self) -> SavedHistograms:
        """A copy, for a snapshot."""
        columns = list(self)
        filled = [column for column in columns if column.used.any()]
        first = min((column.first for column in filled), default=0)
        end = max((column.first + column.used.shape[1] for column in filled), default=0)
        counts = np.zeros((sum(len(column.rows) for column in columns), end - first), dtype=np.int32)
        position = 0
        for column in columns:
            start, (subjects, bins) = column.first - first, column.used.shape
            if column.used.any():
                counts[position : position + subjects, start : start + bins] = column.used
            position += subjects
        return SavedHistograms(
            steps=np.array([column.step for column in columns], dtype=np.int64),
            subjects=np.array([len(column.rows) for column in columns], dtype=np.int64),
            rows=np.concatenate([np.zeros(0, dtype=np.int64), *(column.rows for column in columns)]),
            summaries=np.concatenate([np.zeros((0, len(COLUMNS))), *(column.summaries for column in columns)]),
            sampled=np.concatenate([np.zeros(0, dtype=np.int64), *(column.sampled for column in columns)]),
            counts=counts,
            first=first,
            stride=self._stride,
            arrived=self._arrived,
        )

    @classmethod
    def restored(cls, saved: SavedHistograms) -> HistogramHistory:
        """The reverse, to be looked at: the newest step is one of the columns."""
        history = cls(max_columns=max(MAX_COLUMNS, len(saved.steps)))
        ends = np.cumsum(saved.subjects)
        for step, start, end in zip(saved.steps.tolist(), ends - saved.subjects, ends, strict=True):
            history._columns.append(
                HistogramColumn(
                    step=step,
                    rows=saved.rows[start:end],
                    summaries=saved.summaries[start:end],
                    sampled=saved.sampled[start:end],
                    first=saved.first,
                    used=saved.counts[start:end],
                )
            )
        history._stride, history._arrived = saved.stride, saved.arrived
        return history

    def _make_room(self) -> None:
        while len(self._columns) > _LEAST_COLUMNS and (
            len(self._columns) > self._max_columns or self.nbytes > self._max_bytes
        ):
            self._columns = self._columns[::2]
            self._stride *= 2
