"""What a pass over the data shows, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.engine.findings.experiments.data import look_at_data
from gradscope.engine.findings.record import ParameterFacts, StepFacts
from gradscope.engine.findings.yardstick import Measure
from tests.engine.findings.plain_bench import PlainBench

B = 8


def cut(x: Any, y: Tensor, size: int = B) -> list[list[Any]]:
    return [[x[i : i + size], y[i : i + size]] for i in range(0, len(y), size)]


def ids(bench: PlainBench) -> list[str]:
    return [draft.id for draft in look_at_data(bench, bench.record)]


def classifier(x: Tensor, y: Tensor, size: int = B) -> PlainBench:
    return PlainBench(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 4)), cut(x, y, size))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_a_dataset_that_ignores_its_index() -> None:
    x, y = torch.randn(1, 6).expand(40, 6), torch.randint(0, 4, (40,))
    assert ids(classifier(x, y)) == ["constant-input"]
    other = x.clone()
    other[3, 2] += 0.1
    assert ids(classifier(other, y)) == []


def test_images_with_a_constant_channel_are_silent() -> None:
    x = torch.randn(40, 3, 4, 4)
    x[:, 1] = 0.5
    assert ids(classifier(x, torch.randint(0, 4, (40,)))) == []


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Any) -> Tensor:
        return self.fc(x[0]) + x[1][:, :1]


def test_one_constant_modality_among_several_is_silent() -> None:
    batches = [[(torch.randn(B, 6), torch.ones(B, 2)), torch.randint(0, 4, (B,))] for _ in range(4)]
    assert ids(PlainBench(Two(), batches)) == []


def test_a_constant_target_counts_unless_the_loss_ignores_it() -> None:
    x = torch.randn(40, 6)
    assert ids(classifier(x, torch.full((40,), 2))) == ["constant-target"]
    regression = PlainBench(nn.Linear(6, 1), cut(x, torch.full((40, 1), 2.5)), F.mse_loss)
    assert ids(regression) == ["constant-target"]
    reconstruction = PlainBench(nn.Linear(6, 6), cut(x, torch.zeros(40)), lambda out, y: (out**2).mean() + y.sum())
    assert ids(reconstruction) == []


def test_targets_are_written_for_the_rules() -> None:
    x, y = torch.randn(40, 6), torch.linspace(-1, 3, 40)[:, None]
    bench = PlainBench(nn.Linear(6, 1), cut(x, y), F.mse_loss)
    assert ids(bench) == []
    data = bench.record.data
    assert data is not None
    assert (data.target_low, data.target_high, data.samples) == (-1.0, 3.0, 40)
    assert data.share_outside(0.0, float("inf")) == pytest.approx(0.25)
    assert bench.record.baseline is not None
    assert bench.record.baseline.value == pytest.approx(float(y.var()), rel=1e-5)


def test_classes_are_counted() -> None:
    bench = classifier(torch.randn(40, 6), torch.tensor([0] * 30 + [3] * 10))
    ids(bench)
    assert bench.record.data is not None
    assert bench.record.data.class_counts == {0: 30, 3: 10}


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.head = nn.Embedding(300, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.emb(x).mean(1))


def of_tokens(x: Tensor) -> list[str]:
    return ids(PlainBench(Text(), cut(x, torch.randint(0, 4, (len(x),)))))


def test_nearly_everything_is_the_unknown_token() -> None:
    x = torch.where(torch.rand(80, 10) < 0.97, 0, torch.randint(1, 300, (80, 10)))
    assert of_tokens(x) == ["one-token"]


def test_rare_events_and_padding_are_silent() -> None:
    # Ninety per cent of the time nothing happens; every sample has an event of its own.
    events = torch.where(torch.rand(80, 20) < 0.93, 0, torch.randint(1, 300, (80, 20)))
    events[:, 3] = torch.randint(1, 300, (80,))
    assert of_tokens(events) == []
    padded = torch.randint(1, 300, (80, 20)) * (torch.arange(20) < torch.randint(1, 4, (80, 1)))
    assert of_tokens(padded) == []


@pytest.mark.parametrize("binary", [False, True])
def test_data_that_comes_class_by_class(binary: bool) -> None:
    y = torch.randint(0, 2 if binary else 4, (160,)).sort().values
    x = torch.randn(160, 6)
    loss: Any = F.binary_cross_entropy_with_logits if binary else F.cross_entropy
    targets = y[:, None].float() if binary else y

    def of(order: Tensor, size: int = B) -> list[str]:
        return ids(PlainBench(nn.Linear(6, 1 if binary else 4), cut(x[order], targets[order], size), loss))

    assert of(torch.arange(160)) == ["single-class-batches"]
    assert of(torch.randperm(160)) == []
    assert of(torch.arange(160), 1) == []


def test_a_sampler_that_picks_a_class_for_each_batch_is_silent() -> None:
    y = torch.randint(0, 4, (24,)).repeat_interleave(B)
    assert ids(classifier(torch.randn(len(y), 6), y)) == []


def test_a_rare_class_is_silent() -> None:
    assert ids(classifier(torch.randn(160, 6), (torch.rand(160) < 0.03).long())) == []


def with_steps(y: Tensor, end: float) -> list[str]:
    bench = PlainBench(nn.Linear(6, 1), cut(torch.randn(len(y), 6), y), F.mse_loss)
    for step in range(30):
        bench.record.steps.append(StepFacts(step, "", end, Measure("regression", end), (0.01,)))
    weight = bench.model.weight
    facts = ParameterFacts("weight", "", (1, 6), "float32", True, True, 0, "", 1.0, 1.0, False, weight)
    facts.updates, facts.norms = [(step, 0.01) for step in range(30)], [(step, 1.0) for step in range(30)]
    bench.record.parameters["weight"] = facts
    return ids(bench)


def test_targets_far_from_zero_count_where_they_hold_the_training_up() -> None:
    y = 3000 + 400 * torch.randn(80, 1)
    assert with_steps(y, 9e6) == ["target-not-scaled"]
    assert with_steps(y, 4e4) == []
    assert with_steps(torch.randn(80, 1), 3.0) == []
