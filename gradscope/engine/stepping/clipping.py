"""Gradient clipping by the contract, and what it did."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from gradscope.engine.book.clips import clip_of, dominant_of
from gradscope.protocol.messages import Clip


def clip_gradients(parameters: Mapping[str, Tensor], norm: float | None, value: float | None) -> Clip:
    """Clip the gradients of named parameters in place, by norm and then by value. The norm after it is not known yet."""
    dominant = dominant_of(parameters)
    if norm is None:
        before = float(torch.nn.utils.get_total_norm([p.grad for p in parameters.values() if p.grad is not None]))
    else:
        before = float(clip_grad_norm_(list(parameters.values()), norm))
    if value is not None:
        clip_grad_value_(list(parameters.values()), value)
    return clip_of(before, norm, dominant)
