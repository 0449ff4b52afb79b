"""The loss as a function of model and batch, and a copy of it in float64 that shares nothing with the original."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gradscope.engine.checks import checked_loss, input_and_target, loss_of
from gradscope.engine.devices import copy_batch
from gradscope.engine.leaves import MAX_DEPTH, tensor_leaves
from gradscope.engine.modules import modules_in
from gradscope.engine.parameters import Model

_WIDE = {torch.complex32: torch.complex128, torch.complex64: torch.complex128}


@dataclass(frozen=True)
class Objective:
    """What is to be made small: `objective(batch)` is the loss."""

    model: Model
    loss: Callable[[Any, Any], Any] | None
    training_step: Callable[[Any, Any], Any] | None

    def __call__(self, batch: Any) -> Tensor:
        if self.training_step is not None:
            return checked_loss(loss_of(self.training_step(self.model, batch)))
        x, target = input_and_target(batch)
        assert callable(self.model) and self.loss is not None
        return checked_loss(self.loss(self.model(x), target))

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
    model._apply(wide_tensor)
    for module in modules_in(model):
        for name, value in vars(module).items():
            # A constant that was not registered as a buffer.
            if isinstance(value, Tensor):
                vars(module)[name] = wide_tensor(value)
    return model


def _kept_results(*owners: Any) -> Iterator[tuple[int, Tensor]]:
    """(id, stand-in) of each tensor with a history that a module keeps as an attribute."""
    for owner in owners:
        for module in modules_in(owner):
            for value in vars(module).values():
                for _, tensor in tensor_leaves(value, depth=MAX_DEPTH - 3):
                    if not tensor.is_leaf:
                        yield id(tensor), tensor.detach().clone()
