"""Dropout that draws in eval mode by mistake, and models that are random on purpose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.engine.findings.experiments.evaluation import find_dropout
from tests.engine.findings.plain_bench import PlainBench


class Net(nn.Module):
    def __init__(self, drop: Any) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 24), nn.Linear(24, 3)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.relu(self.first(x))))


class Mask(nn.Module):
    def __init__(self, keep: float, *, is_scaled: bool = True, by_mode: bool = False) -> None:
        super().__init__()
        self.keep, self.is_scaled, self.by_mode = keep, is_scaled, by_mode

    def forward(self, h: Tensor) -> Tensor:
        if self.by_mode and not self.training:
            return h
        mask = (torch.rand_like(h) < self.keep).float()
        return h * (mask / self.keep if self.is_scaled else mask)


class DropPath(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        mask = h.new_empty(len(h), 1).bernoulli_(0.5)
        mask.div_(0.5)
        return h * mask


class Attention(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, h: Tensor) -> Tensor:
        q = h.view(len(h), 1, 4, 6)
        return F.scaled_dot_product_attention(q, q, q, dropout_p=self.p).flatten(1)


class MCDropout(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return F.dropout(h, 0.5)


class Kept(nn.Dropout):
    """Stays in train mode, whoever asks."""

    def train(self, mode: bool = True) -> Kept:
        return super().train(True)


class Latent(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return h + 0.5 * torch.randn_like(h)


def places(drop: Any) -> list[str]:
    torch.manual_seed(0)
    batch = [torch.randn(8, 6), torch.randint(0, 3, (8,))]
    bench = PlainBench(Net(drop), [batch])
    return [draft.where for draft in find_dropout(bench, bench.record)]


@pytest.mark.parametrize(
    ("drop", "place"),
    [
        (lambda h: F.dropout(h, 0.6), ""),
        (lambda h: nn.Dropout(0.3)(h), ""),
        (lambda h: F.alpha_dropout(h, 0.3, training=True), ""),
        (Mask(0.7), "drop"),
        (DropPath(), "drop"),
        (Attention(0.3), "drop"),
    ],
)
def test_a_dropout_that_draws_is_found(drop: Any, place: str) -> None:
    assert places(drop) == [place]


@pytest.mark.parametrize(
    "drop",
    [
        nn.Dropout(0.6),
        Mask(0.7, by_mode=True),
        # Hidden on purpose, as in a masked model: nothing is scaled up.
        Mask(0.7, is_scaled=False),
        Attention(0.0),
        MCDropout(),
        Kept(0.5),
        Latent(),
        lambda h: F.gumbel_softmax(h, hard=True),
    ],
)
def test_what_is_off_or_meant_is_silent(drop: Any) -> None:
    assert places(drop) == []
