"""A stop looked at in the history: at which of the recorded steps it would have stopped. Nothing runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.protocol.arrays import IntArray
from gradscope.protocol.failure import BadInput
from gradscope.protocol.stops.evaluation import asks_for_findings, figures_of, kinds_of
from gradscope.protocol.stops.quantities import Figure, Happening, Summary
from gradscope.protocol.stops.recheck import MOST_FOUND, Found, check_recorded, found_in
from gradscope.protocol.stops.tree import Stop
from gradscope.protocol.subjects import COUNT, INF, L2, NAN, SubjectKey, SubjectKind
from gradscope.state.history import History
from gradscope.state.records.block import Block
from gradscope.state.records.curve import Curve

_NOT_RECORDED = {Figure.EPOCH: "the epoch of a step", Figure.BATCH: "the number of a batch in its epoch"}
_MOST_COLUMNS_BACK = 64
"""Where optimizers take turns, a parameter has no gradient in most steps: so far back is looked for the newest before."""


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    found: tuple[Found, ...]
    """In the order of the steps, at most MOST_FOUND."""
    steps: int
    """How many recorded steps were looked at."""
    is_thinned: bool
    """In a long run several steps share a column, of which the newest is looked at: the others may have held too."""


def recheck_history(stop: Stop, history: History) -> Rechecked:
    """Raises BadInput where the history does not tell of what it is about."""
    steps = recorded_steps(stop, history)
    found: list[Found] = []
    looked_at = 0
    for lookup in steps:
        looked_at += 1
        found += found_in(stop, lookup)
        if len(found) >= MOST_FOUND:
            break
    kinds = frozenset() if stop.condition is None else kinds_of(stop.condition)
    is_thinned = any(history.blocks[kind].is_merged for kind in kinds)
    return Rechecked(found=tuple(found[:MOST_FOUND]), steps=looked_at, is_thinned=is_thinned)


def recorded_steps(stop: Stop, history: History) -> Iterator[RecordedStep]:
    """Each recorded step, to be looked at with `protocol.stops.recheck.found_in`: for who has no time for all at once.

    Raises BadInput where the history does not tell of what the stop is about.
    """
    check_recorded(stop)
    condition = stop.condition
    kinds = frozenset() if condition is None else kinds_of(condition)
    for figure in sorted(frozenset() if condition is None else figures_of(condition)):
        if figure in _NOT_RECORDED:
            raise BadInput(
                f"'{stop}' is about {_NOT_RECORDED[figure]}, which is not recorded; expected another quantity"
            )
    if condition is not None and asks_for_findings(condition):
        raise BadInput(f"'{stop}' is about findings, of which the list tells; expected a condition on numbers")
    curves = _Curves(history)
    steps = np.unique(np.concatenate([curves.steps, *(history.blocks[kind].steps for kind in sorted(kinds))]))
    return (RecordedStep(history, curves, int(step)) for step in steps)


class _Curves:
    """The figures of all steps."""

    def __init__(self, history: History) -> None:
        losses: Sequence[Curve] = tuple(history.losses.values()) or (history.every_loss,)
        self.losses = losses
        self.lr, self.scale, self.skipped = history.lr, history.scale, history.skipped
        self.steps: IntArray = np.unique(
            np.concatenate([np.zeros(0, dtype=np.int64), *(curve.steps for curve in losses)])
        )

    def figure(self, figure: Figure, step: int, *, of_step_before: bool) -> float | None:
        match figure:
            case Figure.LOSS:
                return _of_curves(self.losses, step, of_step_before=of_step_before)
            case Figure.LR:
                return _of_curves((self.lr,), step, of_step_before=of_step_before)
            case Figure.SCALE:
                before, after = self.scales(step)
                return before if of_step_before else after
        return None

    def scales(self, step: int) -> tuple[float | None, float | None]:
        """(of its backward, which is recorded; what has become of it in this step, which the next one tells)."""
        at, count = int(np.searchsorted(self.scale.steps, step)), len(self.scale)
        if at >= count or self.scale.steps[at] != step:
            return None, None
        before = float(self.scale.values[at, 0])
        return before, float(self.scale.values[at + 1, 0]) if at + 1 < count else before


def _of_curves(curves: Iterable[Curve], step: int, *, of_step_before: bool) -> float | None:
    """Of the curve that has this step: its number there, or at its point before."""
    for curve in curves:
        at = int(np.searchsorted(curve.steps, step))
        if at < len(curve) and curve.steps[at] == step:
            at -= of_step_before
            return float(np.max(curve.values[at])) if at >= 0 else None
    return None


class RecordedStep:
    """A `Lookup` of one step of the history."""

    def __init__(self, history: History, curves: _Curves, step: int) -> None:
        self._history, self._curves, self._step = history, curves, step
        self._columns: dict[SubjectKind, int | None] = {}

    @property
    def step(self) -> int:
        return self._step

    def summary(self, key: SubjectKey, *, of_step_before: bool = False) -> Summary | None:
        block, column = self._history.blocks[key.kind], self._column(key.kind)
        if column is None:
            return None
        if not of_step_before:
            return block.summary(key, column)
        if block.is_merged:
            return None
        for before in range(column - 1, max(-1, column - 1 - _MOST_COLUMNS_BACK), -1):
            row = block.summary(key, before)
            if row is not None:
                return row
        return None

    def keys(self, kind: SubjectKind) -> Iterable[SubjectKey]:
        block, column = self._history.blocks[kind], self._column(kind)
        if column is None:
            return ()
        is_there = ~np.isnan(block.column(COUNT)[:, column])
        return [block.keys[row] for row in np.flatnonzero(is_there)]

    def figure(self, figure: Figure, *, of_step_before: bool = False) -> float | None:
        if figure is Figure.STEP:
            return float(self._step - of_step_before)
        if figure is Figure.GRAD_NORM:
            return self._grad_norm(of_step_before=of_step_before)
        return self._curves.figure(figure, self._step, of_step_before=of_step_before)

    def happens(self, happening: Happening) -> bool | None:
        if happening is Happening.SKIPPED_STEP:
            return bool(np.isin(self._step, self._curves.skipped.steps))
        before, after = self._curves.scales(self._step)
        return None if before is None or after is None else after < before

    def found(self, id: str) -> Mapping[str, str]:
        return {}

    def _column(self, kind: SubjectKind) -> int | None:
        if kind not in self._columns:
            self._columns[kind] = _column_of(self._history.blocks[kind], self._step)
        return self._columns[kind]

    def _grad_norm(self, *, of_step_before: bool) -> float | None:
        block, column = self._history.blocks[SubjectKind.GRAD], self._column(SubjectKind.GRAD)
        if column is None or (of_step_before and (column == 0 or block.is_merged)):
            return None
        norms, nans, infs, counts = (block.column(of)[:, column - of_step_before] for of in (L2, NAN, INF, COUNT))
        is_there = ~np.isnan(counts)
        if not is_there.any():
            return None
        is_bad = (nans[is_there] > 0).any() or (infs[is_there] > 0).any()
        return math.nan if is_bad else float(np.linalg.norm(norms[is_there].astype(np.float64)))


def _column_of(block: Block, step: int) -> int | None:
    at = int(np.searchsorted(block.steps, step))
    return at if at < len(block.steps) and block.steps[at] == step else None
