"""What a pinned batch has come to over the steps, as arrays that grow."""

from __future__ import annotations

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import COLUMNS, COUNT, L2, STD, ZERO
from gradscope.protocol.what_if.tried import ProbeRecord

MOST_RECORDS = 10_000
"""The older half is dropped then."""
_FIRST_ROOM = 64
NORM, SPREAD, ZEROS = range(3)
"""Of each layer's output: L2 norm, standard deviation, share of zeros."""


class ProbeHistory:
    """Of one probe. A record takes the place of those of its step and of later ones."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """Layers, in the order in which they were first told."""
        self.error = ""
        """Why the newest run has come to nothing."""
        self._count = 0
        self._steps: IntArray = np.zeros(_FIRST_ROOM, dtype=np.int64)
        self._losses: FloatArray = np.full(_FIRST_ROOM, np.nan)
        self._outputs: FloatArray = np.full((_FIRST_ROOM, len(COLUMNS)), np.nan)
        self._layers = np.full((_FIRST_ROOM, 0, 3), np.nan, dtype=np.float32)

    def add(self, record: ProbeRecord) -> None:
        self.error = record.error
        while self._count and self._steps[self._count - 1] >= record.step:
            self._count -= 1
        if self._count == MOST_RECORDS:
            self._drop_half()
        self._make_room(record.names)
        at, self._count = self._count, self._count + 1
        self._steps[at] = record.step
        self._losses[at] = np.nan if record.loss is None else record.loss
        self._outputs[at] = record.output[0] if len(record.output) else np.nan
        self._layers[at] = np.nan
        if not record.names:
            return
        columns = (
            [self.names.index(name) for name in record.names] if self._is_mixed(record) else slice(len(record.names))
        )
        counts = np.maximum(record.layers[:, COUNT], 1.0)
        with np.errstate(all="ignore"):
            shares = record.layers[:, ZERO] / counts
            self._layers[at, columns] = np.stack([record.layers[:, L2], record.layers[:, STD], shares], axis=1)

    def __len__(self) -> int:
        return self._count

    @property
    def steps(self) -> IntArray:
        """Steps that were done before each run, ascending, shape (n,)."""
        return self._steps[: self._count]

    @property
    def losses(self) -> FloatArray:
        """NaN where it is not known, shape (n,)."""
        return self._losses[: self._count]

    @property
    def outputs(self) -> FloatArray:
        """The summary of the output in each run, shape (n, len(COLUMNS))."""
        return self._outputs[: self._count]

    def layers(self, what: int) -> FloatArray:
        """NORM, SPREAD or ZEROS of each layer's output, shape (n, len(names)); NaN where it was not run."""
        values: FloatArray = self._layers[: self._count, :, what].astype(np.float64)
        return values

    # ------------------------------------------------------------------------------------------ private

    def _is_mixed(self, record: ProbeRecord) -> bool:
        return tuple(self.names[: len(record.names)]) != record.names

    def _make_room(self, names: tuple[str, ...]) -> None:
        known = set(self.names)
        new = [name for name in names if name not in known]
        if new:
            self.names += new
            more = np.full((len(self._layers), len(new), 3), np.nan, dtype=np.float32)
            self._layers = np.concatenate([self._layers, more], axis=1)
        if self._count == len(self._steps):
            room = min(MOST_RECORDS, 2 * len(self._steps))
            self._steps, self._losses, self._outputs, self._layers = (
                np.concatenate([array, np.zeros((room - len(array), *array.shape[1:]), dtype=array.dtype)])
                for array in (self._steps, self._losses, self._outputs, self._layers)
            )

    def _drop_half(self) -> None:
        kept = self._count // 2
        for array in (self._steps, self._losses, self._outputs, self._layers):
            array[:kept] = array[self._count - kept : self._count].copy()
        self._count = kept
