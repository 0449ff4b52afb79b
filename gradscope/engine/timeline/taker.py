"""Takes checkpoints of a training as it stands, and puts it where they say."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.edits.editor import Editor
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.stepping.roots import roots_of
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import interruptions_put_off
from gradscope.engine.timeline.checkpoint import Checkpoint
from gradscope.engine.timeline.data_seen import MOST_KEPT_BYTES
from gradscope.engine.timeline.marks import Attributes
from gradscope.engine.timeline.own_state import OwnState
from gradscope.engine.timeline.reach import Reach
from gradscope.engine.wording import listed

_OF_LIMIT = 8
"""A dataset that takes more than this part of it is not kept: it may be another one in each step."""


class Taker:
    """Of one session."""

    def __init__(self, stepper: Stepper, editor: Callable[[], Editor]) -> None:
        self._stepper, self._editor = stepper, editor
        self.limit_bytes = 0
        """What checkpoints may take together."""
        self._reach: Reach | None = None
        self._is_shaped = False

    def forget(self) -> None:
        """Nothing is shared with what was taken before."""
        self._reach = None

    def estimate_bytes(self) -> int:
        """What a first checkpoint takes."""
        return self._reached().estimate_bytes()

    def look(self) -> Attributes:
        """What the user's objects hold now, but for tensors."""
        return self._reached().look()

    def take(self, number: int, at: int, newest: RandomStates | None, *, is_looked_at: bool = False) -> Checkpoint:
        """Of now, in that place of what was done; `newest` are random states of before. `is_looked_at`: `look` was called
        just now."""
        with interruptions_put_off():
            own = OwnState.take(self._stepper, self._editor(), newest)
            reach = self._reached().take(is_cleared=self.cleared_next(), is_looked_at=is_looked_at)
            if self._reached().has_data_changed:
                self._stepper.loop.batches.data_changes()
            return Checkpoint(number, at, reach, own)

    def give(self, checkpoint: Checkpoint) -> list[str]:
        """Training stands there; sentences about what cannot be put back."""
        with interruptions_put_off():
            notes = self._reached().give(checkpoint.reach)
            checkpoint.own.give(self._stepper, self._editor())
            # Last of all: putting back may draw.
            checkpoint.own.random.restore()
        return notes

    @property
    def unshaped(self) -> str:
        """Why there is no checkpoint yet, where a parameter has no shape; "" where all have."""
        if self._is_shaped:
            return ""
        tensors = named_tensors(self._stepper.recipe.model)
        names = [name for name, (tensor, _) in tensors.items() if is_uninitialised(tensor)]
        self._is_shaped = not names
        return f"{listed(names)} had no shape yet: one can go back to the steps after the first" if names else ""

    # ------------------------------------------------------------------------------------------ private

    def _reached(self) -> Reach:
        if self._reach is None:
            stepper = self._stepper
            # The tape has the batches, and the loader only moves forward.
            batches = stepper.loop.batches
            self._reach = Reach(
                self._roots,
                lambda: stepper.loop.batches.parts,
                batches.dataset,
                data_bytes=min(MOST_KEPT_BYTES, self.limit_bytes // _OF_LIMIT) if batches.can_draw_again else 0,
            )
        return self._reach

    def _roots(self) -> dict[str, object]:
        training = self._stepper.training
        # Its classes are of modules that were walked through with others.
        code = {} if training.code is None else {"code": training.code.classes}
        return {**roots_of(training), **code}

    def cleared_next(self) -> Callable[[Tensor], bool]:
        """Whether the next forward clears the gradient of a tensor."""
        training, turn = self._stepper.training, self._stepper.loop.turn
        if training.zero_grad != "auto" or type(turn.optimizer).zero_grad is not Optimizer.zero_grad:
            return lambda tensor: False
        own = {id(tensor) for tensor in turn.parameters}
        return lambda tensor: id(tensor) in own
