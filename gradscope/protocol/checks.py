"""What the fields of a message have to be to each other. Used by the messages themselves, and for what a snapshot holds.

Everything raises Unfit.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.limits import MAX_COUNT, Unfit
from gradscope.protocol.subjects import MIN, ZERO


class _InTables(Protocol):
    """A report, as far as it refers to tables."""

    @property
    def subjects(self) -> IntArray: ...

    @property
    def places(self) -> IntArray: ...


def check_counts(summaries: FloatArray) -> None:
    """What counts something is a number that can be counted to; shape (..., len(COLUMNS))."""
    counts = summaries[..., :MIN]
    fits = (counts >= 0) & (counts <= MAX_COUNT)
    # Where only norms were captured, zeros were not counted.
    fits[..., ZERO] |= np.isnan(counts[..., ZERO])
    if not fits.all():
        raise Unfit("counts something that cannot be counted")


def check_samples(histograms: npt.NDArray[np.int32], sampled: IntArray) -> None:
    """The same for histograms, shape (n, bins) or (0, bins), and how many elements they looked at, shape (n,)."""
    if len(histograms) not in (0, len(sampled)):
        raise Unfit(f"has {len(histograms)} histograms for {len(sampled)} subjects")
    if histograms.min(initial=0) < 0 or sampled.min(initial=0) < 0:
        raise Unfit("counts something that cannot be counted")


def check_numbers(numbers: IntArray, rows: int, what: str) -> None:
    """The numbers of rows of a table, shape (n,), which has so many rows."""
    if numbers.size and (numbers.min() < 0 or numbers.max() >= rows):
        raise Unfit(f"refers to a {what} that is not there")


def check_report(report: _InTables, *, rows: int, places: int) -> None:
    """What a report refers to is in the tables of `rows` subjects and `places` places."""
    check_numbers(report.subjects, rows, "subject")
    check_numbers(report.places, places, "place")
