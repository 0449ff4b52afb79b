"""Layers that act as one by mistake, and factorisations that are meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradscope.engine.findings.experiments.additivity import find_linear
from tests.engine.findings.plain_bench import PlainBench

seq = nn.Sequential


def found(model: nn.Module, *shape: int, x: Tensor | None = None) -> list[Any]:
    torch.manual_seed(0)
    inputs = [torch.randn(8, *shape) for _ in range(2)] if x is None else [x, x]
    bench = PlainBench(model, [[x, torch.randint(0, 2, (8,))] for x in inputs])
    return [*find_linear(bench, bench.record)]


class Branches(nn.Module):
    """One branch is bent, the other is not."""

    def __init__(self, *other: nn.Module) -> None:
        super().__init__()
        self.one = seq(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
        self.other = seq(*other)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.one(x) + self.other(x)))


class Attention(nn.Module):
    """Q, K and V of what an input layer makes, and a layer behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Linear(6, 16)
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.emb(x)
        weights = torch.softmax(self.q(h) @ self.k(h).transpose(1, 2), -1)
        return self.head(torch.relu(h + self.o(weights @ self.v(h))).mean(1))


class ReZero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.alpha * torch.relu(self.fc(h))


class Recurrent(nn.Module):
    """A linear state space, on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(6, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 12)
        for t in range(x.shape[1]):
            h = self.a(h) + self.b(x[:, t])
        return self.c(h)


@pytest.mark.parametrize(
    ("model", "shape", "place"),
    [
        (seq(nn.Linear(6, 16), nn.Dropout(0.2), nn.Linear(16, 2)), (6,), ""),
        (
            seq(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 2)),
            (1, 6, 6),
            "",
        ),
        (Branches(nn.Linear(6, 16), nn.Identity(), nn.Linear(16, 8)), (6,), "other"),
        (seq(nn.Linear(6, 16), nn.ReLU(), seq(nn.Linear(16, 16), nn.Linear(16, 2))), (6,), "2"),
        (seq(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.Flatten(), nn.Linear(16, 2)), (1, 6), ""),
    ],
)
def test_layers_without_anything_bent_between_are_found(model: nn.Module, shape: tuple[int, ...], place: str) -> None:
    [draft] = found(model, *shape)
    assert (draft.id, draft.where) == ("no-nonlinearity", place)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (seq(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)), (6,)),
        # Low rank on purpose.
        (
            seq(
                nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4, bias=False), nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)
            ),
            (6,),
        ),
        (seq(nn.Linear(12, 3), nn.Linear(3, 12)), (12,)),
        (Attention(), (5, 6)),
        (seq(nn.Linear(6, 16), ReZero(), ReZero(), nn.Linear(16, 2)), (6,)),
        (Recurrent(), (5, 6)),
        # Depthwise and pointwise.
        (
            seq(
                nn.Conv2d(1, 8, 3),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, groups=8),
                nn.Conv2d(8, 8, 1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(32, 2),
            ),
            (1, 6, 6),
        ),
        (seq(nn.Conv2d(1, 8, (3, 1)), nn.Conv2d(8, 8, (1, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2)), (1, 6, 6)),
        # What normalises a sample is not linear.
        (seq(nn.Linear(6, 16), nn.LayerNorm(16), nn.Linear(16, 2)), (6,)),
        (nn.Linear(6, 2), (6,)),
    ],
)
def test_bent_and_factorised_models_are_silent(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert found(model, *shape) == []


class Both(nn.Module):
    """Gives away the features too."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.emb, self.head = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.emb(torch.relu(self.body(x)))
        return self.head(h), h


def test_features_that_are_used_elsewhere_too_are_silent() -> None:
    assert found(Both(), 6) == []


def test_a_part_of_a_model_of_tokens_is_found() -> None:
    model = seq(nn.Embedding(9, 16), nn.LSTM(16, 16, batch_first=True), First(), nn.Linear(16, 32), nn.Linear(32, 2))
    [draft] = found(model, x=torch.randint(0, 9, (8, 5)))
    assert draft.near == ("3", "4")


class First(nn.Module):
    def forward(self, h: Any) -> Any:
        return h[0][:, -1]


class Plain(nn.Module):
    """Attention without a shortcut: the layer behind the heads goes straight into the next."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(6, 48), nn.Linear(16, 16)
        self.fc, self.head = nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        h = self.o(torch.softmax(q @ k.transpose(1, 2), -1) @ v)
        return self.head(torch.relu(self.fc(h)).mean(1))


def test_the_layer_behind_the_heads_of_an_attention_is_silent() -> None:
    assert found(Plain(), 5, 6) == []


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 3)
        self.experts = nn.ModuleList([seq(nn.Linear(6, 16), nn.Linear(16, 2)) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        return (torch.softmax(self.gate(x), 1)[:, :, None] * torch.stack([e(x) for e in self.experts], 1)).sum(1)


def test_the_same_in_many_blocks_is_said_once() -> None:
    [draft] = found(Experts(), 6)
    assert draft.where == "experts.0"
    assert "experts.2.1" in draft.near


class Siamese(nn.Module):
    def __init__(self, *middle: nn.Module) -> None:
        super().__init__()
        self.body = seq(nn.Linear(3, 16), *middle, nn.Linear(16, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.body(x[:, :3]) - self.body(x[:, 3:])).abs())


def test_a_part_that_is_called_twice_is_found() -> None:
    [draft] = found(Siamese(), 6)
    assert draft.where == "body"
    assert found(Siamese(nn.ReLU()), 6) == []


class Feedback(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.i, self.h, self.o = nn.Linear(6, 16), nn.Linear(16, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        last = x[:, 0]
        for t in range(x.shape[1]):
            last = self.h(torch.tanh(self.i(torch.cat([x[:, t], last], 1))))
        return self.o(last)


def test_what_is_fed_back_is_silent() -> None:
    assert found(Feedback(), 5, 3) == []
