"""A digest of the weights with which a run begins: noted before anything can move them, kept while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from gradscope.engine.quantities.weights_digest import digest_of
from gradscope.snapshots.format.content import FirstWeights


class FirstWeightsNote:
    """Of one run. Parameters only: buffers move in the forward already."""

    def __init__(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        self._tensors = tensors
        self._noted: tuple[int, FirstWeights | None] | None = None

    def before_backward(self, step: int) -> None:
        """Of the first step, and of it again where training has gone back to it: something may have been changed there."""
        if self._noted is None or step <= self._noted[0]:
            self._noted = step, self._look(step)

    def forget(self) -> None:
        """Another run begins, from a checkpoint."""
        self._noted = None

    def told(self, step: int) -> FirstWeights | None:
        """What was noted, or of now where no backward of the run has begun; `step` is the one that is next. None where there
        is no digest."""
        return self._look(step) if self._noted is None else self._noted[1]

    def _look(self, step: int) -> FirstWeights | None:
        digest = digest_of(self._tensors())
        return None if digest is None else FirstWeights(step=step, digest=digest)
