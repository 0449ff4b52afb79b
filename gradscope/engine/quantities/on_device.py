"""Summaries computed where the tensor lives (CUDA, MPS), with no synchronisation: one packed vector a tensor.

The vectors of a whole phase are stacked and brought to the CPU in one transfer. Straight-line code: NaN and Inf are
masked, never branched on.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import SAMPLE_ABOVE, sampled_places
from gradscope.protocol.subjects import COLUMNS, EXPONENT_BINS, EXPONENT_HIGH, EXPONENT_LOW, HISTOGRAM_BINS

PACKED = len(COLUMNS) + HISTOGRAM_BINS + 1
"""Columns, histogram, number of elements that the histogram looked at."""


def packed_summary(values: Tensor) -> Tensor:
    """Shape (PACKED,), float64 (float32 on MPS, which has no float64), on the device of `values`.

    `values` is 1-d as `readable` gives it. Undefined numbers are NaN.
    """
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    if values.numel() == 0:
        return _pack(values, wide, [0, 0, 0, 0, *[torch.nan] * 5])
    if not values.is_floating_point():
        zero = (values == 0).sum()
        low, high = torch.aminmax(values)
        return _pack(values, wide, [values.numel(), 0, 0, zero, low, high, *[torch.nan] * 3])
    finite = torch.isfinite(values)
    count = finite.sum()
    nothing = count == 0
    low = torch.where(finite, values, torch.inf).amin()
    high = torch.where(finite, values, -torch.inf).amax()
    # Scaled by the largest magnitude, no square overflows or vanishes.
    scale = torch.maximum(low.abs(), high.abs()).to(wide)
    scale = torch.where((scale > 0) & torch.isfinite(scale), scale, 1.0)
    scaled = torch.where(finite, values, 0).to(wide) / scale
    mean = scaled.sum() / count
    variance = torch.where(finite, scaled - mean, 0).square().sum() / count
    numbers = [low, high, mean * scale, variance.sqrt() * scale, scaled.square().sum().sqrt() * scale]
    row: list[Tensor | float] = [torch.where(nothing, torch.nan, value.to(wide)) for value in numbers]
    counts: list[Tensor | float] = [
        values.numel(),
        torch.isnan(values).sum(),
        torch.isinf(values).sum(),
        (values == 0).sum(),
    ]
    return _pack(values, wide, [*counts, *row], _sample(values))


def packed_norm(values: Tensor) -> Tensor:
    """The same shape: counts (but not of zeros) and the L2 norm, everything else NaN or, in the histogram, 0."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    undefined = [torch.nan] * (len(COLUMNS) - 4)
    if values.numel() == 0 or not values.is_floating_point():
        return _pack(values, wide, [values.numel(), 0, 0, torch.nan, *undefined])
    finite = torch.isfinite(values)
    l2 = torch.linalg.vector_norm(torch.where(finite, values, 0), dtype=torch.promote_types(values.dtype, wide))
    counts: list[Tensor | float] = [values.numel(), torch.isnan(values).sum(), torch.isinf(values).sum(), torch.nan]
    return _pack(values, wide, [*counts, *undefined[:-1], torch.where(finite.any(), l2.to(wide), torch.nan)])


def _pack(values: Tensor, wide: torch.dtype, row: list[Tensor | float], sample: Tensor | None = None) -> Tensor:
    device = values.device
    numbers = torch.stack([torch.as_tensor(value, device=device).to(wide) for value in row])
    histogram = (
        torch.zeros(HISTOGRAM_BINS, dtype=wide, device=device) if sample is None else _exponents(sample).to(wide)
    )
    looked_at = torch.tensor([0 if sample is None else sample.numel()], dtype=wide, device=device)
    return torch.cat([numbers, histogram, looked_at])


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
    return torch.stack([(part == bins[:, None]).sum(1) for part in place.split(SAMPLE_ABOVE)]).sum(0)
