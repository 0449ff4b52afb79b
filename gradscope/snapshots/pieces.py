"""Pictures and histograms of tensors that are read piece by piece: never more than PIECE elements are in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.extremes import worst

PIECE = 1 << 20
"""Elements that are looked at at a time."""
MAX_BINS = 512

Array = np.ndarray[Any, Any]
Plane = npt.NDArray[np.float32]
Block = tuple[int, int]

Flat = Callable[[int, int], Array]
"""flat(start, stop): elements of a tensor in the order of its rows, shape (stop - start,)."""
Part = Callable[[slice, slice], Array]
"""part(rows, columns): of a 2-d slice of a tensor."""
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_FLOAT64 = np.finfo(np.float64)


def of_array(array: Array) -> Flat:
    flat = array.reshape(-1)
    return lambda start, stop: flat[start:stop]


def of_plane(plane: Array) -> Part:
    return lambda rows, columns: plane[rows, columns]


def flat_pieces(count: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of each piece of `count` elements."""
    for start in range(0, count, PIECE):
        yield start, min(start + PIECE, count)


def plane_pieces(shape: tuple[int, int], block: Block) -> Iterator[tuple[slice, slice]]:
    """A plane in pieces of at most PIECE elements, as they follow each other in a file.

    Each is some rows of blocks, or lies within one row of blocks.
    """
    rows, columns = shape
    if block[0] * columns <= PIECE:
        step = PIECE // (block[0] * columns) * block[0]
        for top in range(0, rows, step):
            yield slice(top, min(top + step, rows)), slice(0, columns)
        return
    width = min(columns, PIECE)
    height = PIECE // width
    for strip in range(0, rows, block[0]):
        end = min(strip + block[0], rows)
        for top in range(strip, end, height):
            for left in range(0, columns, width):
                yield slice(top, min(top + height, end)), slice(left, min(left + width, columns))


# ----------------------------------------------------------------------------------------------- pictures


def picture(shape: tuple[int, int], block: Block, part: Part) -> tuple[Plane, float]:
    """(the `strongest` of the blocks of real numbers, in float32; what 1 in it stands for).

    That is 1 but for float64 whose largest finite magnitude float32 does not hold; then it is a power of two, and not above
    that magnitude. To find it, float64 is read twice.
    """
    largest = 0.0
    for rows, columns in plane_pieces(shape, block) if all(shape) else ():
        plane = part(rows, columns)
        if plane.dtype != np.float64:
            break
        largest = max(largest, largest_finite(plane))
    unit = unit_of(largest)
    return strongest(shape, block, lambda rows, columns: in_units(part(rows, columns), unit)), unit


def largest_finite(plane: Array) -> float:
    """Of float64, the largest finite magnitude; 0 for any other type, all of which float32 can show."""
    if plane.dtype != np.float64:
        return 0.0
    return float(np.max(np.abs(plane), where=np.isfinite(plane), initial=0.0))


def unit_of(largest: float) -> float:
    """What 1 has to stand for, so that float32 holds it."""
    if not largest or _LEAST <= largest <= _MOST:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)


def in_units(plane: Array, unit: float) -> Plane:
    with np.errstate(all="ignore"):
        return (plane if unit == 1 else plane / unit).astype(np.float32, copy=False)


def strongest(shape: tuple[int, int], block: Block, part: Part) -> Plane:
    """The number of the largest magnitude in every block; NaN if there is one."""
    low = np.full(_tiles(shape, block), np.inf, dtype=np.float32)
    high = -low
    for rows, columns in plane_pieces(shape, block) if low.size else ():
        (tops, at_rows), (lefts, at_columns) = _starts(rows, block[0]), _starts(columns, block[1])
        strips = np.split(part(rows, columns).astype(np.float32, copy=False), tops[1:])
        least = np.minimum.reduceat(np.stack([strip.min(axis=0) for strip in strips]), lefts, axis=1)
        most = np.maximum.reduceat(np.stack([strip.max(axis=0) for strip in strips]), lefts, axis=1)
        low[at_rows, at_columns] = np.minimum(low[at_rows, at_columns], least)
        high[at_rows, at_columns] = np.maximum(high[at_rows, at_columns], most)
    return worst(low, high)


def _tiles(shape: tuple[int, int], block: Block) -> tuple[int, int]:
    """How many blocks there are below and beside each other."""
    return -(-shape[0] // block[0]), -(-shape[1] // block[1])


def _starts(part: slice, step: int) -> tuple[IntArray, slice]:
    """(where in a part the blocks begin, which blocks they are)."""
    first, last = part.start // step, -(-part.stop // step)
    starts = np.arange(first, last, dtype=np.int64) * step - part.start
    return np.maximum(starts, 0), slice(first, last)


# --------------------------------------------------------------------------------------------- histograms


def histogram(flat: Flat, count: int, bins: int) -> tuple[FloatArray, IntArray, int, int]:
    """(edges, counts, NaN, Inf) of real numbers: equal bins from min to max, or one for each of a few whole numbers.

    Everything is read twice: the first time for its bounds.
    """
    nan = inf = 0
    low, high, is_whole = np.inf, -np.inf, False
    for start, stop in flat_pieces(count):
        values = _countable(flat(start, stop))
        is_whole = values.dtype.kind in "iu"
        finite = values if is_whole else values[np.isfinite(values)]
        if not is_whole:
            missing = int(np.isnan(values).sum())
            nan, inf = nan + missing, inf + values.size - finite.size - missing
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        return np.zeros(0), np.zeros(0, dtype=np.int64), nan, inf
    edges = _edges(low, high, bins, is_whole=is_whole)
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    for start, stop in flat_pieces(count):
        values = _countable(flat(start, stop)).astype(np.float64)
        counts += np.histogram(values[np.isfinite(values)], bins=edges)[0]
    return edges, counts, nan, inf


def _countable(values: Array) -> Array:
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def _edges(low: float, high: float, wanted: int, *, is_whole: bool) -> FloatArray:
    bins = min(max(wanted, 1), MAX_BINS)
    if low == high:
        half = max(0.5 * abs(low), float(_FLOAT64.tiny)) if low else 0.5
        return np.clip([low - half, low + half], _FLOAT64.min, _FLOAT64.max)
    if is_whole and high - low < bins:
        return np.unique(np.arange(low - 0.5, high + 1.0))
    # Never by the width of the range, which may be more than a float holds. Edges closer than floats are is one edge.
    part = np.linspace(0, 1, bins + 1)
    with np.errstate(over="ignore"):
        edges = low * (1 - part) + high * part
    return np.unique(np.clip(edges, low, high))
