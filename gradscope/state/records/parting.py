"""Where two histories part, looked for a few steps at a time: long ones of large models take a second to be compared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gradscope.comparing import Divergence, first_divergence
from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.history import History
from gradscope.state.records.block import Block
from gradscope.state.records.curve import Curve

STEPS_AT_ONCE = 32


class Parting:
    """Of the history that grows and another one, from a step on. What has been compared is not compared again."""

    def __init__(self, ours: History, theirs: History, first: int) -> None:
        self.ours, self.theirs = ours, theirs
        self.found: Divergence | None = None
        """The first difference."""
        self._next = max(0, first)

    @property
    def is_done(self) -> bool:
        """All steps that both have are compared, or a difference is found."""
        return self.found is not None or self._next > self._last

    @property
    def compared_until(self) -> int:
        """The last step that has been compared, of those that both have; -1 for none."""
        return min(self._next - 1, self._last)

    def go_on(self, until: float) -> None:
        """Compare some more, until that time (as `time.monotonic` has it); some steps in any case."""
        while not self.is_done:
            end = min(self._next + STEPS_AT_ONCE, self._last + 1)
            self.found = first_divergence(_Part(self.ours, self._next, end), _Part(self.theirs, self._next, end))
            self._next = end
            if time.monotonic() > until:
                break

    @property
    def _last(self) -> int:
        return min(_newest(self.ours), _newest(self.theirs))


class _PartOfBlock:
    def __init__(self, block: Block, start: int, end: int) -> None:
        self._block = block
        self._columns = slice(*(int(np.searchsorted(block.steps, step)) for step in (start, end)))

    @property
    def keys(self) -> Sequence[SubjectKey]:
        return self._block.keys

    @property
    def steps(self) -> IntArray:
        return self._block.steps[self._columns]

    def first_step(self, column: int) -> int:
        return self._block.first_step(self._columns.start + column)

    def column(self, column: int, /) -> npt.NDArray[np.float32]:
        return self._block.column(column)[:, self._columns]


class _PartOfCurve:
    def __init__(self, curve: Curve, start: int, end: int) -> None:
        points = slice(*(int(np.searchsorted(curve.steps, step)) for step in (start, end)))
        self.steps: IntArray = curve.steps[points]
        self.values: FloatArray = curve.values[points]


class _Part:
    """The steps from `start` to before `end`."""

    def __init__(self, history: History, start: int, end: int) -> None:
        self.blocks: Mapping[SubjectKind, _PartOfBlock] = {
            kind: _PartOfBlock(block, start, end) for kind, block in history.blocks.items() if len(block.steps)
        }
        curves = (history.every_loss, history.lr, history.scale, history.clipping)
        self.every_loss, self.lr, self.scale, self.clipping = (_PartOfCurve(curve, start, end) for curve in curves)


def _newest(history: History) -> int:
    ends = [int(block.steps[-1]) for block in history.blocks.values() if len(block.steps)]
    ends += [int(step) for step in history.loss.steps[-1:]]
    return max(ends, default=-1)
