"""Summaries of subjects over steps, and the one rule for what becomes of them when several steps share a column.

The newest known number stands for all of them. Of the counts of NaN and Inf, and of the standard deviation, the norm and the
extremes, the greatest is kept as well; also the least standard deviation and norm, the greatest share of zeros, and the
mean that was farthest from zero, each with the step at which it was: nothing that went wrong is averaged away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import IntArray
from gradscope.protocol.subjects import COLUMNS, COUNT, INF, L2, MAX, MEAN, MIN, NAN, STD, ZERO
from gradscope.state.records.kept_numbers import as_kept

TOP_STD, TOP_L2, TOP_ZEROS, LOW_STD, LOW_L2, FAR_MEAN = range(len(COLUMNS), len(COLUMNS) + 6)
"""Behind the columns of a summary: the greatest standard deviation, norm and share of zeros in percent, the least standard
deviation and norm, and the mean that is farthest from zero."""
PLANES = len(COLUMNS) + 6
TOPS, EXTREMES = slice(TOP_STD, TOP_L2 + 1), slice(TOP_ZEROS, FAR_MEAN + 1)
"""The planes as snapshots have them: two arrays, of which the first is the older."""
_TOPS, _LOWS = slice(TOP_STD, TOP_ZEROS + 1), slice(LOW_STD, LOW_L2 + 1)
_BAD_COUNTS = slice(NAN, INF + 1)
Floats = npt.NDArray[np.float32]
Origins = npt.NDArray[np.uint32]
LAST_STEP = np.iinfo(np.uint32).max
"""Later steps are noted as this one."""


class Origin(IntEnum):
    """Of what the step is known: where it was several times, the first. From ZEROS on, of the planes in their order."""

    BAD = 0
    """The first NaN or Inf; means nothing where there is none."""
    STD = 1
    """The greatest standard deviation."""
    L2 = 2
    LARGEST = 3
    """The greatest magnitude."""
    ZEROS = 4
    """The greatest share of zeros."""
    LOW_STD = 5
    LOW_L2 = 6
    FAR_MEAN = 7


FIRST_ORIGINS = 4
"""So many origins are those of the array that snapshots had first."""


@dataclass(frozen=True)
class Cells:
    values: Floats
    """Shape (PLANES, subjects, columns): the columns of a summary and the planes behind them. NaN where unseen."""
    origins: Origins
    """Shape (len(Origin), subjects, columns): steps."""

    @classmethod
    def unseen(cls, subjects: int, columns: int) -> Cells:
        return cls(
            np.full((PLANES, subjects, columns), np.nan, dtype=np.float32),
            np.zeros((len(Origin), subjects, columns), dtype=np.uint32),
        )

    @classmethod
    def of(cls, steps: IntArray, summaries: npt.NDArray[np.floating]) -> Cells:
        """One column a step. `summaries` has the shape (steps, subjects, len(COLUMNS))."""
        values = np.empty((PLANES, summaries.shape[1], len(steps)), dtype=np.float32)
        values[: len(COLUMNS)] = as_kept(summaries).transpose(2, 1, 0)
        values[TOP_STD], values[TOP_L2] = values[LOW_STD], values[LOW_L2] = values[STD], values[L2]
        values[FAR_MEAN] = values[MEAN]
        with np.errstate(divide="ignore", invalid="ignore"):
            np.divide(100 * values[ZERO], values[COUNT], out=values[TOP_ZEROS])
        origins = np.empty((len(Origin), *values.shape[1:]), dtype=np.uint32)
        origins[:] = np.minimum(steps, LAST_STEP)
        return cls(values, origins)

    @property
    def columns(self) -> int:
        return int(self.values.shape[2])

    def __getitem__(self, columns: slice) -> Cells:
        """Some of the columns, as a view."""
        return Cells(self.values[:, :, columns], self.origins[:, :, columns])

    def copy(self) -> Cells:
        return Cells(self.values.copy(), self.origins.copy())

    def forget(self) -> None:
        """From now on these are unseen."""
        self.values[:] = np.nan

    def subjects(self, rows: IntArray | slice) -> Cells:
        """Those subjects, as a view where `rows` is a slice; unseen where there is no such row."""
        have = self.values.shape[1]
        end = rows.stop if isinstance(rows, slice) else int(rows.max(initial=-1)) + 1
        if end <= have:
            return Cells(self.values[:, rows], self.origins[:, rows])
        longer = Cells.unseen(end, self.columns)
        longer.values[:, :have], longer.origins[:, :have] = self.values, self.origins
        return longer.subjects(rows)

    def then(self, later: Cells) -> Cells:
        """What remains of two, column by column, of which the other is the later."""
        a, b = self.values, later.values
        values = np.where(np.isnan(b), a, b)
        for planes in (_BAD_COUNTS, MAX, _TOPS):
            np.fmax(a[planes], b[planes], out=values[planes])
        for planes in (MIN, _LOWS):
            np.fmin(a[planes], b[planes], out=values[planes])
        is_later = np.empty(self.origins.shape, dtype=bool)
        is_later[Origin.BAD] = bad(b) & ~bad(a)
        is_later[Origin.STD : Origin.L2 + 1] = _exceeds(b[TOPS], a[TOPS])
        is_later[Origin.LARGEST] = _exceeds(largest(b), largest(a))
        is_later[Origin.ZEROS] = _exceeds(b[TOP_ZEROS], a[TOP_ZEROS])
        is_later[Origin.LOW_STD : Origin.LOW_L2 + 1] = _exceeds(-b[_LOWS], -a[_LOWS])
        is_later[Origin.FAR_MEAN] = is_farther = _exceeds(np.abs(b[FAR_MEAN]), np.abs(a[FAR_MEAN]))
        values[FAR_MEAN] = np.where(is_farther, b[FAR_MEAN], a[FAR_MEAN])
        return Cells(values, np.where(is_later, later.origins, self.origins))

    def as_one(self) -> Cells:
        """All columns, of which there is one at least, as one."""
        cells = self
        while cells.columns > 1:
            cells = cells.in_pairs()
        return cells

    def followed_by(self, other: Cells) -> Cells:
        """The columns of both, side by side."""
        return Cells(
            np.concatenate([self.values, other.values], axis=2), np.concatenate([self.origins, other.origins], axis=2)
        )

    def in_pairs(self) -> Cells:
        """Each two neighbours as one column; an odd one at the end stays as it is."""
        pairs = self.columns // 2
        return self[0 : 2 * pairs : 2].then(self[1 : 2 * pairs : 2]).followed_by(self[2 * pairs :])


def bad(values: Floats) -> npt.NDArray[np.bool_]:
    """Where there was NaN or Inf; `values` has the columns of a summary first."""
    is_bad: npt.NDArray[np.bool_] = (values[NAN] > 0) | (values[INF] > 0)
    return is_bad


def largest(values: Floats) -> Floats:
    """The greatest magnitude."""
    magnitudes: Floats = np.maximum(np.abs(values[MIN]), np.abs(values[MAX]))
    return magnitudes


def _exceeds(later: Floats, earlier: Floats) -> npt.NDArray[np.bool_]:
    return (later > earlier) | np.isnan(earlier)
