"""The whole summary of a tensor in one launch of a Triton kernel. Imports triton: only `fused_on_device` imports this.

Each program takes a run of tiles, in segments. A segment is summed up in float32, about a centre and scaled by a power of
two so that nothing cancels, overflows or vanishes, and put together with the others in float64. What each program has found
goes to scratch; the last one to finish puts it together, always in the same order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from gradscope.engine.quantities.exponents import FLOAT32_BIAS, LINE, SAMPLE_LINES
from gradscope.engine.quantities.fused_reading import TILE, in_float32, loaded, loaded_in_part
from gradscope.protocol.subjects import EXPONENT_BINS, EXPONENT_HIGH, EXPONENT_LOW, HISTOGRAM_BINS

MAX_PROGRAMS = 1024
WARPS = 4
DTYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}
CONSTANTS_ARE_COMPILED_IN = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 3)
"""Whether what was compiled is launched without the constants among its arguments."""
_FIELDS = 7
_BINS = triton.next_power_of_2(HISTOGRAM_BINS + 1)
_SAMPLE_TILE = 1024
_SAMPLE_TILES = LINE * SAMPLE_LINES // _SAMPLE_TILE
SCRATCH_BYTES = 8 * _FIELDS * MAX_PROGRAMS + 4 * _BINS * _SAMPLE_TILES + 4
"""Seven float64 a program, a histogram a tile of the sample, and how many programs have finished."""

# What a kernel refers to has to be of this kind.
_TILE = tl.constexpr(TILE)
_PROGRAMS = tl.constexpr(MAX_PROGRAMS)
_PARTIAL_FIELDS = tl.constexpr(_FIELDS)
_SEGMENT = tl.constexpr(32)
_LINE = tl.constexpr(LINE)
_LINES = tl.constexpr(SAMPLE_LINES)
_WIDTH = tl.constexpr(_BINS)
_SAMPLED = tl.constexpr(_SAMPLE_TILE)
_SAMPLED_TILES = tl.constexpr(_SAMPLE_TILES)
_NUMBERS = tl.constexpr(HISTOGRAM_BINS)
_SIGN_BINS = tl.constexpr(EXPONENT_BINS)
_LOWEST = tl.constexpr(FLOAT32_BIAS + EXPONENT_LOW)
_HIGHEST = tl.constexpr(FLOAT32_BIAS + EXPONENT_HIGH - 1)
_INFINITE = tl.constexpr(0x7F800000)
_MAGNITUDE = tl.constexpr(0x7FFFFFFF)
_COLUMNS = tl.constexpr(8)
_LARGEST = tl.constexpr(1e16)
"""Squares of deviations up to there, a segment's added up, do not overflow in float32."""
_SMALLEST_SQUARE = tl.constexpr(1e-31)
"""Where the mean square is below, some squares may have vanished."""
_CANCELLING = tl.constexpr(0.1)
"""Below this share of the squares about the centre, those about the mean have lost too many digits."""


@triton.jit
def _added(values, scale, centre, sums, squares, low, high, counts):
    """The lanes of a segment with one tile more."""
    magnitude = values.to(tl.int32, bitcast=True) & _MAGNITUDE
    is_finite = magnitude < _INFINITE
    counts += tl.where(magnitude == 0, 1, 0)
    counts += tl.where(is_finite, 0x10000, tl.where(magnitude > _INFINITE, 0x100, 0))
    low = tl.minimum(low, tl.where(is_finite, values, float("inf")))
    high = tl.maximum(high, tl.where(is_finite, values, float("-inf")))
    deviations = tl.where(is_finite, values * scale - centre, 0.0)
    sums += deviations
    squares += deviations * deviations
    return sums, squares, low, high, counts


@triton.jit
def _segment(x, before, tile, last, first, end, scale, centre, dtype: tl.constexpr, has_before: tl.constexpr):
    """(zeros, NaN, finite, smallest, largest, sum and sum of squares of scale * value - centre) of tiles [tile, last)."""
    sums = tl.zeros([_TILE], tl.float32)
    squares = tl.zeros([_TILE], tl.float32)
    low = tl.full([_TILE], float("inf"), tl.float32)
    high = tl.full([_TILE], float("-inf"), tl.float32)
    # Three counts in one number, a byte for each of the first two.
    counts = tl.zeros([_TILE], tl.int32)
    # A mask would keep loads from being as wide as they can be: only the tensor's first and last tile have one.
    whole = tl.maximum(tile, (first + _TILE - 1) // _TILE)
    partial = tl.minimum(last, end // _TILE)
    if whole < partial:
        ahead, ahead_then = loaded(x, before, whole * _TILE, has_before)
        for i in range(whole, partial):
            now, then = ahead, ahead_then
            # Memory takes long to answer: it is asked for the next tile before this one is added.
            ahead, ahead_then = loaded(x, before, tl.minimum(i + 1, partial - 1) * _TILE, has_before)
            values = in_float32(now, then, dtype, has_before)
            sums, squares, low, high, counts = _added(values, scale, centre, sums, squares, low, high, counts)
    for i in range(tile, last, tl.maximum(last - tile - 1, 1)):
        if (i < whole) | (i >= partial):
            now, then = loaded_in_part(x, before, i * _TILE, first, end, dtype, has_before)
            values = in_float32(now, then, dtype, has_before)
            sums, squares, low, high, counts = _added(values, scale, centre, sums, squares, low, high, counts)
    return (
        tl.sum(counts & 0xFF),
        tl.sum((counts >> 8) & 0xFF),
        tl.sum(counts >> 16),
        tl.min(low),
        tl.max(high),
        tl.sum(sums).to(tl.float64),
        tl.sum(squares).to(tl.float64),
    )


@triton.jit
def _partial(x, before, tile, last, first, end, dtype: tl.constexpr, has_before: tl.constexpr):
    """(zeros, NaN, finite, smallest, largest, mean, sum of squares about the mean) of tiles [tile, last)."""
    zeros = tl.full([], 0, tl.int64)
    nans = tl.full([], 0, tl.int64)
    finite = tl.full([], 0, tl.int64)
    low = tl.full([], float("inf"), tl.float32)
    high = tl.full([], float("-inf"), tl.float32)
    mean = tl.full([], 0.0, tl.float64)
    square = tl.full([], 0.0, tl.float64)
    scale = tl.full([], 1.0, tl.float32)
    centre = tl.full([], 0.0, tl.float32)
    for start in range(tile, last, _SEGMENT):
        stop = tl.minimum(start + _SEGMENT, last)
        z, nan, n = tl.full([], 0, tl.int32), tl.full([], 0, tl.int32), tl.full([], 0, tl.int32)
        least, most = tl.full([], 0.0, tl.float32), tl.full([], 0.0, tl.float32)
        own, m2 = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
        tries = 3
        while tries > 0:
            z, nan, n, least, most, total, about = _segment(
                x, before, start, stop, first, end, scale, centre, dtype, has_before
            )
            count = tl.maximum(n, 1).to(tl.float64)
            own = (centre.to(tl.float64) + total / count) / scale.to(tl.float64)
            m2 = about - total * total / count
            tries -= 1
            largest = tl.maximum(-least, most)
            is_exact = (largest * scale <= _LARGEST) & (about >= count * _SMALLEST_SQUARE) & (m2 >= about * _CANCELLING)
            if is_exact | (least >= most):
                tries = 0
            m2 = tl.maximum(m2, 0.0) / scale.to(tl.float64) / scale.to(tl.float64)
            if tries > 0:
                # Once more, about a better centre; the next segment begins with what this one has found.
                scale = _scale_of(largest)
                centre = tl.where(tl.abs(own) < float("inf"), own * scale.to(tl.float64), 0.0).to(tl.float32)
        if n > 0:
            if least == most:
                own = least.to(tl.float64)
                m2 = tl.full([], 0.0, tl.float64)
            # Chan, Golub, LeVeque 1983.
            known = finite.to(tl.float64)
            count = n.to(tl.float64)
            delta = own - mean
            share = count / (known + count)
            mean += delta * share
            square += m2 + delta * delta * known * share
            low = tl.minimum(low, least)
            high = tl.maximum(high, most)
        zeros += z
        nans += nan
        finite += n
    return zeros, nans, finite, low, high, mean, square


@triton.jit
def _scale_of(largest):
    """A power of two that brings the largest magnitude near 1, and is itself a normal number."""
    exponent = (largest.to(tl.int32, bitcast=True) >> 23) & 0xFF
    return (tl.maximum(254 - exponent, 27) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _histogram(x, before, first, count, program, programs, dtype: tl.constexpr, has_before: tl.constexpr):
    """Of this program's tiles of the sample: `exponents.exponents` looks at the same numbers."""
    bins = tl.zeros([_WIDTH], tl.int32)
    looked_at = tl.minimum(count, _LINES * _LINE)
    for tile in range(program, _SAMPLED_TILES, programs):
        group = tile * (_SAMPLED // _LINE) + tl.arange(0, _SAMPLED // _LINE)
        line = group.to(tl.int64)
        if count > _LINES * _LINE:
            lines = count // _LINE
            start = line * lines // _LINES
            step = (line + 1) * lines // _LINES - start
            line = start + ((((line * 2654435769) & 0xFFFFFFFF) >> 16) * step >> 16)
        place = tl.arange(0, _LINE)[None, :]
        inside = group[:, None] * _LINE + place < looked_at
        place += line[:, None] * _LINE + first
        now = tl.load(x + place, mask=inside, other=0)
        then = tl.load(before + place, mask=inside, other=0) if has_before else now
        bits = in_float32(now, then, dtype, has_before).to(tl.int32, bitcast=True)
        magnitude = bits & _MAGNITUDE
        exponent = tl.minimum(tl.maximum(magnitude >> 23, _LOWEST), _HIGHEST) - _LOWEST
        bin = tl.where(bits < 0, -1 - exponent, exponent) + _SIGN_BINS
        bin = tl.where(inside & (magnitude != 0) & (magnitude < _INFINITE), bin, _WIDTH - 1)
        bins += tl.histogram(tl.reshape(bin, [_SAMPLED]), _WIDTH)
    return bins


@triton.jit
def _finish(partials, histograms, row, count, programs):
    """All programs' findings, put together and written to the row."""
    i = tl.arange(0, _PROGRAMS)
    is_there = i < programs
    n = tl.load(partials + i, mask=is_there, other=0.0, cache_modifier=".cg")
    means = tl.load(partials + _PROGRAMS + i, mask=is_there, other=0.0, cache_modifier=".cg")
    squares = tl.load(partials + 2 * _PROGRAMS + i, mask=is_there, other=0.0, cache_modifier=".cg")
    low = tl.min(tl.load(partials + 3 * _PROGRAMS + i, mask=is_there, other=float("inf"), cache_modifier=".cg"))
    high = tl.max(tl.load(partials + 4 * _PROGRAMS + i, mask=is_there, other=float("-inf"), cache_modifier=".cg"))
    zeros = tl.sum(tl.load(partials + 5 * _PROGRAMS + i, mask=is_there, other=0.0, cache_modifier=".cg"))
    nans = tl.sum(tl.load(partials + 6 * _PROGRAMS + i, mask=is_there, other=0.0, cache_modifier=".cg"))
    finite = tl.sum(n)
    mean = tl.sum(n * means) / tl.maximum(finite, 1.0)
    square = tl.sum(squares + n * (means - mean) * (means - mean))
    if low == high:
        # All equal: exact, and no rounding noise in std.
        mean = low
        square = low * 0.0
    l2 = tl.sqrt(square + finite * mean * mean)
    std = tl.sqrt(square / tl.maximum(finite, 1.0))
    is_undefined = finite == 0.0
    undefined = float("nan")
    tl.store(row, nans)
    tl.store(row + 1, count.to(tl.float64) - finite - nans)
    tl.store(row + 2, zeros)
    tl.store(row + 3, tl.where(is_undefined, undefined, low))
    tl.store(row + 4, tl.where(is_undefined, undefined, high))
    tl.store(row + 5, tl.where(is_undefined, undefined, mean))
    tl.store(row + 6, tl.where(is_undefined, undefined, std))
    tl.store(row + 7, tl.where(is_undefined, undefined, l2))
    bin = tl.arange(0, _WIDTH)
    tile = tl.arange(0, _SAMPLED_TILES)[:, None]
    found = tl.load(histograms + tile * _WIDTH + bin[None, :], mask=tile < programs, other=0, cache_modifier=".cg")
    tl.store(row + _COLUMNS + bin, tl.sum(found, axis=0).to(tl.float64), mask=bin < _NUMBERS)


@triton.jit(
    do_not_specialize=["x_address", "before_address", "first", "count", "scratch_address", "row_address"],
)
def summarise(
    x_address: tl.int64,
    before_address: tl.int64,
    first: tl.int64,
    count: tl.int64,
    scratch_address: tl.int64,
    row_address: tl.int64,
    dtype: tl.constexpr,
    has_before: tl.constexpr,
):
    """Of `count` > 0 neighbouring numbers, minus those at `before_address` or as they are, to the row.

    Addresses are multiples of 16; the numbers begin `first` behind theirs. Plain integers, so that neither an alignment nor
    a size has a kernel compiled anew.
    """
    if dtype == tl.bfloat16:
        x = x_address.to(tl.int64).to(tl.pointer_type(tl.int16))
        before = before_address.to(tl.int64).to(tl.pointer_type(tl.int16))
    else:
        x = x_address.to(tl.int64).to(tl.pointer_type(dtype))
        before = before_address.to(tl.int64).to(tl.pointer_type(dtype))
    x = tl.multiple_of(x, 16)
    before = tl.multiple_of(before, 16)
    partials = scratch_address.to(tl.int64).to(tl.pointer_type(tl.float64))
    histograms = (partials + _PARTIAL_FIELDS * _PROGRAMS).to(tl.pointer_type(tl.int32))
    finished = histograms + _WIDTH * _SAMPLED_TILES
    row = row_address.to(tl.int64).to(tl.pointer_type(tl.float64))
    program = tl.program_id(0)
    programs = tl.num_programs(0)
    end = first + count
    tiles = (end + _TILE - 1) // _TILE
    tile = program * tiles // programs
    last = (program + 1) * tiles // programs
    zeros, nans, finite, low, high, mean, square = _partial(x, before, tile, last, first, end, dtype, has_before)
    inside = tl.minimum(last * _TILE, end) - tl.maximum(tile * _TILE, first)
    nans -= (last - tile) * _TILE - tl.maximum(inside, 0)
    own = partials + program
    tl.store(own, finite.to(tl.float64))
    tl.store(own + _PROGRAMS, mean)
    tl.store(own + 2 * _PROGRAMS, square)
    tl.store(own + 3 * _PROGRAMS, low.to(tl.float64))
    tl.store(own + 4 * _PROGRAMS, high.to(tl.float64))
    tl.store(own + 5 * _PROGRAMS, zeros.to(tl.float64))
    tl.store(own + 6 * _PROGRAMS, nans.to(tl.float64))
    if program < _SAMPLED_TILES:
        bins = _histogram(x, before, first, count, program, programs, dtype, has_before)
        tl.store(histograms + program * _WIDTH + tl.arange(0, _WIDTH), bins)
    # Every thread's writes come before the count, and the count before what the last program reads.
    tl.debug_barrier()
    if tl.atomic_add(finished, 1, sem="acq_rel", scope="gpu") == programs - 1:
        _finish(partials, histograms, row, count, programs)
        tl.store(finished, 0)


IS_INTERPRETED = not isinstance(summarise, triton.JITFunction)
"""By Triton's interpreter, on the CPU: where TRITON_INTERPRET was set. It would follow a GPU's addresses there."""
