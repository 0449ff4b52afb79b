"""Undoing a load that has failed half-way."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gradscope.engine.checkpoints.save import SETTINGS, trained_tensors
from gradscope.engine.model.dropout import dropout_of, set_dropout
from gradscope.engine.model.modules import modules_in
from gradscope.engine.model.parameters import PreviousValues, is_uninitialised
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.undo import ForwardUndo


class SessionUndo:
    """The session before a checkpoint was loaded into it."""

    def __init__(self, stepper: Stepper) -> None:
        training, model = stepper.training, stepper.recipe.model
        tensors = {name: t for name, t in trained_tensors(stepper) if not is_uninitialised(t)}
        self._stepper = stepper
        self._values = PreviousValues()
        self._values.remember(tensors)
        self._flags = [(t, t.grad, t.requires_grad) for t in tensors.values()]
        self._buffers = ForwardUndo(training.modules)
        self._buffers.remember()
        self._modules = [(module, module.training, dropout_of(module)) for module in modules_in(model)]
        # torch's own optimizers put new objects in the place of the old ones; others may write into them.
        self._optimizers = [(o, dict(vars(o)) if _loads_by_itself(o) else _copy(vars(o))) for o in training.optimizers]
        self._schedulers = [(scheduler, _copy(vars(scheduler))) for scheduler in training.schedulers()]
        self._scaler = {} if training.scaler is None else _copy(vars(training.scaler))
        self._settings = {name: getattr(training, name) for name in SETTINGS}
        self._best = stepper.best
        self._generators = [(generator, generator.get_state()) for generator in stepper.loop.batches.generators]

    def restore(self) -> None:
        training = self._stepper.training
        self._values.restore()
        for tensor, gradient, requires_grad in self._flags:
            tensor.grad = gradient
            if tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
        self._buffers.restore()
        for module, is_training, p in self._modules:
            module.training = is_training
            if p is not None:
                set_dropout(module, p)
        for owner, content in (*self._optimizers, *self._schedulers):
            vars(owner).clear()
            vars(owner).update(content)
        if training.scaler is not None:
            vars(training.scaler).update(self._scaler)
        for name, value in self._settings.items():
            setattr(training, name, value)
        self._stepper.best = self._best
        for generator, states in self._generators:
            generator.set_state(states)


def _loads_by_itself(optimizer: Optimizer) -> bool:
    return type(optimizer).load_state_dict is Optimizer.load_state_dict


def _copy(value: Any) -> Any:
    """A copy of what plain containers and tensors hold. A parameter, and any other object, is what it was."""
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and not value.requires_grad:
        return value.clone()
    if type(value) in (dict, OrderedDict, Counter):
        return type(value)({key: _copy(item) for key, item in value.items()})
    if type(value) is defaultdict:
        return defaultdict(value.default_factory, {key: _copy(item) for key, item in value.items()})
    if type(value) is deque:
        return deque(map(_copy, value), value.maxlen)
    if type(value) in (list, tuple, set):
        return type(value)(_copy(item) for item in value)
    return value
