"""The summaries of all subjects of one kind over the steps: numbers by column of COLUMNS, subject and step.

When a block has `max_steps` columns, neighbours are merged, and from then on each column takes twice as many steps. What
remains of them is the rule of `cells`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import COLUMNS, COUNT, SubjectKey
from gradscope.snapshots.format.saved_history import SavedBlock
from gradscope.state.moving import Move
from gradscope.state.records.cells import EXTREMES, FIRST_ORIGINS, LAST_STEP, PLANES, TOPS, Cells, Origin
from gradscope.state.records.report_subjects import MAX_KINDS

MAX_STEPS = 1500
_PREPARED = 32
"""So many columns before there is no room left, the block begins to move to where there is; half of a smaller one's."""
_FEW_SUBJECTS = 50
"""Up to these are moved at once, which takes some 10 ms."""
_FIRST_COLUMNS, _FIRST_OF_MANY, _FIRST_OF_VERY_MANY = 64, 16, 4
"""Room at first; of many subjects less, since to have more takes up to 0.1 s that somebody waits."""
_VERY_MANY_SUBJECTS = 20_000
MAX_BYTES = 512 * 1024 * 1024
"""Of more subjects than some 4,000 there are fewer columns than MAX_STEPS: two hundred thousand would take 27 GB."""
_LEAST_COLUMNS = 16
_CELL_BYTES = 4 * (PLANES + len(Origin))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Subjects that are told together: always the same ones in a row, as a rule, whose numbers are looked up once."""

    keys: Sequence[SubjectKey]
    numbers: IntArray
    """Shape (len(keys),)."""
    index: IntArray | slice
    """The same for indexing: a slice where they follow each other, which numpy takes in a third of the time."""


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
        self._move: Move | None = None
        self._told_together: dict[int, _Rows] = {}
        """By the identity of the keys."""

    @property
    def steps(self) -> IntArray:
        """The newest step of each column."""
        return self._steps[: self._used]

    @property
    def is_merged(self) -> bool:
        """Some columns are of several steps."""
        return self._stride > 1

    @property
    def nbytes(self) -> int:
        return self._cells.values.nbytes + self._cells.origins.nbytes

    @property
    def _most_columns(self) -> int:
        fitting = MAX_BYTES // (_CELL_BYTES * max(1, len(self.keys)))
        return min(self._max_steps, max(_LEAST_COLUMNS, fitting))

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

    def summary(self, key: SubjectKey, column: int) -> npt.NDArray[np.float32] | None:
        """The columns of a subject's summary at one column of steps, shape (len(COLUMNS),); None where it was not seen."""
        index = self._index.get(key)
        if index is None:
            return None
        found = self._cells.values[: len(COLUMNS), index, : self._used][:, column]
        return None if np.isnan(found[COUNT]) else found

    def origins(self, of: Origin) -> npt.NDArray[np.uint32]:
        """At which step of its column something was, shape (subjects, steps). A view: do not change it."""
        return self._cells.origins[of, : len(self.keys), : self._used]

    def index_of(self, key: SubjectKey) -> int | None:
        return self._index.get(key)

    def add(self, step: int, keys: Sequence[SubjectKey], summaries: FloatArray, *, is_part: bool = False) -> IntArray:
        """Take in the summaries (len(keys), len(COLUMNS)) of a step. One that comes again replaces what was there, unless it
        is a further part of the step (a micro-batch).

        Returns the numbers of the subjects, which are their places in `keys`, shape (len(keys),).
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
            cells = self._column(last).subjects(rows.index).then(cells)
        elif self._before is not None:
            cells = self._before[1].subjects(rows.index).then(cells)
        elif self._in_last > 1:
            # Which part of the column was the step's own is not known any more.
            cells = self._column(last).subjects(rows.index).then(cells)
        self._put(rows.index, slice(last, last + 1), cells)
        if is_new:
            self._prepare()
        return rows.numbers

    def add_all(self, steps: IntArray, keys: Sequence[SubjectKey], summaries: FloatArray) -> None:
        """The same for several steps at once, which rise and are all new; `summaries` is (steps, len(keys), len(COLUMNS))."""
        rows = self._rows(keys)
        cells, done = Cells.of(steps, summaries), 0
        # The last by itself: it may come again, or be undone.
        while done < len(steps) - 1:
            self._make_room()
            if self._stride == 1:
                end = min(len(steps) - 1, done + self._most_columns - self._used + 1)
                columns = slice(self._used - 1, self._used - 1 + end - done)
                self._used, self._in_last = columns.stop, 1
                self._grow()
                self._steps[columns] = steps[done:end]
                self._put(rows.index, columns, cells[done:end])
            else:
                end = min(len(steps) - 1, done + self._stride - self._in_last)
                last = self._used - 1
                self._grow()
                joined = cells[done:end].as_one()
                if self._in_last:
                    joined = self._column(last).subjects(rows.index).then(joined)
                self._in_last += end - done
                self._steps[last] = steps[end - 1]
                self._put(rows.index, slice(last, last + 1), joined)
            done = end
        self.add(int(steps[-1]), keys, summaries[-1])

    def copy(self) -> Block:
        """Another one that can be added to by itself."""
        other = Block(max_steps=self._max_steps)
        other.keys, other._index = list(self.keys), dict(self._index)
        other._steps, other._cells = self.steps.copy(), self._cells[: self._used].copy()
        other._used, other._stride, other._in_last = self._used, self._stride, self._in_last
        # It is read only.
        other._before = self._before
        return other

    def cut(self, step: int) -> None:
        """Forget the steps from `step` on, and those that share a column with one of them (but for the newest step, which
        can be taken out). A subject keeps its number."""
        last = self._used - 1
        if self._used and self._before is not None and self._before[0] < step <= self._steps[last]:
            self._steps[last], before = self._before
            self._in_last -= 1
            self._before = None
            everything = slice(0, len(self.keys))
            self._put(everything, slice(last, last + 1), before.subjects(everything))
            return
        self._used = int(np.searchsorted(self.steps, step))
        if self._move is not None and self._used <= self._move.settled:
            self._move = None
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
            tops=values[TOPS].copy() if self.is_merged else None,
            origins=origins[:FIRST_ORIGINS].astype(np.int64) if self.is_merged else None,
            extremes=values[EXTREMES].copy() if self.is_merged else None,
            extreme_steps=origins[FIRST_ORIGINS:].astype(np.int64) if self.is_merged else None,
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
            block._cells.values[TOPS] = saved.tops
        if saved.origins is not None:
            block._cells.origins[:FIRST_ORIGINS] = np.clip(saved.origins, 0, LAST_STEP)
        if saved.extremes is not None and saved.extreme_steps is not None:
            block._cells.values[EXTREMES] = saved.extremes
            block._cells.origins[FIRST_ORIGINS:] = np.clip(saved.extreme_steps, 0, LAST_STEP)
        block._used = len(saved.steps)
        block._stride, block._in_last = saved.stride, saved.in_last
        return block

    def _rows(self, keys: Sequence[SubjectKey]) -> _Rows:
        known = self._told_together.get(id(keys))
        if known is not None and known.keys is keys:
            return known
        # Looked up once each: of a hundred thousand, half a second is spent here.
        index = self._index
        numbers = np.array([index.setdefault(key, len(index)) for key in keys], dtype=np.int64)
        if len(index) > len(self.keys):
            self.keys += list(index)[len(self.keys) :]
        is_a_row = len(numbers) > 0 and bool((np.diff(numbers) == 1).all())
        rows = _Rows(keys, numbers, slice(int(numbers[0]), int(numbers[-1]) + 1) if is_a_row else numbers)
        if isinstance(keys, tuple):
            # A list may be another one the next time.
            if len(self._told_together) == MAX_KINDS:
                self._told_together.clear()
            self._told_together[id(keys)] = rows
        return rows

    def _column(self, column: int) -> Cells:
        """A copy."""
        return self._cells[column : column + 1].copy()

    def _put(self, rows: IntArray | slice, columns: slice, cells: Cells) -> None:
        self._cells.values[:, rows, columns] = cells.values
        self._cells.origins[:, rows, columns] = cells.origins

    def _make_room(self) -> None:
        """For a new step: in the last column while that takes more, else in a new one, which is empty."""
        if self._used and self._in_last < self._stride:
            return
        while self._used >= self._most_columns:
            self._halve()
            if self._in_last < self._stride:
                return
        self._used += 1
        self._in_last = 0

    def _prepare(self) -> None:
        """Where there is soon no room for another column, move a part of the block, so that little is left to do then."""
        capacity = self._cells.columns
        prepared = max(1, min(_PREPARED, capacity // 2))
        if self._used <= capacity - prepared or len(self.keys) <= _FEW_SUBJECTS:
            return
        if self._move is None:
            in_pairs = capacity >= self._most_columns
            self._move = Move(self._cells, settled=self._used - 1, capacity=self._more(capacity), in_pairs=in_pairs)
        self._move.go_on(1 / prepared)

    def _more(self, capacity: int) -> int:
        many = _FIRST_OF_VERY_MANY if len(self.keys) > _VERY_MANY_SUBJECTS else _FIRST_OF_MANY
        least = _FIRST_COLUMNS if len(self.keys) <= _FEW_SUBJECTS else many
        return min(max(least, 2 * capacity), max(capacity, self._most_columns))

    def _grow(self) -> None:
        _, rows, steps = self._cells.values.shape
        if len(self.keys) <= rows and self._used <= steps:
            return
        # A new subject, which comes of an edit: what has been moved lacks it.
        moved, self._move = self._move if len(self.keys) <= rows else None, None
        if moved is not None and moved.capacity >= self._used:
            self._cells = moved.finish(self._used - 1)
        else:
            new_rows = max(len(self.keys), rows)
            new_steps = steps if self._used <= steps else max(self._more(steps), self._used)
            cells = Cells.unseen(new_rows, new_steps)
            cells.values[:, :rows, :steps] = self._cells.values
            cells.origins[:, :rows, :steps] = self._cells.origins
            self._cells = cells
        self._steps = np.concatenate([self._steps, np.zeros(self._cells.columns - len(self._steps), dtype=np.int64)])

    def _halve(self) -> None:
        move, self._move = self._move, None
        if move is None or not move.in_pairs:
            move = Move(self._cells, settled=self._used, capacity=self._cells.columns, in_pairs=True)
        is_odd = self._used % 2 == 1
        steps = np.append(self.steps[1::2], self.steps[-1:] if is_odd else [])
        self._cells = move.finish(self._used)
        # An odd column at the end is half full by the new measure.
        self._in_last = self._stride if is_odd else 2 * self._stride
        self._stride *= 2
        self._used = len(steps)
        self._steps[: self._used] = steps
        self._before = None
