"""Session.explain in the middle of real training: what is explained, when, and what is said where it is not."""

from __future__ import annotations

from typing import Any

import plain
import pytest
import torch
import zoo
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from gradscope import BadInput, Recipe, Session


def mlp_with(make: Any, **fields: Any) -> Recipe:
    def recipe() -> Recipe:
        model = zoo.mlp()
        return zoo.classifier(model, optimizer=make(model.parameters()), **fields)

    return plain.seeded(recipe)


def names(session: Session) -> list[str]:
    return list(session.observer.tensors())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"clip_norm": 0.01},
        {"clip_value": 1e-3},
        {"accumulate": 2},
        {"precision": "bf16"},
        {"zero_grad": "manual"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda parameters: AdamW(parameters, lr=0.01, amsgrad=True),
        lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    ],
)
def test_every_step_is_explained(make: Any, fields: dict[str, Any]) -> None:
    with Session(mlp_with(make, **fields)) as session:
        for _ in range(3):
            session.next_batch()
            while session.position.rest.value != "ready":
                session.advance()
            for name in names(session):
                explanation = session.explain(name)
                assert explanation.is_explained, explanation.reason
                assert explanation.residual_relative is not None and explanation.residual_relative < 1e-5
                assert explanation.lost is not None and explanation.lost.share == 0


def test_a_scheduler_has_moved_the_rate_since() -> None:
    model = zoo.mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    with Session(zoo.classifier(model, optimizer=optimizer, scheduler=scheduler)) as session:
        session.next_batch()
        explanation = session.explain("0.weight")
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
        assert float(explanation.factors[0].values) == 0.1
        assert explanation.residual_relative is not None and explanation.residual_relative < 1e-5


def test_when_it_is_explained() -> None:
    with Session(mlp_with(lambda parameters: Adam(parameters))) as session:
        name = names(session)[0]
        assert session.explain(name).reason == "There is no step to explain yet: press Step"
        session.next_batch()
        assert session.explain(name).is_explained
        session.forward()
        assert "press Step" in session.explain(name).reason
        session.backward()
        assert "press Step" in session.explain(name).reason
        session.step()
        assert session.explain(name).is_explained
        session.zero_grad()
        assert session.explain(name).reason == "Not explained: the gradient that the step used is gone; press Step"
        with pytest.raises(BadInput, match="no parameter 'nonsense'"):
            session.explain("nonsense")


def test_explaining_changes_nothing() -> None:
    with Session(mlp_with(lambda parameters: Adam(parameters, weight_decay=0.1))) as session:
        session.next_batch()
        before = plain.state_of(session.recipe)
        for name in names(session):
            session.explain(name)
        plain.assert_same(before, plain.state_of(session.recipe))


def test_frozen_parameters_and_those_without_a_gradient() -> None:
    with Session(plain.seeded(zoo.frozen_and_unused)) as session:
        session.next_batch()
        reasons = {name: session.explain(name).reason for name in names(session)}
        parameters = session.observer.tensors()
        for name, reason in reasons.items():
            if not parameters[name].requires_grad:
                assert "frozen" in reason
            elif parameters[name].grad is None:
                assert reason == "It had no gradient, so the optimizer left it as it was"
            else:
                assert reason == ""
        assert len(set(reasons.values())) == 3


def test_a_parameter_that_the_optimizer_does_not_hold() -> None:
    model = zoo.mlp()
    with Session(zoo.classifier(model, optimizer=SGD([model[0].weight], lr=0.1))) as session:
        session.next_batch()
        assert session.explain("0.bias").reason == "The optimizer does not hold this parameter: the delta is zero"


def test_each_turn_is_explained_by_its_own_optimizer() -> None:
    model = nn.ModuleDict({"left": nn.Linear(zoo.FEATURES, 1), "right": nn.Linear(zoo.FEATURES, 1)})
    optimizers: dict[str, Optimizer] = {
        "left": SGD(model["left"].parameters(), lr=0.1),
        "right": Adam(model["right"].parameters(), lr=0.1),
    }
    steps = {name: (lambda model, batch, name=name: model[name](batch[0]).square().mean()) for name in optimizers}
    recipe = Recipe(model=model, dataset=zoo.vectors(), optimizer=optimizers, training_step=steps, batch_size=4)
    with Session(recipe) as session:
        for _ in range(2):
            for turn, other in (("left", "right"), ("right", "left")):
                for _ in range(3):
                    session.advance()
                assert session.history[-1].optimizer == turn
                assert session.explain(f"{turn}.weight").is_explained
                reason = session.explain(f"{other}.weight").reason
                assert reason == f"It was the step of {turn}, which does not hold this parameter: the delta is zero"
                check = session.check_gradient(f"{other}.weight", 3)
                assert check.agrees and check.notes == (), "by the loss of its own turn"


def test_a_skipped_step_is_told() -> None:
    model = zoo.mlp()
    calls = []

    def overflowing(model: Any, batch: Any) -> Any:
        calls.append(None)
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        return loss * float("inf") if len(calls) == 1 else loss

    recipe = zoo.classifier(
        model, optimizer=SGD(model.parameters(), lr=0.1), training_step=overflowing, precision="fp16"
    )
    with Session(recipe) as session:
        session.next_batch()
        assert session.history[-1].is_skipped
        assert session.explain("0.weight").reason.startswith("The step was skipped")
        session.next_batch()
        explanation = session.explain("0.weight")
        assert explanation.is_explained and explanation.residual_relative is not None
        assert explanation.residual_relative < 1e-5


def test_lbfgs_is_not_explained() -> None:
    with Session(mlp_with(lambda parameters: torch.optim.LBFGS(parameters, lr=0.1))) as session:
        session.next_batch()
        assert session.explain("0.weight").reason.startswith("The steps of LBFGS are not explained")


def test_a_step_that_was_undone_is_not_explained() -> None:
    class Failing(SGD):
        fails = False

        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            if self.fails:
                raise RuntimeError("broken")

    with Session(mlp_with(lambda parameters: Failing(parameters, lr=0.1))) as session:
        session.next_batch()
        session.training.turns[0].optimizer.fails = True  # type: ignore[attr-defined]
        session.forward()
        session.backward()
        with pytest.raises(Exception, match="broken"):
            session.step()
        assert session.explain("0.weight").reason == "There is no step to explain yet: press Step"


def test_half_precision_loses_updates() -> None:
    def recipe() -> Recipe:
        model = zoo.mlp().bfloat16()
        return zoo.classifier(
            model,
            optimizer=SGD(model.parameters(), lr=1e-4),
            training_step=lambda model, batch: nn.functional.cross_entropy(model(batch[0].bfloat16()), batch[1]),
        )

    with Session(plain.seeded(recipe)) as session:
        session.next_batch()
        explanation = session.explain("0.weight")
        assert explanation.lost is not None and explanation.lost.share > 0.5
        terms = {term.name: float(term.tensor.norm()) for term in explanation.terms}
        assert terms["rounding"] > 0.1 * terms["gradient"]
