"""What has to be true of a snapshot's content beyond its fields, which the codec checks: tables that fit together.

Each raises Damaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gradscope.protocol import checks
from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.limits import Unfit
from gradscope.protocol.messages import Report
from gradscope.protocol.messages.edits import EditMade
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS
from gradscope.snapshots.format.damage import Damaged


def check_edits(edits: Sequence[EditMade]) -> None:
    """They are numbered in their order."""
    for number, edit in enumerate(edits):
        if edit.number != number:
            raise Damaged(f"edit {number} has the number {edit.number}")


def check_report(report: Report, *, rows: int, places: int) -> None:
    """A report fits the tables of `rows` subjects and `places` places."""
    try:
        checks.check_report(report, rows=rows, places=places)
        if len(report.histograms) != len(report.subjects):
            raise Unfit(f"has {len(report.histograms)} histograms for {len(report.subjects)} subjects")
    except Unfit as unfit:
        raise Damaged(f"the report of the {report.phase.value} {unfit}") from None


def check_summaries(
    name: str, summaries: FloatArray, histograms: npt.NDArray[np.int32], sampled: IntArray, *, subjects: int
) -> None:
    """Summaries with their histograms are those of so many subjects."""
    for array, shape in (
        (summaries, (subjects, len(COLUMNS))),
        (histograms, (subjects, HISTOGRAM_BINS)),
        (sampled, (subjects,)),
    ):
        if array.shape != shape:
            raise Damaged(f"{name} has an array of the shape {array.shape}; expected {shape}")
    check_counts(name, summaries, histograms, sampled)


def check_counts(name: str, summaries: FloatArray, histograms: npt.NDArray[np.int32], sampled: IntArray) -> None:
    """What counts something is a number that can be counted to."""
    try:
        checks.check_counts(summaries)
        checks.check_samples(histograms, sampled)
    except Unfit as unfit:
        raise Damaged(f"{name} {unfit}") from None
