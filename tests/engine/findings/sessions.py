"""A small recipe trained with its monitors, and checked up for one finding: what is said of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session


def said(recipe: Recipe, id: str, steps: int = 24) -> list[str]:
    """The places of what counts, after a check-up for it."""
    torch.set_num_threads(1)
    with warnings.catch_warnings(), Session(recipe, findings=True) as session:
        warnings.simplefilter("ignore")
        for _ in range(steps):
            session.next_batch()
        found = session.check_up(only=[id])
        reasons = [check.reason for check in found.checks if "ailed" in check.reason]
        assert not reasons, reasons
        return [finding.where for finding in found.counted if finding.id == id]


def recipe(
    model: nn.Module,
    data: tuple[Tensor, ...] | Any,
    loss: Callable[..., Any] | None = None,
    *,
    step: Callable[[Any, Any], Any] | None = None,
    rate: float = 1e-2,
    batch_size: int = 16,
    **more: Any,
) -> Recipe:
    """`loss(model(x), y)`, or `step(model, batch)`; Adam of that rate."""
    return Recipe(
        model=model,
        dataset=TensorDataset(*data) if isinstance(data, tuple) else data,
        loss=None if step else loss or nn.functional.cross_entropy,
        optimizer=torch.optim.Adam(model.parameters(), rate),
        training_step=step,
        batch_size=batch_size,
        **more,
    )
