"""Rules about what a loss is given: each threshold just below and just above, and what comes near on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from gradscope.engine.findings.record import Broadcast, LossCall, Record, SoftmaxUse
from gradscope.protocol.findings import Severity
from tests.engine.findings.made_records import calls, found, loud, record_of

MODEL = nn.Sequential(nn.Linear(6, 3), nn.Identity())
SOFTMAX: dict[str, Any] = {"made_by": "SoftmaxBackward0", "rows_sum_to_one": True, "is_in_unit": True}


def with_calls(*losses: list[LossCall]) -> Record:
    """Each list is the calls of one place, one in each step that is looked at."""
    record: Record = record_of(MODEL, checked=[0, 1, 2, 5])
    record.losses = [call for at in zip(*losses, strict=True) for call in at]
    return record


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        (SOFTMAX, True),
        (SOFTMAX | {"function": "log_softmax"}, True),
        (SOFTMAX | {"function": "logsumexp"}, True),
        ({"function": "nll_loss", "made_by": "LogSoftmaxBackward0", "made_of": "SoftmaxBackward0"}, True),
        ({"function": "nll_loss", "made_by": "LogSoftmaxBackward0", "made_of": "AddmmBackward0"}, False),
        ({"function": "log", "made_by": "SoftmaxBackward0", "made_of": "SoftmaxBackward0"}, True),
        (SOFTMAX | {"rows_sum_to_one": False}, False),
        (SOFTMAX | {"requires_grad": False}, False),  # a figure beside the training
        (SOFTMAX | {"input_shape": (8, 1)}, False),
        (SOFTMAX | {"made_by": "DivBackward0"}, True),  # by hand, at enough checks
    ],
)
def test_double_softmax(changes: dict[str, Any], is_found: bool) -> None:
    assert loud(with_calls(calls(**changes)), "double-softmax") == ["1"] * is_found


def test_probabilities_of_an_unknown_make_take_three_checks() -> None:
    by_hand = SOFTMAX | {"made_by": "DivBackward0"}
    assert not found(with_calls(calls(2, **by_hand)), "double-softmax")
    assert found(with_calls(calls(3, **by_hand)), "double-softmax")


def test_one_head_of_two_is_told_with_its_own_place() -> None:
    record = with_calls(calls(place="fine"), calls(place="wrong", **SOFTMAX))
    assert loud(record, "double-softmax") == ["wrong"]


@pytest.mark.parametrize(
    ("id", "changes", "is_found"),
    [
        ("sigmoid-into-cross-entropy", {"made_by": "SigmoidBackward0"}, True),
        ("sigmoid-into-cross-entropy", {"made_by": "TanhBackward0"}, True),
        ("sigmoid-into-cross-entropy", {"made_by": "MulBackward0"}, False),  # scaled again: 10 * tanh(x)
        ("relu-into-cross-entropy", {"made_by": "ReluBackward0"}, True),
        ("relu-into-cross-entropy", {"made_by": "LeakyReluBackward0"}, False),
        ("relu-into-cross-entropy", {"made_by": "NegBackward0"}, False),  # minus a distance
        ("relu-into-cross-entropy", {"made_by": "ReluBackward0", "function": "binary_cross_entropy_with_logits"}, True),
        ("double-sigmoid", {"made_by": "SigmoidBackward0", "function": "binary_cross_entropy_with_logits"}, True),
        ("double-sigmoid", {"made_by": "SigmoidBackward0", "function": "binary_cross_entropy"}, False),
        ("double-sigmoid", {"made_by": "ReluBackward0", "function": "binary_cross_entropy_with_logits"}, False),
        (
            "double-sigmoid",
            {"made_by": "SigmoidBackward0", "made_of": "SigmoidBackward0", "function": "binary_cross_entropy"},
            True,
        ),
        (
            "double-sigmoid",
            {
                "made_by": "ReciprocalBackward0",
                "function": "binary_cross_entropy_with_logits",
                "input_low": 0.2,
                "input_high": 0.7,
            },
            True,
        ),
        (
            "double-sigmoid",
            {
                "made_by": "AddmmBackward0",
                "function": "binary_cross_entropy_with_logits",
                "input_low": 0.2,
                "input_high": 0.7,
            },
            False,
        ),
    ],
)
def test_squeezed_logits(id: str, changes: dict[str, Any], is_found: bool) -> None:
    assert bool(loud(with_calls(calls(**changes)), id)) is is_found


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        ({"logsumexp": 0.02, "input_high": 0.5}, True),
        ({"logsumexp": 0.009, "input_high": 0.5}, False),
        ({"logsumexp": 0.5, "input_high": 0.0, "made_by": "MulBackward0"}, False),  # a focal loss
        ({"logsumexp": 1.5, **SOFTMAX, "input_high": 0.9}, True),
    ],
)
def test_nll_on_logits(changes: dict[str, Any], is_found: bool) -> None:
    assert bool(loud(with_calls(calls(function="nll_loss", **changes)), "nll-on-logits")) is is_found


def test_a_log_softmax_over_another_dimension_is_no_nll_on_logits() -> None:
    record = with_calls(calls(function="nll_loss", logsumexp=0.7, made_by="LogSoftmaxBackward0", input_high=0.0))
    assert loud(record, "softmax-wrong-dim") and not found(record, "nll-on-logits")


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        (SOFTMAX, True),
        ({"made_by": "AddmmBackward0", "input_high": 0.5}, True),
        ({"made_by": "AddmmBackward0", "input_high": 0.0}, False),
        ({"made_by": "LogSoftmaxBackward0"}, False),  # over another dimension, or over all of a heat map
    ],
)
def test_kl_on_probabilities(changes: dict[str, Any], is_found: bool) -> None:
    assert bool(loud(with_calls(calls(function="kl_div", **changes)), "kl-on-probabilities")) is is_found


@pytest.mark.parametrize(
    ("sums", "low", "severity"),
    [
        ((1.0, 1.0), 0.0, "none"),
        ((0.995, 1.005), 0.0, "none"),
        ((0.0, 1.0), 0.0, Severity.INFO),  # rows that are left out
        ((1.0, 3.0), 0.0, Severity.INFO),  # several labels
        ((1.1, 1.1), 0.0, None),
        ((-2.0, 4.0), -3.0, None),
    ],
)
def test_soft_targets(sums: tuple[float, float], low: float, severity: Any) -> None:
    record = with_calls(calls(target_sums=sums, target_low=low, target_high=1.0))
    drafts = found(record, "soft-targets-do-not-sum-to-one")
    assert [draft.severity for draft in drafts] == ([] if severity == "none" else [severity])


def test_a_softmax_over_one_output_is_told() -> None:
    one = SOFTMAX | {"function": "binary_cross_entropy", "input_low": 1.0, "input_high": 1.0}
    assert loud(with_calls(calls(**one)), "softmax-wrong-dim") == ["1"]
    assert not found(with_calls(calls(**one | {"input_low": 0.9})), "softmax-wrong-dim")


# --------------------------------------------------------------------------------------------------- shapes


def test_shapes_are_told_as_they_were_seen() -> None:
    record = with_calls(calls())
    record.softmaxes = [SoftmaxUse(step=step, layer="att", dim=1, contracted=2, shape=(4, 5, 5)) for step in (0, 1)]
    record.broadcasts = [Broadcast(step=0, function="sub", left=(8, 1), right=(8,), result=(8, 8))]
    assert loud(record, "softmax-wrong-dim") == ["att"] and loud(record, "broadcast-in-loss") == [""]
    assert found(record, "softmax-wrong-dim")[0].do == "softmax(..., dim=-1)."
    assert not found(record, "layout-mixup")
    record.losses = [replace(call, is_relayout=True) for call in record.losses]
    assert loud(record, "layout-mixup") == [""]


# --------------------------------------------------------------------------------------------------- reach of outputs


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        ({"function": "mse_loss", "made_by": "ReluBackward0", "out_of_reach": 0.06}, True),
        ({"function": "mse_loss", "made_by": "ReluBackward0", "out_of_reach": 0.04}, False),
        ({"function": "difference", "made_by": "SigmoidBackward0", "out_of_reach": 0.5}, True),
        ({"function": "binary_cross_entropy_with_logits", "target_low": -1.0, "target_high": 1.0}, True),
        ({"function": "binary_cross_entropy_with_logits", "target_low": 0.0, "target_high": 1.0}, False),
    ],
)
def test_output_range(changes: dict[str, Any], is_found: bool) -> None:
    assert bool(loud(with_calls(calls(**changes)), "output-range")) is is_found


def test_targets_out_of_reach_of_a_training_that_gets_there_are_a_note() -> None:
    record = with_calls(calls(function="mse_loss", made_by="ReluBackward0", out_of_reach=0.1))
    for step in record.steps:
        assert step.measure is not None
        step.measure = replace(step.measure, value=0.1)
    assert not loud(record, "output-range") and found(record, "output-range")
