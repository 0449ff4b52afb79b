"""Measures that are curves: a number for each step, or along another axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from docs.finding_pictures.runs import Run
from docs.finding_pictures.values import Values
from gradscope import Recipe
from gradscope.protocol.subjects import SubjectKind


def losses(run: Run) -> Values:
    return Values(run.losses)


def smooth_losses(run: Run) -> Values:
    return Values(tuple(sum(run.losses[max(0, k - 7) : k + 1]) / min(8, k + 1) for k in range(len(run.losses))))


def gradient_norms(run: Run) -> Values:
    norms = [backward.total_l2(SubjectKind.GRAD) for _, backward, *_ in run.steps]
    return Values(tuple(math.nan if norm is None else norm for norm in norms))


def watched(run: Run) -> Values:
    return Values(tuple(run.watched))


def right_answers(recipe: Recipe) -> Callable[[], float]:
    """Percent of the data, which is of classes."""

    model: Any = recipe.model

    def ask() -> float:
        x, y = recipe.dataset.tensors  # type: ignore[union-attr]
        with torch.no_grad():
            return 100 * float((model(x).argmax(1) == y).double().mean())

    return ask


def apart(recipe: Recipe) -> Callable[[], float]:
    """How far the embedding and the head are from each other, in percent of their length."""

    model: Any = recipe.model

    def ask() -> float:
        one, other = model.embedding.weight, model.head.weight
        return 100 * float((one - other).norm() / one.norm())

    return ask


def drift(recipe: Recipe) -> Callable[[], float]:
    """How far the stored inputs have moved from where they were: the root of the mean square."""
    before = recipe.dataset.x.clone()  # type: ignore[union-attr]
    return lambda: (recipe.dataset.x - before).square().mean().sqrt().item()  # type: ignore[union-attr]


def validations(run: Run) -> Values:
    """The loss over the validation data, twenty times, with the model as it is."""
    run.model.eval()
    losses = []
    for _ in range(20):
        pairs = [run.recipe.validation[i] for i in range(len(run.recipe.validation))]  # type: ignore[index, arg-type]
        x, y = (torch.stack(part) for part in zip(*pairs, strict=True))
        with torch.no_grad():
            losses.append(F.cross_entropy(run.model(x), y).item())
    return Values(tuple(losses), first=1)


def along_a_line(run: Run) -> Values:
    """The first output on a straight way through the inputs, (0, 1, 0, ...) times -4 to 4."""
    way = torch.zeros(81, 8)
    way[:, 1] = torch.linspace(-4, 4, 81)
    with torch.no_grad():
        return Values(tuple(run.model(way)[:, 0].tolist()), first=-4, last=4)
