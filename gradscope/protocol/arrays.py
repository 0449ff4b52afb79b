"""The arrays of messages: an annotation says to a type checker what they hold, and to the codec what it has to accept.

What numpy's own aliases look like at run time differs from version to version (since 2.5, `NDArray` is a `type` statement on
Python 3.12), so the codec never asks for it: it reads `ArrayOf` and `Dims`, which are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ArrayOf:
    """Beside an array's type in an annotation: what the codec decodes there."""

    dtype: np.dtype[np.generic]


class Dims:
    """The dimensions of an array in a message: `Dims("n", 3)` has a second side of 3, and a first one that is as long as
    each other "n" of the same message."""

    def __init__(self, *sides: str | int) -> None:
        self.sides = sides

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dims) and other.sides == self.sides

    def __hash__(self) -> int:
        return hash(self.sides)


FloatArray = Annotated[npt.NDArray[np.float64], ArrayOf(np.dtype(np.float64))]
Float32Array = Annotated[npt.NDArray[np.float32], ArrayOf(np.dtype(np.float32))]
IntArray = Annotated[npt.NDArray[np.int64], ArrayOf(np.dtype(np.int64))]
Int32Array = Annotated[npt.NDArray[np.int32], ArrayOf(np.dtype(np.int32))]
ByteArray = Annotated[npt.NDArray[np.uint8], ArrayOf(np.dtype(np.uint8))]
