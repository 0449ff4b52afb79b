"""The order of a sequence, a decoder that is fed its answer, and data that is changed by reading it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from gradscope import Session
from tests.engine.findings.sessions import recipe, said

N = 960


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Pooled(nn.Module):
    """Attention over tokens or vectors, and their mean."""

    def __init__(self, *, is_tokens: bool, has_places: bool) -> None:
        super().__init__()
        self.first = nn.Embedding(6, 16) if is_tokens else nn.Linear(3, 16)
        self.places = nn.Parameter(torch.randn(8, 16)) if has_places else None
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.out = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.out(self.block(h if self.places is None else h + self.places).mean(1))


TOKENS, VECTORS = torch.randint(0, 6, (N, 8)), torch.randn(N, 8, 3)


@pytest.mark.parametrize(
    ("x", "y", "has_places", "places"),
    [
        (TOKENS, TOKENS[:, 0], False, ["first"]),
        (VECTORS, (VECTORS[:, 2, 0] > 0).long(), False, ["first"]),
        (TOKENS, TOKENS[:, 0], True, []),
        # The answer is in the set.
        (TOKENS, (TOKENS == 3).sum(1).clamp(max=2), False, []),
        (VECTORS, (VECTORS[..., 0].sum(1) > 0).long(), False, []),
        # The answer is nowhere.
        (TOKENS, torch.randint(0, 3, (N,)), False, []),
    ],
)
def test_an_order_that_the_model_cannot_see(x: Tensor, y: Tensor, has_places: bool, places: list[str]) -> None:
    model = Pooled(is_tokens=not x.is_floating_point(), has_places=has_places)
    assert said(recipe(model, (x, y), batch_size=32), "order-invisible", steps=60) == places


def sorted_sets(by: Any) -> tuple[Tensor, Tensor]:
    x = torch.distributions.Exponential(1.0).sample((N, 12))
    x = torch.stack([x, torch.randn(N, 12)], -1)
    x = x.gather(1, by(x).argsort(1, descending=True)[..., None].expand_as(x))
    gap = x[:, 1, 0] - x[:, 4, 0]
    return x, (gap > gap.median()).long()


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.out = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.each(x).mean(1))


@pytest.mark.parametrize("by", [lambda x: x[..., 0], lambda x: x.norm(dim=-1), lambda x: x.sum(-1)])
def test_a_set_that_is_stored_sorted_has_no_order(by: Any) -> None:
    assert said(recipe(Sum(), sorted_sets(by), batch_size=32, rate=1e-3), "order-invisible", steps=30) == []


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.source, self.fed = nn.Embedding(8, 12), nn.Embedding(9, 12)
        self.enc, self.dec = nn.GRU(12, 16, batch_first=True), nn.GRU(12, 16, batch_first=True)
        self.out = nn.Linear(16, 8)

    def forward(self, source: Tensor, fed: Tensor) -> Tensor:
        _, state = self.enc(self.source(source))
        return self.out(self.dec(self.fed(fed), state)[0])


def translated(feed: Any, source: Any = lambda x, y: x) -> Any:
    def step(model: Any, batch: Any) -> Any:
        x, y = batch
        out = model(source(x, y), feed(y))
        return F.cross_entropy(out.flatten(0, 1), y.flatten()), out

    return step


def shifted(y: Tensor) -> Tensor:
    return torch.cat([torch.full_like(y[:, :1], 8), y[:, :-1]], 1)


@pytest.mark.parametrize(
    ("step", "places"),
    [
        (translated(lambda y: y), [""]),
        (translated(shifted), []),
        # The encoder of an autoencoder sees what is to be said.
        (translated(shifted, source=lambda x, y: y), []),
    ],
    ids=["fed the answer", "shifted", "an autoencoder"],
)
def test_a_decoder_that_is_fed_what_it_is_to_say(step: Any, places: list[str]) -> None:
    data = torch.randint(0, 8, (N, 3)), torch.randint(0, 8, (N, 6))
    assert said(recipe(Translator(), data, step=step), "target-not-shifted", steps=6) == places


class Read(Dataset[Any]):
    """`read(data, index)`: what comes of a sample; `kept` is its to use."""

    def __init__(self, read: Any) -> None:
        self.x, self.y = torch.randn(64, 4), torch.randint(0, 3, (64,))
        self.read, self.kept = read, {-1: torch.zeros(4)}

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.read(self, index), self.y[index]


def jittered_in_place(data: Any, index: int) -> Tensor:
    x = data.x[index]
    x += 0.1 * torch.randn(4)
    return x


def numpy_in_place(data: Any, index: int) -> Tensor:
    row = data.x.numpy()[index]
    row -= np.float32(0.1) * row.max()
    return torch.from_numpy(row)


def jittered(data: Any, index: int) -> Tensor:
    return data.x[index] + 0.1 * torch.randn(4)


def cached(data: Any, index: int) -> Tensor:
    if index not in data.kept:
        data.kept[index] = data.x[index] * 2
    return data.kept[index]


def in_a_buffer(data: Any, index: int) -> Tensor:
    buffer = data.kept[-1]
    buffer.copy_(data.x[index]).add_(0.1 * torch.randn(4))
    return buffer


def in_a_buffer_of_its_own(data: Any, index: int) -> Tensor:
    buffer = data.kept.setdefault(index, torch.zeros(4))
    return torch.add(data.x[index], 0.05 * torch.randn(4), out=buffer)


def with_a_count(data: Any, index: int) -> Tensor:
    data.x[index, 3] += 1
    return data.x[index]


@pytest.mark.parametrize(
    ("read", "places"),
    [
        (jittered_in_place, [""]),
        (numpy_in_place, [""]),
        (jittered, []),
        (cached, []),
        (in_a_buffer, []),
        (in_a_buffer_of_its_own, []),
        (with_a_count, []),
    ],
)
def test_data_that_is_changed_by_reading_it(read: Any, places: list[str]) -> None:
    data = Read(read)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    made = recipe(model, data)
    assert said(made, "data-changed-by-reading", steps=4) == places


class Counted(Read):
    """It hands out how often a sample was asked for."""

    def __getitem__(self, index: int) -> Any:
        visits = self.kept.setdefault(index, torch.zeros(4))
        visits += 1
        return self.x[index], self.y[index], visits


def weighed(model: Any, batch: Any) -> Any:
    x, y, visits = batch
    return (F.cross_entropy(model(x), y, reduction="none") / visits[:, 0].sqrt()).mean()


def test_counts_beside_the_input_are_none_of_it() -> None:
    made = recipe(nn.Linear(4, 3), Counted(None), step=weighed)
    assert said(made, "data-changed-by-reading", steps=4) == []


def test_the_data_is_put_back() -> None:
    data = Read(jittered_in_place)
    with Session(recipe(nn.Linear(4, 3), data), findings=True) as session:
        session.next_batch()
        before = data.x.clone()
        session.check_up(only=["data-changed-by-reading"])
        assert torch.equal(before, data.x)
