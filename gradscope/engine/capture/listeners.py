"""Who is told of what is seen while it happens. What they raise is kept in the observer's `errors`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from gradscope.engine.capture.record import Collected
from gradscope.engine.model.leaves import Inputs
from gradscope.protocol.phases import Phase


class Listener(Protocol):
    """Of one training."""

    def layer_left(self, name: str, output: object, inputs: Inputs) -> None:
        """A layer's call in a forward is over; "" is the model itself."""

    def gradients_cleared(self) -> None:
        """`zero_grad` was called, and nothing has run since."""

    def looking(self, phase: Phase) -> AbstractContextManager[Any]:
        """Around everything that a phase runs."""

    def phase_done(self, phase: Phase, collected: Collected) -> None:
        """Nothing can fail in the phase any more."""

    def abandon(self) -> None:
        """The phase under way has failed, and is undone."""
