"""Every summary seen so far, by subject and step. Lives in the app process; bounded in memory.

For each kind of subject one block of numbers (column of COLUMNS, subject, step). When a block has `max_steps` columns,
neighbours are merged, and from then on each column takes twice as many steps: the newest values, the greatest count of
NaN and Inf. So a long run keeps its whole length, evenly, and never loses a non-finite step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages import InitialParameters, Report
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, INF, L2, NAN, SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.saved_history import SavedBlock, SavedHistory, SavedLatest
from gradscope.state.histograms import HistogramHistory
from gradscope.state.kept_numbers import as_kept
from gradscope.state.step_curves import StepCurves

MAX_STEPS = 1500


@dataclass(frozen=True, kw_only=True)
class Latest:
    """The newest summary of one subject."""

    row: SubjectRow
    step: int
    phase: Phase | None
    """None: from before the first step."""
    summary: FloatArray
    """Shape (len(COLUMNS),)."""
    histogram: npt.NDArray[np.int32]
    """Shape (HISTOGRAM_BINS,)."""
    sampled: int


class Block:
    """The summaries of all subjects of one kind. `values` has shape (len(COLUMNS), subjects, steps), NaN where unseen."""

    def __init__(self, *, max_steps: int = MAX_STEPS) -> None:
        self.keys: list[SubjectKey] = []
        self._index: dict[SubjectKey, int] = {}
        self._max_steps = max_steps
        self._steps = np.zeros(0, dtype=np.int64)
        self._data = np.zeros((len(COLUMNS), 0, 0), dtype=np.float32)
        self._used = 0
        self._stride = 1
        """Steps that one column takes."""
        self._in_last = 0

    @property
    def steps(self) -> IntArray:
        """The newest step of each column."""
        return self._steps[: self._used]

    def column(self, column: int) -> npt.NDArray[np.float32]:
        """One summary column, shape (subjects, steps). A view: do not change it."""
        return self._data[column, : len(self.keys), : self._used]

    def series(self, key: SubjectKey, column: int) -> npt.NDArray[np.float32]:
        """One subject's column, shape (steps,); all NaN for an unknown subject."""
        index = self._index.get(key)
        if index is None:
            return np.full(self._used, np.nan, dtype=np.float32)
        return self._data[column, index, : self._used]

    def index_of(self, key: SubjectKey) -> int | None:
        return self._index.get(key)

    def add(self, step: int, keys: list[SubjectKey], summaries: FloatArray) -> list[int]:
        """Take in the summaries (len(keys), len(COLUMNS)) of a step; one that comes again replaces what was there.

        Returns the numbers of the subjects, which are their places in `keys`.
        """
        for key in keys:
            if key not in self._index:
                self._index[key] = len(self.keys)
                self.keys.append(key)
        if self._used == 0 or self._steps[self._used - 1] != step:
            self._make_room()
        self._grow()
        last = self._used - 1
        self._steps[last] = step
        rows = [self._index[key] for key in keys]
        kept = as_kept(summaries).T
        if self._stride > 1:
            earlier = self._data[[NAN, INF]][:, rows, last]
            self._data[:, rows, last] = kept
            self._data[np.ix_([NAN, INF], rows, [last])] = np.fmax(earlier, kept[[NAN, INF]])[:, :, None]
        else:
            self._data[:, rows, last] = kept
        return rows

    def cut(self, step: int) -> None:
        """Forget the columns from `step` on. A subject keeps its number."""
        self._used = int(np.searchsorted(self.steps, step))
        self._data[:, :, self._used :] = np.nan
        self._in_last = self._stride

    def saved(self) -> SavedBlock:
        """A copy, for a snapshot."""
        return SavedBlock(
            keys=tuple(self.keys),
            steps=self.steps.copy(),
            values=self._data[:, : len(self.keys), : self._used].copy(),
            stride=self._stride,
            in_last=self._in_last,
        )

    @classmethod
    def restored(cls, saved: SavedBlock) -> Block:
        """The reverse; it can be added to."""
        block = cls(max_steps=max(MAX_STEPS, len(saved.steps)))
        block.keys = list(saved.keys)
        block._index = {key: i for i, key in enumerate(saved.keys)}
        block._steps, block._data = saved.steps.copy(), saved.values.copy()
        block._used = len(saved.steps)
        block._stride, block._in_last = saved.stride, saved.in_last
        return block

    def _make_room(self) -> None:
        """A new step: it goes into the last column while that takes more, else into a new one."""
        if self._used and self._in_last < self._stride:
            self._in_last += 1
            return
        if self._used == self._max_steps:
            self._halve()
            if self._in_last < self._stride:
                self._in_last += 1
                return
        self._used += 1
        self._in_last = 1

    def _grow(self) -> None:
        _, rows, steps = self._data.shape
        if len(self.keys) <= rows and self._used <= steps:
            return
        new_rows = max(len(self.keys), rows)
        new_steps = steps if self._used <= steps else min(max(64, 2 * steps), self._max_steps)
        data = np.full((len(COLUMNS), new_rows, new_steps), np.nan, dtype=np.float32)
        data[:, :rows, :steps] = self._data
        self._data = data
        self._steps = np.concatenate([self._steps, np.zeros(new_steps - len(self._steps), dtype=np.int64)])

    def _halve(self) -> None:
        pairs = self._used // 2
        earlier, later = self._data[:, :, : 2 * pairs : 2], self._data[:, :, 1 : 2 * pairs : 2]
        merged = np.where(np.isnan(later), earlier, later)
        for column in (NAN, INF):
            merged[column] = np.fmax(earlier[column], later[column])
        rest = self._data[:, :, 2 * pairs : self._used].copy()
        steps = np.concatenate([self._steps[1 : 2 * pairs : 2], self._steps[2 * pairs : self._used]])
        # An odd column at the end is half full by the new measure.
        self._in_last = self._stride if rest.shape[2] else 2 * self._stride
        self._stride *= 2
        self._used = len(steps)
        self._data[:] = np.nan
        self._data[:, :, :pairs] = merged
        self._data[:, :, pairs : self._used] = rest
        self._steps[: self._used] = steps


class History(StepCurves):
    """Blocks and histograms by kind, the curves of the steps, and the newest summary of every subject."""

    def __init__(self, *, max_steps: int = MAX_STEPS) -> None:
        super().__init__()
        self.rows: list[SubjectRow] = []
        self.blocks: dict[SubjectKind, Block] = {kind: Block(max_steps=max_steps) for kind in SubjectKind}
        self.histograms: dict[SubjectKind, HistogramHistory] = {kind: HistogramHistory() for kind in SubjectKind}
        self._latest: dict[SubjectKey, Latest] = {}

    def latest(self, key: SubjectKey) -> Latest | None:
        return self._latest.get(key)

    def newest(self) -> list[Latest]:
        """The newest summary of every subject."""
        return list(self._latest.values())

    def subjects(self, kind: SubjectKind) -> list[SubjectKey]:
        """All subjects of a kind, in the order in which they were first seen."""
        return self.blocks[kind].keys

    def add_report(self, report: Report, *, clip_norm: float | None = None) -> None:
        """Take in a report; `clip_norm` is the threshold that its step was clipped by."""
        self.add_step(report, clip_norm=clip_norm)
        self._add(report, report.step, report.phase)

    def cut(self, step: int) -> None:
        """Forget the steps from `step` on, and the newest summaries, which are of weights that are there no more."""
        super().cut(step)
        for block in self.blocks.values():
            block.cut(step)
        for histograms in self.histograms.values():
            histograms.cut(step)
        self._latest.clear()

    def undo_step(self, report: Report) -> None:
        """Forget what a step has told that was broken off and undone."""
        self.cut_step(report.step)
        keys = [self.rows[number].key for number in report.subjects.tolist()]
        for kind in {key.kind for key in keys}:
            self.blocks[kind].cut(report.step)
            self.histograms[kind].cut(report.step)
        for key in keys:
            self._latest.pop(key, None)

    def add_initial(self, initial: InitialParameters, *, step: int = 0) -> None:
        """The parameters as they are before step `step`."""
        for position, row_number in enumerate(initial.subjects.tolist()):
            row = self.rows[row_number]
            self._latest[row.key] = Latest(
                row=row,
                step=step,
                phase=None,
                summary=initial.summaries[position],
                histogram=initial.histograms[position],
                sampled=int(initial.sampled[position]),
            )

    def update_ratio(self) -> tuple[list[SubjectKey], IntArray, npt.NDArray[np.float32]]:
        """||update|| / ||parameter||, both of the same step: (update subjects, steps, ratios (subjects, steps)).

        NaN where a norm is unknown or the parameter is all zero.
        """
        updates, parameters = self.blocks[SubjectKind.UPDATE], self.blocks[SubjectKind.PARAMETER]
        ratios = np.full((len(updates.keys), len(updates.steps)), np.nan, dtype=np.float32)
        if len(updates.steps) != len(parameters.steps):
            return updates.keys, updates.steps, ratios
        norms = updates.column(L2)
        with np.errstate(all="ignore"):
            for i, key in enumerate(updates.keys):
                size = parameters.series(SubjectKey(SubjectKind.PARAMETER, key.name), L2)
                ratios[i] = np.where(size > 0, norms[i] / size, np.nan)
        return updates.keys, updates.steps, ratios

    def saved(self) -> SavedHistory:
        """A copy of everything, for a snapshot."""
        latest = list(self._latest.values())
        count = len(latest)
        return SavedHistory(
            blocks={kind: block.saved() for kind, block in self.blocks.items() if block.keys},
            histograms={kind: self.histograms[kind].saved() for kind, block in self.blocks.items() if block.keys},
            curves=self.saved_curves(),
            clip_parameters=tuple(self.clip_parameters),
            skipped_steps=self.skipped_steps,
            latest=SavedLatest(
                rows=tuple(item.row for item in latest),
                phases=tuple(item.phase for item in latest),
                steps=np.array([item.step for item in latest], dtype=np.int64),
                summaries=np.array([item.summary for item in latest], dtype=np.float64).reshape(count, len(COLUMNS)),
                histograms=np.array([item.histogram for item in latest], dtype=np.int32).reshape(count, HISTOGRAM_BINS),
                sampled=np.array([item.sampled for item in latest], dtype=np.int64),
            ),
        )

    @classmethod
    def restored(cls, saved: SavedHistory, rows: Iterable[SubjectRow] = ()) -> History:
        """The reverse. `rows` is the subject table that the snapshot's reports refer to by number."""
        history = cls()
        history.rows = list(rows)
        history.blocks |= {kind: Block.restored(block) for kind, block in saved.blocks.items()}
        history.histograms |= {kind: HistogramHistory.restored(one) for kind, one in saved.histograms.items()}
        history.restore_curves(saved)
        latest = saved.latest
        for i, (row, phase) in enumerate(zip(latest.rows, latest.phases, strict=True)):
            history._latest[row.key] = Latest(
                row=row,
                step=int(latest.steps[i]),
                phase=phase,
                summary=latest.summaries[i],
                histogram=latest.histograms[i],
                sampled=int(latest.sampled[i]),
            )
        return history

    def _add(self, report: Report, step: int, phase: Phase) -> None:
        by_kind: dict[SubjectKind, list[int]] = {}
        for position, row_number in enumerate(report.subjects.tolist()):
            row = self.rows[row_number]
            by_kind.setdefault(row.key.kind, []).append(position)
            self._latest[row.key] = Latest(
                row=row,
                step=step,
                phase=phase,
                summary=report.summaries[position],
                histogram=report.histograms[position],
                sampled=int(report.sampled[position]),
            )
        for kind, positions in by_kind.items():
            keys = [self.rows[int(report.subjects[position])].key for position in positions]
            rows = self.blocks[kind].add(step, keys, report.summaries[positions])
            self.histograms[kind].add(report, positions, rows)
