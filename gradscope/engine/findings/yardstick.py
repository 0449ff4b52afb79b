"""An own yardstick beside the training's loss: cross entropy, binary cross entropy or squared error of output and target, and
what always saying the same would get.

It follows the loss: where that is known to be another one (KL, Poisson, Gaussian NLL), there is no yardstick beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["classes", "soft classes", "binary", "regression"]
_OWN_LOSS_ONLY = ("kl_div", "poisson_nll_loss", "gaussian_nll_loss")


@dataclass(frozen=True)
class Measure:
    """Of one forward."""

    kind: Kind
    value: float
    """Nats, or squared units of the target."""
    predictions: Tensor | None = None
    """Of classes and binary targets: int64, flat, padding left out."""
    targets: Tensor | None = None
    classes: int | None = None
    """How many the output can tell apart."""


@dataclass(frozen=True)
class Baseline:
    """Always saying the same: the entropy of the targets, or their variance."""

    kind: Kind
    value: float
    classes: int | None = None
    """How many different targets there are."""


def measure(
    output: Tensor, target: object, *, function: str = "", options: Mapping[str, Any] | None = None
) -> Measure | None:
    """By the shapes of output and target. `function`: the loss that was seen, "" where none was; `options`: its arguments.

    None where there is no yardstick for them.
    """
    if not isinstance(target, Tensor) or function in _OWN_LOSS_ONLY or output.is_complex():
        return None
    o = output.detach().float()
    if not target.is_floating_point() and target.dtype is not torch.bool and o.dim() == target.dim() + 1:
        return _of_classes(o, target, (options or {}).get("ignore_index", -100))
    if target.is_floating_point() and tuple(o.shape) in (tuple(target.shape), (*target.shape, 1)) and o.numel():
        y = target.reshape(o.shape).float()
        if function == "cross_entropy":
            return Measure("soft classes", float(F.cross_entropy(o, y))) if o.dim() == 2 else None
        if function not in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss") and _is_binary(y):
            value = float(F.binary_cross_entropy_with_logits(o, y))
            return Measure("binary", value, (o > 0).long().flatten(), y.long().flatten(), 2)
        return Measure("regression", float(((o - y) ** 2).mean()))
    return None


def _of_classes(o: Tensor, target: Tensor, ignored: int) -> Measure | None:
    if tuple(o.shape[:-1]) == tuple(target.shape):
        rows = o
    elif (o.shape[0], *o.shape[2:]) == tuple(target.shape):
        rows = o.movedim(1, -1)
    else:
        return None
    z, t = rows.reshape(-1, rows.shape[-1]), target.reshape(-1).long()
    kept = (t != ignored) & (t >= 0) & (t < z.shape[-1])
    z, t = z[kept], t[kept]
    if not len(t):
        return None
    return Measure("classes", float(F.cross_entropy(z, t)), z.argmax(-1), t, z.shape[-1])


def baseline(
    targets: Iterable[Tensor], *, function: str = "", options: Mapping[str, Any] | None = None
) -> Baseline | None:
    """Of all targets of a data pass; None where there is none for them, and where they are all the same."""
    parts = list(targets)
    if not parts or function in _OWN_LOSS_ONLY or any(p.is_complex() or not p.numel() for p in parts):
        return None
    if not parts[0].is_floating_point():
        y = torch.cat([p.reshape(-1).long() for p in parts])
        y = y[(y >= 0) & (y != (options or {}).get("ignore_index", -100))]
        if not len(y):
            return None
        share = y.unique(return_counts=True)[1].double() / len(y)
        if len(share) < 2:
            # Whatever is right always is nothing to be measured by.
            return None
        return Baseline("classes", float(-(share * share.log()).sum()), len(share))
    if function == "cross_entropy" or any(p.shape[1:] != parts[0].shape[1:] for p in parts):
        return None
    y = torch.cat(parts).double()
    if function not in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss") and _is_binary(y):
        p = float(y.mean())
        return Baseline("binary", -(p * math.log(p) + (1 - p) * math.log(1 - p)), 2)
    if len(y) < 2:
        return None
    variance = float(y.flatten(1).var(0).mean()) if y.dim() > 1 else float(y.var())
    return Baseline("regression", variance) if variance > 0 else None


def _is_binary(y: Tensor) -> bool:
    return bool(((y == 0) | (y == 1)).all()) and y.numel() > 1 and 0 < float(y.double().mean()) < 1
