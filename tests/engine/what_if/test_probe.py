"""A batch that is run again: its records are of that batch, and training does not know of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from tried import KINDS
from zoo_parts import CLASSES, FEATURES, classifier, mlp

from gradscope import Session, UserCodeFailed
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.failure import BadInput
from gradscope.protocol.subjects import COUNT, L2, MEAN

# Of torch's checkpoints that run without gradients, as in a validation.
pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")

STEPS = 5


def trained(make: Any, *, probe: dict[str, Any] | None = None, capture: str = "full") -> tuple[dict[str, Any], Session]:
    recipe = plain.seeded(make)
    session = Session(recipe, seed=0, capture=capture)
    session.next_batch()
    if probe is not None:
        session.set_probe("newest", **probe)
    for _ in range(STEPS):
        session.next_batch()
    losses = [record.loss for record in session.history]
    return {"losses": losses, **plain.state_of(recipe)}, session


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_does_not_know_of_the_probe(kind: str, mode: str) -> None:
    plain.assert_same(trained(KINDS[kind], probe={"mode": mode})[0], trained(KINDS[kind])[0])


@pytest.mark.parametrize("name", zoo.sample(1, but=("layers_600", "workers")))
def test_nor_does_any_odd_model(name: str) -> None:
    observed, session = trained(zoo.ZOO[name], probe={"mode": "train"})
    plain.assert_same(observed, trained(zoo.ZOO[name])[0])
    assert len(session.probe_records) > STEPS


@pytest.mark.parametrize("capture", ["norms", "off"])
def test_at_each_level_of_capture(capture: str) -> None:
    plain.assert_same(trained(KINDS["adam"], probe={"mode": "train"}, capture=capture)[0], trained(KINDS["adam"])[0])


def test_its_records_are_of_the_pinned_batch() -> None:
    recipe = plain.seeded(zoo.batchnorm_dropout_conv)
    session = Session(recipe, seed=0)
    session.next_batch()
    x, y = (tensor.clone() for tensor in session.loop.batch)
    setting = session.set_probe((x, y))
    assert setting is not None and setting.samples == 8
    model, loss = recipe.model, recipe.loss
    assert isinstance(model, nn.Module) and loss is not None
    for steps in (2, 3):
        session.next_batch()
        model.eval()
        with torch.no_grad():
            output = model(x)
            expected = float(loss(output, y))
            first = model[0](x)  # type: ignore[index]
        model.train()
        record = session.probe_records[-1]
        assert record.step == steps and record.loss == expected
        assert record.output[0, MEAN] == pytest.approx(float(output.mean()), abs=1e-6)
        assert record.names[0] == "0" and record.layers[0, COUNT] == first.numel()
        assert record.layers[0, L2] == pytest.approx(float(first.norm()), rel=1e-5)
    assert [record.step for record in session.probe_records] == [1, 2, 3]
    assert session.set_probe(None) is None and session.probe is None and session.probe_records == ()


def test_in_train_mode_it_draws_the_same_numbers_each_time() -> None:
    _, session = trained(KINDS["adam"], probe={"mode": "train", "every": 0})
    one = session.run_probe()
    torch.rand(100)
    other = session.run_probe()
    assert one.loss == other.loss and np.array_equal(one.layers, other.layers)
    assert [record.step for record in session.probe_records] == [1, STEPS + 1]


def test_every_so_many_steps() -> None:
    _, session = trained(KINDS["adam"], probe={"every": 3})
    assert [record.step for record in session.probe_records] == [1, 3, 6]


class FailsLater(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)
        self.is_broken = False

    def forward(self, x: Tensor) -> Tensor:
        if self.is_broken and not self.training:
            raise ValueError("not in eval mode")
        return self.linear(x)


def test_a_probe_that_fails_says_so_and_training_goes_on() -> None:
    recipe = plain.seeded(lambda: classifier(FailsLater()))
    session = Session(recipe, seed=0)
    session.next_batch()
    session.set_probe("newest")
    recipe.model.is_broken = True  # type: ignore[union-attr]
    session.next_batch()
    assert "not in eval mode" in session.probe_records[-1].error and session.probe_records[-1].loss is None
    with pytest.raises(UserCodeFailed, match="not in eval mode"):
        session.set_probe("newest")
    assert len(session.probe_records) == 2, "the one before stays"


def test_an_interruption_inside_of_it_leaves_the_step_done() -> None:
    class Waits(FailsLater):
        def forward(self, x: Tensor) -> Tensor:
            if self.is_broken and not self.training:
                raise Unwind("interrupted")
            return self.linear(x)

    session = Session(plain.seeded(lambda: classifier(Waits())), seed=0)
    session.next_batch()
    session.set_probe("newest")
    session.recipe.model.is_broken = True  # type: ignore[union-attr]
    with pytest.raises(Unwind):
        session.next_batch()
    assert session.position.step == 2 and session.undone == "The probe was broken off; the step is done"
    session.set_probe(None)
    session.next_batch()
    alone = Session(plain.seeded(lambda: classifier(FailsLater())), seed=0)
    for _ in range(3):
        alone.next_batch()
    assert [record.loss for record in session.history] == [record.loss for record in alone.history]


def test_it_can_be_set_while_a_graph_waits() -> None:
    session = Session(plain.seeded(zoo.batchnorm_dropout_conv), seed=0)
    session.forward()
    session.set_probe("newest", mode="train")
    session.backward()
    session.step()
    assert len(session.probe_records) == 2


def test_a_lazy_model_has_to_be_run_first() -> None:
    session = Session(plain.seeded(zoo.ZOO["lazy"]), seed=0)
    with pytest.raises(BadInput, match="expected a Forward"):
        session.set_probe((torch.randn(2, FEATURES), torch.zeros(2, dtype=torch.long)))


def test_a_batch_that_cannot_be_run_is_told_at_once() -> None:
    session = Session(plain.seeded(lambda: classifier(mlp())), seed=0)
    with pytest.raises(UserCodeFailed, match="forward of the probe"):
        session.set_probe((torch.randn(2, 99), torch.zeros(2, dtype=torch.long)))
    assert session.probe is None
