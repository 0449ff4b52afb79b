"""What the watch has run once more to see more of it: a layer, a whole forward, a backward. Training does not know of it.

What could not be put back is told in the notes of the phase.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradscope.engine.nonfinite.backward import BackwardAgain
from gradscope.engine.nonfinite.births import Birth
from gradscope.engine.nonfinite.finder import Made
from gradscope.engine.nonfinite.forward import ForwardAgain
from gradscope.engine.nonfinite.operation import NOTHING, Findings
from gradscope.engine.objective import Objective
from gradscope.protocol.nonfinite import Operation

if TYPE_CHECKING:
    from gradscope.engine.loop import Loop
    from gradscope.engine.observer import Observer


class Reruns:
    """Of the newest forward and its backward."""

    def __init__(self, loop: Loop, observer: Observer) -> None:
        self._loop, self._observer = loop, observer
        self._known: tuple[Made | None] | None = None

    def forget(self) -> None:
        """Another forward has been made."""
        self._known = None

    def layer(self, birth: Birth) -> Findings:
        """The call of a layer, on copies of its inputs."""
        if birth.again is None:
            return NOTHING
        with self._observer.lifted():
            findings = birth.again.run(self._loop.training.autocast)
        self._loop.notes += findings.notes
        return findings

    def forward(self) -> Made | None:
        """What made the loss NaN or Inf; None where that is not known. Run once, however often it is asked for."""
        if self._known is None:
            self._known = (self._run_forward(),)
        return self._known[0]

    def _run_forward(self) -> Made | None:
        loop = self._loop
        again = ForwardAgain(
            objective=self._objective(),
            batch=loop.own_batch,
            parameters=loop.movable().values(),
            layers=self._observer.modules(),
            begin=loop.forward_undo.restore,
            copies_parameters=loop.keeps_copies,
        )
        with self._observer.lifted():
            made, told = again.run(loop.training.autocast)
        loop.notes += told
        return made

    def backward(self) -> Operation | None:
        """The operation whose gradient was the first to be NaN or Inf; None where that is not known."""
        loop = self._loop
        again = BackwardAgain(
            objective=self._objective(),
            batch=loop.own_batch(),
            leaves=[tensor for tensor in loop.movable().values() if tensor.requires_grad and tensor.is_leaf],
            begin=loop.forward_undo.restore,
            scaled=loop.differentiated,
        )
        with self._observer.lifted():
            operation, told = again.run(loop.training.autocast)
        loop.notes += told
        return operation

    def _objective(self) -> Objective:
        training = self._loop.training
        return Objective(training.model, training.loss, self._loop.turn.training_step)
