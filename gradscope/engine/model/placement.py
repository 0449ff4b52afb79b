"""Moving a model, and what an optimizer remembers of it, to a device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradscope.engine.model.modules import move


def move_model(model: nn.Module | Mapping[str, Tensor], device: torch.device) -> None:
    """In place: parameters and leaf tensors keep their identity, so that the optimizer still holds them."""
    if isinstance(model, nn.Module):
        move(model, device)
        return
    for tensor in model.values():
        tensor.data = tensor.data.to(device)


def move_optimizer_state(optimizer: Optimizer) -> None:
    """State that was made before the move (Adagrad has some from the start) follows its parameter.

    "step" counters stay where they are: torch keeps them on the CPU unless the optimizer is capturable or fused.
    """
    for parameter, state in optimizer.state.items():
        if isinstance(state, dict) and isinstance(parameter, Tensor):
            for key, value in state.items():
                if isinstance(value, Tensor) and key != "step":
                    state[key] = value.to(parameter.device)
