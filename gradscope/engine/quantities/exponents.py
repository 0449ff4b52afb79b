"""The live histogram: how many elements have which sign and power of two. Read off the bits, so nearly free and exact."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradscope.protocol.subjects import EXPONENT_BINS, EXPONENT_HIGH, EXPONENT_LOW, HISTOGRAM_BINS

LINE = 32
SAMPLE_LINES = 256
SAMPLE_ABOVE = LINE * SAMPLE_LINES
"""Of a larger tensor so many elements are looked at: lines of neighbours (two cache lines), each at a random-looking but
fixed place in its share of the tensor, so that no row or column of a matrix is preferred."""
FLOAT32_BIAS = 127


def _bin_of_bits() -> npt.NDArray[np.int64]:
    """For each of the 512 values of float32's sign and exponent bits: its bin, or HISTOGRAM_BINS for NaN and Inf."""
    exponent = np.arange(256) - FLOAT32_BIAS
    place = np.clip(exponent, EXPONENT_LOW, EXPONENT_HIGH - 1) - EXPONENT_LOW
    positive, negative = EXPONENT_BINS + place, EXPONENT_BINS - 1 - place
    positive[255] = negative[255] = HISTOGRAM_BINS
    return np.concatenate([positive, negative])


_BINS = _bin_of_bits()
_ORDER = np.argsort(_BINS, kind="stable")
_STARTS = np.searchsorted(_BINS[_ORDER], np.arange(HISTOGRAM_BINS + 1))


def exponents(values: Tensor) -> tuple[npt.NDArray[np.int32], int]:
    """(counts of shape (HISTOGRAM_BINS,), number of elements looked at) of a 1-d CPU tensor as `readable` gives it.

    Zeros, NaN and Inf are looked at but in no bin. Integer and bool tensors are not looked at. float64 is rounded to float32
    first, magnitudes beyond its range go to the outermost bins.
    """
    if not values.is_floating_point() or values.numel() == 0:
        return np.zeros(HISTOGRAM_BINS, dtype=np.int32), 0
    array = _sample(values.numpy())
    if array.dtype == np.float64:
        array = _to_float32(array)
    bits = np.bincount(array.view(np.uint32) >> np.uint32(23), minlength=512)
    if bits[0] + bits[256]:
        _leave_out_zeros(array, bits)
    counts = np.add.reduceat(bits[_ORDER], _STARTS)[:HISTOGRAM_BINS]
    return counts.astype(np.int32), int(array.size)


def _leave_out_zeros(array: npt.NDArray[np.float32], bits: npt.NDArray[np.int64]) -> None:
    """Exponent bits 0 are zeros and subnormal numbers: only the latter are to be counted."""
    zeros = int(np.count_nonzero(array == 0))
    if zeros == bits[0] + bits[256]:
        bits[0] = bits[256] = 0
    elif zeros:
        subnormal = array[(array != 0) & (np.abs(array) < np.finfo(np.float32).tiny)]
        bits[0] = np.count_nonzero(subnormal > 0)
        bits[256] = subnormal.size - bits[0]


def _sample(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.size <= SAMPLE_ABOVE:
        return array
    lines = array.size // LINE
    return array[: lines * LINE].reshape(-1, LINE)[sampled_lines(lines)].reshape(-1)


@functools.lru_cache(maxsize=4096)
def sampled_lines(lines: int) -> npt.NDArray[np.int64]:
    """Which of so many lines of neighbours are looked at; histogram.h has the same formula, and fused_kernel.py."""
    share = np.arange(SAMPLE_LINES + 1, dtype=np.int64)
    bounds = share * lines // SAMPLE_LINES
    place = ((share[:-1] * 2654435769) & 0xFFFFFFFF) >> 16
    chosen = bounds[:-1] + (place * np.diff(bounds) >> 16)
    chosen.flags.writeable = False
    return chosen


def sampled_places(count: int) -> npt.NDArray[np.int64]:
    """The positions that are looked at in a tensor of so many elements, more than SAMPLE_ABOVE."""
    return (sampled_lines(count // LINE)[:, None] * LINE + np.arange(LINE)).reshape(-1)


def _to_float32(array: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    limits = np.finfo(np.float32)
    magnitude = np.where(np.isfinite(array), np.clip(np.abs(array), limits.tiny, limits.max), np.abs(array))
    # A signalling NaN warns when it is cast.
    with np.errstate(invalid="ignore"):
        return np.where(array == 0, 0.0, np.copysign(magnitude, array)).astype(np.float32)
