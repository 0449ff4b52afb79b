"""The loss as a function of model and batch, and a copy of it in float64 that shares nothing with the original."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gradscope.engine.model.leaves import MAX_DEPTH, tensor_leaves
from gradscope.engine.model.losses import checked_loss, input_and_target, loss_of
from gradscope.engine.model.modules import apply_to_tensors, modules_in
from gradscope.engine.model.parameters import Model
from gradscope.engine.surroundings.devices import copy_batch

_TORCHS_OWN = frozenset(vars(nn.Module()))
"""The attributes of a module in which torch itself looks for tensors, modules and hooks."""
_WIDE = {torch.complex32: torch.complex128, torch.complex64: torch.complex128}


@dataclass(frozen=True)
class Objective:
    """What is to be made small: `objective(batch)` is the loss."""

    model: Model
    loss: Callable[[Any, Any], Any] | None
    training_step: Callable[[Any, Any], Any] | None

    def __call__(self, batch: Any) -> Tensor:
        return checked_loss(self.value(batch))

    def value(self, batch: Any) -> Any:
        """What the user's code gives for the loss, whatever it is."""
        if self.training_step is not None:
            return loss_of(self.training_step(self.model, batch))
        x, target = input_and_target(batch)
        assert callable(self.model) and self.loss is not None
        return self.loss(self.model(x), target)

    def roots(self) -> dict[str, object]:
        """What it runs, by the names that the user gave."""
        return {"model": self.model, "loss": self.loss, "training_step": self.training_step}

    def in_float64(self) -> Objective:
        """A deep copy with every real and complex tensor in double precision; on the CPU where the device knows none."""
        # What model and loss share stays shared. Results of an earlier forward that a module has kept cannot be copied.
        memo = dict(_kept_results(self.model, self.loss))
        model, loss, step = copy.deepcopy((self.model, self._loss_module, self._step_module), memo)
        return Objective(
            _widened(model),
            self.loss if loss is None else _widened(loss),
            self.training_step if step is None else _widened(step),
        )

    @property
    def _loss_module(self) -> nn.Module | None:
        return self.loss if isinstance(self.loss, nn.Module) else None

    @property
    def _step_module(self) -> nn.Module | None:
        return self.training_step if isinstance(self.training_step, nn.Module) else None


def batch_in_float64(batch: Any) -> Any:
    """A copy of a batch with its real and complex tensors in double precision; whole numbers stay what they are."""
    return _mapped(copy_batch(batch, _device_of(batch)))


def _mapped(value: Any) -> Any:
    if isinstance(value, Tensor):
        wide = wide_tensor(value)
        return wide.detach().requires_grad_() if value.requires_grad and wide is not value else wide
    if isinstance(value, PackedSequence):
        return value._replace(data=wide_tensor(value.data))
    if isinstance(value, Mapping):
        mapped = {key: _mapped(item) for key, item in value.items()}
        try:
            return type(value)(mapped)  # type: ignore[call-arg]
        except TypeError:
            return mapped
    if isinstance(value, tuple):
        items = [_mapped(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, list):
        return [_mapped(item) for item in value]
    return value


def wide_tensor(tensor: Tensor) -> Tensor:
    """In float64 or complex128, off devices that have neither; a tensor of whole numbers is only moved."""
    device = torch.device("cpu") if tensor.device.type == "mps" else tensor.device
    if tensor.is_floating_point():
        return tensor.to(device, torch.float64)
    return tensor.to(device, _WIDE.get(tensor.dtype, tensor.dtype))


def _device_of(batch: Any) -> torch.device:
    first = next((tensor for _, tensor in tensor_leaves(batch)), None)
    return torch.device("cpu") if first is None else first.device


def _widened(model: Any) -> Any:
    if not isinstance(model, nn.Module):
        return {
            name: wide_tensor(tensor.detach()).requires_grad_(tensor.requires_grad) for name, tensor in model.items()
        }
    _widen_module(model, set())
    return model


def _widen_module(module: nn.Module, seen: set[int]) -> None:
    """In place, and what its modules keep elsewhere than torch looks: constants, layers in a list."""
    parts = [part for part in modules_in(module) if id(part) not in seen]
    seen |= {id(part) for part in parts}
    for part in parts:
        if isinstance(part, torch.jit.ScriptModule):
            # Where TorchScript has copied a parameter, the copy has a history.
            own: Any = part._parameters
            for name, tensor in own.items():
                own[name] = tensor.detach().requires_grad_(tensor.requires_grad)
    apply_to_tensors(module, wide_tensor)
    for part in parts:
        for name, value in vars(part).items():
            if name not in _TORCHS_OWN:
                vars(part)[name] = _widened_inside(value, seen, MAX_DEPTH)


def _widened_inside(value: Any, seen: set[int], depth: int) -> Any:
    """The same with wide tensors and modules; lists and dicts in place."""
    if isinstance(value, Tensor):
        wide = wide_tensor(value)
        # One that is wide already may be a parameter.
        return wide if wide is value or not value.is_leaf else wide.detach().requires_grad_(value.requires_grad)
    if depth == 0 or id(value) in seen:
        return value
    if isinstance(value, nn.Module):
        _widen_module(value, seen)
    elif type(value) in (list, dict, OrderedDict, defaultdict):
        seen.add(id(value))
        for key in [*value.keys()] if isinstance(value, dict) else range(len(value)):
            value[key] = _widened_inside(value[key], seen, depth - 1)
    elif type(value) is tuple:
        return tuple(_widened_inside(item, seen, depth - 1) for item in value)
    return value


def _kept_results(*owners: Any) -> Iterator[tuple[int, Tensor]]:
    """(id, stand-in) of each tensor with a history that a module keeps as an attribute."""
    for owner in owners:
        for module in modules_in(owner):
            for value in vars(module).values():
                for _, tensor in tensor_leaves(value, depth=MAX_DEPTH - 3):
                    if not tensor.is_leaf:
                        yield id(tensor), tensor.detach().clone()
