"""The summary of an array by numpy, for a tensor that a snapshot has without one. In float64: exact, and not fast."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.subjects import COLUMNS, EXPONENT_BINS, EXPONENT_LOW, HISTOGRAM_BINS, INF, NAN, ZERO


def summarise(values: np.ndarray[Any, Any]) -> tuple[FloatArray, npt.NDArray[np.int32], int]:
    """(one number for each of COLUMNS, the histogram, how many elements it looked at), as in a report.

    `values` may have any shape; of complex numbers it is the summary of their magnitudes.
    """
    flat = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64).reshape(-1)
    finite = flat[np.isfinite(flat)]
    row = np.full(len(COLUMNS), math.nan)
    nan = int(np.count_nonzero(np.isnan(flat)))
    row[: ZERO + 1] = 0
    row[0], row[NAN], row[INF] = flat.size, nan, flat.size - finite.size - nan
    row[ZERO] = finite.size - np.count_nonzero(finite)
    if finite.size:
        largest = float(np.abs(finite).max()) or 1.0
        norm = largest * math.sqrt(float(np.square(finite / largest).sum()))
        row[ZERO + 1 :] = finite.min(), finite.max(), finite.mean(), finite.std(), norm
    return row, _exponents(finite), flat.size


def _exponents(finite: FloatArray) -> npt.NDArray[np.int32]:
    """How many have which sign and power of two; see `protocol.subjects.HISTOGRAM_BINS`."""
    numbers = finite[finite != 0]
    # x = m * 2**e with 0.5 <= |m| < 1.
    _, exponents = np.frexp(numbers)
    place = np.clip(exponents.astype(np.int64) - 1 - EXPONENT_LOW, 0, EXPONENT_BINS - 1)
    bins = np.where(numbers > 0, EXPONENT_BINS + place, EXPONENT_BINS - 1 - place)
    return np.bincount(bins, minlength=HISTOGRAM_BINS).astype(np.int32)
