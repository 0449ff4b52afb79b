"""Rules about units, scales and what the model says: each threshold just below and just above."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from gradscope.engine.findings.record import Record, UnitFacts
from gradscope.engine.findings.yardstick import Baseline, Measure
from gradscope.protocol.findings import Severity
from tests.engine.findings.made_records import found, loud, record_of

FALLING = [1.0 - 0.01 * step for step in range(40)]
SOLVED = [1.0] * 10 + [0.1] * 30


def deep(layers: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(8, 8) for _ in range(layers)])


# --------------------------------------------------------------------------------------------------- dead units


def with_units(
    dead: int, width: int = 100, *, steps: int = 40, samples: int = 8, early: int | None = None, **more: Any
) -> Record:
    """A layer "1" of which so many units never fire (`early`: so many at first)."""
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    record: Record = record_of(model, 40, **more)
    facts = UnitFacts("1", width, False)
    for step in range(40 - steps, 40):
        fired = torch.ones(width, dtype=torch.int64)
        fired[: dead if step >= 10 or early is None else early] = 0
        facts.recent.append((step, fired, samples))
        if len(facts.first) < 20:
            facts.first.append((step, fired, samples))
    record.units["1", False] = facts
    return record


@pytest.mark.parametrize(("dead", "is_found"), [(59, False), (61, True)])
def test_dead_units_are_more_than_chance_explains(dead: int, is_found: bool) -> None:
    assert loud(with_units(dead), "dead-units") == ["1"] * is_found


@pytest.mark.parametrize(
    "more",
    [
        {"steps": 19},  # too few steps
        {"steps": 20, "samples": 4},  # too few samples
        {"width": 7, "dead": 7},  # too few units
    ],
)
def test_dead_units_take_steps_samples_and_units(more: dict[str, Any]) -> None:
    assert not found(with_units(**{"dead": 90} | more), "dead-units")


def test_a_layer_that_seldom_runs_is_idle() -> None:
    record = with_units(90)
    facts = record.units["1", False]
    kept = [entry for entry in facts.recent if entry[0] % 2]
    facts.recent.clear()
    facts.recent.extend(kept)
    assert len(kept) == 20 and not found(record, "dead-units")


@pytest.mark.parametrize(
    ("dead", "early", "losses", "severity"),
    [
        (90, None, None, None),
        (90, None, SOLVED, None),  # never alive
        (70, None, SOLVED, Severity.INFO),
        (90, 10, SOLVED, Severity.INFO),  # died on the way of a training that got there
        (90, 10, None, None),
        (90, 10, FALLING, Severity.INFO),  # it still gets better
    ],
)
def test_dead_units_by_when_and_by_what_became_of_the_training(
    dead: int, early: int | None, losses: list[float] | None, severity: Severity | None
) -> None:
    draft = found(with_units(dead, early=early, losses=losses), "dead-units")[0]
    assert draft.severity == severity


@pytest.mark.parametrize(("dead", "is_loud"), [(89, False), (91, True)])
def test_of_a_custom_step_only_nearly_all_units_count(dead: int, is_loud: bool) -> None:
    assert bool(loud(with_units(dead, is_plain=False), "dead-units")) is is_loud


def test_nothing_is_said_about_units_after_a_divergence() -> None:
    assert not found(with_units(90, losses=[1.0] * 39 + [1.1e3]), "dead-units")
    assert found(with_units(90, losses=[1.0] * 39 + [0.9e3]), "dead-units")


# --------------------------------------------------------------------------------------------------- flat parts


def flat(share: float, *, start: float | None = None, **more: Any) -> Record:
    record: Record = record_of(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh()), **more)
    shares = [(step, share if step or start is None else start) for step in range(40)]
    record.flat = {"1": shares, "3": [(step, 1.0) for step in range(40)]}
    return record


@pytest.mark.parametrize(
    ("record", "severities"),
    [
        (flat(0.76), [None]),
        (flat(0.74), []),
        (flat(0.76, start=0.1), [Severity.INFO]),
        (flat(0.9, losses=SOLVED), []),
        (flat(0.9, is_plain=False), []),
    ],
)
def test_saturated(record: Record, severities: list[Severity | None]) -> None:
    drafts = found(record, "saturated")
    assert [draft.severity for draft in drafts] == severities
    assert all(draft.where == "1" for draft in drafts), "at the output it is an answer"


# --------------------------------------------------------------------------------------------------- equal units


def test_units_that_stay_equal() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    layer = model[0]
    assert isinstance(layer, nn.Linear)
    nn.init.constant_(layer.weight, 0.1)
    record = record_of(model)
    assert loud(record, "symmetric-units") == ["0"]
    with torch.no_grad():
        layer.weight[0] *= 1 + 1e-5
    assert not found(record, "symmetric-units")


def test_a_layer_that_starts_at_zero_and_has_not_moved_is_not_told() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    record = record_of(model)
    assert not found(record, "symmetric-units")


def test_the_gates_of_a_recurrent_layer_are_equal_each_for_itself() -> None:
    lstm = nn.LSTM(3, 5)
    for p in lstm.parameters():
        nn.init.constant_(p, 0.1)
    model = nn.ModuleDict({"rnn": lstm})
    record = record_of(model)
    with torch.no_grad():
        for gate in range(4):
            dict(lstm.named_parameters())["weight_hh_l0"][5 * gate : 5 * gate + 5] += 0.01 * (gate + 1)
    assert "rnn" in loud(record, "symmetric-units")
    assert not found(record_of(nn.ModuleDict({"rnn": nn.LSTM(3, 5)})), "symmetric-units")


# --------------------------------------------------------------------------------------------------- gradients


def with_gradients(sizes: list[float], **more: Any) -> Record:
    """By layer, from the first."""
    record: Record = record_of(deep(len(sizes)), **more)
    for name, p in record.parameters.items():
        p.grads = [(step, sizes[int(name.split(".")[0])]) for step in range(40)]
    return record


DYING = [0.9e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0]


@pytest.mark.parametrize(
    ("record", "is_found"),
    [
        (with_gradients(DYING), True),
        (with_gradients([1.1e-4, *DYING[1:]]), False),
        (with_gradients([0.9e-4, 1e-2, 1e-3, 0.5, 0.1, 1.0]), False),  # up and down: no dying on the way
        (with_gradients([0.9e-4, 0.1, 1.0]), False),  # not deep
        (with_gradients(DYING, losses=SOLVED), False),
        (with_gradients(DYING, is_plain=False), False),
        (with_gradients([0.0, *DYING[1:]]), False),  # closed by design, as at the start of a ReZero
    ],
)
def test_vanishing(record: Record, is_found: bool) -> None:
    assert loud(record, "vanishing-gradient") == ["0"] * is_found


def test_one_branch_that_dies() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"good": deep(5), "bad": deep(5), "head": nn.Linear(8, 3)})
    record = record_of(model)
    for name, p in record.parameters.items():
        size = 11.0 ** (int(name.split(".")[1]) - 5) * 0.5 if name.startswith("bad") else 1.0
        p.grads = [(step, size) for step in range(40)]
    assert loud(record, "vanishing-gradient") == ["bad.0"]


@pytest.mark.parametrize(("elastic", "is_found"), [(99.0, False), (101.0, True)])
def test_exploding_before_the_first_step(elastic: float, is_found: bool) -> None:
    record = record_of(deep())
    p = record.parameters["2.weight"]
    p.grads[0] = 0, elastic / p.start_l2
    assert loud(record, "exploding-gradient") == ["2"] * is_found


def test_exploding_layer_by_layer() -> None:
    losses = [1.0] * 20 + [30.0] * 20
    for growth, is_found in ((2.1, True), (1.5, False)):
        record = record_of(deep(), losses=losses)
        record.output_grads = {str(layer): [(0, growth ** (5 - layer))] for layer in range(6)}
        record.parameters["0.weight"].grads[0] = 0, 25 / record.parameters["0.weight"].start_l2
        assert loud(record, "exploding-gradient") == ["0"] * is_found


# --------------------------------------------------------------------------------------------------- the first loss


@pytest.mark.parametrize(
    ("first_loss", "slow", "std", "is_found"),
    [(3.3, 10, 2.0, True), (3.1, 10, 2.0, False), (3.3, 9, 2.0, False), (3.3, 10, 1.0, False)],
)
def test_a_loud_opinion_at_the_start(first_loss: float, slow: int, std: float, is_found: bool) -> None:
    # ln 3 is 1.099: the limit is 3.197.
    record = record_of(deep(), losses=[first_loss] * slow + [1.0] * (40 - slow))
    record.parameters["5.weight"].start_std = std  # times sqrt(8): 3 lies between
    assert loud(record, "initial-loss-too-high") == ["5"] * is_found


# --------------------------------------------------------------------------------------------------- clipping


@pytest.mark.parametrize(
    ("norm", "move", "losses", "is_found"),
    [
        (101.0, 4e-5, None, True),
        (99.0, 4e-5, None, False),
        (101.0, 6e-5, None, False),  # Adam does not mind
        (101.0, 4e-5, SOLVED, False),
    ],
)
def test_a_clip_that_leaves_nothing(norm: float, move: float, losses: list[float] | None, is_found: bool) -> None:
    record = record_of(deep(), losses=losses)
    for step in record.steps:
        step.clip_norm, step.clip_limit, step.group_moves = norm, 1.0, (move,)
    assert bool(loud(record, "clip-too-low")) is is_found


def test_a_clip_in_a_warm_up_may_be_meant() -> None:
    record = record_of(deep())
    for step in record.steps:
        step.clip_norm, step.clip_limit, step.group_moves = 200.0, 1.0, (1e-5,)
        step.rates = (1e-4 * (step.step + 1),)
    assert not found(record, "clip-too-low")


# --------------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize(
    ("facts", "is_found"),
    [
        ([(0, 0.5, 0.9e-3)] * 3, True),
        ([(0, 0.5, 0.9e-3)] * 2, False),
        ([(0, 0.5, 1.1e-3)] * 3, False),
        ([(0, 0.009, 0.0)] * 3, False),  # what goes in is the same already
    ],
)
def test_a_norm_that_wipes_its_input_out(facts: list[tuple[int, float, float]], is_found: bool) -> None:
    record = record_of(nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4)), norms={"1": facts})
    assert loud(record, "norm-wipes-input") == ["1"] * is_found


# --------------------------------------------------------------------------------------------------- the output


def test_a_loss_that_is_turned_upside_down() -> None:
    noise = [0.05 * math.sin(7.0 * step) for step in range(40)]
    record = record_of(deep())
    for step in record.steps:
        value = 1.0 + 0.1 * step.step + noise[step.step]
        step.loss, step.measure = -value, Measure("classes", value, classes=3)
    assert loud(record, "loss-maximised") == [""]
    for step in record.steps:  # another loss that falls below 0, with ups and downs of its own
        step.loss = -1.0 - 0.1 * step.step + 0.05 * math.cos(3.0 * step.step)
    assert not found(record, "loss-maximised")


@pytest.mark.parametrize(
    ("rare", "usual", "said", "losses", "is_found"),
    [
        (8, 80, 0, [0.3] * 100, True),
        (8, 80, 0, [0.3] * 99, False),
        (7, 80, 0, [0.3] * 100, False),
        (9, 80, 0, [0.3] * 100, False),
        (8, 80, 1, [0.3] * 100, False),
        (8, 80, 0, [0.24] * 100, False),  # what it says is better than always the same
        (8, 80, 0, [1.4 - 0.01 * step for step in range(100)], False),  # it still falls
    ],
)
def test_only_one_answer(rare: int, usual: int, said: int, losses: list[float], is_found: bool) -> None:
    record = record_of(deep(), len(losses), losses=losses, baseline=Baseline("classes", 0.31, 2))
    newest = record.steps[-1]
    newest.targets = torch.tensor([1] * rare + [0] * usual)
    newest.predictions = torch.tensor([0] * (rare + usual - said) + [1] * said)
    assert bool(loud(record, "predicts-one-class")) is is_found
