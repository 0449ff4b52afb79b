"""The rates foretold are the rates that training then uses; nothing real is touched by looking ahead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import plain
import pytest
import torch
import zoo
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from gradscope import Recipe, Session, UserCodeFailed
from gradscope.engine.serving import teller
from gradscope.protocol.messages import Schedule
from gradscope.protocol.phases import Phase

STEPS = 12
PER_EPOCH = 3


def warmup_then_cosine(optimizer: Optimizer) -> LRScheduler:
    return SequentialLR(
        optimizer, [LinearLR(optimizer, 0.1, total_iters=4), CosineAnnealingLR(optimizer, 8)], milestones=[4]
    )


SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "StepLR": lambda o: StepLR(o, 3, 0.5),
    "MultiStepLR": lambda o: MultiStepLR(o, [2, 5, 5, 9], 0.1),
    "ExponentialLR": lambda o: ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: LambdaLR(o, lambda step: 1 / (1 + step)),
    "LambdaLR for each group": lambda o: LambdaLR(o, [lambda step: 0.5**step, lambda step: 1.0]),
    "MultiplicativeLR": lambda o: MultiplicativeLR(o, lambda step: 0.95),
    "warmup and cosine": warmup_then_cosine,
    "OneCycleLR": lambda o: OneCycleLR(o, [0.5, 0.2], total_steps=40),
    "OneCycleLR without momentum": lambda o: OneCycleLR(o, 0.5, total_steps=40, cycle_momentum=False),
    "warm restarts": lambda o: CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2),
    "CyclicLR": lambda o: CyclicLR(o, 0.01, 0.3, step_size_up=4, mode="exp_range", gamma=0.9),
    "ConstantLR": lambda o: ConstantLR(o, 0.25, total_iters=5),
    "PolynomialLR": lambda o: PolynomialLR(o, 9, 2.0),
    "ChainedScheduler": lambda o: ChainedScheduler([ConstantLR(o, 0.1, total_iters=2), ExponentialLR(o, 0.9)]),
}


def make(schedule: Callable[[Optimizer], LRScheduler], unit: str) -> Recipe:
    model = zoo.mlp()
    groups = [{"params": model[0].parameters(), "lr": 0.2}, {"params": model[2].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    return zoo.classifier(model, optimizer=optimizer, scheduler=schedule(optimizer), scheduler_unit=unit)


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize("unit", ["step", "epoch"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_future_comes_true(name: str, unit: str, start: int) -> None:
    steps = STEPS if unit == "step" else 5 * PER_EPOCH
    with Session(plain.seeded(lambda: make(SCHEDULES[name], unit))) as session:
        plain.train_observed(session, steps=start)
        before = plain.state_of(session.recipe)
        identities = [id(p) for group in session.recipe.optimizer.param_groups for p in group["params"]]
        foretold = session.schedule(steps)
        plain.assert_same(before, plain.state_of(session.recipe))
        assert identities == [id(p) for group in session.recipe.optimizer.param_groups for p in group["params"]]
        assert foretold.reason == "" and foretold.first_step == start
        plain.train_observed(session, steps=start + steps)
        used = np.array([record.lr for record in session.history[start:]]).T
    np.testing.assert_array_equal(foretold.rates, used)


@pytest.mark.parametrize("rest", [1, 2])
def test_foretold_in_the_middle_of_a_step(rest: int) -> None:
    with Session(plain.seeded(lambda: make(SCHEDULES["StepLR"], "step"))) as session:
        session.next_batch()
        for _ in range(rest):
            session.advance()
        foretold = session.schedule(6)
        session.next_batch()
        plain.train_observed(session, steps=7)
        np.testing.assert_array_equal(foretold.rates, np.array([record.lr for record in session.history[1:]]).T)


def test_one_cycle_ends_where_training_ends() -> None:
    total = 5
    with Session(plain.seeded(lambda: make(lambda o: OneCycleLR(o, 0.5, total_steps=total), "step"))) as session:
        foretold = session.schedule(100).rates
        assert total <= foretold.shape[1] < 100
        with pytest.raises(UserCodeFailed) as failed:
            plain.train_observed(session, steps=100)
        used = np.array([record.lr for record in session.history]).T
        assert used.shape[1] >= total
        np.testing.assert_array_equal(foretold[:, : used.shape[1]], used)
        assert "schedule" in failed.value.failure.sentence


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("unit", ["step", "epoch"])
def test_the_horizon_is_the_last_step_that_cannot_be_followed(unit: str, start: int) -> None:
    with Session(plain.seeded(lambda: make(lambda o: OneCycleLR(o, 0.5, total_steps=4), unit))) as session:
        plain.train_observed(session, steps=start)
        horizon = session.schedule(1).horizon
        assert horizon == (4 if unit == "step" else 5 * PER_EPOCH - 1)
        plain.train_observed(session, steps=horizon)
        with pytest.raises(UserCodeFailed, match=f"The schedule of step {horizon} failed"):
            plain.train_observed(session, steps=horizon + 1)


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
@pytest.mark.parametrize("adam", [False, True])
def test_momentum_that_cycles_is_foretold(name: str, adam: bool) -> None:
    def cycling() -> Recipe:
        model = zoo.mlp()
        kind, options = (torch.optim.AdamW, {"betas": (0.9, 0.99)}) if adam else (torch.optim.SGD, {"momentum": 0.9})
        optimizer = kind(
            [{"params": model[0].parameters(), "lr": 0.2}, {"params": model[2].parameters()}], lr=0.1, **options
        )
        return zoo.classifier(model, optimizer=optimizer, scheduler=SCHEDULES[name](optimizer))

    with Session(plain.seeded(cycling)) as session:
        foretold = session.schedule(STEPS).momenta
        used = [session.next_batch()[-1].raw.momentum for _ in range(STEPS)]
    assert np.ptp(foretold, axis=1).min() > 0.01
    np.testing.assert_array_equal(foretold, np.array(used).T)


def test_momentum_that_stays_is_not_foretold() -> None:
    with Session(plain.seeded(lambda: make(SCHEDULES["StepLR"], "step"))) as session:
        assert session.schedule(STEPS).momenta.size == 0


@pytest.mark.parametrize("unit", ["step", "epoch"])
def test_the_future_of_windows(unit: str) -> None:
    def windows() -> Recipe:
        return replace(make(SCHEDULES["ExponentialLR"], unit), accumulate=2)

    with Session(plain.seeded(windows)) as session:
        for _ in range(3):
            session.advance()
        foretold = session.schedule(8)
        plain.train_observed(session, steps=8)
        np.testing.assert_array_equal(foretold.rates, np.array([record.lr for record in session.history]).T)


def test_without_a_scheduler_the_rates_stay() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        assert session.schedule(4).rates.tolist() == [[0.1] * 4]


def test_what_depends_on_results_has_no_future() -> None:
    with Session(plain.seeded(lambda: make(ReduceLROnPlateau, "epoch"))) as session:
        foretold = session.schedule(5)
    assert foretold.rates.tolist() == [[0.2], [0.1]] and "depends on results" in foretold.reason


def test_an_epoch_of_unknown_length_has_no_future() -> None:
    class Stream(torch.utils.data.IterableDataset[object]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter(zoo.vectors())

    def recipe() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return zoo.classifier(
            model, dataset=Stream(), optimizer=optimizer, scheduler=StepLR(optimizer, 1), scheduler_unit="epoch"
        )

    with Session(plain.seeded(recipe)) as session:
        assert "length of an epoch is unknown" in session.schedule(5).reason


def test_a_scheduler_that_cannot_be_simulated_says_why() -> None:
    def broken(step: int) -> float:
        if step > 3:
            raise KeyError("no rate")
        return 1.0

    with Session(plain.seeded(lambda: make(lambda o: LambdaLR(o, broken), "step"))) as session:
        before = plain.state_of(session.recipe)
        foretold = session.schedule(10)
        plain.assert_same(before, plain.state_of(session.recipe))
    assert foretold.rates.tolist() == [[0.2], [0.1]] and "LambdaLR cannot be simulated: KeyError" in foretold.reason


def test_a_random_schedule_leaves_the_generators_alone() -> None:
    noisy = lambda step: 1 + torch.rand(()).item() * np.random.rand()  # noqa: E731
    with Session(plain.seeded(lambda: make(lambda o: LambdaLR(o, noisy), "step"))) as session:
        before = plain.state_of(session.recipe)
        assert session.schedule(10).rates.shape == (2, 10)
        plain.assert_same(before, plain.state_of(session.recipe))


def test_an_optimizer_with_state_and_a_tensor_rate() -> None:
    def recipe() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.1), foreach=False)
        return zoo.classifier(model, optimizer=optimizer, scheduler=ExponentialLR(optimizer, 0.5))

    with Session(plain.seeded(recipe)) as session:
        session.next_batch()
        rate = session.recipe.optimizer.param_groups[0]["lr"]
        foretold = session.schedule(4)
        assert rate.item() == pytest.approx(0.05)
        plain.train_observed(session, steps=5)
        np.testing.assert_allclose(foretold.rates, [[record.lr[0] for record in session.history[1:]]])


def test_a_group_without_a_rate() -> None:
    class Fixed(Optimizer):
        def __init__(self, parameters: object) -> None:
            super().__init__(parameters, {})  # type: ignore[arg-type]

        def step(self, closure: object = None) -> None:
            return None

    with Session(plain.seeded(lambda: zoo.classifier(m := zoo.mlp(), optimizer=Fixed(m.parameters())))) as session:
        assert math.isnan(session.next_batch()[0].lr[0])
        assert np.isnan(session.schedule(3).rates).all()


LENGTHS = {
    "MultiStepLR": 9,
    "warmup and cosine": 12,
    "OneCycleLR": 40,
    "warm restarts": 3,
    "CyclicLR": 8,
    "ConstantLR": 5,
    "PolynomialLR": 9,
    "ChainedScheduler": 2,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_how_far_a_schedule_goes_by_its_own_arguments(name: str) -> None:
    with Session(plain.seeded(lambda: make(SCHEDULES[name], "step"))) as session:
        left = session.steps_to_schedule_end
        if name not in LENGTHS and name != "OneCycleLR without momentum":
            assert left is None
            return
        assert left is not None and left == LENGTHS.get(name, 40) + 1
        plain.train_observed(session, steps=1)
        assert session.steps_to_schedule_end == left - 1


def test_a_schedule_by_epochs_goes_on_for_as_many() -> None:
    with Session(plain.seeded(lambda: make(lambda o: CosineAnnealingLR(o, 8), "epoch"))) as session:
        left = session.steps_to_schedule_end
        assert left == 8 * PER_EPOCH + 1
        rates = session.schedule(left).rates[0]
        assert rates[-1] == pytest.approx(0.0, abs=1e-9) and rates[-2] > 1e-3


class Box:
    """Takes messages in the place of a connection."""

    def __init__(self) -> None:
        self.schedules: list[Schedule] = []

    def put(self, message: object, *, number: int = 0) -> None:
        if isinstance(message, Schedule):
            self.schedules.append(message)


def test_a_long_schedule_is_told_to_its_end_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller, "SCHEDULE_INTERVAL_SECS", 0.0)
    box = Box()
    tell = teller.Teller(box)  # type: ignore[arg-type]
    with Session(plain.seeded(lambda: make(lambda o: CosineAnnealingLR(o, 5000), "step"))) as session:
        tell.tell_schedule(session)
        assert box.schedules[-1].rates.shape == (2, 5001)
        assert box.schedules[-1].rates[0, -1] == pytest.approx(0.0, abs=1e-9)
        for _ in range(3):
            plain.train_observed(session, steps=session.position.step + 1)
            tell.tell_report(session, session.reports[Phase.STEP])
        assert len(box.schedules) == 1
        session.training.optimizers[0].param_groups[0]["lr"] = 0.123
        plain.train_observed(session, steps=session.position.step + 1)
        tell.tell_report(session, session.reports[Phase.STEP])
        assert len(box.schedules) == 2
