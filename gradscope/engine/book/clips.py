"""What clipping has done to gradients, whoever has clipped them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gradscope.protocol.messages import Clip


def clip_of(norm: float, limit: float | None, dominant: tuple[str, float]) -> Clip:
    """By norm, where there is a `limit` to it; else by value. `norm` is that of all gradients before; the norm after is not
    known yet."""
    coefficient = None
    if limit is not None:
        # As torch computes it: a little below limit / norm, never above 1, and 0 for an infinite norm.
        coefficient = math.nan if math.isnan(norm) else min(limit / (norm + 1e-6), 1.0)
    return Clip(norm=norm, coefficient=coefficient, norm_after=None, dominant=dominant[0], dominant_share=dominant[1])


def dominant_of(parameters: Mapping[str, Tensor]) -> tuple[str, float]:
    """The name of the parameter with the largest gradient, and its share of the squared norm of all."""
    gradients = {name: tensor.grad for name, tensor in parameters.items() if tensor.grad is not None}
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
