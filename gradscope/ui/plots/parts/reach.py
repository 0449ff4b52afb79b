"""What a plot can show at all: pyqtgraph and Qt divide by a range, and multiply with the size of a pixel. Plain Python."""

from __future__ import annotations

import math

Range = tuple[float, float]

REACH = 1e16
"""Coordinates lie within this: beyond it steps can no longer be told apart. Charts draw extreme values in powers of ten."""
LEAST_WIDTH = 1e-18
_LEAST_SHARE = 4e-15
"""A range has to have some floats in it."""


def within_reach(wanted: Range) -> Range:
    """The range that is shown for a wanted one: finite, its lower end first, and wide enough to be divided by."""
    low, high = (min(max(end, -REACH), REACH) if not math.isnan(end) else math.nan for end in wanted)
    if math.isnan(low) or math.isnan(high):
        return 0.0, 1.0
    low, high = min(low, high), max(low, high)
    least = max(LEAST_WIDTH, _LEAST_SHARE * max(abs(low), abs(high)))
    if high - low >= least:
        return low, high
    middle = min(max((low + high) / 2, least - REACH), REACH - least)
    return middle - least, middle + least
