"""What ctc_loss is given: does each sample have as many frames as its labels take?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import CtcCall


def ctc_call(values: dict[str, Any], step: int) -> CtcCall | None:
    """`values`: the arguments by name. None where they are not as ctc_loss takes them."""
    frames, labels = _lengths(values.get("input_lengths")), _lengths(values.get("target_lengths"))
    targets = values.get("targets")
    if frames is None or labels is None or not len(frames) or len(frames) != len(labels):
        return None
    blank = values.get("blank", 0)
    needed = labels + (_repeats(targets, labels) if isinstance(targets, Tensor) else 0)
    return CtcCall(
        step=step,
        samples=len(frames),
        too_short=int((needed > frames).sum()),
        frames=float(frames.double().median()),
        labels=float(needed.double().median()),
        blank=int(blank),
        with_blank=_with(targets, labels, int(blank)) if isinstance(targets, Tensor) else 0,
    )


def _lengths(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach().cpu().long().reshape(-1)
    return torch.tensor(value).long().reshape(-1) if isinstance(value, (tuple, list)) else None


def _rows(targets: Tensor, labels: Tensor) -> list[Tensor]:
    """The labels of each sample; none where they cannot be told apart."""
    y = targets.detach().cpu()
    if y.dim() == 2 and len(y) == len(labels):
        return [row[:length] for row, length in zip(y, labels.tolist(), strict=True)]
    return list(y.split(labels.tolist())) if y.dim() == 1 and len(y) == int(labels.sum()) else []


def _repeats(targets: Tensor, labels: Tensor) -> Tensor:
    """How often a label follows one that is the same: a blank has to stand between them."""
    rows = _rows(targets, labels)
    return torch.tensor([int((row[1:] == row[:-1]).sum()) for row in rows]) if rows else torch.zeros_like(labels)


def _with(targets: Tensor, labels: Tensor, label: int) -> int:
    return sum(bool((row == label).any()) for row in _rows(targets, labels))
