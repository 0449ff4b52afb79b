"""Validation data that is training data, or that changes, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.experiments.validation_data import look_at_validation
from tests.engine.findings.plain_bench import PlainBench

TORCH = torch.Generator().manual_seed(0)
X, Y = torch.randn(120, 6, generator=TORCH), torch.randint(0, 3, (120,), generator=TORCH)


def ids(validation: Callable[[], list[Any]], training: tuple[Tensor, Tensor] = (X[:80], Y[:80])) -> list[str]:
    x, y = training
    batches = [[x[i : i + 20], y[i : i + 20]] for i in range(0, len(x), 20)]
    bench = PlainBench(nn.Linear(6, 3), batches, validation=validation)
    return [draft.id for draft in look_at_validation(bench, bench.record)]


def test_samples_in_both_parts() -> None:
    assert ids(lambda: [[X[70:100], Y[70:100]]]) == ["validation-leak"]
    assert ids(lambda: [[X[80:], Y[80:]]]) == []
    # Two by chance.
    assert ids(lambda: [[X[78:], Y[78:]]]) == []


def test_a_world_of_few_inputs_is_silent() -> None:
    few = F.one_hot(torch.randint(0, 6, (120,)), 6).float()
    assert ids(lambda: [[few[80:], Y[80:]]], (few[:80], Y[:80])) == []


def test_augmented_validation_data() -> None:
    assert ids(lambda: [[X[80:] + torch.randn(40, 6), Y[80:]]]) == ["validation-random"]


def test_another_order_is_silent() -> None:
    def shuffled() -> list[Any]:
        order = torch.randperm(40) + 80
        return [[X[order], Y[order]]]

    assert ids(shuffled) == []


def test_samples_that_are_made_up_anew_are_silent() -> None:
    def fresh() -> list[Any]:
        x = torch.randn(40, 6)
        return [[x, (x[:, 0] > 0).long()]]

    assert ids(fresh) == []


def test_noise_that_is_the_task_is_silent() -> None:
    def noisy() -> list[Any]:
        return [[X[80:] + torch.randn(40, 6), X[80:]]]

    bench = PlainBench(nn.Linear(6, 6), [[X[:80], X[:80]]], F.mse_loss, validation=noisy)
    assert [*look_at_validation(bench, bench.record)] == []


def test_the_passes_leave_random_numbers_alone() -> None:
    bench = PlainBench(nn.Linear(6, 3), [[X, Y]], validation=lambda: [[torch.randn(8, 6), Y[:8]]])
    before = torch.get_rng_state()
    one, other = bench.validation(2)
    assert not torch.equal(one[0][0], other[0][0])
    assert torch.equal(before, torch.get_rng_state())


def test_without_validation_it_is_not_judged() -> None:
    bench = PlainBench(nn.Linear(6, 3), [[X, Y]])
    with pytest.raises(CannotJudge):
        look_at_validation(bench, bench.record)


def test_batches_of_any_form() -> None:
    def ids(first: int) -> list[str]:
        def step(model: Any, batch: Any) -> Any:
            return model(batch["x"]).sum(), None

        bench = PlainBench(
            nn.Linear(6, 3),
            [{"x": X[:80], "y": Y[:80]}],
            step=step,
            validation=lambda: [{"x": X[first:], "y": Y[first:]}],
        )
        return [draft.id for draft in look_at_validation(bench, bench.record)]

    assert ids(60) == ["validation-leak"]
    assert ids(80) == []


def test_what_was_duplicated_before_the_split() -> None:
    order = torch.arange(120).repeat(4)[torch.randperm(480, generator=torch.Generator().manual_seed(1))]
    x, y = X[order], Y[order]
    assert ids(lambda: [[x[400:], y[400:]]], (x[:400], y[:400])) == ["validation-leak"]
