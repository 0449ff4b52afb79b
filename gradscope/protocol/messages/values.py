"""The values of one tensor: pages, pictures, histograms, and their differences from a snapshot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from gradscope.protocol.arrays import Dims, Float32Array, FloatArray, IntArray
from gradscope.protocol.limits import (
    AtMost,
    Count,
    CountFromOne,
    FilePath,
    Index,
    Name,
    Sentence,
    Shape,
    Unfit,
)
from gradscope.protocol.subjects import SubjectKey

MAX_WATCHED = 10_000


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The subjects whose tensors are wanted at every step, also in a run; the first ones first, where the budget is short.

    Reply: Pong.
    """

    subjects: Annotated[tuple[SubjectKey, ...], AtMost(MAX_WATCHED)]


@dataclass(frozen=True, kw_only=True)
class FetchPage:
    """Values of a subject: the rows x columns of its last two dimensions at `index` of the others. Reply: Page.

    A 0-d tensor is 1 x 1; a 1-d tensor of n elements is n x 1.
    """

    subject: SubjectKey
    index: Index = ()
    row: int = 0
    rows: int = 64
    column: int = 0
    columns: int = 64
    step: Count | None = None
    """An earlier one, whose values `Recompute` has made; None is the newest."""


@dataclass(frozen=True, kw_only=True)
class FetchPicture:
    """A subject's whole 2-d slice at `index`, shrunk by averaging so that no side is longer than `side`. Reply: Picture."""

    subject: SubjectKey
    index: Index = ()
    side: int = 256
    step: Count | None = None
    """An earlier one, whose values `Recompute` has made; None is the newest."""


@dataclass(frozen=True, kw_only=True)
class FetchHistogram:
    """A linear histogram of all finite values of a subject, `bins` equal bins from min to max. Reply: Histogram."""

    subject: SubjectKey
    bins: int = 80
    step: Count | None = None
    """An earlier one, whose values `Recompute` has made; None is the newest."""


@dataclass(frozen=True, kw_only=True)
class FetchDifferences:
    """Compare the values of subjects, element by element, with those in the snapshot at `path`.

    Reply: Differences, or Failed if the snapshot cannot be read.
    """

    path: FilePath
    subjects: tuple[SubjectKey, ...]


@dataclass(frozen=True, kw_only=True)
class FetchDifferencePicture:
    """A subject's 2-d slice at `index` minus the same slice in the snapshot at `path`. Reply: Picture or Unavailable.

    Where a pixel takes several elements, it is the difference of the largest magnitude among them.
    """

    path: FilePath
    subject: SubjectKey
    index: Index = ()
    side: int = 256


def plane_sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of a slice of a tensor: those of its last two dimensions; -1 where a nested tensor is ragged."""
    if len(shape) > 2 and 0 in shape[:-2]:
        return 0, 0
    rows, columns = (*shape, 1, 1)[:2] if len(shape) < 2 else shape[-2:]
    return rows, columns


@dataclass(frozen=True, kw_only=True)
class Page:
    """Values as float64 (complex ones as their magnitude), shape (rows, columns), beginning at (row, column).

    `integer` says that they are whole numbers; float64 holds every float32 and every integer up to 2**53 exactly.
    """

    subject: SubjectKey
    shape: Shape
    dtype: Name
    index: Index
    row: Count
    column: Count
    values: Annotated[FloatArray, Dims("rows", "columns")]
    integer: bool = False

    def check(self) -> None:
        # What was asked for may lie beyond what there is: then there are no values.
        ends = (self.row + self.values.shape[0], self.column + self.values.shape[1])
        if self.values.size and any(end > side >= 0 for end, side in zip(ends, plane_sides(self.shape), strict=True)):
            raise Unfit(f"has {self.values.shape} values, which go beyond a tensor of {self.shape!r:.80}")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A 2-d slice as float32 (rows, columns), each pixel the largest magnitude of block[0] x block[1] elements;
    NaN where there is one.

    Where float64 numbers are beyond float32, a value stands for so many times `unit`, a power of two.
    """

    subject: SubjectKey
    shape: Shape
    index: Index
    block: tuple[CountFromOne, CountFromOne]
    values: Annotated[Float32Array, Dims("rows", "columns")]
    unit: float = 1.0

    def check(self) -> None:
        for pixels, of, size in zip(self.values.shape, self.block, plane_sides(self.shape), strict=True):
            if size >= 0 and pixels != -(-size // of):
                raise Unfit(f"has {self.values.shape} pixels for a tensor of {self.shape!r:.80}")
        if not 0 < self.unit < math.inf:
            raise Unfit(f"has numbers of {self.unit} each")


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """edges has one element more than counts. Empty arrays where nothing is finite."""

    subject: SubjectKey
    edges: Annotated[FloatArray, Dims("edges")]
    counts: Annotated[IntArray, Dims("counts")]
    nan: Count
    inf: Count

    def check(self) -> None:
        if len(self.edges) != (len(self.counts) + 1 if len(self.counts) else 0):
            raise Unfit(f"has {len(self.edges)} edges for {len(self.counts)} counts")
        if self.counts.min(initial=0) < 0 or not np.isfinite(self.edges).all() or (np.diff(self.edges) < 0).any():
            raise Unfit("has bins that cannot be drawn")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one subject's values, A, differ from those in a snapshot, B.

    NaN at the same place in both, or the same infinity, is no difference; where only one has them it is infinite.
    """

    subject: SubjectKey
    count: Count = 0
    differing: Count = 0
    """How many of the `count` elements are not the same."""
    absolute: float = 0.0
    """The largest |A - B|."""
    relative: float = 0.0
    """The largest |A - B| / max(|A|, |B|) of one element: 0 to 2, or infinite."""
    at: Index = ()
    """Where the largest absolute difference is, and the numbers there (of complex ones, their magnitudes)."""
    ours: float = 0.0
    theirs: float = 0.0
    problem: Sentence = ""
    """Why the values cannot be compared, if they cannot; nothing else counts then."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """One for each subject that was asked for, in that order."""

    items: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """The values of a subject cannot be had now; `reason` says why and what to do."""

    subject: SubjectKey
    reason: Sentence
