"""The loss and its gradients once more, for an optimizer that evaluates them in its step (LBFGS)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradscope.engine.book.window import Window
from gradscope.engine.capture.observer import Observer
from gradscope.engine.model.losses import or_nan
from gradscope.engine.stepping.training import RecipeTurn, Training
from gradscope.engine.stepping.undo import ForwardUndo


class Closure:
    """What such an optimizer is given: `prepare` before the step, `evaluate` as often as the optimizer likes."""

    def __init__(self, training: Training, observer: Observer, clip: Callable[[RecipeTurn], object]) -> None:
        self._training, self._observer, self._clip = training, observer, clip
        self._undo = ForwardUndo(training.modules)
        self._turn: RecipeTurn | None = None
        self._window = Window()
        self.evaluations = 0
        """How often it was called in the newest step."""

    def prepare(self, turn: RecipeTurn, window: Window) -> None:
        """The micro-batches of `window` are what it evaluates."""
        self._turn, self._window, self.evaluations = turn, window, 0

    def remember(self) -> None:
        """What `restore` puts back: buffers and random states, which an evaluation moves."""
        self._undo.remember()

    def restore(self) -> None:
        self._undo.restore()

    def forget(self) -> None:
        self._undo.forget()
        self._turn, self._window = None, Window()

    def evaluate(self) -> Tensor:
        """The loss at the parameters as they are now, and `.grad`. The first time, the phases have computed both."""
        turn, window = self._turn, self._window
        assert turn is not None
        self.evaluations += 1
        if self.evaluations == 1:
            return _number(or_nan(window.loss_of_step))
        objective = self._training.objective(turn)
        with torch.enable_grad(), self._observer.muted():
            if self._training.zero_grad == "auto":
                turn.optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for batch in window.batches:
                with self._training.autocast():
                    loss = objective(batch)
                total += float(loss.detach())
                window.share_of(loss).backward()
            if self._training.clips:
                self._clip(turn)
        return _number(total / len(window.batches))


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
