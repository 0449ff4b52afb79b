"""Where NaN and Inf are in a grid of steps: which cells, and at which step they begin. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.state.records.block import Block
from gradscope.state.records.cells import Origin
from gradscope.ui.plots.parts.sampling import NEVER, StepGrid
from gradscope.ui.words.quantities import non_finite


@dataclass(frozen=True)
class Trouble:
    cells: npt.NDArray[np.bool_]
    """The cells that have some, shape (rows, columns of the grid)."""
    rows: npt.NDArray[np.intp]
    """Of each beginning, shape (n,)."""
    steps: npt.NDArray[np.int64]
    """Of each beginning: the very step, also where several share a column."""


def trouble(block: Block, order: list[int], grid: StepGrid) -> Trouble:
    """Of the subjects of a block in this order."""
    flags = non_finite(block)[order]
    cells = np.zeros((len(order), grid.columns), dtype=bool)
    affected = np.flatnonzero(flags.any(axis=1))
    flags, steps = flags[affected], block.origins(Origin.BAD)[np.array(order)[affected]]
    begin = grid.first + grid.stride * np.arange(grid.columns)
    # A column of the history may be of more steps than one of the grid: before its first NaN there was none.
    is_bad = grid.first_of(flags, steps, inside=False) < begin + grid.stride
    cells[affected] = is_bad
    before = np.zeros_like(is_bad)
    before[:, 1:] = is_bad[:, :-1]
    # It begins where the step before was sound: that is known inside a column, too.
    first = grid.first_of(flags, steps, inside=True)
    rows, columns = np.nonzero((first != NEVER) & (~before | (first > begin)))
    return Trouble(cells, affected[rows], first[rows, columns])
