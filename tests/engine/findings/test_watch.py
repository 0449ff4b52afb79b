"""What the watch writes into the record, against what a plain loop would see; and that training does not notice it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import Recipe
from gradscope.engine.findings.record import Record
from gradscope.engine.session import Session


def classifier(*, seed: int = 0, dropout: bool = False, **more: object) -> Recipe:
    torch.manual_seed(seed)
    x = torch.randn(96, 5)
    layers = [nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3 if dropout else 0.0), nn.Linear(8, 3)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    data = TensorDataset(x, x[:, :3].argmax(1))
    recipe = {"loss": nn.CrossEntropyLoss(), "batch_size": 16, "shuffle": True, **more}
    return Recipe(model=model, dataset=data, optimizer=optimizer, **recipe)  # type: ignore[arg-type]


def record_of(session: Session) -> Record:
    assert session.verdicts is not None
    assert not session.verdicts.watch.errors and not session.observer.errors
    return session.verdicts.watch.record


def weights(recipe: Recipe) -> list[Tensor]:
    assert isinstance(recipe.model, nn.Module)
    return [*recipe.model.parameters(), *recipe.model.buffers()]


@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "clip_norm": 0.5}, {"precision": "bf16"}])
def test_training_is_the_same_to_the_bit(more: dict[str, object]) -> None:
    plain = classifier(dropout=True, **more)
    with Session(plain, seed=1) as session:
        for _ in range(25):
            session.next_batch()
    watched = classifier(dropout=True, **more)
    with Session(watched, seed=1, findings=True) as session:
        for step in range(25):
            session.next_batch()
            if step % 7 == 3:
                session.findings()
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(watched), strict=True))


def test_layers_are_in_the_order_in_which_they_are_left() -> None:
    with Session(classifier(), findings=True) as session:
        session.next_batch()
        record = record_of(session)
        assert [layer.name for layer in record.order] == ["0", "1", "2", "3", "4", ""]
        assert record.last_layer == "4"
        assert record.layers["1"].is_training is True and record.layers["0"].parameters == ("0.weight", "0.bias")


def test_norms_are_those_of_autograd() -> None:
    recipe = classifier()
    with Session(recipe, findings=True) as session:
        session.forward()
        session.backward()
        model = recipe.model
        assert isinstance(model, nn.Module)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        grads = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
        session.step()
        record = record_of(session)
        for name, parameter in model.named_parameters():
            facts = record.parameters[name]
            assert facts.grads == [(0, pytest.approx(grads[name], rel=1e-5))]
            change = float((parameter.detach() - before[name]).norm())
            assert facts.updates == [(0, pytest.approx(change, rel=1e-4))]
            assert facts.start is not None and torch.equal(facts.start, before[name])
            assert facts.is_trained and facts.group == 0


def test_the_yardstick_of_a_classifier_is_its_cross_entropy() -> None:
    with Session(classifier(), findings=True) as session:
        for _ in range(12):
            session.next_batch()
        record = record_of(session)
        assert record.own_losses == pytest.approx([record_.loss for record_ in session.history])
        assert record.measures == pytest.approx(record.own_losses, rel=1e-5)
        session.findings()
        assert record.baseline is not None and record.baseline.classes == 3
        assert record.baseline.value == pytest.approx(math.log(3), abs=0.05)


def test_label_smoothing_has_a_yardstick_of_its_own() -> None:
    recipe = classifier(loss=nn.CrossEntropyLoss(label_smoothing=0.3))
    with Session(recipe, findings=True) as session:
        for _ in range(12):
            session.next_batch()
        record = record_of(session)
        assert all(a != pytest.approx(b, rel=1e-3) for a, b in zip(record.measures, record.own_losses, strict=True))


def test_gradients_that_zero_grad_leaves_are_seen() -> None:
    class Keeps(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            """Forgets to."""

    recipe = classifier()
    assert isinstance(recipe.model, nn.Module)
    kept = Recipe(
        model=recipe.model,
        dataset=recipe.dataset,
        loss=recipe.loss,
        optimizer=Keeps(recipe.model.parameters(), lr=0.01),
    )
    with Session(kept, findings=True) as session:
        for _ in range(3):
            session.next_batch()
        left = [step.left_over for step in record_of(session).steps]
        assert left[0] == 0.0 and left[1] > 0 and left[2] > left[1]


def test_a_step_of_ones_own_is_not_plain() -> None:
    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    with Session(classifier(training_step=step, loss=None), findings=True) as session:
        session.next_batch()
        record = record_of(session)
        assert not record.is_plain and record.steps[0].measure is None


def test_what_comes_and_goes_is_followed() -> None:
    recipe = classifier()
    assert isinstance(recipe.model, nn.Sequential)
    with Session(recipe, findings=True) as session:
        session.next_batch()
        assert isinstance(recipe.optimizer, torch.optim.Optimizer)
        held = recipe.optimizer.param_groups[0]["params"]
        held[:] = [parameter for parameter in held if parameter is not recipe.model[0].bias]
        session.next_batch()
        assert not record_of(session).parameters["0.bias"].is_trained


def test_without_findings_nothing_is_looked_for() -> None:
    with Session(classifier()) as session:
        session.next_batch()
        assert session.verdicts is None and session.findings().checks == ()


@pytest.mark.parametrize(("std", "offset", "is_found"), [(2.0, 0.0, True), (0.1, 0.0, False), (0.1, 20.0, False)])
def test_a_loud_start_of_a_regression_is_the_spread_of_its_outputs_and_no_offset(
    std: float, offset: float, is_found: bool
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    nn.init.normal_(model[2].weight, std=std)
    x = torch.randn(640, 8)
    y = x[:, :1] * x[:, 1:2] + 0.3 * x[:, 2:3] + offset
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    recipe = Recipe(model=model, loss=nn.MSELoss(), optimizer=optimizer, dataset=TensorDataset(x, y), batch_size=32)
    with Session(recipe, findings=True) as session:
        for _ in range(40):
            session.next_batch()
        found = [(finding.id, finding.where) for finding in session.findings().findings]
    assert found == [("initial-loss-too-high", "2")] * is_found
