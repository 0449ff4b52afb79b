"""The state of a training between two steps: taken once and put in place any number of times, and the door behind which a
training may be run on and is as before afterwards.

Most of it is reached by the walk of `aside`: parameters, buffers, flags, attributes, options, schedules, the scaler, random
generators. The state of optimizers is kept here: of a large model it is more than the walk copies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gradscope.engine.aside.door import Aside
from gradscope.engine.aside.walk import MOST_COPIED_BYTES, Reached
from gradscope.engine.book.optimizer_before import copy_of_state
from gradscope.engine.checkpoints.save import SETTINGS
from gradscope.engine.model.modules import named_buffers
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.stepping.roots import roots_of, state_tensors
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import interruptions_put_off

MOST_BYTES = 512 * 1024 * 1024
"""A start that takes more is not remembered: it would stay in memory for the whole session."""


class State:
    """A training as it was between two steps. Get one by `State.take`."""

    def __init__(self, stepper: Stepper, *, edits: int = 0) -> None:
        training = stepper.training
        self.roots = roots_of(stepper.training)
        self.step = stepper.position.step
        self.batch_index = stepper.loop.batches.index
        """Of the batch that came next, in its epoch."""
        self._edits = edits
        self._settings = _settings_of(stepper)
        self._optimizers = [(optimizer, copy_of_state(optimizer.state)) for optimizer in training.optimizers]
        self._reached = Reached(copies_parameters=True)
        self._reached.left_out |= {id(tensor) for o in training.optimizers for tensor in state_tensors(o)}
        self._reached.look_from(self.roots)
        self._generators = [(generator, generator.get_state()) for generator in stepper.loop.batches.generators]
        self.gradients = [(tensor, grad.clone()) for tensor, grad in kept_gradients(stepper)]
        """Those that the first step does not clear."""
        self.random = RandomStates.capture()

    @staticmethod
    def take(stepper: Stepper, *, edits: int = 0) -> State | None:
        """The state of now, after so many edits. None where it takes more than MOST_BYTES, or a parameter has no shape."""
        tensors = [tensor for tensor, _ in named_tensors(stepper.recipe.model).values()]
        if any(map(is_uninitialised, tensors)):
            return None
        held = {id(tensor): tensor for tensor in tensors}
        for part in (stepper.recipe.model, stepper.training.loss):
            if isinstance(part, nn.Module):
                held |= {id(tensor): tensor for _, tensor in named_buffers(part)}
        for turn in stepper.training.turns:
            held |= {id(tensor): tensor for tensor in (*turn.parameters, *state_tensors(turn.optimizer))}
        size = sum(tensor.numel() * tensor.element_size() for tensor in held.values())
        return State(stepper, edits=edits) if size + MOST_COPIED_BYTES <= MOST_BYTES else None

    def fits(self, stepper: Stepper, *, edits: int = 0) -> bool:
        """The same is trained in the same way as then: no edits have been made since."""
        now = roots_of(stepper.training)
        is_same = now.keys() == self.roots.keys() and all(now[name] is root for name, root in self.roots.items())
        return is_same and edits == self._edits and _settings_of(stepper) == self._settings

    def put(self) -> None:
        """Make everything as it was, but for gradients, which are left alone. Inside `put_back_after` only."""
        for _, _, holder in self._reached.found:
            if holder.can_be_put_back and safely(holder.differs, False):
                with contextlib.suppress(Exception):
                    holder.put_back()
        for optimizer, state in self._optimizers:
            _set_state(optimizer, copy_of_state(state))
        self.random.restore()

    def put_generators(self) -> None:
        """Those of the loader, which a ready DataLoader shares with the training: its passes begin as they did then."""
        for generator, state in self._generators:
            generator.set_state(state)


def _settings_of(stepper: Stepper) -> tuple[Any, ...]:
    return tuple(getattr(stepper.training, name) for name in (*SETTINGS, "precision"))


def kept_gradients(stepper: Stepper) -> list[tuple[Tensor, Tensor]]:
    """(tensor, its gradient) of each that the next step does not clear: it adds to them, or clips by them."""
    training = stepper.training
    held = {id(tensor): tensor for tensor, _ in named_tensors(stepper.recipe.model).values()}
    for turn in training.turns:
        held |= {id(tensor): tensor for tensor in turn.parameters}
    if training.zero_grad == "auto":
        for turn in training.turns:
            for tensor in turn.parameters:
                held.pop(id(tensor), None)
    return [(tensor, tensor.grad) for tensor in held.values() if tensor.grad is not None]


@contextlib.contextmanager
def put_back_after(stepper: Stepper, *, also: State | None = None, foreign: Iterable[Tensor] = ()) -> Iterator[Aside]:
    """Inside, the training may be run on; afterwards it is as before, bit for bit, whatever was raised.

    Inside, there are no gradients, and optimizers work on copies of their states. `also`: a state that may be put in place
    inside. `foreign`: leaves outside of model and optimizer. What could not be put back is in the `notes` of what is
    yielded, when the block is left.
    """
    originals = [(optimizer, dict(optimizer.state)) for optimizer in stepper.training.optimizers]
    try:
        for optimizer, state in originals:
            _set_state(optimizer, copy_of_state(state))
        with Aside(stepper.training.roots()) as aside:
            roots = {**roots_of(stepper.training), "tensors outside the model": list(foreign)}
            copies = [tensor for optimizer, _ in originals for tensor in state_tensors(optimizer)]
            aside.also(roots, but=copies)
            if also is not None:
                aside.also({f"the start's {name}": root for name, root in also.roots.items()}, but=copies)
            yield aside
    finally:
        with interruptions_put_off():
            for optimizer, state in originals:
                _set_state(optimizer, state)


def _set_state(optimizer: Optimizer, state: dict[Any, Any]) -> None:
    optimizer.state.clear()
    optimizer.state.update(state)
