"""What is shown of a tensor, as numpy computes it: which 2-d slice, its picture, its histogram. Engine and app share it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray

MAX_PAGE = 512
MAX_SIDE = 1024
MAX_BINS = 512
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_FLOAT64 = np.finfo(np.float64)

Plane = npt.NDArray[np.float32]
Block = tuple[int, int]


def used_index(shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
    """Where in all but the last two dimensions to look.

    An index that is too long, too short or out of range is brought into range: the shape may just have changed.
    """
    leading = shape[:-2]
    if 0 in leading:
        return ()
    return tuple(min(max(index[i] if i < len(index) else 0, 0), size - 1) for i, size in enumerate(leading))


def page_part(row: int, rows: int, column: int, columns: int) -> tuple[slice, slice]:
    """Which part of a slice a page is: at most MAX_PAGE rows and columns, from inside of it."""
    row, column = max(row, 0), max(column, 0)
    return (
        slice(row, row + min(max(rows, 0), MAX_PAGE)),
        slice(column, column + min(max(columns, 0), MAX_PAGE)),
    )


def block_of(shape: tuple[int, ...], side: int) -> Block:
    """How many rows and columns one pixel takes, so that no side of the picture is longer than `side`."""
    side = min(max(side, 1), MAX_SIDE)
    rows, columns = (max(1, math.ceil(size / side)) for size in shape)
    return rows, columns


def in_float32(plane: np.ndarray[Any, Any]) -> tuple[Plane, float]:
    """(real numbers as float32, what 1 stands for): 1 but for float64 whose largest finite magnitude float32 does not hold.

    Then it is a power of two, and not above that magnitude.
    """
    unit = 1.0
    if plane.dtype == np.float64:
        largest = float(np.max(np.abs(plane), where=np.isfinite(plane), initial=0.0))
        if largest and not _LEAST <= largest <= _MOST:
            unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)
    with np.errstate(all="ignore"):
        return (plane if unit == 1 else plane / unit).astype(np.float32, copy=False), unit


def means(plane: Plane, block: Block) -> Plane:
    """The mean of every block, at the edges of what there is."""
    if block == (1, 1) or not plane.size:
        return plane
    tops, lefts = (np.arange(0, size, step) for size, step in zip(plane.shape, block, strict=True))
    with np.errstate(invalid="ignore"):
        # A strip at a time: reduceat along the rows is twenty times as slow.
        strips = np.stack([plane[top : top + block[0]].sum(axis=0, dtype=np.float64) for top in tops])
        sums = np.add.reduceat(strips, lefts, axis=1)
    heights, widths = (
        np.diff(np.append(starts, size)) for starts, size in zip((tops, lefts), plane.shape, strict=True)
    )
    return np.asarray(sums / (heights[:, None] * widths), dtype=np.float32)


def strongest(plane: Plane, block: Block) -> Plane:
    """The number of the largest magnitude in every block; NaN if there is one."""
    if block == (1, 1) or not plane.size:
        return plane
    tops, lefts = (np.arange(0, size, step) for size, step in zip(plane.shape, block, strict=True))
    strips = [plane[top : top + block[0]] for top in tops]
    low = np.minimum.reduceat(np.stack([strip.min(axis=0) for strip in strips]), lefts, axis=1)
    high = np.maximum.reduceat(np.stack([strip.max(axis=0) for strip in strips]), lefts, axis=1)
    return np.where(np.abs(low) > np.abs(high), low, high)


def histogram(values: np.ndarray[Any, Any], bins: int) -> tuple[FloatArray, IntArray, int, int]:
    """(edges, counts, NaN, Inf) of real numbers: equal bins from min to max, or one for each of a few whole numbers."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    nan = inf = 0
    if values.dtype.kind == "f":
        nan, inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        if nan or inf:
            values = values[np.isfinite(values)]
    if values.size == 0:
        return np.zeros(0), np.zeros(0, dtype=np.int64), nan, inf
    counts, edges = np.histogram(values.astype(np.float64), bins=_edges(values, bins))
    return edges, counts.astype(np.int64), nan, inf


def _edges(values: np.ndarray[Any, Any], wanted: int) -> FloatArray:
    bins = min(max(wanted, 1), MAX_BINS)
    low, high = float(values.min()), float(values.max())
    if low == high:
        half = max(0.5 * abs(low), float(_FLOAT64.tiny)) if low else 0.5
        return np.clip([low - half, low + half], _FLOAT64.min, _FLOAT64.max)
    if values.dtype.kind in "iu" and high - low < bins:
        return np.unique(np.arange(low - 0.5, high + 1.0))
    # By halves: the whole range may be more than a float holds. Edges closer than floats are is one edge.
    edges = np.linspace(low / 2, high / 2, bins + 1) * 2
    edges[0], edges[-1] = low, high
    return np.unique(edges)
