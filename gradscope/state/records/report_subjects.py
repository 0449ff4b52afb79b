"""What a report is about, worked out once: reports of one kind have the same subjects step after step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from operator import attrgetter

import numpy as np

from gradscope.protocol.arrays import IntArray
from gradscope.protocol.subjects import SubjectKey, SubjectKind, SubjectRow

MAX_KINDS = 32
"""Kinds of reports that are remembered: phases, optimizers that take turns, forms of a batch."""


@dataclass(frozen=True, eq=False)
class Part:
    """The subjects of one kind in a report."""

    positions: IntArray
    """Where they stand in it, shape (n,)."""
    keys: tuple[SubjectKey, ...]


@dataclass(frozen=True, eq=False)
class ReportSubjects:
    """One of these is the same for two reports where it is the same object."""

    numbers: IntArray
    """Row numbers in the subject table, shape (n,)."""
    table: Sequence[SubjectRow]

    def row(self, position: int) -> SubjectRow:
        return self.table[int(self.numbers[position])]

    @cached_property
    def keys(self) -> tuple[SubjectKey, ...]:
        return tuple(self.table[number].key for number in self.numbers.tolist())

    @cached_property
    def parts(self) -> Mapping[SubjectKind, Part]:
        """By kind, in the order in which the kinds first appear."""
        runs: dict[SubjectKind, list[slice]] = {}
        start = 0
        # Of a hundred thousand subjects nearly all have the kind of the one before them.
        for kind, run in groupby(self.keys, key=attrgetter("kind")):
            end = start + sum(1 for _ in run)
            runs.setdefault(kind, []).append(slice(start, end))
            start = end
        return {kind: self._part(own) for kind, own in runs.items()}

    def _part(self, runs: Sequence[slice]) -> Part:
        positions = np.concatenate([np.arange(run.start, run.stop) for run in runs])
        return Part(positions, tuple(chain.from_iterable(self.keys[run] for run in runs)))


class KnownSubjects:
    """The subjects of the newest kinds of reports. A row of the table that they refer to is always of the same subject."""

    def __init__(self) -> None:
        self._known: list[ReportSubjects] = []
        """The newest last."""

    def of(self, numbers: IntArray, table: Sequence[SubjectRow]) -> ReportSubjects:
        """Of a report with these row numbers, shape (n,), in the subject table."""
        for place, known in enumerate(self._known):
            if known.numbers is numbers or np.array_equal(known.numbers, numbers):
                if place < len(self._known) - 1:
                    self._known.append(self._known.pop(place))
                return known
        # A copy: what is compared with later reports must not change.
        found = ReportSubjects(numbers.copy(), table)
        self._known = [*self._known[1 - MAX_KINDS :], found]
        return found
