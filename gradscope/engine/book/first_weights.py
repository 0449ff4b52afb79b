"""A digest of the weights with which a run begins: noted before anything can move them, kept while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from gradscope.engine.quantities.weights_digest import digest_of
from gradscope.snapshots.format.content import FirstWeights

Marks = list[tuple[int, int | None]]
"""Of every tensor: which one it is, and how often it has been written to, where torch counts that."""


class FirstWeightsNote:
    """Of one run. Parameters only: buffers move in the forward already."""

    def __init__(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        self._tensors = tensors
        self._noted: tuple[int, FirstWeights | None] | None = None
        self._told: tuple[int, Marks, FirstWeights | None] | None = None
        """What was said of a step whose backward had not begun. To read a gigabyte once more takes a second."""

    def before_backward(self, step: int) -> None:
        """Of the first step, and of it again where training has gone back to it: something may have been changed there."""
        if self._noted is None or step <= self._noted[0]:
            self._noted = step, self._look(step)
            self._told = None

    def forget(self) -> None:
        """Another run begins, from a checkpoint."""
        self._noted = self._told = None

    def told(self, step: int) -> FirstWeights | None:
        """What was noted, or of now where no backward of the run has begun; `step` is the one that is next. None where there
        is no digest."""
        if self._noted is not None:
            return self._noted[1]
        first = self._look(step)
        self._told = step, _marks_of(self._tensors()), first
        return first

    def _look(self, step: int) -> FirstWeights | None:
        tensors = self._tensors()
        if self._told is not None and self._told[:2] == (step, _marks_of(tensors)):
            return self._told[2]
        digest = digest_of(tensors)
        return None if digest is None else FirstWeights(step=step, digest=digest)


def _marks_of(tensors: Mapping[str, Tensor]) -> Marks:
    return [(id(tensor), None if tensor.is_inference() else tensor._version) for tensor in tensors.values()]
