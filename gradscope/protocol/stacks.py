"""Reports that wait are sent together: what they all have once, what each has to tell, and their numbers as one array. One
that is too large for a frame goes without its histograms, which are four fifths of it.

Histograms and times go with the newest of each kind of report only: of the others nobody would look at them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np

from gradscope.protocol.messages import InitialParameters, Report, ReportHead, Reports, ReportStack
from gradscope.protocol.subjects import HISTOGRAM_BINS

STACK_BYTES = 512 * 1024
"""Of one message, nearly: the app takes it in within a few milliseconds."""
STACK_REPORTS = 200
_NUMBER_BYTES = 25
"""Of a number in a header, at most."""
_HEAD = tuple(field.name for field in fields(ReportHead))
_NO_NUMBERS = np.zeros(0, dtype=np.int64)
_Kind = tuple[object, ...]
_Summaries = TypeVar("_Summaries", bound=Report | InitialParameters)


def stacked(reports: Sequence[Report]) -> list[Report | Reports]:
    """Those that are followed by another of their kind together, in order; the newest of each kind, and what was not
    completed, as they are."""
    told: list[Report | Reports] = []
    waiting: list[Report] = []
    size = 0
    newest = {_kind_of(report): i for i, report in enumerate(reports)}
    for i, report in enumerate(reports):
        is_whole = newest[_kind_of(report)] == i or not report.complete
        if waiting and (is_whole or size > STACK_BYTES or len(waiting) == STACK_REPORTS):
            told.append(_joined(waiting))
            waiting, size = [], 0
        if is_whole:
            told.append(report)
        else:
            waiting.append(report)
            size += report.summaries.nbytes + _NUMBER_BYTES * (len(report.lr) + len(report.momentum))
    if waiting:
        told.append(_joined(waiting))
    return told


def unstacked(reports: Reports) -> Iterator[Report]:
    """One after the other, in the order of time, without what was left out. The arrays are views."""
    taken = [0] * len(reports.stacks)
    for head, number in zip(reports.heads, reports.numbers.tolist(), strict=True):
        stack, place = reports.stacks[number], taken[number]
        taken[number] += 1
        yield Report(
            **{name: getattr(head, name) for name in _HEAD},
            phase=stack.phase,
            subjects=stack.subjects,
            summaries=stack.summaries[place],
            histograms=np.zeros((0, HISTOGRAM_BINS), dtype=np.int32),
            sampled=_NO_NUMBERS,
            places=_NO_NUMBERS,
            times=np.zeros((0, 3)),
        )


def _kind_of(report: Report) -> _Kind:
    return report.phase, report.optimizer, report.subjects.tobytes()


def _joined(reports: list[Report]) -> Reports:
    kinds: dict[_Kind, list[Report]] = {}
    numbers = []
    for report in reports:
        kind = _kind_of(report)
        kinds.setdefault(kind, []).append(report)
        numbers.append(list(kinds).index(kind))
    return Reports(
        heads=tuple(ReportHead(**{name: getattr(report, name) for name in _HEAD}) for report in reports),
        numbers=np.array(numbers, dtype=np.int64),
        stacks=tuple(
            ReportStack(
                phase=same[0].phase,
                subjects=same[0].subjects,
                summaries=np.stack([report.summaries for report in same]),
            )
            for same in kinds.values()
        ),
    )


def without_histograms(message: _Summaries) -> _Summaries:
    """All else that it tells."""
    return replace(
        message,
        histograms=np.zeros((0, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.zeros(len(message.subjects), dtype=np.int64),
    )


def with_histograms(message: _Summaries) -> _Summaries:
    """Where they were left out, one that has looked at nothing for each subject, shape (n, HISTOGRAM_BINS): they are all the
    same memory, and cannot be written to. Otherwise the message itself."""
    count = len(message.subjects)
    if len(message.histograms) == count:
        return message
    nothing = np.zeros((1, HISTOGRAM_BINS), dtype=np.int32)
    return replace(message, histograms=np.broadcast_to(nothing, (count, HISTOGRAM_BINS)))
