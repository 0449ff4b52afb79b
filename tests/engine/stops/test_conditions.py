"""Conditions: they stop at the moment at which they become true, with the value that autograd gives, before what is later."""

from __future__ import annotations

import math
from typing import Any

import plain
import pytest
import torch
import zoo
import zoo_more
from halting import Halting, halting, halts
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.stops.point import StopPoint


def three_layers() -> Recipe:
    return zoo.classifier(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)))


def by_hand(steps: int) -> list[dict[str, Any]]:
    """What each step of `three_layers` gives, without gradscope: loss, outputs, gradients, parameters before and after."""
    recipe = plain.seeded(three_layers)
    model, loader = recipe.model, plain.plain_loader(recipe, 0)
    assert isinstance(model, nn.Sequential) and recipe.loss is not None
    found: list[dict[str, Any]] = []
    optimizer = recipe.optimizers[""]
    while len(found) < steps:
        for x, y in loader:
            optimizer.zero_grad()
            outputs, before = [], {n: p.detach().clone() for n, p in model.named_parameters()}
            for layer in model:
                x = layer(x)
                outputs.append(x.detach().clone())
            loss = recipe.loss(x, y)
            loss.backward()
            optimizer.step()
            found.append(
                {
                    "loss": loss.item(),
                    "outputs": outputs,
                    "grads": {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None},
                    "before": before,
                    "after": {n: p.detach().clone() for n, p in model.named_parameters()},
                }
            )
    return found[:steps]


def norm(tensor: Tensor) -> float:
    return float(tensor.double().norm())


def test_an_activation_stops_where_its_layer_is_left() -> None:
    truth = by_hand(5)
    shares = [float((step["outputs"][1] == 0).double().mean()) for step in truth]
    limit = sorted(shares)[2]
    found = halts(three_layers, f"activation.zero_share > {limit!r}", steps=5)
    assert [halt.hit.step for halt in found] == [n for n, share in enumerate(shares) if share > limit]
    for halt in found:
        moment = halt.hit.moment
        assert moment is not None
        assert (moment.event, moment.layer, halt.hit.subject) == ("leave", "1", "1")
        expected = f"activation.zero_share of 1 is {shares[halt.hit.step]:.4g}, above {limit:.4g}"
        assert halt.hit.sentence == expected
        # No backward of this step has run: `.grad` is cleared.
        assert all(gradient is None for gradient in halt.state["grads"].values())


def test_a_gradient_stops_as_it_arrives_and_nothing_later_has_run() -> None:
    truth = by_hand(4)
    norms = [norm(step["grads"]["2.weight"]) for step in truth]
    limit = sorted(norms)[1]
    found = halts(three_layers, f"grad.l2 > {limit!r} in 2.weight", steps=4)
    assert [halt.hit.step for halt in found] == [n for n, value in enumerate(norms) if value > limit * (1 + 1e-6)]
    for halt in found:
        step = truth[halt.hit.step]
        assert torch.equal(halt.state["grads"]["2.weight"], step["grads"]["2.weight"])
        assert halt.state["grads"]["0.weight"] is None
        for name, tensor in step["before"].items():
            assert torch.equal(halt.state["tensors"][name], tensor)
        assert halt.hit.sentence == f"grad.l2 of 2.weight is {norms[halt.hit.step]:.4g}, above {limit:.4g}"


def test_an_update_stops_when_the_optimizer_has_moved() -> None:
    truth = by_hand(3)
    ratios = [
        {n: norm(step["after"][n] - step["before"][n]) / norm(step["after"][n]) for n in step["after"]}
        for step in truth
    ]
    limit = sorted(value for step in ratios for value in step.values())[-2]
    found = halts(three_layers, f"update_ratio >= {limit!r}", f"delta.l2 of 0.weight > {1e-9}", steps=3)
    of_ratio = [halt for halt in found if halt.hit.id == 0]
    expected = {n for n, step in enumerate(ratios) if any(value >= limit * (1 - 1e-6) for value in step.values())}
    assert {halt.hit.step for halt in of_ratio} <= expected
    assert of_ratio
    for halt in found:
        moment = halt.hit.moment
        assert moment is not None
        assert moment.substep is SubStep.STEP
        for name, tensor in truth[halt.hit.step]["after"].items():
            assert torch.equal(halt.state["tensors"][name], tensor)


def test_the_loss_against_that_of_the_step_before() -> None:
    losses = [step["loss"] for step in by_hand(9)]
    rises = [n for n in range(1, 9) if losses[n] > losses[n - 1]]
    assert rises
    found = halts(three_layers, "loss > previous", steps=9)
    assert [halt.hit.step for halt in found] == rises
    halt = found[0]
    assert halt.hit.moment is not None
    assert halt.hit.moment.substep is SubStep.LOSS
    now, before = (f"{losses[n]:.4g}" for n in (rises[0], rises[0] - 1))
    assert halt.hit.sentence == f"loss is {now}, above previous loss, which is {before}"


def test_the_norm_of_all_gradients() -> None:
    norms = [math.hypot(*(norm(g) for g in step["grads"].values())) for step in by_hand(3)]
    limit = sorted(norms)[1]
    found = halts(three_layers, f"grad_norm >= {limit * 0.999!r}")
    assert [(halt.hit.step, halt.after) for halt in found] == [
        (n, Phase.BACKWARD) for n, value in enumerate(norms) if value >= limit * 0.999
    ]


def test_it_stops_once_for_each_subject_and_step() -> None:
    found = halts(three_layers, "parameter.l2 > 0 in 0", "grad.l2 >= 0", steps=2)
    assert [(halt.hit.id, halt.hit.step) for halt in found if halt.hit.id == 0] == [(0, 0), (0, 1)]
    gradients = [(halt.hit.step, halt.hit.subject) for halt in found if halt.hit.id == 1]
    assert len(gradients) == len(set(gradients)) == 8


def test_of_several_layers_one_is_meant_at_a_time() -> None:
    found = halts(
        three_layers, "grad.l2 > 0 and parameter.l2 > 0 in 2.bias", "activation.l2 > 0 and grad.l2 > 0 in 0", steps=1
    )
    assert {halt.hit.subject for halt in found if halt.hit.id == 0} == {"2.bias"}
    # The layer and its own parameters.
    of_layer = [halt.hit for halt in found if halt.hit.id == 1]
    assert {hit.subject for hit in of_layer} == {"0"}
    assert len(of_layer) == 2
    assert all(
        hit.sentence.count("activation.l2 of 0 is") == hit.sentence.count("activation.l2") == 1 for hit in of_layer
    )


def test_two_that_are_named() -> None:
    truth = by_hand(1)[0]["grads"]
    larger, smaller = sorted(("0.weight", "2.weight"), key=lambda name: -norm(truth[name]))
    assert halts(three_layers, f"grad.l2 of {larger} > grad.l2 of {smaller}", steps=1)
    assert not halts(three_layers, f"grad.l2 of {smaller} > grad.l2 of {larger}", steps=1)


def test_several_calls_of_a_layer_are_subjects_of_their_own() -> None:
    found = halts(zoo_more.reused_5_times, "activation.l2 > 0 in cell", steps=1)
    assert [halt.hit.subject for halt in found] == ["cell", "cell #1", "cell #2", "cell #3", "cell #4"]


class Poisoned(nn.Module):
    """Gives NaN from its call number `from_call` on."""

    def __init__(self, from_call: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)
        self.calls, self.from_call = 0, from_call

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.first(x)
        return self.second(x / (0.0 if self.calls > self.from_call else 1.0))


def test_the_first_nan_or_inf() -> None:
    found = halts(lambda: zoo.classifier(Poisoned(2)), "any nan or inf", steps=3)
    first = found[0].hit
    assert first.moment is not None
    assert (first.step, first.moment.event, first.moment.layer) == (2, "leave", "second")
    assert "activation of second has" in first.sentence
    assert not halts(lambda: zoo.classifier(Poisoned(9)), "any nan or inf", steps=3)


def test_a_loss_alone_that_is_not_a_number() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target) * float("nan")

    found = halts(lambda: zoo.classifier(zoo.mlp(), loss=loss), "any nan", steps=1)
    assert found[0].hit.sentence == "the loss is NaN"
    assert found[0].hit.moment is not None
    assert found[0].hit.moment.substep is SubStep.LOSS


def test_a_scale_that_drops_and_a_step_that_is_skipped() -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        return zoo.classifier(model, precision="fp16", loss=lambda o, t: nn.functional.cross_entropy(o, t) * 1e6)

    found = halts(make, "scale drop", "skipped step", steps=1)
    assert [halt.hit.sentence for halt in found] == [
        "the scale has dropped from 65536 to 32768",
        "the step was skipped",
    ]
    assert {halt.hit.moment.substep for halt in found if halt.hit.moment} == {SubStep.UPDATE}


def test_the_rate_and_the_number_of_the_step() -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return zoo.classifier(model, optimizer=optimizer, scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5))

    found = halts(make, "lr < previous", "step == 2 and lr < 0.1", steps=4)
    assert [(halt.hit.id, halt.hit.step, halt.after) for halt in found] == [
        (0, 2, Phase.STEP),
        (1, 2, Phase.STEP),
        (0, 4, Phase.STEP),
    ]


def gan() -> Recipe:
    model = nn.ModuleDict({"g": nn.Linear(6, 6), "d": nn.Linear(6, 1)})

    def step_d(model: Any, batch: Any) -> Tensor:
        x, _ = batch
        return (model["d"](model["g"](x).detach()) - model["d"](x)).mean()

    def step_g(model: Any, batch: Any) -> Tensor:
        x, _ = batch
        return -model["d"](model["g"](x)).mean() * 100

    return Recipe(
        model=model,
        dataset=zoo.vectors(),
        optimizer={n: torch.optim.SGD(model[n].parameters(), lr=0.01) for n in ("d", "g")},
        training_step={"d": step_d, "g": step_g},
        batch_size=8,
    )


def test_the_step_before_is_that_of_the_same_optimizer() -> None:
    found = halts(gan, "loss > 20 * previous", "loss < -20 * previous", steps=6)
    losses = [record.loss for record in _trained(gan, 6).history]
    jumps = [n for n in range(2, 6) if losses[n] > 20 * losses[n - 2]]
    assert [halt.hit.step for halt in found if halt.hit.id == 0] == jumps


def _trained(make: Any, steps: int) -> Session:
    session = Session(plain.seeded(make))
    plain.train_observed(session, steps=steps)
    return session


def test_accumulated_gradients_as_they_grow() -> None:
    def make() -> Recipe:
        return zoo.classifier(zoo.mlp(), accumulate=2)

    found = halts(make, "grad.l2 of 2.weight > 0", steps=1)
    # True in the first backward of the window, and still true in the second.
    assert [halt.hit.step for halt in found] == [0]


def test_points_that_are_set_along_the_way_look_at_what_comes() -> None:
    with halting(three_layers, "step") as halted:
        halted.run(1)
        stops = halted.gate.stops
        assert [hit.hits for hit in halted.gate.hits] == [1]
        halted.session.forward()
        stops.set([StopPoint(id=0, text="step"), StopPoint(id=1, text="activation.l2 > 0")])
        found = halted.run(2)
        assert [(hit.id, hit.hits) for hit in (h.hit for h in found)] == [(0, 1), (0, 2)]
        found = halted.run(3)
        assert [h.hit.id for h in found[2:]] == [1, 1, 1, 1, 0]


def test_norms_are_enough_for_what_is_about_norms() -> None:
    found = halts(three_layers, "grad.l2 > 0", "activation.l2 > 0", "update_ratio > 0", steps=1, capture="norms")
    assert len([halt for halt in found if halt.hit.moment is not None]) == len(found) == 4 + 4 + 1


def test_what_is_known_late_stops_when_the_phase_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, whose summaries are fetched together."""
    monkeypatch.setattr(SummaryBatch, "known", lambda self, position: None)
    found = halts(
        three_layers, "grad.l2 > 0 in 2.weight", "activation.l2 > 0 in 0", "update_ratio > 0 in 2.weight", steps=1
    )
    assert [(halt.hit.id, halt.after) for halt in found] == [(1, Phase.FORWARD), (0, Phase.BACKWARD), (2, None)]
    assert found[1].hit.sentence.endswith(", above 0; known only when the backward was over")
    assert found[2].hit.moment is not None
    assert found[2].hit.moment.substep is SubStep.STEP


def every_kind_of_stop() -> tuple[str, ...]:
    return (
        "enter *",
        "gradient *",
        "update_ratio > 0",
        "any nan",
        "optimizer_state.l2 > 0",
        "buffer.l2 > 0",
        "loss > previous",
    )


MODELS = {
    "conv": zoo.batchnorm_dropout_conv,
    "lstm": zoo.lstm,
    "reused": zoo_more.reused_5_times,
    "checkpoint": zoo.checkpoint_plain,
    "tied": zoo.tied,
    "accumulation": lambda: zoo.classifier(zoo.mlp(), accumulate=2),
    "scaler": lambda: zoo.classifier(zoo.mlp(), precision="fp16"),
    "lbfgs": lambda: (m := zoo.mlp()) and zoo.classifier(m, optimizer=torch.optim.LBFGS(m.parameters(), max_iter=3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_training_with_stops_is_the_same_bit_for_bit(name: str) -> None:
    make = MODELS[name]
    expected = plain.train_plainly(plain.seeded(make), steps=4)
    with halting(make, *every_kind_of_stop()) as halted:
        assert halted.run(4)
        found = plain.outcome_of(halted.session)
    assert expected.losses == found.losses
    plain.assert_same(expected.state, found.state)


def test_a_gate_that_nobody_has_armed_is_not_asked() -> None:
    gate = Halting()
    with Session(plain.seeded(three_layers), gate=gate) as session:
        gate.stops.follow(session.book)
        session.next_batch()
        record = session.book.observer
        assert not gate.is_armed
        assert record.record is None
