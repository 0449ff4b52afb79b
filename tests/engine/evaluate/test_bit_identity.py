"""Whatever is evaluated at whatever moment, training goes on as a plain loop that knows of nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable

import plain
import pytest
import torch
import zoo
import zoo_parts

from gradscope import Recipe, Session
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Moment

MEDDLING = (
    "import random; random.random(), np.random.rand(2), torch.rand(3)",
    "model(x)",
    "y = model(x)\ny.sum().backward() if isinstance(y, torch.Tensor) and y.requires_grad else None",
    "[p.grad.zero_() for p in model.parameters() if p.grad is not None]",
    "[p.data.add_(1) for p in model.parameters()]",
    "[p.data.mul_(3) for p in model.parameters()]; model(x)",
    "optimizer.step(); optimizer.zero_grad(); optimizer.param_groups[0]['lr'] = 7.0",
    "scheduler.step() if scheduler is not None else None",
    "model.eval(); model.zero_grad(); [b.add_(1) if b.is_floating_point() else b for b in model.buffers()]",
    "for t in (batch if isinstance(batch, (list, tuple)) else []):\n    t.zero_() if isinstance(t, torch.Tensor) else None",
    "torch.manual_seed(3); torch.set_grad_enabled(False); torch.set_default_dtype(torch.float64)",
    "1 / 0",
    "batch, output, loss, optimizer.state, torch.is_grad_enabled()",
)
STEPS = 2


class Meddler:
    """A gate at which everything is evaluated, again and again; a few at each moment."""

    def __init__(self, at_most: int) -> None:
        self.is_armed = True
        self.session: Session | None = None
        self.errors: list[str] = []
        self.moments = 0
        self._at_most = at_most

    def stop(self, moment: Moment) -> None:
        self.moments += 1
        if self.moments <= self._at_most or not self.moments % 101:
            self.meddle(self.moments)

    def meddle(self, first: int = 0) -> None:
        assert self.session is not None
        for number in range(3):
            code = MEDDLING[(3 * first + number) % len(MEDDLING)]
            try:
                told = self.session.evaluate(code, frame=sys._getframe()).told
            except BadInput as refused:
                # Before the first forward of lazy layers.
                self.errors.append(str(refused))
                continue
            assert not told.error.startswith("gradscope itself")
            self.errors += [f"{code}: {told.error}"] if told.error else []
            assert not told.moved, (code, told.moved)


def trained(make: Callable[[], Recipe], *, at_most: int = 12) -> tuple[plain.Outcome, Meddler]:
    meddler = Meddler(at_most)
    session = Session(plain.seeded(make), gate=meddler)
    meddler.session = session
    session.watch_expression("loss.item()")
    session.watch_expression("model(x)")
    with session:
        while session.position.step < STEPS:
            meddler.is_armed = False
            for number in range(2):
                meddler.meddle(number)
            meddler.is_armed = True
            session.advance()
        scales = [None] * STEPS
        assert not session.observer.errors
        outcome = plain.outcome_of(session)
        outcome.scales = scales
        return outcome, meddler


@pytest.mark.parametrize("name", zoo.sample(2))
def test_training_is_as_without(name: str) -> None:
    make = zoo.ZOO[name]
    with_meddling, meddler = trained(make)
    assert meddler.moments
    expected = plain.train_plainly(plain.seeded(make), steps=STEPS)
    plain.assert_same_outcome(with_meddling, expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_is_as_without(precision: str) -> None:
    """Inside autocast the casts of weights are kept: those of evaluated code must not be among them."""

    def make() -> Recipe:
        return zoo_parts.classifier(zoo_parts.mlp(), precision=precision)

    with_meddling, _ = trained(make)
    expected = plain.train_plainly(plain.seeded(make), steps=STEPS)
    with_meddling.scales = expected.scales
    plain.assert_same_outcome(with_meddling, expected)


def test_schedule_clipping_and_accumulation_are_as_without() -> None:
    def make() -> Recipe:
        model = zoo_parts.mlp()
        optimizer = zoo_parts.adam(model)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        return zoo_parts.classifier(model, optimizer=optimizer, scheduler=schedule, clip_norm=0.5, accumulate=2)

    with_meddling, _ = trained(make)
    plain.assert_same_outcome(with_meddling, plain.train_plainly(plain.seeded(make), steps=STEPS))


def test_a_step_that_was_only_tried_is_no_step_of_the_forward() -> None:
    meddler = Meddler(0)
    session = Session(plain.seeded(zoo.plain_mlp), gate=meddler)
    meddler.session, meddler.meddle = session, lambda first=0: None  # type: ignore[method-assign]
    seen: list[str] = []

    def stop(moment: Moment) -> None:
        seen.append(session.evaluate("optimizer.step(); model(x).sum().backward()").error)

    meddler.stop = stop  # type: ignore[method-assign]
    with session:
        assert not session.forward().raw.notes
    assert seen and not any(seen)


def test_casts_of_other_weights_are_not_those_of_the_forward() -> None:
    def make() -> Recipe:
        return zoo_parts.classifier(zoo_parts.mlp(), precision="bf16")

    meddler = Meddler(0)
    session = Session(plain.seeded(make), gate=meddler)
    meddler.session = session
    seen: list[str] = []

    def stop(moment: Moment) -> None:
        if moment.event == "enter":
            seen.append(session.evaluate("[p.data.mul_(3) for p in model.parameters()]; model(x)").error)

    meddler.stop = stop  # type: ignore[method-assign]
    with session:
        found = plain.train_observed(session, steps=STEPS)
    assert seen and not any(seen)
    plain.assert_same_outcome(found, plain.train_plainly(plain.seeded(make), steps=STEPS))
