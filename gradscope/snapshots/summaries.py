"""The summary of an array by numpy, for a tensor that a snapshot has without one. In float64: exact, and not fast."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import (
    COLUMNS,
    EXPONENT_BINS,
    EXPONENT_LOW,
    HISTOGRAM_BINS,
    L2,
    MAX,
    MEAN,
    MIN,
    NAN,
    STD,
    ZERO,
)
from gradscope.snapshots.pieces import Flat, flat_pieces


def summarise(flat: Flat, count: int) -> tuple[FloatArray, npt.NDArray[np.int32], int]:
    """(one number for each of COLUMNS, the histogram, how many elements it looked at), as in a report.

    Of complex numbers it is the summary of their magnitudes, of whole numbers counts and range only. Read once, piece by
    piece: the moments of two pieces are put together as in Chan, Golub and LeVeque, Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances, 1979.
    """
    row = np.full(len(COLUMNS), math.nan)
    row[: ZERO + 1] = count, 0, 0, 0
    histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    seen, mean, squares, norm = 0, 0.0, 0.0, 0.0
    for start, stop in flat_pieces(count):
        values = flat(start, stop)
        piece = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64)
        finite = piece[np.isfinite(piece)]
        nan = int(np.count_nonzero(np.isnan(piece)))
        row[NAN : ZERO + 1] += nan, piece.size - finite.size - nan, finite.size - np.count_nonzero(finite)
        if not finite.size:
            continue
        low, high = float(finite.min()), float(finite.max())
        row[MIN], row[MAX] = np.fmin(row[MIN], low), np.fmax(row[MAX], high)
        if values.dtype.kind in "iub":
            continue
        largest = max(-low, high) or 1.0
        norm = math.hypot(norm, largest * math.sqrt(float(np.square(finite / largest).sum())))
        with np.errstate(over="ignore", invalid="ignore"):
            centre, variance = float(finite.mean()), float(finite.var())
        step = centre - mean
        seen += finite.size
        squares += variance * finite.size + step * step * (seen - finite.size) * finite.size / seen
        mean += step * finite.size / seen
        histogram += _exponents(finite)
    if not seen and not np.isnan(row[MIN]):
        return row, histogram.astype(np.int32), 0
    if seen:
        row[MEAN], row[STD], row[L2] = mean, math.sqrt(squares / seen), norm
    return row, histogram.astype(np.int32), count


def _exponents(finite: FloatArray) -> IntArray:
    """How many have which sign and power of two; see `protocol.subjects.HISTOGRAM_BINS`."""
    numbers = finite[finite != 0]
    # x = m * 2**e with 0.5 <= |m| < 1.
    _, exponents = np.frexp(numbers)
    place = np.clip(exponents.astype(np.int64) - 1 - EXPONENT_LOW, 0, EXPONENT_BINS - 1)
    bins = np.where(numbers > 0, EXPONENT_BINS + place, EXPONENT_BINS - 1 - place)
    return np.bincount(bins, minlength=HISTOGRAM_BINS)
