"""What the watch has run once more to see more of it: a layer, a whole forward, a backward. Training does not know of it.

What could not be put back is told in the notes of the phase.
"""

from __future__ import annotations

from gradscope.engine.book.driver import Driver
from gradscope.engine.capture.observer import Observer
from gradscope.engine.nonfinite.births import Birth
from gradscope.engine.nonfinite.finder import Made
from gradscope.engine.nonfinite.operation import NOTHING, Findings
from gradscope.protocol.nonfinite import Operation


class Reruns:
    """Of the newest forward and its backward."""

    def __init__(self, driver: Driver, observer: Observer) -> None:
        self._driver, self._observer = driver, observer
        self._known: tuple[Made | None] | None = None

    def forget(self) -> None:
        """Another forward has been made."""
        self._known = None

    def layer(self, birth: Birth) -> Findings:
        """The call of a layer, on copies of its inputs."""
        if birth.again is None:
            return NOTHING
        with self._observer.lifted():
            findings = birth.again.run(self._driver.autocast)
        self._driver.notes += findings.notes
        return findings

    def forward(self) -> Made | None:
        """What made the loss NaN or Inf; None where that is not known. Run once, however often it is asked for."""
        if self._known is None:
            self._known = (self._run_forward(),)
        return self._known[0]

    def _run_forward(self) -> Made | None:
        again = self._driver.forward_again(self._observer.modules())
        if again is None:
            return None
        with self._observer.lifted():
            made, told = again.run(self._driver.autocast)
        self._driver.notes += told
        return made

    def backward(self) -> Operation | None:
        """The operation whose gradient was the first to be NaN or Inf; None where that is not known."""
        again = self._driver.backward_again()
        if again is None:
            return None
        with self._observer.lifted():
            operation, told = again.run(self._driver.autocast)
        self._driver.notes += told
        return operation
