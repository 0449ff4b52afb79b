"""Experiments about rates, decay, scales, frozen parts and schedules: faults in several settings, and the healthy programs
that come as near to them as possible."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from recording import trained
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    OneCycleLR,
    PolynomialLR,
    StepLR,
)
from torch.utils.data import TensorDataset

from gradscope import Recipe
from gradscope.engine.findings.bench import Run
from gradscope.engine.findings.counterfactual import is_better, went_wrong
from gradscope.engine.findings.draft import CannotJudge, Draft
from gradscope.engine.findings.experiments import frozen, input_scale, rates_high, rates_low, schedule, weight_decay
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.yardstick import Baseline

EXPERIMENTS = (input_scale, frozen, rates_low, rates_high, weight_decay, schedule)
STEPS = 90


def found(recipe: Recipe, steps: int = STEPS, *, planned: int | None = None) -> list[Draft]:
    """By all of these experiments together: no one may speak of the fault of another."""
    bench, record, _ = trained(recipe, steps, planned=planned)
    drafts: list[Draft] = []
    for experiment in EXPERIMENTS:
        try:
            drafts += experiment.run(bench, record)
        except CannotJudge:
            continue
    assert bench.notes == []
    return drafts


def ids(drafts: list[Draft]) -> list[tuple[str, str]]:
    return [(draft.id, draft.where) for draft in drafts]


# ---------------------------------------------------------------------------------------------------- programs


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.backbone(x))
        return output


class Series(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 24, batch_first=True)
        self.out = nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.rnn(x)[0][:, -1])
        return output


def conv(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    norms = [[nn.BatchNorm2d(8)], [nn.BatchNorm2d(16)]] if norm else [[], []]
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), *norms[0], nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, padding=1, stride=2), *norms[1], nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 4)),
    )


def net() -> Net:
    torch.manual_seed(2)
    return Net()


def series() -> Series:
    torch.manual_seed(2)
    return Series()


def rows(noise: float = 0.0, samples: int = 960) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    x = torch.randn(samples, 10)
    y = (x[:, :3] + x[:, 3:6] * x[:, :3]).argmax(1)
    is_wrong = torch.rand(samples) < noise
    return x, torch.where(is_wrong, torch.randint(0, 3, (samples,)), y)


def images(noise: float = 0.6) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    y = torch.randint(0, 4, (960,))
    return torch.randn(4, 1, 8, 8)[y] + noise * torch.randn(960, 1, 8, 8), y


def sums() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    x = torch.randn(960, 12, 3)
    return x, x[:, :, 0].mean(1, keepdim=True) * 3 + x[:, -3:, 1].sum(1, keepdim=True)


def recipe(
    model: Any,
    data: tuple[Tensor, Tensor],
    optimizer: Any,
    scheduler: Callable[[Any], Any] | None = None,
    **changes: Any,
) -> Recipe:
    is_regression = data[1].is_floating_point()
    return Recipe(
        model=model,
        dataset=TensorDataset(*data),
        loss=nn.MSELoss() if is_regression else nn.CrossEntropyLoss(),
        optimizer=optimizer,
        scheduler=None if scheduler is None else scheduler(optimizer),
        **changes,
    )


def of(model: Any, data: tuple[Tensor, Tensor], kind: Any, scheduler: Any = None, **options: Any) -> Recipe:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return recipe(model, data, kind(parameters, **options), scheduler)


def by_parts(kind: Any, backbone: dict[str, Any], head: dict[str, Any], data: Any = None, **options: Any) -> Recipe:
    model = net()
    groups = [{"params": model.backbone.parameters(), **backbone}, {"params": model.head.parameters(), **head}]
    return recipe(model, rows() if data is None else data, kind(groups, **options))


def with_frozen(model: Any, *names: str) -> Any:
    for name, parameter in model.named_parameters():
        if name.startswith(names):
            parameter.requires_grad_(False)
    return model


def in_bytes(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, y = data
    return (x - x.min()) / (x.max() - x.min()) * 255, y


# ---------------------------------------------------------------------------------------------------- faults

FAULTS: dict[str, tuple[Callable[[], Recipe], str, str]] = {
    "a conv net with SGD": (lambda: of(conv(), images(), SGD, lr=2.0, momentum=0.9), "lr-too-high", ""),
    "an LSTM with RMSprop": (lambda: of(series(), sums(), RMSprop, lr=0.5), "lr-too-high", ""),
    "the backbone alone, SGD": (
        lambda: by_parts(SGD, {"lr": 5.0}, {"lr": 0.05}, momentum=0.9),
        "lr-too-high",
        "backbone",
    ),
    "the backbone alone, Adam": (lambda: by_parts(Adam, {"lr": 0.5}, {"lr": 0.005}), "lr-too-high", "backbone"),
    "a conv net stands still": (lambda: of(conv(), images(), SGD, lr=1e-7), "lr-too-low", ""),
    "an LSTM stands still": (lambda: of(series(), sums(), Adam, lr=1e-9), "lr-too-low", ""),
    "no rate at all": (lambda: of(net(), rows(), RMSprop, lr=0.0), "lr-too-low", ""),
    "decay in a conv net": (
        lambda: of(conv(), images(), SGD, lr=0.05, weight_decay=3.0),
        "weight-decay-too-strong",
        "",
    ),
    "decay inside Adam": (lambda: of(net(), rows(), Adam, lr=0.01, weight_decay=3.0), "weight-decay-too-strong", ""),
    "columns of a sequence": (
        lambda: of(series(), (sums()[0] * torch.tensor([1e-3, 1.0, 1e4]), sums()[1]), Adam, lr=0.01),
        "input-not-scaled",
        "",
    ),
    "tiny inputs": (
        lambda: of(net(), (rows()[0] * 1e-4, rows()[1]), SGD, lr=0.1, momentum=0.9),
        "input-not-scaled",
        "",
    ),
    "a rate that halves with each batch": (
        lambda: of(net(), rows(), Adam, lambda o: ExponentialLR(o, 0.6), lr=0.003),
        "lr-decays-too-early",
        "",
    ),
    "a rate that is 0 after five batches": (
        lambda: of(conv(), images(), SGD, lambda o: PolynomialLR(o, 5), lr=0.02),
        "lr-decays-too-early",
        "",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named_and_placed_and_no_other(name: str) -> None:
    make, expected, where = FAULTS[name]
    drafts = found(make())
    assert ids(drafts) == [(expected, where)]
    assert drafts[0].evidence
    assert drafts[0].do


def test_images_in_bytes_are_named_beside_the_rate_that_is_too_high_for_them() -> None:
    drafts = found(of(conv(), in_bytes(images()), SGD, lr=0.02, momentum=0.9))
    assert ("input-not-scaled", "") in ids(drafts)


def test_a_group_that_stands_still_is_placed() -> None:
    model = nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 3))
    groups = [{"params": model[0].parameters(), "lr": 1e-2}, {"params": [*model[1:].parameters()], "lr": 1e-8}]
    (draft,) = found(recipe(model, rows(), AdamW(groups)))
    assert (draft.id, draft.near) == ("group-lr-too-low", ("1", "3"))
    assert "from 1e-8 to about 0.0" in draft.do


def test_a_rate_that_grows_until_the_training_is_lost_late() -> None:
    (draft,) = found(of(net(), rows(), SGD, lambda o: ExponentialLR(o, 1.07), lr=0.02), 120)
    assert draft.id == "lr-too-high"
    assert draft.first_step > 60


def test_a_frozen_last_layer_is_placed() -> None:
    torch.manual_seed(2)
    model = with_frozen(nn.Sequential(nn.Linear(10, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3)), "0", "3")
    with torch.no_grad():
        model[3].weight.mul_(0.3)
    x, _ = rows()
    (draft,) = found(of(model, (x, x[:, :3].argmax(1)), SGD, lr=0.05, momentum=0.9))
    assert (draft.id, draft.where) == ("output-layer-frozen", "3")
    assert "3.weight" in draft.do


def test_both_curves_and_concrete_numbers_are_told() -> None:
    (draft,) = found(of(conv(), images(), SGD, lr=2.0, momentum=0.9))
    as_it_is, changed = draft.curves
    assert (as_it_is.name, changed.name) == ("as it is", "0.1 times the rate")
    assert len(as_it_is.values) == len(changed.values) >= 60
    assert draft.do == "Lower the rate from 2 to about 0.2."


def test_a_loss_that_is_a_sum_is_told() -> None:
    made = of(conv(), images(), SGD, lr=0.1)
    summed = Recipe(
        model=made.model, dataset=made.dataset, loss=nn.CrossEntropyLoss(reduction="sum"), optimizer=made.optimizer
    )
    (draft,) = found(summed)
    assert draft.do.startswith("The loss is a sum over the batch of 32: take its mean")


# ---------------------------------------------------------------------------------------------------- healthy

HEALTHY: dict[str, Callable[[], Recipe]] = {
    "a normalised conv net at a large rate": lambda: of(conv(norm=True), images(4.0), SGD, lr=0.1, momentum=0.9),
    "one cycle, half-way": lambda: of(
        conv(), images(3.0), SGD, lambda o: OneCycleLR(o, 0.1, total_steps=200), lr=0.02, momentum=0.9
    ),
    "a long warm-up": lambda: of(net(), rows(), AdamW, lambda o: LambdaLR(o, lambda s: (s + 1) / 1e5), lr=1e-3),
    "cosine with restarts": lambda: of(net(), rows(0.6), SGD, lambda o: CosineAnnealingWarmRestarts(o, 10), lr=0.1),
    "strong decay on purpose": lambda: of(net(), rows(0.9), AdamW, lr=1e-3, weight_decay=1.0),
    "a ridge on noise": lambda: of(net(), rows(1.0, 128), SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "noise, its schedule done": lambda: of(net(), rows(0.85), Adam, lambda o: StepLR(o, 20, 0.1), lr=0.01),
    "a backbone that is only tuned": lambda: by_parts(AdamW, {"lr": 1e-5}, {"lr": 1e-2}, rows(0.5)),
    "raw columns behind a normalisation": lambda: of(
        nn.Sequential(nn.BatchNorm1d(10), *net().backbone, nn.Linear(32, 3)),
        (rows()[0] * 10 ** torch.arange(10.0) / 1e3, rows(0.6)[1]),
        Adam,
        lr=1e-2,
    ),
    "nothing to be learnt": lambda: of(series(), (sums()[0], torch.randn(960, 1)), Adam, lr=1e-2),
    "labels at random": lambda: of(net(), (rows()[0], torch.randint(0, 3, (960,))), Adam, lr=1e-2),
    "noisy labels at a rather large rate": lambda: of(net(), rows(0.6), SGD, lr=0.3, momentum=0.9),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_of_a_healthy_training(name: str) -> None:
    assert ids(found(HEALTHY[name]())) == []


@pytest.mark.parametrize("name", ["one cycle, half-way", "a long warm-up", "noise, its schedule done"])
def test_nor_where_far_more_steps_are_planned(name: str) -> None:
    assert ids(found(HEALTHY[name](), planned=5000)) == []


def test_a_slow_training_with_much_before_it_is_not_standing_still() -> None:
    slow = {"kind": SGD, "lr": 2e-6}
    assert ids(found(of(conv(), images(), **slow))) == [("lr-too-low", "")]
    assert ids(found(of(conv(), images(), **slow), planned=100_000)) == []


def test_random_features_are_no_more_than_worth_knowing() -> None:
    model = with_frozen(net(), "backbone")
    assert not [draft for draft in found(of(model, rows(), Adam, lr=1e-2)) if draft.id != "frozen-part-holds-back"]


def test_a_pretrained_head_that_was_frozen_on_purpose_is_not_named() -> None:
    teacher = net()
    own = Adam(teacher.parameters(), 0.01)
    x, y = rows()
    for _ in range(60):
        own.zero_grad()
        nn.functional.cross_entropy(teacher(x), y).backward()
        own.step()
    own.zero_grad()
    # Another backbone behind it: it starts at chance or worse, and the head knows what it wants.
    teacher.backbone = net().backbone
    drafts = found(of(with_frozen(teacher, "head"), rows(), Adam, lr=1e-4))
    assert "output-layer-frozen" not in [draft.id for draft in drafts]


def test_too_few_steps_are_not_judged() -> None:
    bench, record, _ = trained(of(conv(), images(), SGD, lr=1e-7), 30, planned=500)
    with pytest.raises(CannotJudge, match="it takes 60 steps, and there were 30"):
        list(rates_low.run(bench, record))


def test_a_solved_training_is_not_run_again() -> None:
    bench, record, _ = trained(of(conv(), images(), Adam, lr=1e-3), STEPS)
    assert not record.is_unsolved
    for experiment in EXPERIMENTS:
        assert list(experiment.run(bench, record)) == []
    assert bench.forwards == 0


# ---------------------------------------------------------------------------------------------------- thresholds


def run_of(level: float, *, first: float = 1.0, noise: float = 0.01) -> Run:
    values = [first] + [level + noise * (-1) ** i for i in range(59)]
    return Run(measures=list(values), own=list(values))


def test_a_change_has_to_be_better_by_30_percent() -> None:
    record = Record(baseline=Baseline("classes", 1.0, 3))
    assert is_better(run_of(0.69), run_of(1.0), record)
    assert not is_better(run_of(0.71), run_of(1.0), record)


def test_and_by_three_standard_errors_by_both_losses() -> None:
    record = Record(baseline=Baseline("classes", 1.0, 3))
    assert not is_better(run_of(0.6), run_of(1.0, noise=0.9), record)
    own_loss_is_the_same = run_of(0.6)
    own_loss_is_the_same.own = run_of(1.0).own
    assert not is_better(own_loss_is_the_same, run_of(1.0), record)


def test_and_may_not_end_above_its_start() -> None:
    record = Record(baseline=Baseline("classes", 1.0, 3))
    assert is_better(run_of(1.05), run_of(50.0), record)
    assert not is_better(run_of(1.2), run_of(50.0), record)
    assert is_better(run_of(1.05), run_of(math.inf), record)
    assert not is_better(run_of(math.inf), run_of(math.inf), record)


def test_when_a_training_was_lost() -> None:
    falling = [2.0 - 0.02 * i for i in range(60)]
    assert went_wrong(falling) is None
    assert went_wrong([*falling, *[1.5] * 20]) is None
    assert went_wrong([*falling, math.nan]) == 60
    lost = went_wrong([*falling, *[5.0] * 20])
    assert lost is not None
    assert 50 <= lost <= 61
    # A spike that it comes back from.
    assert went_wrong([*falling, *[9.0] * 5, *[0.8] * 30]) is None


def test_the_training_as_it_is_was_recorded_and_is_not_run_again() -> None:
    bench, record, session = trained(of(net(), rows(), Adam, lr=1e-3), 20)
    assert bench.unchanged(20).own == record.own_losses
    assert bench.forwards == 0
    session.next_batch()
    # Somebody has gone on without recording.
    assert bench.unchanged(20).own == record.own_losses
    assert bench.forwards == 20
