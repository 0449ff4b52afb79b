"""Undoing a failed phase: what the model's state was before it, cheaply remembered."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.parameters import Model
from gradscope.engine.randomness import RandomStates


@dataclass(frozen=True)
class _Buffer:
    owner: nn.Module
    name: str
    tensor: Tensor
    version: int
    copy: Tensor


class ForwardUndo:
    """Random states and buffers as they were before a forward. A buffer that has not changed is not copied again."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._buffers: list[_Buffer] = []
        self._known: dict[tuple[int, str], _Buffer] = {}
        self._states: RandomStates | None = None

    def remember(self) -> None:
        self._states = RandomStates.capture()
        self._buffers = []
        if not isinstance(self._model, nn.Module):
            return
        for module in self._model.modules():
            for name, tensor in module._buffers.items():
                if tensor is not None:
                    self._buffers.append(self._copy(module, name, tensor))
        self._known = {(id(buffer.owner), buffer.name): buffer for buffer in self._buffers}

    def restore(self) -> None:
        if self._states is not None:
            self._states.restore()
        with torch.no_grad():
            for buffer in self._buffers:
                if buffer.tensor._version != buffer.version:
                    buffer.tensor.detach().copy_(buffer.copy)
                buffer.owner._buffers[buffer.name] = buffer.tensor

    def _copy(self, module: nn.Module, name: str, tensor: Tensor) -> _Buffer:
        known = self._known.get((id(module), name))
        if known is not None and known.tensor is tensor and known.version == tensor._version:
            return known
        return _Buffer(module, name, tensor, tensor._version, tensor.detach().clone())


class StepUndo:
    """What a step changes beside the parameters: the optimizer's options and state, the scheduler, the random states.

    torch's own optimizers check their input before they move anything, so their state is not copied; that of a foreign
    optimizer is.
    """

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._copies_state = not type(optimizer).__module__.startswith("torch.optim.")
        self._options: list[dict[str, Any]] = []
        self._state: dict[Any, Any] | None = None
        self._schedule: dict[str, Any] = {}
        self._states: RandomStates | None = None

    def remember(self) -> None:
        self._states = RandomStates.capture()
        self._options = [
            {key: copy.copy(value) for key, value in group.items() if key != "params"}
            for group in self._optimizer.param_groups
        ]
        if self._copies_state:
            memo = {id(p): p for group in self._optimizer.param_groups for p in group["params"]}
            self._state = copy.deepcopy(dict(self._optimizer.state), memo)
        if self._scheduler is not None:
            self._schedule = _flat_copy(self._scheduler)

    def restore(self) -> None:
        if self._states is not None:
            self._states.restore()
        for group, options in zip(self._optimizer.param_groups, self._options, strict=False):
            group.update(options)
        if self._state is not None:
            self._optimizer.state.clear()
            self._optimizer.state.update(self._state)
        if self._scheduler is not None:
            self._scheduler.__dict__.update(self._schedule)


def _flat_copy(scheduler: LRScheduler) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value
        for key, value in scheduler.__dict__.items()
    }
