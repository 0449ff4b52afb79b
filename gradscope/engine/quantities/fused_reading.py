"""How the fused kernel reads numbers: a tile at a time, as they are stored, then in float32. Imports triton."""

from __future__ import annotations

import triton
import triton.language as tl

TILE = 1024
_TILE = tl.constexpr(TILE)


@triton.jit
def _float32(stored, dtype: tl.constexpr):
    if dtype == tl.bfloat16:
        return (stored.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    return stored.to(tl.float32)


@triton.jit
def loaded(x, before, start, has_before: tl.constexpr):
    """(the numbers of a tile, what is to be taken off them) as they are stored."""
    lane = tl.arange(0, _TILE)
    now = tl.load(x + start + lane)
    then = tl.load(before + start + lane) if has_before else now
    return now, then


@triton.jit
def loaded_in_part(x, before, start, first, end, dtype: tl.constexpr, has_before: tl.constexpr):
    """The same of a tile that reaches beyond [first, end), where it is NaN."""
    lane = tl.arange(0, _TILE)
    inside = (lane >= first - start) & (lane < end - start)
    now = tl.load(x + start + lane, mask=inside, other=0x7FC0 if dtype == tl.bfloat16 else float("nan"))
    then = tl.load(before + start + lane, mask=inside, other=0) if has_before else now
    return now, then


@triton.jit
def in_float32(now, then, dtype: tl.constexpr, has_before: tl.constexpr):
    """Differences are computed as torch does it: in float32, rounded to the tensors' own dtype."""
    values = _float32(now, dtype)
    if has_before:
        values -= _float32(then, dtype)
        if dtype == tl.float16:
            values = values.to(tl.float16).to(tl.float32)
        if dtype == tl.bfloat16:
            bits = values.to(tl.int32, bitcast=True)
            rounded = tl.where(values == values, bits + 0x7FFF + ((bits >> 16) & 1), bits) & -0x10000
            values = rounded.to(tl.float32, bitcast=True)
    return values
