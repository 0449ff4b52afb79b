"""A line that grows with the steps. Bounded in memory, by dropping points evenly."""

from __future__ import annotations

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.snapshots.format.saved_history import SavedCurve

MAX_CURVE_POINTS = 20_000
_HALVED = 4
"""Points that two are made of: the least and the greatest of them."""


class Curve:
    """A growing line of points. When there are `max_points` (and it goes on), each four become two, and from then on each
    stretch of `stride` steps has two: the points of its least and its greatest first value, of which one that is not finite
    is the greatest. So no peak is ever dropped. The newest point is always there."""

    def __init__(self, width: int = 1, *, max_points: int = MAX_CURVE_POINTS) -> None:
        """`max_points` is a multiple of 4."""
        self._steps = np.zeros(64, dtype=np.int64)
        self._values = np.zeros((64, width), dtype=np.float64)
        self._used = 0
        self._stride = 1
        """Steps of a stretch."""
        self._in_last = 0
        """Steps that the last stretch has taken so far."""
        self._open = 0
        """Points at the end that are of the last stretch: two of the steps before the newest, and that."""
        self.max_points = max_points

    @classmethod
    def of(cls, steps: IntArray, values: FloatArray, *, max_points: int = MAX_CURVE_POINTS) -> Curve:
        """What adding `values`, shape (steps, width), one after the other would give; no step comes twice."""
        count, width = values.shape
        curve = cls(width, max_points=max_points)
        if not count:
            return curve
        stride = 1
        while count > (max_points if stride == 1 else stride * max_points // 2):
            stride = _HALVED if stride == 1 else 2 * stride
        last = (count - 1) // stride * stride
        chosen = [np.arange(last)] if stride == 1 else [_kept(values[:last, 0], stride)]
        # Of a stretch that is not over the newest point as well.
        rest = np.arange(last, count)
        if len(rest) > 3:
            rest = np.append(last + _kept(values[last:-1, 0], len(rest) - 1), count - 1)
        kept = np.concatenate([*chosen, rest])
        curve._steps, curve._values = steps[kept].astype(np.int64), values[kept].astype(np.float64)
        curve._used, curve._stride, curve._in_last = len(kept), stride, count - last
        curve._open = len(rest)
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
        if self._used == 0 or self._steps[self._used - 1] != step:
            if self._in_last >= self._stride or not self._used:
                self._begin_stretch()
            elif self._open > 2:
                self._thin_open()
            self._lengthen()
            self._used += 1
            self._in_last += 1
            self._open += 1
        self._steps[self._used - 1] = step
        self._values[self._used - 1, : len(values)] = values

    def cut(self, step: int) -> None:
        """Forget the points from `step` on."""
        self._used = int(np.searchsorted(self.steps, step))
        self._values[self._used :] = np.nan
        self._in_last, self._open = self._stride, 0

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
        curve._open = min(saved.in_last, 3, points)
        curve._widen(least_width)
        return curve

    def _begin_stretch(self) -> None:
        if self._open > 2:
            self._thin_open()
        if self._used >= self.max_points:
            self._halve()
        self._in_last = self._open = 0

    def _thin_open(self) -> None:
        """The points of the last stretch become two."""
        first = self._used - self._open
        self._keep(first + _kept(self._values[first : self._used, 0], self._open), beginning=first)
        self._open = 2

    def _halve(self) -> None:
        whole = self._used // _HALVED * _HALVED
        self._keep(np.append(_kept(self._values[:whole, 0], _HALVED), np.arange(whole, self._used)), beginning=0)
        self._stride = _HALVED if self._stride == 1 else 2 * self._stride

    def _keep(self, chosen: IntArray, *, beginning: int) -> None:
        """Only these points, from one on."""
        end = beginning + len(chosen)
        self._steps[beginning:end], self._values[beginning:end] = self._steps[chosen], self._values[chosen]
        self._used = end

    def _lengthen(self) -> None:
        if self._used == len(self._steps):
            self._steps = np.concatenate([self._steps, np.zeros_like(self._steps)])
            self._values = np.concatenate([self._values, np.full_like(self._values, np.nan)])

    def _widen(self, width: int) -> None:
        if width > self._values.shape[1]:
            wider = np.full((len(self._values), width), np.nan)
            wider[:, : self._values.shape[1]] = self._values
            self._values = wider


def _kept(values: FloatArray, length: int) -> IntArray:
    """Which points of whole stretches of that many remain: two of each, in their order."""
    stretches = values.reshape(-1, length)
    # Infinite for both: a point that is not finite is the greatest, and never the least.
    sizes = np.where(np.isfinite(stretches), stretches, np.inf)
    least, greatest = sizes.argmin(axis=1), sizes.argmax(axis=1)
    # All the same: the first and the last.
    greatest = np.where(least == greatest, length - 1, greatest)
    first = length * np.arange(len(stretches))
    pairs = first + np.stack([np.minimum(least, greatest), np.maximum(least, greatest)])
    return np.asarray(pairs.T.reshape(-1), dtype=np.int64)
