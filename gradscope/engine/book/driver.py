"""What the book asks of who drives a training: facts, found or given, of the phase under way and of the newest step."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gradscope.engine.book.gradients import Gradients, Turns
from gradscope.engine.book.window import Window
from gradscope.engine.nonfinite.backward import BackwardAgain
from gradscope.engine.nonfinite.forward import ForwardAgain
from gradscope.protocol.messages import Clip
from gradscope.protocol.source import SourceLine


class Batches(Protocol):
    """Where in the data a training is."""

    @property
    def epoch(self) -> int: ...

    @property
    def index(self) -> int:
        """Of the current batch in its epoch."""

    @property
    def length(self) -> int | None:
        """Batches in an epoch; None where nobody knows."""


class StepBefore(Protocol):
    """What the newest step began with."""

    def options_of(self, group: dict[str, Any]) -> dict[str, Any] | None:
        """A parameter group's options; None where they are not known."""

    def state_of(self, parameter: Tensor) -> dict[str, Any] | None:
        """The optimizer's state of a parameter; None where there was none."""


class Driver(Turns, Protocol):
    """The loop of a recipe, or whatever else makes the phases of a training happen.

    The book adds its own to `notes`, and completes `clip` and `loss` when a step is done.
    """

    gradients: Gradients
    batch: Any
    """The newest, on the device; None before the first."""
    loss: float | None
    """Of the newest micro-batch, not divided by the window; of a step that is done, the mean of its micro-batches."""
    clip: Clip | None
    """What clipping did in the newest step, until the next forward."""
    is_skipped: bool
    """The gradient scaler left the newest step out."""
    notes: list[str]
    """What a person should know of the newest phase."""
    window: Window

    @property
    def line(self) -> SourceLine | None:
        """Where a script stands; None in a recipe."""

    @property
    def batches(self) -> Batches: ...

    @property
    def evaluations(self) -> int:
        """How often the newest step has evaluated a closure."""

    @property
    def step_before(self) -> StepBefore: ...

    @property
    def scaler(self) -> torch.amp.GradScaler | None: ...

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of every forward."""

    def buffer_before(self, module: nn.Module, name: str) -> Tensor | None:
        """A copy of a module's buffer as the newest forward began with it, not to be changed; None where none is kept."""

    @property
    def loaded_batch(self) -> Any:
        """The current batch as it was loaded: a forward may write into its own copy."""

    def forward_again(self, layers: Mapping[str, nn.Module]) -> ForwardAgain | None:
        """The newest forward once more, watched, in which those layers are told apart; None where it cannot be repeated."""

    def backward_again(self) -> BackwardAgain | None:
        """The newest forward and backward once more, watched; None where they cannot be repeated."""
