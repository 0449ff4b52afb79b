"""The arrays of messages: an annotation says to a type checker what they hold, and to the codec what it has to accept.

What numpy's own aliases look like at run time differs from version to version (since 2.5, `NDArray` is a `type` statement on
Python 3.12), so the codec never asks for it: it reads `ArrayOf`, which is ours.
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


FloatArray = Annotated[npt.NDArray[np.float64], ArrayOf(np.dtype(np.float64))]
Float32Array = Annotated[npt.NDArray[np.float32], ArrayOf(np.dtype(np.float32))]
IntArray = Annotated[npt.NDArray[np.int64], ArrayOf(np.dtype(np.int64))]
Int32Array = Annotated[npt.NDArray[np.int32], ArrayOf(np.dtype(np.int32))]
ByteArray = Annotated[npt.NDArray[np.uint8], ArrayOf(np.dtype(np.uint8))]
