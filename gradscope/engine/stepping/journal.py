"""Who writes down what a session does, so that somebody can go back in it."""

from __future__ import annotations

from typing import Protocol

from gradscope.engine.stepping.best import Best
from gradscope.protocol.messages import Validated
from gradscope.protocol.phases import Phase


class Journal(Protocol):
    """Told by a stepper. Raises nothing."""

    def before(self, phase: Phase) -> None:
        """The phase may begin, and nothing has been done for it yet."""

    def done(self, phase: Phase) -> None:
        """It is done, and training stands behind it. A phase that has failed is not told of: it was undone."""

    def undone(self, phase: Phase) -> None:
        """It has failed, and was undone: a backward together with its forward."""

    def cleared(self) -> None:
        """The gradients were cleared by hand."""

    def validated(self, validation: Validated, best: Best | None) -> None:
        """There was a validation by hand."""

    def began_anew(self) -> None:
        """Training stands somewhere else: a checkpoint was loaded."""
