"""What the book asks of who drives, where that is a script: found facts."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.book.gradients import Gradients
from gradscope.engine.book.optimizer_before import OptimizerBefore
from gradscope.engine.book.turns import Turn
from gradscope.engine.book.window import Window
from gradscope.engine.capture.observer import Observer
from gradscope.engine.model.leaves import Inputs
from gradscope.engine.nonfinite.backward import BackwardAgain
from gradscope.engine.nonfinite.forward import ForwardAgain
from gradscope.engine.script.finding.found import ByHand, Found
from gradscope.protocol.messages import Clip
from gradscope.protocol.source import SourceLine

NOBODYS_TURN = Turn("", ByHand(), None)  # type: ignore[arg-type]
"""Before a step of one of several optimizers: whose it will be is not known."""


class ScriptWindow(Window):
    """The backwards between two steps. A script divides by itself: what was differentiated is the sum of their losses."""

    @property
    def loss_of_step(self) -> float | None:
        return sum(self.losses) if self.losses else None


class ScriptBatches:
    """Where in its data a script is, as far as a DataLoader tells."""

    def __init__(self) -> None:
        self.epoch = 0
        """Passes over the data that training has begun, less one."""
        self.index = 0
        self.length: int | None = None
        self.is_known = False
        """The batches come from a DataLoader."""
        self._iterator: weakref.ref[Any] | None = None
        self._count = 0
        """Of those whose origin is unknown."""
        self._beside: weakref.ref[Any] | None = None
        """Another iterator, of which a batch was used since the newest one of the first."""

    def use(self, iterator: weakref.ref[Any], number: int, length: int | None) -> None:
        """Training uses batch `number` of a pass."""
        before = self._iterator
        if before is iterator:
            # Workers that persist have one iterator for all passes.
            self.epoch += number <= self.index
        elif before is not None and before() is not None and not self._is_at_end(number):
            # Two DataLoaders side by side: the passes over one of them are counted, unless it is not gone on with.
            if self._beside is not iterator:
                self._beside = iterator
                return
        elif before is not None:
            self.epoch += 1
        self._beside = None
        self._iterator, self.index, self.length, self.is_known = iterator, number, length, True

    def _is_at_end(self, number: int) -> bool:
        """A pass begins, and the one before was through, if somebody keeps its iterator."""
        return number == 0 and self.length is not None and self.index + 1 >= self.length

    def count(self) -> None:
        """Another batch, of unknown origin."""
        self.index, self._count = self._count, self._count + 1


class Facts:
    """A `Driver`. Written by who follows the script."""

    def __init__(self, found: Found, observer: Observer) -> None:
        self.found = found
        self.batch: Any = None
        self.call: tuple[str, nn.Module, Inputs] | None = None
        """The newest model that a forward has called, and with what; kept as long as the batch is."""
        self.loss: float | None = None
        self.clip: Clip | None = None
        self.is_skipped = False
        self.notes: list[str] = []
        self.window: Window = ScriptWindow()
        self.line: SourceLine | None = None
        self.batches = ScriptBatches()
        self.evaluations = 0
        self.step_before = OptimizerBefore()
        self.scaler: torch.amp.GradScaler | None = None
        self.whose: Turn | None = None
        """Whose step it is, once that is known."""
        self.gradients = Gradients(self, observer)

    @property
    def turns(self) -> Sequence[Turn]:
        return self.found.turns or [NOBODYS_TURN]

    @property
    def turn(self) -> Turn:
        if self.whose is not None:
            return self.whose
        turns = self.found.turns
        return turns[0] if len(turns) == 1 else NOBODYS_TURN

    def autocast(self) -> AbstractContextManager[Any]:
        """Known only inside a forward."""
        return nullcontext()

    def buffer_before(self, module: nn.Module, name: str) -> Tensor | None:
        """No copies are kept: nothing is undone."""
        return None

    @property
    def loaded_batch(self) -> Any:
        return self.batch

    def forward_again(self, layers: Mapping[str, nn.Module]) -> ForwardAgain | None:
        """A script's forward cannot be repeated."""
        return None

    def backward_again(self) -> BackwardAgain | None:
        return None
