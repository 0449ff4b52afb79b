"""Fewer numbers for as many pixels: steps into equal columns, rows into lines, long lines into their extremes. numpy only.

What stands for several is the worst of them, see `protocol.extremes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.extremes import worst

LEAST_STEPS = 20
_MAX = float(np.finfo(np.float64).max)
_T = TypeVar("_T", bound=np.generic)
_F = TypeVar("_F", np.float32, np.float64)
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class StepGrid:
    """Steps, which may lie unevenly, as columns of equal width: column c is of the steps from first + c * stride."""

    first: int
    stride: int
    starts: IntArray
    """Per column the position of its first step in the history."""
    ends: IntArray
    """Per column the position of the step that is shown: its last one; merged steps reach back to the one before."""

    @staticmethod
    def of(steps: IntArray, *, max_columns: int, is_merged: bool = False) -> StepGrid:
        """A grid over at least one step; `is_merged` says that they reach back, so that one may be in two columns."""
        first = int(steps[0])
        span = int(steps[-1]) - first + 1
        stride = -(-span // max(1, max_columns))
        columns = -(-span // stride)
        edges = first + stride * np.arange(columns + 1)
        bounds = np.searchsorted(steps, edges)
        starts = np.minimum(bounds[:-1], len(steps) - 1)
        newest = np.searchsorted(steps, edges[1:] - 1) if is_merged else bounds[1:] - 1
        ends = np.clip(newest, starts, len(steps) - 1)
        return StepGrid(first, stride, starts, ends)

    @property
    def columns(self) -> int:
        return len(self.starts)

    @property
    def is_identity(self) -> bool:
        """One column a step, none left out."""
        return self.stride == 1 and bool(np.array_equal(self.starts, np.arange(len(self.starts))))

    def column_at(self, step: float) -> int | None:
        column = int(np.floor((step + 0.5 - self.first) / self.stride))
        return column if 0 <= column < self.columns else None

    @property
    def shown(self) -> IntArray | slice:
        """The positions of the steps that are shown, as an index."""
        return slice(None) if self.is_identity else self.ends

    def any(self, flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Whether any step of a column is flagged: nothing that went wrong is ever left out."""
        if not flags.any():
            return np.zeros((len(flags), self.columns), dtype=bool)
        return self._reduced(np.logical_or, flags)

    def bounds(
        self, least: npt.NDArray[np.float32], greatest: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The least and the greatest known value of each column, of the least and the greatest of each step."""
        return self._reduced(np.fmin, least), self._reduced(np.fmax, greatest)

    def first_of(
        self, flags: npt.NDArray[np.bool_], steps: npt.NDArray[np.uint32], *, inside: bool
    ) -> npt.NDArray[np.int64]:
        """The first of the steps that are flagged in each column, NEVER where none is; `inside`: only those that are in the
        column themselves."""
        first = np.full((len(flags), self.columns), NEVER)
        begin = self.first + self.stride * np.arange(self.columns)
        for i in range(int((self.ends - self.starts).max()) + 1):
            at = np.minimum(self.starts + i, self.ends)
            found, is_known = np.take(steps, at, axis=1).astype(np.int64), np.take(flags, at, axis=1)
            if inside:
                is_known &= (found >= begin) & (found < begin + self.stride)
            np.minimum(first, np.where(is_known, found, np.int64(NEVER)), out=first)
        return first

    def _reduced(self, join: np.ufunc, values: npt.NDArray[_T]) -> npt.NDArray[_T]:
        if self.is_identity:
            return values
        # A few positions a column: several times faster than `reduceat`.
        reduced = np.take(values, self.starts, axis=1)
        for i in range(1, int((self.ends - self.starts).max()) + 1):
            join(reduced, np.take(values, np.minimum(self.starts + i, self.ends), axis=1), out=reduced)
        return reduced


@dataclass(frozen=True)
class RowGrid:
    """Rows as lines of equal height, none of which is less than a pixel: line l is of the rows from l * stride.

    All lines have as many rows: one of more would look worse than its neighbours for that alone.
    """

    rows: int
    stride: int

    @staticmethod
    def of(rows: int, *, max_lines: int) -> RowGrid:
        return RowGrid(rows, max(1, -(-rows // max(1, max_lines))))

    @property
    def lines(self) -> int:
        return -(-self.rows // self.stride)

    @property
    def is_identity(self) -> bool:
        return self.stride == 1

    @property
    def middles(self) -> FloatArray:
        """Where lines are drawn, shape (lines,), where row r is drawn from r - 0.5 to r + 0.5."""
        return (np.arange(self.lines, dtype=np.float64) + 0.5) * self.stride - 0.5

    def line_at(self, y: float) -> int | None:
        line = int(np.floor((y + 0.5) / self.stride))
        return line if 0 <= line < self.lines else None

    def rows_of(self, line: int) -> slice:
        return slice(line * self.stride, min((line + 1) * self.stride, self.rows))

    def any(self, flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Whether any row of a line is flagged; along the first axis."""
        return flags if self.is_identity else self._reduced(np.logical_or, flags)

    def bounds(self, least: npt.NDArray[_F], greatest: npt.NDArray[_F]) -> tuple[npt.NDArray[_F], npt.NDArray[_F]]:
        """The least and the greatest known value of each line, of those of each row; along the first axis."""
        if self.is_identity:
            return least, greatest
        return self._reduced(np.fmin, least), self._reduced(np.fmax, greatest)

    def worst_row(self, line: int, values: npt.NDArray[_F], is_bad: npt.NDArray[np.bool_], usual: float) -> int:
        """Which row of a line is seen, of values and flags of its rows: the first bad one, or the farthest off."""
        first = self.rows_of(line).start
        if is_bad.any():
            return first + int(is_bad.argmax())
        seen = worst(np.fmin.reduce(values), np.fmax.reduce(values), usual)
        return first + int((values == seen).argmax())

    def _reduced(self, join: np.ufunc, values: npt.NDArray[_T]) -> npt.NDArray[_T]:
        # A few rows a line: several times faster than `reduceat`.
        reduced = values[:: self.stride].copy()
        for i in range(1, self.stride):
            others = values[i :: self.stride]
            join(reduced[: len(others)], others, out=reduced[: len(others)])
        return reduced


def decimate(x: FloatArray, y: FloatArray, *, max_points: int) -> tuple[FloatArray, FloatArray]:
    """A long line as the least and the greatest value of each stretch; short ones as they are. NaN is left out."""
    if len(x) <= max_points:
        return x, y
    width = -(-len(x) // (max_points // 2))
    whole = len(x) // width * width
    stretches = y[:whole].reshape(-1, width)
    low = np.where(np.isnan(stretches), np.inf, stretches).argmin(axis=1)
    high = np.where(np.isnan(stretches), -np.inf, stretches).argmax(axis=1)
    first = np.arange(0, whole, width)
    chosen = np.concatenate(
        [
            np.column_stack([first + np.minimum(low, high), first + np.maximum(low, high)]).ravel(),
            np.arange(whole, len(x)),
        ]
    )
    return x[chosen], y[chosen]


def apart(x: FloatArray, *, at_least: float) -> npt.NDArray[np.bool_]:
    """Which of the rising x to mark so that marks lie apart: the first of every stretch of that length."""
    if not len(x):
        return np.zeros(0, dtype=bool)
    stretch = np.floor((x - x[0]) / max(at_least, 1e-9))
    return np.concatenate([[True], stretch[1:] != stretch[:-1]])


class Smoother:
    """An exponential moving average that only looks at the points that are new (bias-corrected, as Adam's moments are)."""

    def __init__(self, *, weight: float = 0.9) -> None:
        self._weight = weight
        self._steps = np.zeros(0, dtype=np.int64)
        self._smooth = np.zeros(0)
        self._sums = np.zeros((0, 2))

    def smooth(self, steps: IntArray, values: FloatArray) -> FloatArray:
        """The average at each point; what is not finite is passed over."""
        kept = self._kept(steps)
        total, weights = self._sums[kept - 1] if kept else (0.0, 0.0)
        smooth = np.empty(len(values))
        sums = np.empty((len(values), 2))
        smooth[:kept], sums[:kept] = self._smooth[:kept], self._sums[:kept]
        for i, value in enumerate(values[kept:].tolist(), start=kept):
            if np.isfinite(value):
                total = self._weight * total + (1 - self._weight) * value
                weights = self._weight * weights + (1 - self._weight)
            # The mean of the largest floats is rounded to one of them.
            smooth[i] = min(max(total / weights, -_MAX), _MAX) if weights else np.nan
            sums[i] = total, weights
        self._steps, self._smooth, self._sums = steps.copy(), smooth, sums
        return smooth

    def _kept(self, steps: IntArray) -> int:
        """How many points are as they were; the newest may still have changed."""
        before = len(self._steps)
        if 0 < before <= len(steps) and steps[0] == self._steps[0] and steps[before - 1] == self._steps[-1]:
            return before - 1
        return 0


def step_range(first: int, last: int) -> tuple[float, float]:
    """What a plot over steps shows: at least LEAST_STEPS, so that the first ones do not look like everything."""
    end = max(last, first + LEAST_STEPS)
    margin = 0.006 * (end - first + 1)
    return first - 0.5 - margin, end + 0.5 + margin
