"""Samples that see each other, by mistake and on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.experiments.samples import find_leak
from tests.engine.findings.plain_bench import PlainBench

B, T, F = 8, 5, 6


class Net(nn.Module):
    """`middle` between two layers."""

    def __init__(self, middle: Any, *, flat: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(F, 12)
        self.middle = middle
        self.head = nn.Linear(12, 3)
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        h = self.middle(self.first(x))
        h = h[0] if isinstance(h, tuple) else h
        return self.head(h if h.dim() == 2 else h[:, -1])


class Self(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(12, 2, **options)

    def forward(self, h: Tensor) -> Tensor:
        return self.attn(h, h, h)[0]


class By(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, h: Tensor) -> Tensor:
        return self.function(h)


def places(model: nn.Module, *shape: int, y: Tensor | None = None) -> list[str]:
    torch.manual_seed(0)
    batch = [torch.randn(*shape), torch.randint(0, 3, (shape[0],)) if y is None else y]
    bench = PlainBench(model, [batch, batch])
    return [draft.where for draft in find_leak(bench, bench.record)]


@pytest.mark.parametrize(
    ("middle", "shape", "place"),
    [
        (nn.LSTM(12, 12), (B, T, F), "middle"),
        (nn.GRU(12, 12), (B, T, F), "middle"),
        (Self(), (B, T, F), "middle.attn"),
        (By(lambda h: torch.softmax(h, 0)), (B, F), "middle"),
        (nn.Softmax(0), (B, F), "middle"),
        (By(lambda h: h - h.mean(0)), (B, F), "middle"),
        (By(lambda h: h.view(T, B, 12).transpose(0, 1)), (B, T, F), "middle"),
        (By(lambda h: h / h.detach().std()), (B, F), "middle"),
    ],
)
def test_a_layer_that_mixes_samples_is_named(middle: nn.Module, shape: tuple[int, ...], place: str) -> None:
    assert places(Net(middle), *shape) == [place]


class Centred(Net):
    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head((h - h.mean(0)).relu())


def test_what_the_models_own_forward_mixes_is_not_put_on_the_layer_behind() -> None:
    assert places(nn.Sequential(Centred(nn.Identity())), B, F) == ["0"]


@pytest.mark.parametrize(
    ("middle", "shape"),
    [
        (nn.LSTM(12, 12, batch_first=True), (B, T, F)),
        (Self(batch_first=True), (B, T, F)),
        (nn.Softmax(-1), (B, F)),
        (nn.BatchNorm1d(12), (B, F)),
        (nn.BatchNorm1d(12, track_running_stats=False), (B, F)),
        (nn.LayerNorm(12), (B, F)),
        # As many steps as samples: nothing is mixed up.
        (nn.GRU(12, 12, batch_first=True), (B, B, F)),
        (Self(batch_first=True), (12, 12, F)),
        (By(lambda h: h + torch.zeros(1)), (B, F)),
    ],
)
def test_layers_that_keep_samples_apart_are_silent(middle: nn.Module, shape: tuple[int, ...]) -> None:
    assert places(Net(middle), *shape) == []


class Rows(nn.Module):
    """Attention between the samples, made for it: they are set up as one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(12, 2, batch_first=True)

    def forward(self, h: Tensor) -> Tensor:
        one = h[None]
        return self.attn(one, one, one)[0][0]


def test_attention_between_rows_on_purpose_is_silent() -> None:
    assert places(Net(Rows()), B, F) == []


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("adjacency", torch.eye(B) + torch.eye(B).roll(1, 0))
        self.first, self.head = nn.Linear(F, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.adjacency @ self.first(x)).relu())


def test_the_nodes_of_one_graph_are_no_samples() -> None:
    assert places(Graph(), B, F) == []


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(F, 12)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.normalize(self.first(x), dim=1)
        return torch.log_softmax(h @ h.flip(1).T, 1)


def test_a_table_of_each_against_each_is_meant() -> None:
    assert places(Pairs(), B, F, y=torch.arange(B)) == []


class Text(nn.Module):
    """Sequence first, as it is meant: (T, B) tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn, self.head = nn.Embedding(9, 12), nn.LSTM(12, 12), nn.Linear(12, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.emb(x))[0])


def test_data_that_is_sequence_first_is_silent() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (T + 1, B))
    bench = PlainBench(Text(), [[tokens[:-1], tokens[1:]]])
    assert not [*find_leak(bench, bench.record)]


def test_targets_that_are_flat_tell_of_sequence_first_data_too() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (T + 1, B))
    bench = PlainBench(Text(), [[tokens[:-1], tokens[1:].flatten()]])
    assert not [*find_leak(bench, bench.record)]


class Decoder(nn.Module):
    """As torch's own attention takes it, sequence first; `is_masked`: a place sees those before it."""

    def __init__(self, is_masked: bool) -> None:
        super().__init__()
        self.emb, self.head, self.is_masked = nn.Embedding(9, 12), nn.Linear(12, 9), is_masked
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 2, 16), 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(len(x)) if self.is_masked else None
        return self.head(self.encoder(self.emb(x), mask=mask))


@pytest.mark.parametrize("is_masked", [False, True])
def test_a_mask_over_an_axis_says_that_it_is_time(is_masked: bool) -> None:
    torch.manual_seed(0)
    bench = PlainBench(
        Decoder(is_masked), [[torch.randint(0, 9, (T, B)), torch.randint(0, 9, (T, B))] for _ in range(2)]
    )
    places = [draft.where for draft in find_leak(bench, bench.record)]
    assert places == ([] if is_masked else ["encoder.layers.0.self_attn"])


def test_an_output_without_samples_is_not_judged() -> None:
    with pytest.raises(CannotJudge):
        places(nn.Sequential(nn.Linear(F, 3), By(lambda h: h.mean())), B, F)


def test_a_forward_that_draws_is_not_judged() -> None:
    with pytest.raises(CannotJudge):
        places(Net(By(lambda h: h + int.from_bytes(os.urandom(4)))), B, F)


class Two(nn.Module):
    def __init__(self, mixes: bool) -> None:
        super().__init__()
        self.one, self.other, self.head, self.mixes = nn.Linear(F, 12), nn.Linear(4, 12), nn.Linear(12, 3), mixes

    def forward(self, x: Any) -> Tensor:
        h = self.other(x["other"])
        return self.head(torch.relu(self.one(x["one"]) + (h - h.mean(0) if self.mixes else h)))


@pytest.mark.parametrize("mixes", [False, True])
def test_inputs_of_several_tensors(mixes: bool) -> None:
    torch.manual_seed(0)
    batches = [[{"one": torch.randn(B, F), "other": torch.randn(B, 4)}, torch.randint(0, 3, (B,))] for _ in range(2)]
    bench = PlainBench(Two(mixes), batches)
    assert [draft.where for draft in find_leak(bench, bench.record)] == ([""] if mixes else [])


class Edges(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(F, 12), nn.Linear(12, 3)

    def forward(self, x: Any) -> Tensor:
        nodes, edges = x
        h = self.first(nodes)
        return self.head(torch.relu(h.index_add(0, edges[1], h[edges[0]])))


def test_nodes_and_edges_are_not_judged() -> None:
    edges = torch.randint(0, B, (2, 20))
    bench = PlainBench(Edges(), [[(torch.randn(B, F), edges), torch.randint(0, 3, (B,))]])
    with pytest.raises(CannotJudge):
        find_leak(bench, bench.record)


def test_a_step_of_its_own() -> None:
    torch.manual_seed(0)

    def step(model: Any, batch: Any) -> Any:
        out = model(batch["x"])
        return nn.functional.cross_entropy(out, batch["y"]), out

    batch = {"x": torch.randn(B, T, F), "y": torch.randint(0, 3, (B,))}
    bench = PlainBench(Net(nn.LSTM(12, 12)), [batch], step=step)
    assert [draft.where for draft in find_leak(bench, bench.record)] == ["middle"]
