"""Summaries computed where the tensor lives (CUDA, MPS), with no synchronisation: one packed vector a tensor.

The vectors of a whole phase are stacked and brought to the CPU in one transfer; nothing is brought to the device. Straight-
line code: NaN and Inf are masked, never branched on.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import SAMPLE_ABOVE, sampled_places
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.subjects import (
    COLUMNS,
    COUNT,
    EXPONENT_BINS,
    EXPONENT_HIGH,
    EXPONENT_LOW,
    HISTOGRAM_BINS,
    INF,
    L2,
    MAX,
    MIN,
    NAN,
    ZERO,
)

PACKED = len(COLUMNS) - 1 + HISTOGRAM_BINS
"""The columns but for the count, which is known here; the histogram."""


def packed_summary(values: Tensor) -> Tensor:
    """Shape (PACKED,), float64 (float32 on MPS, which has no float64), on the device of `values`.

    `values` is 1-d as `readable` gives it. Undefined numbers are NaN.
    """
    if values.numel() == 0:
        return _pack(values, _zeros(values, 3), _undefined(values, 5))
    if not values.is_floating_point():
        low, high = torch.aminmax(values)
        return _pack(values, _zeros(values, 2), (values == 0).sum(), low, high, _undefined(values, 3))
    wide = _wide(values)
    finite = torch.isfinite(values)
    count = finite.sum()
    low = torch.where(finite, values, torch.inf).amin()
    high = torch.where(finite, values, -torch.inf).amax()
    # Scaled by the largest magnitude, no square overflows or vanishes.
    scale = torch.maximum(low.abs(), high.abs()).to(wide)
    scale = torch.where((scale > 0) & torch.isfinite(scale), scale, 1.0)
    scaled = torch.where(finite, values, 0).to(wide) / scale
    mean = scaled.sum() / count
    variance = torch.where(finite, scaled - mean, 0).square().sum() / count
    numbers = torch.stack([low.to(wide), high.to(wide), mean * scale, variance.sqrt() * scale, scaled.norm() * scale])
    counts = torch.stack([torch.isnan(values).sum(), torch.isinf(values).sum(), (values == 0).sum()])
    numbers = torch.where(count == 0, torch.nan, numbers)
    return _pack(values, counts, numbers, histogram=_exponents(_sample(values)))


def packed_norm(values: Tensor) -> Tensor:
    """The same shape: counts (but not of zeros) and the L2 norm, everything else NaN or, in the histogram, 0."""
    if values.numel() == 0 or not values.is_floating_point():
        return _pack(values, _zeros(values, 2), _undefined(values, 6))
    finite, wide = torch.isfinite(values), _wide(values)
    known = torch.where(finite, values, 0)
    if values.dtype is wide:
        # There is nothing wider in which the squares would neither overflow nor vanish.
        scale = known.abs().amax()
        scale = torch.where(scale > 0, scale, 1.0)
        l2 = torch.linalg.vector_norm(known / scale) * scale
    else:
        l2 = torch.linalg.vector_norm(known, dtype=wide)
    counts = torch.stack([torch.isnan(values).sum(), torch.isinf(values).sum()])
    return _pack(values, counts, _undefined(values, 5), torch.where(finite.any(), l2.to(wide), torch.nan))


def number_on_device(value: Tensor) -> Tensor:
    """A whole number by itself, shape (1,): all that its summary is made of, in one operation instead of a dozen."""
    return value.reshape(1).to(_wide(value), copy=True)


def rows_of_numbers(values: FloatArray, *, norms_only: bool) -> FloatArray:
    """Summaries of tensors with one whole number each, shape (n, len(COLUMNS)), of these numbers of shape (n,)."""
    rows = np.full((len(values), len(COLUMNS)), math.nan)
    rows[:, COUNT], rows[:, NAN : INF + 1] = 1, 0
    if not norms_only:
        rows[:, ZERO], rows[:, MIN], rows[:, MAX] = values == 0, values, values
    return rows


def unpacked(packed: FloatArray, sizes: FloatArray, *, norms_only: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(summaries, histograms, numbers that a histogram has looked at) of rows of packed numbers, and of how many numbers each
    tensor has. With `norms_only` all else is left out, also where it is there."""
    columns = len(COLUMNS) - 1
    histograms = packed[:, columns:]
    if norms_only:
        packed[:, ZERO - 1 : L2 - 1] = math.nan
        histograms[:] = 0
    is_whole = np.isnan(packed[:, columns - 1]) & (packed[:, :2].sum(1) < sizes)
    sampled = np.where(is_whole | norms_only, 0, np.minimum(sizes, SAMPLE_ABOVE))
    return np.column_stack([sizes, packed[:, :columns]]), histograms, sampled


def _wide(values: Tensor) -> torch.dtype:
    return torch.float32 if values.device.type == "mps" else torch.float64


def _zeros(values: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=_wide(values), device=values.device)


def _undefined(values: Tensor, count: int) -> Tensor:
    return torch.full((count,), torch.nan, dtype=_wide(values), device=values.device)


def _pack(values: Tensor, *numbers: Tensor, histogram: Tensor | None = None) -> Tensor:
    bins = _zeros(values, HISTOGRAM_BINS) if histogram is None else histogram
    return torch.cat([part.reshape(-1).to(_wide(values)) for part in (*numbers, bins)])


def _sample(values: Tensor) -> Tensor:
    if values.numel() <= SAMPLE_ABOVE:
        return values
    return values[_places(values.numel(), values.device)]


@functools.lru_cache(maxsize=256)
def _places(count: int, device: torch.device) -> Tensor:
    """Kept on the device: bringing them there each time would make the host wait."""
    return torch.from_numpy(sampled_places(count)).to(device)


def _exponents(values: Tensor) -> Tensor:
    # Comparing with every bin needs neither atomics (not deterministic) nor a synchronisation (bincount has one).
    # Read off the bits of float32, as on the CPU: not every device has frexp.
    exponent = (values.to(torch.float32).view(torch.int32) >> 23 & 255) - 127
    place = exponent.clamp(EXPONENT_LOW, EXPONENT_HIGH - 1) - EXPONENT_LOW
    place = torch.where(values > 0, EXPONENT_BINS + place, EXPONENT_BINS - 1 - place)
    place = torch.where((values != 0) & torch.isfinite(values), place, -1)
    bins = torch.arange(HISTOGRAM_BINS, device=values.device, dtype=place.dtype)
    return (place == bins[:, None]).sum(1)
