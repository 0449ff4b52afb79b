"""The step that the window shows, and what was recorded of it: the one place where views ask for numbers of a moment.

While no step is chosen, that is the newest of everything. Of an earlier step the newest reports are there as they came; of
those before them the numbers of the history, which may be of several steps, and some histograms. What was not recorded is
None, never the newest in its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages import Opened, Report
from gradscope.protocol.messages.checkpoints import CheckpointLoaded
from gradscope.protocol.messages.timeline import WentTo
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, COUNT, HISTOGRAM_BINS, INF, NAN, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.history import History
from gradscope.state.log import Log
from gradscope.state.records.curve import Curve
from gradscope.state.records.newest import Latest
from gradscope.state.topics import Topic

PHASE_OF_KIND = {
    SubjectKind.ACTIVATION: Phase.FORWARD,
    SubjectKind.ACTIVATION_GRAD: Phase.BACKWARD,
    SubjectKind.GRAD: Phase.BACKWARD,
    SubjectKind.PARAMETER: Phase.STEP,
    SubjectKind.UPDATE: Phase.STEP,
    SubjectKind.CLIPPED_GRAD: Phase.STEP,
    SubjectKind.OPTIMIZER_STATE: Phase.STEP,
    SubjectKind.BUFFER: Phase.FORWARD,
}
"""In which the numbers of a kind are told; of buffers also later, where they have moved."""


@dataclass(frozen=True, kw_only=True)
class Recorded(Latest):
    """The summary of a subject in an earlier step."""

    first_step: int
    """Where it is less than `step`, the history keeps these steps together: the newest numbers, but NaN, Inf, least and
    greatest of all of them."""
    has_histogram: bool
    """Otherwise `histogram` is empty, since none was kept."""


class Known(Protocol):
    """What the app knows, as far as steps are concerned."""

    @property
    def history(self) -> History: ...

    @property
    def reports(self) -> dict[Phase, Report]: ...

    def touch(self, *topics: Topic) -> None: ...


class ShownStep:
    """Of one session. It takes the history as it is when it is asked."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._wanted: int | None = None
        self._told: tuple[tuple[object, ...], dict[SubjectKey, tuple[Report, int]]] = ((), {})
        self._forms: tuple[tuple[int, int], dict[SubjectKey, list[SubjectRow]]] = ((0, 0), {})

    def hear(self, message: object, _log: Log) -> Iterable[Topic]:
        """See `Part`: where other weights come, what was looked at is of others."""
        if isinstance(message, (Opened, CheckpointLoaded, WentTo)) and self._wanted is not None:
            self._wanted = None
            return (Topic.SHOWN,)
        return ()

    # ------------------------------------------------------------------------------------------ which step

    @property
    def step(self) -> int | None:
        """The earlier step that is shown; None: the newest of everything."""
        return self._wanted if self._wanted is not None and self._wanted < self.newest else None

    @property
    def newest(self) -> int:
        """The newest step of which anything is recorded; -1 for none."""
        history = self._known.history
        ends = [int(steps[-1]) for steps in _all_steps(history) if len(steps)]
        return max(ends, default=-1)

    @property
    def oldest(self) -> int:
        """The oldest step of which anything is recorded; -1 for none."""
        history = self._known.history
        firsts = [block.first_step(0) for block in history.blocks.values() if len(block.steps)]
        return min([*firsts, *(int(step) for step in history.loss.steps[:1])], default=-1)

    @property
    def steps(self) -> IntArray:
        """The steps that can be shown, in their order. Of those that the history keeps together, only the newest."""
        history = self._known.history
        blocks = [block for block in history.blocks.values() if len(block.steps)]
        kept = np.fromiter(history.kept, dtype=np.int64)
        losses = history.loss.steps
        merged = [block for block in blocks if block.is_merged]
        if merged:
            first = min(block.first_step(0) for block in merged)
            last = max(int(block.steps[-1]) for block in merged)
            losses = losses[(losses < first) | (losses > last)]
        return np.unique(np.concatenate([kept, losses, *(block.steps for block in blocks)]))

    def show(self, step: int | None) -> None:
        """Look at the recorded step that is nearest to this one; at the newest of everything where that is the newest."""
        before = self.step
        near = None if step is None else self._nearest(step)
        # Whoever comes to the newest goes on with it: as a number it would stay behind as soon as the next step is made.
        self._wanted = None if near is None or near >= self.newest else near
        if self.step != before:
            self._known.touch(Topic.SHOWN)

    def neighbour(self, move: int) -> int | None:
        """The recorded step before (-1) the one that is shown, or after it (+1); None where there is none."""
        steps, now = self.steps, self.newest if self.step is None else self.step
        at = int(np.searchsorted(steps, now)) + move
        return int(steps[at]) if 0 <= at < len(steps) and now >= 0 else None

    def _nearest(self, step: int) -> int | None:
        steps = self.steps
        if not len(steps):
            return None
        at = int(np.searchsorted(steps, step))
        near = steps[max(0, at - 1) : at + 1]
        return int(near[np.argmin(np.abs(near - step))])

    # ------------------------------------------------------------------------------------------ what is known of it

    @property
    def reports(self) -> Mapping[Phase, Report]:
        """The reports that were kept of the step, or the newest of each phase."""
        return self._known.reports if self.step is None else self._known.history.kept.of(self.step)

    def latest(self, key: SubjectKey) -> Latest | None:
        """The summary of a subject in the step, or its newest one; None where none was recorded."""
        step, history = self.step, self._known.history
        if step is None:
            return history.latest(key)
        told = self._reported(step).get(key)
        return self._of_block(key, step) if told is None else _of_report(history.rows, *told)

    def column(self, kind: SubjectKind) -> int | None:
        """Where a block has the numbers of the step; None where it has not, or only together with those of later ones."""
        steps, step = self._known.history.blocks[kind].steps, self.step
        if step is None:
            return len(steps) - 1 if len(steps) else None
        at = int(np.searchsorted(steps, step))
        return at if at < len(steps) and steps[at] == step else None

    def summaries(self, kind: SubjectKind) -> FloatArray | None:
        """The summaries of all subjects of a kind, in the order of its block, shape (subjects, len(COLUMNS)); NaN for those
        that the step has nothing of. None where it has nothing of any."""
        history, step, column = self._known.history, self.step, self.column(kind)
        block = history.blocks[kind]
        told = {} if step is None else self._reported(step)
        rows = {block.index_of(key): place for key, place in told.items() if key.kind is kind}
        if column is None and not rows:
            return None
        found = np.full((len(block.keys), len(COLUMNS)), np.nan)
        if column is not None:
            found[:] = np.stack([block.column(of)[:, column] for of in range(len(COLUMNS))], axis=1)
        for row, (report, position) in rows.items():
            if row is not None:
                # As it came, where the history keeps it together with others or less exactly.
                found[row] = report.summaries[position]
        return found

    def together(self, kind: SubjectKind) -> tuple[int, int] | None:
        """The first and the last of the steps that the history keeps together, where the step is one of several."""
        block, step = self._known.history.blocks[kind], self.step
        at = 0 if step is None else int(np.searchsorted(block.steps, step))
        if step is None or at >= len(block.steps) or not block.first_step(at) <= step:
            return None
        first, last = block.first_step(at), int(block.steps[at])
        return (first, last) if first < last else None

    def span(self) -> tuple[int, int] | None:
        """The first and the last of the steps that the numbers may be of; None where they are of this one only."""
        if self.step is None or self._known.history.kept.of(self.step):
            return None
        spans = [span for kind in SubjectKind if (span := self.together(kind)) is not None]
        return min(spans, default=None)

    def non_finite(self) -> Iterator[SubjectKey]:
        """What held NaN or Inf in the step; nothing where none is chosen."""
        step, history = self.step, self._known.history
        if step is None:
            return
        told = self._reported(step)
        for key, (report, position) in told.items():
            if (report.summaries[position, [NAN, INF]] > 0).any():
                yield key
        for kind, block in history.blocks.items():
            column = self.column(kind)
            if column is not None:
                is_bad = (block.column(NAN)[:, column] > 0) | (block.column(INF)[:, column] > 0)
                yield from (block.keys[row] for row in np.flatnonzero(is_bad) if block.keys[row] not in told)

    def number_of(self, curve: Curve, column: int = 0) -> float | None:
        """What a curve has of the step, or at its end; None where it has nothing."""
        point = self.point_of(curve.steps)
        return None if point is None else float(curve.values[point, column])

    def point_of(self, steps: IntArray) -> int | None:
        """Which point of a curve is of the step, or its last one; None where none is."""
        if self.step is None:
            return len(steps) - 1 if len(steps) else None
        at = int(np.searchsorted(steps, self.step))
        return at if at < len(steps) and steps[at] == self.step else None

    # ------------------------------------------------------------------------------------------ private

    def _reported(self, step: int) -> dict[SubjectKey, tuple[Report, int]]:
        """Every subject of the kept reports of a step, with its place in the last one that has it."""
        history, reports = self._known.history, self._known.history.kept.of(step)
        which = (id(history), step, *map(id, reports.values()))
        if self._told[0] != which:
            rows = history.rows
            told = {
                rows[number].key: (report, position)
                for report in reports.values()
                for position, number in enumerate(report.subjects.tolist())
            }
            self._told = which, told
        return self._told[1]

    def _of_block(self, key: SubjectKey, step: int) -> Recorded | None:
        history, column = self._known.history, self.column(key.kind)
        block = history.blocks[key.kind]
        found = None if column is None else block.summary(key, column)
        if found is None or column is None:
            return None
        summary = _widened(found)
        row = self._row_of(key, summary)
        histogram, sampled, has_histogram = _histogram_of(history, key, step)
        return Recorded(
            row=row,
            step=step,
            phase=PHASE_OF_KIND[key.kind],
            summary=summary,
            histogram=histogram,
            sampled=sampled,
            first_step=block.first_step(column),
            has_histogram=has_histogram,
        )

    def _row_of(self, key: SubjectKey, summary: FloatArray) -> SubjectRow:
        """The form that the subject had: its newest one that has as many elements."""
        history = self._known.history
        which = (id(history), len(history.rows))
        if self._forms[0] != which:
            found: dict[SubjectKey, list[SubjectRow]] = {}
            for row in reversed(history.rows):
                found.setdefault(row.key, []).append(row)
            self._forms = which, found
        newest = history.latest(key)
        forms = self._forms[1].get(key) or ([] if newest is None else [newest.row])
        count = float(summary[COUNT])
        for row in forms:
            # The history holds it as a float32.
            if np.float32(math.prod(row.shape)) == np.float32(count):
                summary[COUNT] = math.prod(row.shape)
                return row
        return SubjectRow(key, (), forms[0].dtype if forms else "", forms[0].note if forms else "")


def _all_steps(history: History) -> list[IntArray]:
    return [*(block.steps for block in history.blocks.values()), history.loss.steps]


def _of_report(rows: list[SubjectRow], report: Report, position: int) -> Recorded:
    sampled = int(report.sampled[position])
    return Recorded(
        row=rows[int(report.subjects[position])],
        step=report.step,
        phase=report.phase,
        summary=report.summaries[position],
        histogram=report.histograms[position],
        sampled=sampled,
        first_step=report.step,
        has_histogram=True,
    )


def _widened(found: np.ndarray) -> FloatArray:
    """As float64, with as many digits as a float32 has: 0.1 and not 0.10000000149."""
    return np.array([float(str(number)) for number in found], dtype=np.float64)


def _histogram_of(history: History, key: SubjectKey, step: int) -> tuple[np.ndarray, int, bool]:
    column, index = history.histograms[key.kind].at(step), history.blocks[key.kind].index_of(key)
    places = np.flatnonzero(column.rows == index) if column is not None and index is not None else np.zeros(0, int)
    if column is None or not len(places):
        return np.zeros(HISTOGRAM_BINS, dtype=np.int32), 0, False
    place = int(places[0])
    return column.counts(place), int(column.sampled[place]), True
