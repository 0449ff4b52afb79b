"""Where several numbers share a pixel, or a point: the worst of them stands for all. numpy only; both processes.

What is bad lies on either side of what is `usual`, on the scale that is drawn (so many powers of ten, or the values
themselves): the farther away, the worse. With `usual` at -inf only what is high is bad. NaN and Inf are worse than
any number; they are told apart from what is merely unknown by whoever calls.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

_F = TypeVar("_F", np.float32, np.float64)


def worst(least: npt.NDArray[_F], greatest: npt.NDArray[_F], usual: float = 0.0) -> npt.NDArray[_F]:
    """Of the least and the greatest of some numbers the one that is farther from `usual`; NaN where both are."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(usual - least > greatest - usual, least, greatest)
