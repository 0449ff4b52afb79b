"""A column of the targets that drowns the others, and columns of which that is not so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.findings.sessions import recipe, said


def rows(*columns: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(512, 6)
    return x, torch.stack([column(x) for column in columns], 1)


def large(x: Tensor) -> Tensor:
    return 800 * (x[:, 0] + x[:, 1].abs() - 0.8)


def middle(x: Tensor) -> Tensor:
    return 20 * (x[:, 0] + x[:, 1].abs() - 0.8)


def small(x: Tensor) -> Tensor:
    return torch.sin(2 * x[:, 2]) + x[:, 3]


def tiny(x: Tensor) -> Tensor:
    return 0.01 * (x[:, 4] - x[:, 5])


def noise(x: Tensor) -> Tensor:
    return torch.randn(len(x))


def judged(data: tuple[Tensor, Tensor], loss: Any = F.mse_loss, *, steps: int = 80) -> list[str]:
    torch.manual_seed(1)
    body = nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU()
    model = nn.Sequential(*body, nn.Linear(48, data[1].shape[1]))
    return said(recipe(model, data, loss, rate=1e-2, batch_size=32), "target-not-scaled", steps=steps)


def by_hand(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).mean()


@pytest.mark.parametrize(
    ("columns", "loss"), [((large, small), F.mse_loss), ((small, large, small), F.mse_loss), ((middle, tiny), by_hand)]
)
def test_a_column_that_is_not_learnt_beside_a_large_one_is_told(columns: Any, loss: Any) -> None:
    assert judged(rows(*columns), loss) == [""]


def weighed(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output / torch.tensor([800.0, 1.0]), target / torch.tensor([800.0, 1.0]))


@pytest.mark.parametrize(
    ("columns", "loss"),
    [
        ((middle, small), F.mse_loss),
        # Nothing that the inputs tell.
        ((large, noise), F.mse_loss),
        # The loss puts both on one scale itself.
        ((large, small), weighed),
        ((large, small), F.l1_loss),
    ],
)
def test_columns_that_are_near_each_other_or_cannot_be_learnt_are_silent(columns: Any, loss: Any) -> None:
    assert judged(rows(*columns), loss) == []


def test_pixels_are_one_thing_in_many_columns() -> None:
    torch.manual_seed(0)
    images = torch.randn(512, 2) @ torch.randn(2, 32) * torch.logspace(2, -2, 32)
    model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 32))
    assert said(recipe(model, (images / 100, images), F.mse_loss, batch_size=32), "target-not-scaled", steps=80) == []
