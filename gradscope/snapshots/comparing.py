"""How the values of two tensors differ, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import Difference
from gradscope.protocol.subjects import SubjectKey
from gradscope.snapshots import pieces
from gradscope.snapshots.pieces import Array, Block, Flat, Part, Plane, flat_pieces


def compare(subject: SubjectKey, shape: tuple[int, ...], ours: Flat, theirs: Flat) -> Difference:
    """Two tensors of the same shape, whatever their types; whole numbers are compared exactly."""
    count = math.prod(shape)
    differing, absolute, relative, place = 0, 0.0, 0.0, -1
    pair = (0.0, 0.0)
    for start, stop in flat_pieces(count):
        a, b = ours(start, stop), theirs(start, stop)
        if a.dtype == b.dtype and np.array_equal(a, b):
            # Most of it, mostly; and five times as fast.
            continue
        gaps = gaps_of(a, b)
        found = int(np.count_nonzero(gaps))
        if not found:
            continue
        differing += found
        relative = max(relative, _largest_ratio(gaps, a, b))
        largest = int(gaps.argmax())
        if gaps[largest] > absolute:
            absolute, place = float(gaps[largest]), start + largest
            pair = _number(a[largest]), _number(b[largest])
    return Difference(
        subject=subject,
        count=count,
        differing=differing,
        absolute=absolute,
        relative=relative,
        at=tuple(int(i) for i in np.unravel_index(place, shape)) if place >= 0 else (),
        ours=pair[0],
        theirs=pair[1],
    )


def gaps_of(a: Array, b: Array) -> FloatArray:
    """|a - b|, element by element: 0 where they are the same, infinite where one of them is not finite, or their
    difference is more than a float holds."""
    if a.dtype.kind in "iu" and a.dtype == b.dtype:
        # Modulo 2**64, so that no difference overflows.
        return np.asarray(np.maximum(a, b).astype(np.uint64) - np.minimum(a, b).astype(np.uint64), dtype=np.float64)
    a, b = _wide(a), _wide(b)
    with np.errstate(all="ignore"):
        gaps = np.asarray(np.abs(a - b), dtype=np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
    gaps[~np.isfinite(gaps)] = np.inf
    gaps[same] = 0
    return gaps


def strongest_difference(shape: tuple[int, int], block: Block, ours: Part, theirs: Part) -> tuple[Plane, float]:
    """Two 2-d slices as a picture of ours - theirs: in every block the difference of the largest magnitude.

    As `pieces.picture` gives it. Zero where both have NaN or the same infinity, NaN where only one has NaN. Of complex
    numbers |ours - theirs|.
    """

    def difference(rows: slice, columns: slice) -> FloatArray:
        a, b = _wide(ours(rows, columns)), _wide(theirs(rows, columns))
        with np.errstate(all="ignore"):
            found = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, a - b)
            return _held(np.abs(found) if found.dtype.kind == "c" else found, a, b)

    return pieces.picture(shape, block, difference)


def _held(difference: FloatArray, a: Array, b: Array) -> FloatArray:
    """With the largest float for what is more than a float holds, where both numbers are finite."""
    is_beyond = np.isinf(difference)
    if is_beyond.any():
        is_beyond &= np.isfinite(a) & np.isfinite(b)
        difference[is_beyond] = np.copysign(np.finfo(np.float64).max, difference[is_beyond])
    return difference


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _largest_ratio(gaps: FloatArray, a: Array, b: Array) -> float:
    with np.errstate(all="ignore"):
        sizes = np.maximum(_magnitude(a), _magnitude(b))
        ratios = np.divide(gaps, sizes, out=np.zeros_like(gaps), where=gaps > 0)
    ratios[np.isinf(gaps)] = np.inf
    return float(ratios.max())


def _magnitude(array: Array) -> npt.NDArray[np.float64]:
    return np.asarray(np.abs(_wide(array)), dtype=np.float64)


def _number(value: Any) -> float:
    return float(abs(value)) if isinstance(value, np.complexfloating) else float(value)
