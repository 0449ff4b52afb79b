"""Gradient clipping by the contract, and what it did."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from gradscope.engine.record import Collected
from gradscope.protocol.messages import Clip
from gradscope.protocol.subjects import INF, L2, NAN, SubjectKind, SubjectRow


def clip_gradients(parameters: list[Tensor], norm: float | None, value: float | None) -> Clip:
    """Clip in place, by norm and then by value; the numbers of the parameters are filled in by `with_details`."""
    if norm is None:
        before = float(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        coefficient = None
    else:
        before = float(clip_grad_norm_(parameters, norm))
        # As torch computes it: a little below norm / before, and never above 1.
        coefficient = min(norm / (before + 1e-6), 1.0) if math.isfinite(before) else math.nan
    if value is not None:
        clip_grad_value_(parameters, value)
    return Clip(norm=before, coefficient=coefficient, norm_after=None)


def with_details(clip: Clip, before: Collected | None, after: Collected, rows: list[SubjectRow]) -> Clip:
    """The norm after clipping, and the parameter with the largest gradient before it."""
    norms_after = _norms(after, SubjectKind.CLIPPED_GRAD, rows)
    norms = {} if before is None else _norms(before, SubjectKind.GRAD, rows)
    dominant, share = _dominant({name: norm for name, norm in norms.items() if name in norms_after})
    return Clip(
        norm=clip.norm,
        coefficient=clip.coefficient,
        norm_after=math.hypot(*norms_after.values()) if norms_after else None,
        dominant=dominant,
        dominant_share=share,
    )


def _norms(collected: Collected, kind: SubjectKind, rows: list[SubjectRow]) -> dict[str, float]:
    """name -> L2 norm; infinite where the gradient is not finite."""
    found = {}
    for i, number in enumerate(collected.subjects.tolist()):
        if rows[number].key.kind is kind:
            summary = collected.summaries[i]
            is_finite = not (summary[NAN] or summary[INF] or math.isnan(summary[L2]))
            found[rows[number].key.name] = float(summary[L2]) if is_finite else math.inf
    return found


def _dominant(norms: dict[str, float]) -> tuple[str, float]:
    if not norms:
        return "", 0.0
    name = max(norms, key=lambda key: norms[key])
    total = math.hypot(*norms.values())
    if math.isinf(total):
        return name, 1.0
    return name, (norms[name] / total) ** 2 if total else 0.0
