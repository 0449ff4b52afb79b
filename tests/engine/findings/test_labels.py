"""Targets that do not follow from the inputs, and tasks that are only hard, or slow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope import Recipe
from gradscope.engine.findings.draft import CannotJudge, Draft
from gradscope.engine.findings.experiments.labels import find_unrelated
from gradscope.engine.findings.probes import best_lag, probe
from tests.engine.findings.recording import trained


def net(inputs: int, outputs: int, width: int = 48) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def found(
    model: nn.Module, x: Tensor, y: Tensor, loss: Any = None, *, rate: float = 5e-3, steps: int = 40
) -> list[Draft]:
    recipe = Recipe(
        model=model,
        dataset=torch.utils.data.TensorDataset(x, y),
        loss=loss or nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), lr=rate),
        batch_size=32,
        shuffle=False,
    )
    bench, record, _ = trained(recipe, steps)
    return [*find_unrelated(bench, record)]


def classes(n: int = 1024) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(n, 8)
    return x, x[:, :3].argmax(1)


def test_labels_of_other_rows_are_found_and_the_shift_is_told() -> None:
    x, y = classes()
    [draft] = found(net(8, 3), x, y.roll(5))
    assert draft.id == "labels-unrelated"
    assert "5 rows later" in draft.do


def test_values_that_were_shuffled_are_found() -> None:
    torch.manual_seed(0)
    x = torch.randn(1024, 8)
    y = (x[:, :1] + x[:, 1:2].abs())[torch.randperm(1024)]
    [draft] = found(net(8, 1), x, y, nn.MSELoss())
    assert "by eye" in draft.do


def test_labels_that_follow_are_silent() -> None:
    assert found(net(8, 3), *classes()) == []


def test_labels_with_much_noise_are_silent() -> None:
    x, y = classes()
    assert found(net(8, 3), x, torch.where(torch.rand(len(y)) < 0.6, torch.randint(0, 3, y.shape), y)) == []


def test_a_task_that_is_not_got_yet_is_silent() -> None:
    """A product of two of eight columns, at a rate that gets nowhere in this time."""
    x, _ = classes()
    y = (x[:, 0] * x[:, 1] > 0).long()
    assert found(net(8, 2), x, y, rate=2e-4) == []


def test_a_table_of_sums_is_silent() -> None:
    """Modulo 11: each pair is there several times, and always with the same sum."""
    torch.manual_seed(0)
    pairs = torch.randint(0, 11, (1024, 2))
    x = F.one_hot(pairs, 11).float().flatten(1)
    assert found(net(22, 11), x, pairs.sum(1) % 11, rate=1e-3) == []


def test_a_few_samples_are_not_judged() -> None:
    x, y = classes(64)
    with pytest.raises(CannotJudge):
        found(net(8, 3), x, torch.randint(0, 3, y.shape))


def test_probes_find_what_is_there() -> None:
    x, y = classes()
    assert (probe(x, y) or 0.0) > 6.0
    assert abs(probe(x, y[torch.randperm(len(y))]) or 0.0) < 4.0
    assert (probe(x, (x[:, 0] * x[:, 1] > 0).long()) or 0.0) > 6.0
    assert best_lag(x, y.roll(-9)) == -9
    assert best_lag(x, y[torch.randperm(len(y))]) is None


def test_a_probe_of_tokens() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 12, (600, 6))
    assert (probe(x, (x == 3).any(1).long()) or 0.0) > 6.0
    assert abs(probe(x, torch.randint(0, 2, (600,))) or 0.0) < 4.0
