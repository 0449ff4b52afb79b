"""Models that are to say what comes next: what they see, and what they are asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.engine.findings.experiments.time import find_in_time
from tests.engine.findings.plain_bench import PlainBench

B, T, V = 8, 10, 11


class Attention(nn.Module):
    def __init__(self, mask: Tensor | None, *, vocabulary: int = V, first: bool = False) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocabulary, 24)
        self.pos = nn.Parameter(0.1 * torch.randn(T, 24))
        self.attn = nn.MultiheadAttention(24, 2, batch_first=True)
        self.head = nn.Linear(24, vocabulary)
        self.mask, self.first = mask, first

    def forward(self, x: Tensor) -> Tensor:
        h = self.emb(x) + self.pos[: x.shape[1]]
        h = h + self.attn(h, h, h, attn_mask=self.mask)[0]
        return self.head(h).transpose(1, 2) if self.first else self.head(h)


class Recurrent(nn.Module):
    def __init__(self, *, bidirectional: bool = False, flat: bool = False) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(32 if bidirectional else 16, V)
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        out = self.head(self.rnn(self.emb(x))[0])
        return out.flatten(0, 1) if self.flat else out


def over_classes(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out if out.dim() == 2 else out.transpose(1, 2), y.flatten() if out.dim() == 2 else y)


def shifting(out: Tensor, y: Tensor) -> Tensor:
    """As language models of libraries do it: the labels are the inputs."""
    return F.cross_entropy(out[:, :-1].flatten(0, 1), y[:, 1:].flatten())


CAUSAL = torch.triu(torch.full((T, T), float("-inf")), 1)


def found(
    model: nn.Module, loss: Any = over_classes, *, shift: int = 1, step: Any = None, vocabulary: int = V
) -> list[Any]:
    torch.manual_seed(0)
    start, by = torch.randint(0, vocabulary, (B, 1)), torch.randint(1, 4, (B, 1))
    s = (start + by * torch.arange(T + 1)) % vocabulary
    batch = [s[:, :T], s[:, shift : T + shift]]
    bench = PlainBench(model, [s] if step else [batch], loss, step=step)
    return [(draft.id, draft.where) for draft in find_in_time(bench, bench.record)]


def test_attention_without_a_mask_sees_the_answer() -> None:
    assert found(Attention(None)) == [("future-leak", "attn")]


def test_so_it_does_where_classes_come_before_time() -> None:
    assert found(Attention(None, first=True), F.cross_entropy) == [("future-leak", "attn")]


def test_so_it_does_where_there_are_as_many_classes_as_steps() -> None:
    assert found(Attention(None, vocabulary=T), vocabulary=T) == [("future-leak", "attn")]


def test_so_it_does_where_the_loss_shifts() -> None:
    assert found(Attention(None), shifting, shift=0) == [("future-leak", "attn")]


def test_so_it_does_in_a_step_of_its_own() -> None:
    def step(model: Any, batch: Any) -> Any:
        out = model(batch[:, :-1])
        return over_classes(out, batch[:, 1:]), out

    assert found(Attention(None), step=step) == [("future-leak", "attn")]


def test_a_rnn_in_both_directions_sees_the_answer() -> None:
    assert found(Recurrent(bidirectional=True)) == [("future-leak", "rnn")]
    assert found(Recurrent(bidirectional=True, flat=True)) == [("future-leak", "rnn")]


def test_an_inverted_mask_hides_the_past() -> None:
    hidden = torch.ones(T, T).tril(-1).bool()
    assert found(Attention(hidden)) == [("mask-hides-wrong-part", "attn")]


def test_a_causal_model_that_is_asked_for_its_input() -> None:
    assert found(Recurrent(), shift=0) == [("target-not-shifted", "")]
    assert found(Recurrent(flat=True), shift=0) == [("target-not-shifted", "")]
    assert found(Attention(CAUSAL, first=True), F.cross_entropy, shift=0) == [("target-not-shifted", "")]


@pytest.mark.parametrize("model", [Attention(CAUSAL), Recurrent(), Recurrent(flat=True)])
def test_causal_models_of_the_next_token_are_silent(model: nn.Module) -> None:
    assert found(model) == []


def test_a_loss_that_shifts_is_silent() -> None:
    assert found(Recurrent(), shifting, shift=0) == []


def test_an_autoencoder_of_tokens_is_silent() -> None:
    assert found(Recurrent(bidirectional=True), shift=0) == []


def test_tags_of_tokens_are_silent() -> None:
    def tags(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out.transpose(1, 2), y % 3)

    assert found(Attention(None), tags, shift=0) == []


class Values(nn.Module):
    def __init__(self, *, bidirectional: bool = False, width: int = 16, normalises: bool = False) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, width, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(2 * width if bidirectional else width, 2)
        self.normalises = normalises

    def forward(self, x: Tensor) -> Tensor:
        m = x.mean(1, keepdim=True) if self.normalises else 0.0
        return self.head(self.rnn(x - m)[0]) + m


def of_values(model: nn.Module, shift: int, loss: Any = F.mse_loss) -> list[str]:
    torch.manual_seed(0)
    s = torch.randn(B, T + 1, 2).cumsum(1)
    bench = PlainBench(model, [[s[:, :T], s[:, shift : T + shift]]], loss)
    return [draft.id for draft in find_in_time(bench, bench.record)]


def test_values_of_the_next_step() -> None:
    assert of_values(Values(bidirectional=True), 1) == ["future-leak"]
    assert of_values(Values(), 0) == ["target-not-shifted"]
    assert of_values(Values(), 1) == []
    assert of_values(Values(normalises=True), 1) == []
    # A code that is narrower than what it is of.
    assert of_values(Values(width=1), 0) == []
    assert of_values(Values(), 0, lambda out, y: F.mse_loss(out[:, :-1], y[:, 1:])) == []


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize(("ahead", "ids"), [(-1, ["target-not-shifted"]), (0, [])])
def test_windows_of_a_series(ahead: int, ids: list[str]) -> None:
    torch.manual_seed(0)
    s = torch.randn(60).cumsum(0)
    windows = s.unfold(0, 8, 1)[:40].unsqueeze(-1)
    y = torch.stack([s[i + 8 + ahead] for i in range(40)])[:, None]
    bench = PlainBench(Last(), [[windows[:20], y[:20]], [windows[20:], y[20:]]], F.mse_loss)
    assert [draft.id for draft in find_in_time(bench, bench.record)] == ids
