"""Moving a long history into new memory a part at a time: at once it would take half a second for thousands of subjects."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gradscope.state.records.cells import PLANES, Cells, Origin

_Number = TypeVar("_Number", np.float32, np.uint32)


class Move:
    """Cells on their way into others that have room for more columns, or, in pairs, half as many columns in use."""

    def __init__(self, old: Cells, *, settled: int, capacity: int, in_pairs: bool) -> None:
        """The first `settled` columns do not change any more; the new cells have `capacity` columns."""
        self.settled = settled - settled % 2 if in_pairs else settled
        self.capacity = capacity
        self.in_pairs = in_pairs
        subjects = old.values.shape[1]
        self._old = old
        # Not filled yet: the system gives the memory as it is written to.
        self._new = Cells(
            _by_subject(np.empty((subjects, PLANES, capacity), dtype=np.float32)),
            _by_subject(np.empty((subjects, len(Origin), capacity), dtype=np.uint32)),
        )
        self._moved = 0

    def go_on(self, part: float) -> None:
        """Move some of the subjects: this part of all."""
        subjects = self._old.values.shape[1]
        end = min(subjects, self._moved + math.ceil(part * subjects))
        rows = slice(self._moved, end)
        old = Cells(self._old.values[:, rows, : self.settled], self._old.origins[:, rows, : self.settled])
        kept = old.in_pairs() if self.in_pairs else old
        values, origins = self._new.values[:, rows], self._new.origins[:, rows]
        values[:, :, : kept.columns], values[:, :, kept.columns :] = kept.values, np.nan
        origins[:, :, : kept.columns], origins[:, :, kept.columns :] = kept.origins, 0
        self._moved = end

    def finish(self, used: int) -> Cells:
        """Move the rest, and the columns from `settled` to `used`."""
        self.go_on(1.0)
        late = self._old[self.settled : used]
        if self.in_pairs:
            late = late.in_pairs()
        first = self.settled // 2 if self.in_pairs else self.settled
        columns = slice(first, first + late.columns)
        self._new.values[:, :, columns], self._new.origins[:, :, columns] = late.values, late.origins
        return self._new


def _by_subject(memory: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Planes first, but all of a subject side by side: a part of the subjects is then a part of the memory, which the system
    gives in large pieces. Plane by plane a small part of the subjects would touch nearly all of them."""
    return memory.transpose(1, 0, 2)
