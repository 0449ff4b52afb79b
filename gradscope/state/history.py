"""Every summary seen so far, by subject and step. Lives in the app process; bounded in memory.

For each kind of subject one block of numbers (column of COLUMNS, subject, step). When a block has `max_steps` columns,
neighbours are merged, and from then on each column takes twice as many steps (see `cells`). So a long run keeps its whole
length, evenly, and never loses a step with NaN, Inf or an extreme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages import InitialParameters, Report
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, L2, SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.saved_history import SavedBlock, SavedHistory, SavedLatest
from gradscope.state.cells import LAST_STEP, Cells, Origin
from gradscope.state.histograms import HistogramHistory
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
    """The summaries of all subjects of one kind. A column takes one step, or several neighbours (see `Cells`)."""

    def __init__(self, *, max_steps: int = MAX_STEPS) -> None:
        self.keys: list[SubjectKey] = []
        self._index: dict[SubjectKey, int] = {}
        self._max_steps = max_steps
        self._steps = np.zeros(0, dtype=np.int64)
        self._cells = Cells.unseen(0, 0)
        self._used = 0
        self._stride = 1
        """Steps that one column takes."""
        self._in_last = 0
        self._before: tuple[int, Cells] | None = None
        """The last column without its newest step, where that is not the only one: the newest step of it, and a copy."""

    @property
    def steps(self) -> IntArray:
        """The newest step of each column."""
        return self._steps[: self._used]

    @property
    def is_merged(self) -> bool:
        """Some columns are of several steps."""
        return self._stride > 1

    def first_step(self, column: int) -> int:
        """The first step that a column may be of; its newest is in `steps`."""
        if not self.is_merged:
            return int(self._steps[column])
        return int(self._steps[column - 1]) + 1 if column > 0 else max(0, int(self._steps[0]) - self._stride + 1)

    def column(self, column: int) -> npt.NDArray[np.float32]:
        """One summary column, or a plane behind them, shape (subjects, steps). A view: do not change it."""
        return self._cells.values[column, : len(self.keys), : self._used]

    def series(self, key: SubjectKey, column: int) -> npt.NDArray[np.float32]:
        """One subject's column, shape (steps,); all NaN for an unknown subject."""
        index = self._index.get(key)
        if index is None:
            return np.full(self._used, np.nan, dtype=np.float32)
        return self._cells.values[column, index, : self._used]

    def origins(self, of: Origin) -> npt.NDArray[np.uint32]:
        """At which step of its column something was, shape (subjects, steps). A view: do not change it."""
        return self._cells.origins[of, : len(self.keys), : self._used]

    def index_of(self, key: SubjectKey) -> int | None:
        return self._index.get(key)

    def add(self, step: int, keys: list[SubjectKey], summaries: FloatArray, *, is_part: bool = False) -> list[int]:
        """Take in the summaries (len(keys), len(COLUMNS)) of a step. One that comes again replaces what was there, unless it
        is a further part of the step (a micro-batch).

        Returns the numbers of the subjects, which are their places in `keys`.
        """
        rows = self._rows(keys)
        is_new = self._used == 0 or self._steps[self._used - 1] != step
        if is_new:
            self._make_room()
            last = self._used - 1
            self._before = None if self._in_last == 0 else (int(self._steps[last]), self._column(last))
            self._in_last += 1
        self._grow()
        last = self._used - 1
        self._steps[last] = step
        cells = Cells.of(np.array([step]), summaries[None])
        if is_part:
            cells = self._column(last).subjects(rows).then(cells)
        elif self._before is not None:
            cells = self._before[1].subjects(rows).then(cells)
        elif self._in_last > 1:
            # Which part of the column was the step's own is not known any more.
            cells = self._column(last).subjects(rows).then(cells)
        self._put(rows, slice(last, last + 1), cells)
        return rows

    def add_all(self, steps: IntArray, keys: list[SubjectKey], summaries: FloatArray) -> None:
        """The same for several steps at once, which rise and are all new; `summaries` is (steps, len(keys), len(COLUMNS))."""
        rows = self._rows(keys)
        cells, done = Cells.of(steps, summaries), 0
        # The last by itself: it may come again, or be undone.
        while done < len(steps) - 1:
            self._make_room()
            if self._stride == 1:
                end = min(len(steps) - 1, done + self._max_steps - self._used + 1)
                columns = slice(self._used - 1, self._used - 1 + end - done)
                self._used, self._in_last = columns.stop, 1
                self._grow()
                self._steps[columns] = steps[done:end]
                self._put(rows, columns, cells[done:end])
            else:
                end = min(len(steps) - 1, done + self._stride - self._in_last)
                last = self._used - 1
                self._grow()
                joined = cells[done:end].as_one()
                if self._in_last:
                    joined = self._column(last).subjects(rows).then(joined)
                self._in_last += end - done
                self._steps[last] = steps[end - 1]
                self._put(rows, slice(last, last + 1), joined)
            done = end
        self.add(int(steps[-1]), keys, summaries[-1])

    def cut(self, step: int) -> None:
        """Forget the steps from `step` on, and those that share a column with one of them (but for the newest step, which
        can be taken out). A subject keeps its number."""
        last = self._used - 1
        if self._used and self._before is not None and self._before[0] < step <= self._steps[last]:
            self._steps[last], before = self._before
            self._in_last -= 1
            self._before = None
            self._put(list(range(len(self.keys))), slice(last, last + 1), before.subjects(list(range(len(self.keys)))))
            return
        self._used = int(np.searchsorted(self.steps, step))
        self._cells[self._used :].forget()
        self._in_last = self._stride
        self._before = None

    def saved(self) -> SavedBlock:
        """A copy, for a snapshot."""
        cells = self._cells[: self._used]
        values, origins = cells.values[:, : len(self.keys)], cells.origins[:, : len(self.keys)]
        return SavedBlock(
            keys=tuple(self.keys),
            steps=self.steps.copy(),
            values=values[: len(COLUMNS)].copy(),
            tops=values[len(COLUMNS) :].copy() if self.is_merged else None,
            origins=origins.astype(np.int64) if self.is_merged else None,
            stride=self._stride,
            in_last=self._in_last,
        )

    @classmethod
    def restored(cls, saved: SavedBlock) -> Block:
        """The reverse; it can be added to."""
        block = cls(max_steps=max(MAX_STEPS, len(saved.steps)))
        block.keys = list(saved.keys)
        block._index = {key: i for i, key in enumerate(saved.keys)}
        block._steps = saved.steps.copy()
        block._cells = Cells.of(saved.steps, saved.values.transpose(2, 1, 0))
        if saved.tops is not None:
            block._cells.values[len(COLUMNS) :] = saved.tops
        if saved.origins is not None:
            block._cells.origins[:] = np.clip(saved.origins, 0, LAST_STEP)
        block._used = len(saved.steps)
        block._stride, block._in_last = saved.stride, saved.in_last
        return block

    def _rows(self, keys: list[SubjectKey]) -> list[int]:
        for key in keys:
            if key not in self._index:
                self._index[key] = len(self.keys)
                self.keys.append(key)
        return [self._index[key] for key in keys]

    def _column(self, column: int) -> Cells:
        """A copy."""
        return self._cells[column : column + 1].copy()

    def _put(self, rows: list[int], columns: slice, cells: Cells) -> None:
        self._cells.values[:, rows, columns] = cells.values
        self._cells.origins[:, rows, columns] = cells.origins

    def _make_room(self) -> None:
        """For a new step: in the last column while that takes more, else in a new one, which is empty."""
        if self._used and self._in_last < self._stride:
            return
        if self._used == self._max_steps:
            self._halve()
            if self._in_last < self._stride:
                return
        self._used += 1
        self._in_last = 0

    def _grow(self) -> None:
        _, rows, steps = self._cells.values.shape
        if len(self.keys) <= rows and self._used <= steps:
            return
        new_rows = max(len(self.keys), rows)
        new_steps = steps if self._used <= steps else min(max(64, 2 * steps, self._used), self._max_steps)
        cells = Cells.unseen(new_rows, new_steps)
        cells.values[:, :rows, :steps] = self._cells.values
        cells.origins[:, :rows, :steps] = self._cells.origins
        self._cells = cells
        self._steps = np.concatenate([self._steps, np.zeros(new_steps - len(self._steps), dtype=np.int64)])

    def _halve(self) -> None:
        merged = self._cells[: self._used].in_pairs()
        is_odd = self._used % 2 == 1
        steps = np.append(self.steps[1::2], self.steps[-1:] if is_odd else [])
        # An odd column at the end is half full by the new measure.
        self._in_last = self._stride if is_odd else 2 * self._stride
        self._stride *= 2
        self._used = len(steps)
        self._cells.forget()
        self._cells.values[:, :, : self._used], self._cells.origins[:, :, : self._used] = merged.values, merged.origins
        self._steps[: self._used] = steps
        self._before = None


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

    def add_reports(self, reports: Sequence[Report], *, clip_norm: float | None = None) -> None:
        """Take in earlier reports, in the order of time: the newest summaries and histograms are not theirs."""
        runs: dict[SubjectKind, _Run] = {}
        # Reports that came together have the same array.
        by_kind = {
            id(report.subjects): self._by_kind(report) for report in {id(r.subjects): r for r in reports}.values()
        }
        for report in reports:
            self.add_step(report, clip_norm=clip_norm)
            for kind, positions in by_kind[id(report.subjects)].items():
                run = runs.get(kind)
                if run is None or not run.take(report):
                    if run is not None:
                        run.add_to(self.blocks[kind])
                    runs[kind] = _Run(
                        report, positions, [self.rows[n].key for n in report.subjects[positions].tolist()]
                    )
        for kind, run in runs.items():
            run.add_to(self.blocks[kind])

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

    def _by_kind(self, report: Report) -> dict[SubjectKind, list[int]]:
        """The positions of each kind in a report."""
        by_kind: dict[SubjectKind, list[int]] = {}
        for position, row_number in enumerate(report.subjects.tolist()):
            by_kind.setdefault(self.rows[row_number].key.kind, []).append(position)
        return by_kind

    def _add(self, report: Report, step: int, phase: Phase) -> None:
        for position, row_number in enumerate(report.subjects.tolist()):
            row = self.rows[row_number]
            self._latest[row.key] = Latest(
                row=row,
                step=step,
                phase=phase,
                summary=report.summaries[position],
                histogram=report.histograms[position],
                sampled=int(report.sampled[position]),
            )
        for kind, positions in self._by_kind(report).items():
            keys = [self.rows[int(report.subjects[position])].key for position in positions]
            rows = self.blocks[kind].add(step, keys, report.summaries[positions], is_part=_is_part(report))
            self.histograms[kind].add(report, positions, rows)


class _Run:
    """Reports of steps that follow each other, with the same subjects of one kind: they are taken in at once."""

    def __init__(self, report: Report, positions: list[int], keys: list[SubjectKey]) -> None:
        self._reports = [report]
        self._positions, self._keys = positions, keys

    def take(self, report: Report) -> bool:
        """Whether it is one of them."""
        newest = self._reports[-1]
        if report.subjects is not newest.subjects or report.step <= newest.step or _is_part(report):
            return False
        self._reports.append(report)
        return True

    def add_to(self, block: Block) -> None:
        steps = [report.step for report in self._reports]
        summaries = np.stack([report.summaries for report in self._reports])[:, self._positions]
        if len(steps) > 1 and not (len(block.steps) and block.steps[-1] >= steps[0]):
            block.add_all(np.array(steps), self._keys, summaries)
            return
        for report, step, numbers in zip(self._reports, steps, summaries, strict=True):
            block.add(step, self._keys, numbers, is_part=_is_part(report))


def _is_part(report: Report) -> bool:
    """It is of a later micro-batch of its step."""
    return report.micro > 0 and report.phase is not Phase.STEP
