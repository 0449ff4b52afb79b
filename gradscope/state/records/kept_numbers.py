"""How the history keeps numbers: as float32, which holds less than the float64 that they come in. numpy only.

What lies beyond is kept as infinite, and what would vanish as the least number there is; whoever shows such a number says
so. How many NaN and Inf a tensor really held stands in columns of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MOST = float(np.finfo(np.float32).max)
LEAST = float(np.finfo(np.float32).smallest_subnormal)


def as_kept(numbers: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The same as float32. NaN and zero stay what they are."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        kept = numbers.astype(np.float32)
    vanished = (kept == 0) & (numbers != 0)
    if vanished.any():
        kept[vanished] = np.copysign(np.float32(LEAST), numbers[vanished])
    return kept
