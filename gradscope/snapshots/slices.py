"""What is shown of a tensor, as numpy computes it: which 2-d slice, its picture, its histogram. Engine and app share it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.snapshots import pieces
from gradscope.snapshots.pieces import Block, Plane

MAX_PAGE = 512
MAX_SIDE = 1024


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


def plane_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of what is shown of a tensor: a vector is a single column."""
    if len(shape) < 2:
        return math.prod(shape), 1
    return (0, 0) if 0 in shape[:-2] else (shape[-2], shape[-1])


def plane_number(shape: tuple[int, ...], index: tuple[int, ...]) -> int:
    """Which of a tensor's 2-d slices, one after the other in memory, an index as it was used means."""
    number = 0
    for place, size in zip(index, shape[:-2], strict=False):
        number = number * size + place
    return number


def in_float32(plane: np.ndarray[Any, Any]) -> tuple[Plane, float]:
    """(real numbers as float32, what 1 stands for), as `pieces.picture` has them."""
    unit = pieces.unit_of(pieces.largest_finite(plane))
    return pieces.in_units(plane, unit), unit


def strongest(plane: Plane, block: Block) -> Plane:
    """The number of the largest magnitude in every block; NaN if there is one."""
    if block == (1, 1):
        return plane
    return pieces.strongest((plane.shape[0], plane.shape[1]), block, pieces.of_plane(plane))


def histogram(values: np.ndarray[Any, Any], bins: int) -> tuple[FloatArray, IntArray, int, int]:
    """(edges, counts, NaN, Inf) of real numbers: equal bins from min to max, or one for each of a few whole numbers."""
    return pieces.histogram(pieces.of_array(values), values.size, bins)
