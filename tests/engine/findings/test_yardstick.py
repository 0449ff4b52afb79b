"""The yardstick, and what always saying the same gets."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gradscope.engine.findings.yardstick import baseline, measure


def test_classes_in_either_layout() -> None:
    logits, target = torch.randn(4, 7, 5), torch.randint(0, 5, (4, 7))
    expected = float(F.cross_entropy(logits.flatten(0, 1), target.flatten()))
    for output in (logits, logits.transpose(1, 2)):
        found = measure(output, target)
        assert found is not None and found.kind == "classes" and found.classes == 5
        assert found.value == pytest.approx(expected, rel=1e-5)


def test_ignored_targets_are_left_out() -> None:
    logits, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 7, 7, 7])
    found = measure(logits, target, options={"ignore_index": 7})
    assert found is not None and found.value == pytest.approx(float(F.cross_entropy(logits[:3], target[:3])), rel=1e-5)
    base = baseline([target], options={"ignore_index": 7})
    assert base is not None and base.value == pytest.approx(math.log(3))


def test_squared_error_and_variance() -> None:
    output, target = torch.randn(50, 1), torch.randn(50, 1)
    found, base = measure(output, target), baseline([target])
    assert found is not None and found.value == pytest.approx(float(F.mse_loss(output, target)), rel=1e-5)
    assert base is not None and base.value == pytest.approx(float(target.var()), rel=1e-4)


def test_zeros_and_ones_are_binary_unless_the_loss_says_otherwise() -> None:
    target = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    found, base = measure(torch.randn(4, 1), target), baseline([target])
    assert found is not None and found.kind == "binary" and base is not None and base.kind == "binary"
    assert base.value == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    squared = measure(torch.randn(4, 1), target, function="mse_loss")
    assert squared is not None and squared.kind == "regression"


@pytest.mark.parametrize("function", ["kl_div", "poisson_nll_loss", "gaussian_nll_loss"])
def test_losses_with_a_meaning_of_their_own_have_none(function: str) -> None:
    assert measure(torch.randn(4, 3), torch.randn(4, 3), function=function) is None
    assert baseline([torch.randn(4, 3)], function=function) is None


def test_what_does_not_fit_has_none() -> None:
    assert measure(torch.randn(4, 3), torch.randn(4, 2)) is None
    assert measure(torch.randn(4, 3), "no tensor") is None
    assert baseline([]) is None


@pytest.mark.parametrize("target", [torch.zeros(8, dtype=torch.long), torch.full((8, 1), 2.5), torch.ones(8)])
def test_targets_that_are_all_the_same_have_no_baseline(target: torch.Tensor) -> None:
    assert baseline([target]) is None
