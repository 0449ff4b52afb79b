"""Counts, range, mean, standard deviation and L2 norm of the numbers of one tensor on the CPU.

float32 is summed in blocks of 4,096, the blocks' sums in float64: the relative error of the sums stays below 1e-6 at any
size. Where the mean square is mostly the square of the mean, the variance is taken in a second, centred float64 pass;
where squares could overflow or vanish in float32, everything is done in float64, scaled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Row = tuple[float, float, float, float, float, float, float, float, float]
"""One value for each of `protocol.subjects.COLUMNS`."""

_BLOCK = 4096
_SAFE_LOW, _SAFE_HIGH = 1e-15, 1e17
"""Magnitudes whose squares, 4,096 of them summed, neither vanish nor overflow in float32."""
_CANCELLING = 0.1
"""Below this share of the mean square, the variance by difference has lost too many digits."""
_NO_FLOATS = (math.nan, math.nan, math.nan, math.nan, math.nan)
"""min to l2, where nothing is finite."""


def moments(values: Tensor) -> Row:
    """(count, nan, inf, zero, min, max, mean, std, l2) of a 1-d CPU tensor as `readable` gives it.

    Counts are exact. min to l2 are of the finite part, NaN where that is empty. Integer and bool tensors have counts
    and range only. std is the population standard deviation.
    """
    count = values.numel()
    if count == 0:
        return (0.0, 0.0, 0.0, 0.0, *_NO_FLOATS)
    if not values.is_floating_point():
        return _whole_numbers(values)
    low, high = (bound.item() for bound in torch.aminmax(values))
    array = values.numpy()
    if math.isfinite(low) and math.isfinite(high):
        return _finite(array, low, high, count=count, nan=0, inf=0)
    nan = int(np.count_nonzero(np.isnan(array)))
    inf = int(np.count_nonzero(np.isinf(array)))
    rest = array[np.isfinite(array)]
    if rest.size == 0:
        return (float(count), float(nan), float(inf), 0.0, *_NO_FLOATS)
    return _finite(rest, float(rest.min()), float(rest.max()), count=count, nan=nan, inf=inf)


def norm(values: Tensor) -> Row:
    """Count, NaN, Inf and L2 norm only, the others NaN; of integer and bool tensors the count only."""
    count = float(values.numel())
    if not count or not values.is_floating_point():
        return (count, 0.0, 0.0, math.nan, *_NO_FLOATS)
    array, nan, inf = values.numpy(), 0, 0
    # What is not finite, or overflows, is done again below.
    with np.errstate(over="ignore", invalid="ignore"):
        square = _square_by_blocks(array) if array.dtype == np.float32 else math.nan
    if not _SAFE_LOW**2 < square < _SAFE_HIGH**2:
        finite = np.isfinite(array)
        if not finite.all():
            nan, inf = int(np.count_nonzero(np.isnan(array))), int(np.count_nonzero(np.isinf(array)))
            array = array[finite]
        largest = float(np.abs(array).max(initial=0.0))
        l2 = _scaled(array, largest)[2] if largest else 0.0
    else:
        l2 = math.sqrt(square)
    is_defined = array.size > 0
    return (count, float(nan), float(inf), math.nan, *_NO_FLOATS[:4], l2 if is_defined else math.nan)


def _whole_numbers(values: Tensor) -> Row:
    count = values.numel()
    zero = count - int(torch.count_nonzero(values))
    array = values.numpy()
    return (float(count), 0.0, 0.0, float(zero), float(array.min()), float(array.max()), math.nan, math.nan, math.nan)


def _finite(array: npt.NDArray[Any], low: float, high: float, *, count: int, nan: int, inf: int) -> Row:
    size = array.size
    # Comparing first is four times faster than count_nonzero on floats.
    zero = 0 if low > 0 or high < 0 else int(np.count_nonzero(array == 0))
    largest = max(abs(low), abs(high))
    if low == high:
        # All equal: exact, and no rounding noise in std.
        mean, std, l2 = low, 0.0, abs(low) * math.sqrt(size)
    elif array.dtype == np.float32 and _SAFE_LOW < largest < _SAFE_HIGH:
        mean, std, l2 = _by_blocks(array)
    else:
        mean, std, l2 = _scaled(array, largest)
    return (float(count), float(nan), float(inf), float(zero), low, high, mean, std, l2)


def _by_blocks(array: npt.NDArray[np.float32]) -> tuple[float, float, float]:
    size = array.size
    whole = size - size % _BLOCK
    blocks = torch.from_numpy(array[:whole].reshape(-1, _BLOCK))
    total = float(blocks.sum(1, dtype=torch.float32).numpy().sum(dtype=np.float64)) + float(array[whole:].sum())
    square = _square_by_blocks(array)
    mean = total / size
    variance = square / size - mean * mean
    if variance < _CANCELLING * square / size:
        mean, variance = _centred(array)
    return mean, math.sqrt(max(variance, 0.0)), math.sqrt(square)


def _square_by_blocks(array: npt.NDArray[np.float32]) -> float:
    whole = array.size - array.size % _BLOCK
    blocks, rest = array[:whole].reshape(-1, _BLOCK), array[whole:]
    return float(np.matmul(blocks[:, None, :], blocks[:, :, None]).sum(dtype=np.float64)) + float(np.dot(rest, rest))


def _centred(array: npt.NDArray[Any]) -> tuple[float, float]:
    """(mean, variance) in float64, a piece at a time so that the copies stay in the cache."""
    size, piece = array.size, 65536
    mean = sum(float(array[i : i + piece].sum(dtype=np.float64)) for i in range(0, size, piece)) / size
    square = error = 0.0
    for i in range(0, size, piece):
        deviation = array[i : i + piece].astype(np.float64) - mean
        square += float(np.dot(deviation, deviation))
        error += float(deviation.sum())
    # The correction takes out what the rounding of the mean has put in (Chan, Golub, LeVeque 1983).
    return mean, max((square - error * error / size) / size, 0.0)


def _scaled(array: npt.NDArray[Any], largest: float) -> tuple[float, float, float]:
    scaled = array.astype(np.float64) / largest
    mean, variance = _centred(scaled)
    return mean * largest, math.sqrt(variance) * largest, math.sqrt(float(np.dot(scaled, scaled))) * largest
