"""Where layers keep the probability of their dropout."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


def dropout_of(module: nn.Module) -> float | None:
    """The probability of a module's own dropout (an RNN's between its layers, an attention's on its weights)."""
    name = _attribute(module)
    return None if name is None else float(getattr(module, name))


def set_dropout(module: nn.Module, p: float) -> None:
    """Set what `dropout_of` gives."""
    name = _attribute(module)
    assert name is not None
    setattr(module, name, p)


def _attribute(module: nn.Module) -> str | None:
    if isinstance(module, _DropoutNd):
        return "p"
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return "dropout"
    return None
