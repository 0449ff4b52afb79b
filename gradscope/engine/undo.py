"""Undoing a failed phase: what the model's state was before it, cheaply remembered."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.parameters import Model, is_uninitialised
from gradscope.engine.randomness import RandomStates


@dataclass(frozen=True)
class _Buffer:
    owner: nn.Module
    name: str
    tensor: Tensor
    copy: Tensor


class ForwardUndo:
    """Random states and buffers as they were before a forward.

    Every buffer is copied every time: batch normalisation, and whatever writes through `.data`, leaves no mark in a tensor's
    version.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._buffers: list[_Buffer] = []
        self._states: RandomStates | None = None

    def remember(self) -> None:
        self.remember_random_states()
        known = {(id(buffer.owner), buffer.name): buffer for buffer in self._buffers}
        # Copies that were broken off must not be put back.
        self._buffers = []
        modules = self._model.modules() if isinstance(self._model, nn.Module) else ()
        self._buffers = [
            _copied(known.get((id(module), name)), module, name, tensor)
            for module in modules
            for name, tensor in module._buffers.items()
            if tensor is not None and not is_uninitialised(tensor)
        ]

    def forget(self) -> None:
        """Let go of the copies; `restore` puts nothing back."""
        self._buffers = []
        self._states = None

    def remember_random_states(self) -> None:
        """Also after the batch was loaded: it is kept, so the numbers that were drawn for it stay drawn."""
        self._states = RandomStates.capture()

    def restore(self) -> None:
        if self._states is not None:
            self._states.restore()
        with torch.no_grad():
            for buffer in self._buffers:
                buffer.tensor.detach().copy_(buffer.copy)
                buffer.owner._buffers[buffer.name] = buffer.tensor


def _copied(known: _Buffer | None, module: nn.Module, name: str, tensor: Tensor) -> _Buffer:
    """The memory of an earlier copy of the same tensor is used again."""
    if known is None or known.tensor is not tensor or known.copy.shape != tensor.shape:
        return _Buffer(module, name, tensor, tensor.detach().clone())
    known.copy.copy_(tensor.detach())
    return known


class StepUndo:
    """What a step changes beside the parameters: the optimizer's options and state, the scheduler, the random states.

    The state is copied for torch's own optimizers too: a scheduler can fail, or a person stop, after the optimizer has moved.
    """

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
        self._optimizer = optimizer
        self._schedulers = list(_with_nested(scheduler)) if scheduler is not None else []
        self.forget()

    def forget(self) -> None:
        """Let go of the copies; `restore` puts nothing back."""
        self._states: RandomStates | None = None
        self._options: list[dict[str, Any]] = []
        self._state: dict[Any, Any] = {}
        self._schedules: list[dict[str, Any]] = []

    def remember(self) -> None:
        states = RandomStates.capture()
        self._options = [
            {key: _copy(value) for key, value in group.items() if key != "params"}
            for group in self._optimizer.param_groups
        ]
        self._state = {
            parameter: {key: _copy(value) for key, value in state.items()} if isinstance(state, dict) else _copy(state)
            for parameter, state in self._optimizer.state.items()
        }
        self._schedules = [_flat_copy(scheduler) for scheduler in self._schedulers]
        # Last: it tells that the copies are complete.
        self._states = states

    def restore(self) -> None:
        if self._states is None:
            return
        self._states.restore()
        for group, options in zip(self._optimizer.param_groups, self._options, strict=False):
            group.update(options)
        self._optimizer.state.clear()
        self._optimizer.state.update(self._state)
        for scheduler, schedule in zip(self._schedulers, self._schedules, strict=True):
            scheduler.__dict__.update(schedule)


def _copy(value: Any) -> Any:
    # copy.copy of a tensor shares its memory.
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _with_nested(scheduler: LRScheduler) -> Iterator[LRScheduler]:
    """The scheduler, and those that a SequentialLR or ChainedScheduler holds."""
    yield scheduler
    for nested in getattr(scheduler, "_schedulers", ()):
        yield from _with_nested(nested)


def _flat_copy(scheduler: LRScheduler) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value
        for key, value in scheduler.__dict__.items()
    }
