"""Gradient clipping by the contract, and what it did."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from gradscope.protocol.messages import Clip


def clip_gradients(parameters: Mapping[str, Tensor], norm: float | None, value: float | None) -> Clip:
    """Clip the gradients of named parameters in place, by norm and then by value. The norm after it is not known yet."""
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    dominant, share = _dominant(gradients)
    coefficient = None
    if norm is None:
        before = float(torch.nn.utils.get_total_norm(list(gradients.values())))
    else:
        before = float(clip_grad_norm_(list(parameters.values()), norm))
        # As torch computes it: a little below norm / before, never above 1, and 0 for an infinite norm.
        coefficient = math.nan if math.isnan(before) else min(norm / (before + 1e-6), 1.0)
    if value is not None:
        clip_grad_value_(list(parameters.values()), value)
    return Clip(norm=before, coefficient=coefficient, norm_after=None, dominant=dominant, dominant_share=share)


def _dominant(gradients: Mapping[str, Tensor]) -> tuple[str, float]:
    """The name of the largest gradient, and its share of the squared norm of all."""
    dense = {name: gradient for name, gradient in gradients.items() if gradient.layout is torch.strided}
    if not dense or len(dense) < len(gradients):
        return "", 0.0
    norms = torch.stack([n.to(torch.float32).cpu() for n in torch._foreach_norm(list(dense.values()))])
    largest = torch.where(norms.isfinite(), norms, torch.inf)
    position = int(largest.argmax())
    total = float(largest.double().norm())
    if math.isinf(total):
        return list(dense)[position], 1.0
    return list(dense)[position], (float(largest[position]) / total) ** 2 if total else 0.0
