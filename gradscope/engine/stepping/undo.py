"""Undoing a failed phase: what the model's state was before it, cheaply remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.book.optimizer_before import OptimizerBefore, copied
from gradscope.engine.book.turns import Turn
from gradscope.engine.model.copies import Renewal, put_back
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.stepping.training import Training
from gradscope.engine.surroundings.randomness import RandomStates


@dataclass(frozen=True)
class _Buffer:
    owner: nn.Module
    name: str
    tensor: Tensor
    copy: Tensor


class ForwardUndo:
    """Random states and buffers (of the model and of a loss that is a module) as they were before a forward.

    Every buffer is copied every time: batch normalisation, and whatever writes through `.data`, leaves no mark in a tensor's
    version.
    """

    def __init__(self, modules: Callable[[], Iterable[nn.Module]]) -> None:
        self._modules = modules
        self._buffers: list[_Buffer] = []
        self._states: RandomStates | None = None

    def remember(self) -> None:
        self.remember_random_states()
        known = {(id(buffer.owner), buffer.name): buffer for buffer in self._buffers}
        # Copies that were broken off must not be put back.
        self._buffers = []
        found: list[_Buffer] = []
        renewal = Renewal()
        for module in self._modules():
            # Most modules have none.
            for name, tensor in module._buffers.items() if module._buffers else ():
                if tensor is None or is_uninitialised(tensor):
                    continue
                before = known.get((id(module), name))
                # An earlier copy of the same tensor.
                memory = before.copy if before is not None and before.tensor is tensor else None
                found.append(_Buffer(module, name, tensor, renewal.copy_of(tensor, memory)))
        renewal.finish()
        self._buffers = found

    @property
    def states(self) -> RandomStates | None:
        """The random states as they were: when the forward began, or when its batch was loaded."""
        return self._states

    def forget(self) -> None:
        """Let go of the copies; `restore` puts nothing back."""
        self._buffers = []
        self._states = None

    def remember_random_states(self) -> None:
        """Also after the batch was loaded: it is kept, so the numbers that were drawn for it stay drawn."""
        self._states = RandomStates.capture(self._states)

    def before(self, module: nn.Module, name: str) -> Tensor | None:
        """A copy of a buffer as it was, not to be changed; None where nothing is remembered."""
        return next((b.copy for b in self._buffers if b.owner is module and b.name == name), None)

    def restore(self) -> None:
        if self._states is not None:
            self._states.restore()
        for buffer in self._buffers:
            put_back(buffer.tensor, buffer.copy)
            buffer.owner._buffers[buffer.name] = buffer.tensor


class StepUndo(OptimizerBefore):
    """What a step changes beside parameters and gradients: the options and state of optimizers, schedulers, the scaler, the
    random states.

    The state is copied for torch's own optimizers too: a scheduler can fail, or a person stop, after the optimizer has moved.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._newest: RandomStates | None = None
        super().__init__()

    def forget(self) -> None:
        """Let go of the copies; `restore` puts nothing back."""
        super().forget()
        self._states: RandomStates | None = None
        self._schedules: list[tuple[LRScheduler, dict[str, Any]]] = []
        self._scaler: dict[str, Any] = {}

    def remember_step(self, turn: Turn, *, with_state: bool = True) -> None:
        """Copy everything; of the optimizers' states only that of `turn`, which alone is stepped (or none of it)."""
        self._newest = states = RandomStates.capture(self._newest)
        self.remember(self._training.optimizers, turn.optimizer, with_state=with_state)
        self._schedules = [(scheduler, _flat_copy(scheduler)) for scheduler in self._training.schedulers()]
        if self._training.scaler is not None:
            self._scaler = {key: copied(value) for key, value in self._training.scaler.__dict__.items()}
        # Last: it tells that the copies are complete.
        self._states = states

    def remember_random_states(self) -> None:
        """Also after the next batch was asked for: it is kept, so the numbers that were drawn for it stay drawn."""
        if self._states is not None:
            self._newest = self._states = RandomStates.capture(self._newest)

    def restore(self) -> None:
        if self._states is None:
            return
        self._states.restore()
        super().restore()
        for scheduler, schedule in self._schedules:
            scheduler.__dict__.update(schedule)
        if self._training.scaler is not None:
            self._training.scaler.__dict__.update(self._scaler)


def _flat_copy(scheduler: LRScheduler) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value
        for key, value in scheduler.__dict__.items()
    }
