"""The size or the level of a sample as the answer, and a normalisation that takes it away; and where that harms nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.findings.sessions import recipe, said


def clips(*, tells: bool = True) -> tuple[Tensor, Tensor]:
    """Tones; their class is how loud they are, or how high."""
    torch.manual_seed(0)
    y = torch.randint(0, 3, (480,))
    other = torch.randint(0, 3, (480,))
    loud, pitch = (y, other) if tells else (other, y)
    t = torch.arange(32.0)
    x = (0.5 + loud)[:, None] * torch.sin((0.3 + 0.4 * pitch)[:, None] * t + 6 * torch.rand(480, 1))
    return x[:, None], y


def pictures() -> tuple[Tensor, Tensor]:
    """How bright it is."""
    torch.manual_seed(0)
    bright = torch.rand(480, 1)
    return torch.rand(480, 1, 8, 8) * 0.3 + bright[..., None, None], 4 * bright


def both() -> tuple[Tensor, Tensor]:
    """What is higher is louder, too."""
    torch.manual_seed(0)
    y = torch.randint(0, 3, (480,))
    t = torch.arange(32.0)
    x = (0.5 + y)[:, None] * torch.sin((0.3 + 0.4 * y)[:, None] * t + 6 * torch.rand(480, 1))
    return x[:, None], y


class Ears(nn.Module):
    def __init__(self, first: Callable[[Tensor], Tensor], outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = first
        self.conv, self.out = nn.Conv1d(1, 12, 5), nn.Linear(12, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.conv(self.first(x).flatten(2))).mean(-1))


def normalised(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[1:])


@pytest.mark.parametrize(
    ("first", "data", "loss"),
    [
        (normalised, clips, F.cross_entropy),
        (lambda x: x / x.flatten(1).norm(dim=1)[:, None, None], clips, F.cross_entropy),
        (lambda x: x - x.mean((2, 3), keepdim=True), pictures, F.mse_loss),
    ],
)
def test_an_answer_that_is_normalised_away_is_told(first: Any, data: Any, loss: Any) -> None:
    model = Ears(first, 1 if loss is F.mse_loss else 3)
    assert said(recipe(model, data(), loss, batch_size=32), "size-invisible", steps=80) == [""]


def test_large_whole_numbers_are_no_classes() -> None:
    """A class for each number up to a billion would not fit into memory."""
    x, y = clips()
    counts = torch.tensor([3, 700, 10**9])[y]
    assert said(recipe(Ears(normalised), (x, counts), large_counts, batch_size=32), "size-invisible", steps=80) == [""]


def large_counts(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, (target > 3).long() + (target > 700).long())


@pytest.mark.parametrize(
    ("first", "data"),
    [
        (lambda x: x, clips),
        # What is normalised away is no answer.
        (normalised, lambda: clips(tells=False)),
        # It is one, and the pitch is another.
        (normalised, both),
        # The normalisation is of all clips.
        (lambda x: (x - 0.01) / 1.2, clips),
    ],
)
def test_sizes_that_are_seen_or_not_needed_are_silent(first: Any, data: Any) -> None:
    assert said(recipe(Ears(first), data(), batch_size=32), "size-invisible", steps=120) == []
