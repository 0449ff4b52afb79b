"""What is shown (A) against a snapshot (B), subject by subject: which are compared, which are next, what was found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum, auto
from functools import cached_property

from gradscope.protocol.messages import Difference
from gradscope.protocol.subjects import COUNT, SubjectKey
from gradscope.state.app_state import AppState
from gradscope.state.engine import Origin
from gradscope.state.records.newest import Latest

BATCH_ELEMENTS = 1 << 21
BATCH_SUBJECTS = 64
"""What is compared at once: the rest can be cancelled, and other questions get their turn."""


class Verdict(IntEnum):
    """In the order in which a person wants to see them."""

    OTHER_SHAPE = auto()
    DIFFERENT = auto()
    OTHER_DTYPE = auto()
    """The same numbers in another type."""
    ONLY_OURS = auto()
    ONLY_THEIRS = auto()
    UNKNOWN = auto()
    """The values of one side cannot be had."""
    WAITING = auto()
    IDENTICAL = auto()


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two that are compared."""

    name: str
    step: int
    """The newest that there are numbers of."""
    snapshot: Origin | None
    """None: the session, now."""

    @staticmethod
    def of(state: AppState) -> Side:
        name = state.session.name if state.session is not None else ""
        # The step whose numbers are shown; the position is at the next one already when a step is done.
        step = max((report.step for report in state.reports.values()), default=state.position.step)
        return Side(name=name, step=step, snapshot=state.snapshot)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One subject. A side that does not have it is None."""

    key: SubjectKey
    ours: Latest | None
    theirs: Latest | None
    difference: Difference | None = None
    """None: not compared yet, or there is nothing to compare."""

    @cached_property
    def verdict(self) -> Verdict:
        if self.theirs is None:
            return Verdict.ONLY_OURS
        if self.ours is None:
            return Verdict.ONLY_THEIRS
        if self.ours.row.shape != self.theirs.row.shape:
            return Verdict.OTHER_SHAPE
        if self.difference is None:
            return Verdict.WAITING
        if self.difference.problem:
            return Verdict.UNKNOWN
        if self.difference.differing:
            return Verdict.DIFFERENT
        return Verdict.IDENTICAL if self.ours.row.dtype == self.theirs.row.dtype else Verdict.OTHER_DTYPE

    @property
    def absolute(self) -> float:
        """The largest |A - B|; NaN where nothing has been compared."""
        return self._known(self.difference.absolute if self.difference else math.nan)

    @property
    def relative(self) -> float:
        return self._known(self.difference.relative if self.difference else math.nan)

    def _known(self, number: float) -> float:
        return math.nan if self.difference is None or self.difference.problem else number


class Comparison:
    """Filled bit by bit: ask for `next_batch`, and `add` what comes back."""

    def __init__(self, ours: AppState, theirs: AppState) -> None:
        self.ours, self.theirs = Side.of(ours), Side.of(theirs)
        self.path = theirs.snapshot.path if theirs.snapshot is not None else ""
        self.is_stale = False
        """What is shown has moved on: A is no longer what has been compared."""
        self._moment = moment_of(ours)
        their_latest = {latest.row.key: latest for latest in theirs.history.newest()}
        rows = [
            Row(key=latest.row.key, ours=latest, theirs=their_latest.pop(latest.row.key, None))
            for latest in ours.history.newest()
        ]
        rows += [Row(key=key, ours=None, theirs=latest) for key, latest in their_latest.items()]
        self._rows = {row.key: row for row in rows}
        self._next = [row for row in reversed(rows) if row.verdict is Verdict.WAITING]
        self._waiting = len(self._next)

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def row(self, key: SubjectKey) -> Row | None:
        return self._rows.get(key)

    @property
    def to_compare(self) -> int:
        """How many subjects still wait for an answer."""
        return self._waiting

    def verdicts(self) -> Counter[Verdict]:
        return Counter(row.verdict for row in self._rows.values())

    def is_of(self, state: AppState) -> bool:
        """Whether a state still is what A was."""
        return moment_of(state) == self._moment

    def next_batch(self) -> tuple[SubjectKey, ...]:
        """The subjects to ask for next; none when all have been asked for."""
        keys: list[SubjectKey] = []
        elements = 0.0
        while self._next and len(keys) < BATCH_SUBJECTS:
            latest = self._next[-1].ours
            assert latest is not None
            elements += latest.summary[COUNT]
            if keys and elements > BATCH_ELEMENTS:
                break
            keys.append(self._next.pop().key)
        return tuple(keys)

    def add(self, differences: Iterable[Difference]) -> None:
        for difference in differences:
            row = self._rows.get(difference.subject)
            if row is not None and row.verdict is Verdict.WAITING:
                self._rows[difference.subject] = replace(row, difference=difference)
                self._waiting -= 1


def moment_of(state: AppState) -> object:
    """Changes whenever the values that a state can be asked for may have changed."""
    return id(state), id(state.history), state.position
