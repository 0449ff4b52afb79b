"""What types do not say of a snapshot's content: numbers in range, tables that fit together. Each raises Damaged."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.edits import EditMade
from gradscope.protocol.messages import Report, SessionInfo, Validated
from gradscope.protocol.phases import Position
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, MIN, ZERO, SubjectRow
from gradscope.snapshots.damage import Damaged

MAX_DEPTH = 200
"""Levels of modules inside modules."""
MAX_GROUPS = 4096
_MAX_COUNT = 2**53
_MAX_SIDE = 2**62


def check_session(session: SessionInfo) -> None:
    for name in [module.name for module in session.modules] + [parameter.name for parameter in session.parameters]:
        _check_depth(name)
    for parameter in session.parameters:
        _check_shape(parameter.name, parameter.shape)
        if parameter.group is not None and not 0 <= parameter.group < len(session.groups):
            raise Damaged(f"the parameter {parameter.name!r:.80} cannot be in group {parameter.group}")
    _check_counts("batches_per_epoch", [session.batches_per_epoch or 0])


def check_position(position: Position) -> None:
    moment = position.moment
    counts = [position.step, position.epoch, position.batch, position.batches_per_epoch or 0]
    _check_counts("the position", counts + ([moment.step, moment.call] if moment is not None else []))


def check_validations(validations: Iterable[Validated]) -> None:
    for validation in validations:
        # -1: before the first step.
        _check_counts("a validation", [validation.step + 1, validation.epoch, validation.batches, validation.samples])


def check_edits(edits: Iterable[EditMade]) -> None:
    for edit in edits:
        _check_counts("an edit", [edit.number, edit.step, edit.undone_at or 0])


def check_rows(rows: Iterable[SubjectRow]) -> None:
    for row in rows:
        _check_depth(row.key.name)
        _check_shape(row.key.name, row.shape)
        _check_counts("a call", [row.key.call])


def check_report(report: Report, *, rows: int, places: int) -> None:
    """A report fits the tables of `rows` subjects and `places` places."""
    name = f"the report of the {report.phase.value}"
    _check_counts(name, [report.step, report.epoch, report.batch])
    if len(report.lr) > MAX_GROUPS:
        raise Damaged(f"{name} has {len(report.lr)} learning rates; at most {MAX_GROUPS} are read")
    for numbers, limit, what in ((report.subjects, rows, "subject"), (report.places, places, "place")):
        if numbers.ndim != 1 or ((numbers < 0) | (numbers >= limit)).any():
            raise Damaged(f"{name} refers to a {what} that is not there")
    check_summaries(name, report.summaries, report.histograms, report.sampled, subjects=len(report.subjects))
    if report.times.shape != (len(report.places), 3):
        raise Damaged(f"{name} has {report.times.shape} times for {len(report.places)} places")


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
    counts = summaries[:, :MIN].copy()
    # Where only norms were captured, zeros were not counted.
    counts[np.isnan(counts[:, ZERO]), ZERO] = 0
    if not ((counts >= 0) & (counts < _MAX_COUNT)).all() or (histograms < 0).any() or (sampled < 0).any():
        raise Damaged(f"{name} counts something that cannot be counted")


def _check_counts(name: str, numbers: Iterable[int]) -> None:
    for number in numbers:
        if not 0 <= number < _MAX_COUNT:
            raise Damaged(f"{name} cannot be {number}")


def _check_depth(name: str) -> None:
    if name.count(".") > MAX_DEPTH:
        raise Damaged(f"{name!r:.80} is more than {MAX_DEPTH} levels deep")


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    # -1: a ragged side of a nested tensor.
    if any(side < -1 for side in shape) or abs(math.prod(shape)) >= _MAX_SIDE:
        raise Damaged(f"{name!r:.80} cannot have the shape {shape!r:.80}")
