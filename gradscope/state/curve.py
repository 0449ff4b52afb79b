"""A line that grows with the steps. Bounded in memory, by dropping points evenly."""

from __future__ import annotations

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.snapshots.saved_history import SavedCurve

MAX_CURVE_POINTS = 20_000


class Curve:
    """A growing line of points. When it has `max_points`, every second one is dropped, and half as many are taken from
    then on; a point whose first value is not finite is dropped last."""

    def __init__(self, width: int = 1, *, max_points: int = MAX_CURVE_POINTS) -> None:
        self._steps = np.zeros(64, dtype=np.int64)
        self._values = np.zeros((64, width), dtype=np.float64)
        self._used = 0
        self._stride = 1
        self._in_last = 0
        self.max_points = max_points

    @classmethod
    def of(cls, steps: IntArray, values: FloatArray, *, max_points: int = MAX_CURVE_POINTS) -> Curve:
        """What adding `values`, shape (steps, width), one after the other would give; no step comes twice."""
        count, width = values.shape
        stride = 1
        while -(-count // stride) > max_points:
            stride *= 2
        curve = cls(width, max_points=max_points)
        if not count:
            return curve
        starts = np.arange(0, count, stride)
        # Of each stretch its last point, or its first that is not finite.
        chosen = np.minimum(starts + stride, count) - 1
        wrong = np.flatnonzero(~np.isfinite(values[:, 0]))
        stretches, first = np.unique(wrong // stride, return_index=True)
        chosen[stretches] = wrong[first]
        curve._steps, curve._values = steps[chosen].astype(np.int64), values[chosen].astype(np.float64)
        curve._used, curve._stride, curve._in_last = len(starts), stride, count - int(starts[-1])
        return curve

    def __len__(self) -> int:
        return self._used

    @property
    def width(self) -> int:
        return self._values.shape[1]

    @property
    def steps(self) -> IntArray:
        return self._steps[: self._used]

    @property
    def values(self) -> FloatArray:
        """Shape (points, width)."""
        return self._values[: self._used]

    def add(self, step: int, values: tuple[float, ...]) -> None:
        """Set the point of a step; the newest step's point is replaced if it comes again."""
        self._widen(len(values))
        is_new = self._used == 0 or self._steps[self._used - 1] != step
        if is_new and self._used and self._in_last < self._stride:
            self._in_last += 1
            if not np.isfinite(self._values[self._used - 1, 0]):
                return
        elif is_new:
            if self._used == self.max_points:
                self._halve()
            self._lengthen()
            self._used += 1
            self._in_last = 1
        self._steps[self._used - 1] = step
        self._values[self._used - 1, : len(values)] = values

    def cut(self, step: int) -> None:
        """Forget the points from `step` on."""
        self._used = int(np.searchsorted(self.steps, step))
        self._values[self._used :] = np.nan
        self._in_last = self._stride

    def saved(self) -> SavedCurve:
        """A copy, for a snapshot."""
        return SavedCurve(
            steps=self.steps.copy(), values=self.values.copy(), stride=self._stride, in_last=self._in_last
        )

    @classmethod
    def restored(cls, saved: SavedCurve, *, least_width: int = 1, max_points: int = MAX_CURVE_POINTS) -> Curve:
        """The reverse; it can be added to. Columns that are missing are NaN."""
        points, width = saved.values.shape
        curve = cls(width, max_points=max(max_points, points))
        # One row in any case: doubling nothing would give no room.
        curve._steps = np.zeros(max(points, 1), dtype=np.int64)
        curve._values = np.full((max(points, 1), width), np.nan)
        curve._steps[:points], curve._values[:points] = saved.steps, saved.values
        curve._used = points
        curve._stride, curve._in_last = saved.stride, saved.in_last
        curve._widen(least_width)
        return curve

    def _halve(self) -> None:
        pairs = self._used // 2
        steps = self._steps[: 2 * pairs].reshape(-1, 2)
        values = self._values[: 2 * pairs].reshape(pairs, 2, -1)
        chosen = np.where(np.isfinite(values[:, 0, 0]), 1, 0)
        index = np.arange(pairs)
        self._steps[:pairs], self._values[:pairs] = steps[index, chosen].copy(), values[index, chosen].copy()
        self._used = pairs
        self._stride *= 2

    def _lengthen(self) -> None:
        if self._used == len(self._steps):
            self._steps = np.concatenate([self._steps, np.zeros_like(self._steps)])
            self._values = np.concatenate([self._values, np.full_like(self._values, np.nan)])

    def _widen(self, width: int) -> None:
        if width > self._values.shape[1]:
            wider = np.full((len(self._values), width), np.nan)
            wider[:, : self._values.shape[1]] = self._values
            self._values = wider
