"""What a step that is tried comes to, against a plain loop that makes it for good."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from tried import KINDS, conv, of_conv, sgd
from zoo_parts import CLASSES, FEATURES, classifier, mlp, vectors

from gradscope import Recipe, Session, UserCodeFailed
from gradscope.protocol.failure import BadInput
from gradscope.protocol.what_if.tried import Alternative, Standing, Trials, Tried


def session_of(make: Callable[[], Recipe], steps: int = 2) -> Session:
    session = Session(plain.seeded(make), seed=0)
    for _ in range(steps):
        session.next_batch()
    return session


def after_backward(make: Callable[[], Recipe], steps: int = 2) -> Session:
    session = session_of(make, steps)
    while session.position.rest.value != "backward":
        session.advance()
    return session


def parameters(session: Session) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in session.recipe.model.parameters()]  # type: ignore[union-attr]


def only(trials: Trials) -> Tried:
    (tried,) = trials.tried
    assert not tried.refusal, tried.refusal
    return tried


# ---------------------------------------------------------------------------------------------------- the step as it is


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_backward_the_step_as_it_is_is_the_one_that_comes(kind: str) -> None:
    session = after_backward(KINDS[kind])
    before = parameters(session)
    trials = session.what_if([Alternative()])
    assert trials.of.standing is Standing.BACKWARD_DONE and trials.of.batch_step == trials.of.step == 2
    session.step()
    moved = math.sqrt(
        sum(float((a.double() - b.double()).square().sum()) for a, b in zip(parameters(session), before, strict=True))
    )
    assert only(trials).update_norm == pytest.approx(moved, rel=1e-12)


@pytest.mark.parametrize("kind", ["adam", "bfloat16", "one cycle", "gradients add up"])
def test_the_loss_before_is_that_of_the_newest_forward(kind: str) -> None:
    session = after_backward(KINDS[kind])
    assert session.what_if([Alternative()]).loss == session.loop.loss


def test_the_predicted_change_is_the_gradient_times_the_update() -> None:
    session = after_backward(lambda: classifier(mlp(), optimizer=None))
    gradients = [tensor.grad.double().clone() for tensor in session.recipe.model.parameters()]  # type: ignore[union-attr]
    before = parameters(session)
    tried = only(session.what_if([Alternative()]))
    session.step()
    delta = [a.double() - b.double() for a, b in zip(parameters(session), before, strict=True)]
    expected = sum(float((g * d).sum()) for g, d in zip(gradients, delta, strict=True))
    assert tried.predicted == pytest.approx(expected, rel=1e-9)


def test_an_alternative_may_be_given_by_its_fields() -> None:
    session = after_backward(lambda: classifier(mlp(), optimizer=None))
    assert session.what_if([{}, {"rate": 2}]).tried == session.what_if([Alternative(), Alternative(rate=2.0)]).tried


def test_a_small_step_does_what_is_predicted() -> None:
    session = after_backward(lambda: classifier(mlp(), optimizer=None))
    trials = session.what_if([Alternative(rate=1e-2)])
    assert trials.ratio(only(trials)) == pytest.approx(1.0, abs=0.05)


# ---------------------------------------------------------------------------------------------------- by hand


def by_hand(session: Session, change: Callable[[Any], Any] | None = None, *, clip: float | None = None) -> float:
    """The loss of the newest batch after a step of copies of model and optimizer, without dropout and normalisation."""
    model, loss = copy.deepcopy(session.recipe.model), session.recipe.loss
    assert isinstance(model, nn.Module) and loss is not None
    own = next(iter(session.recipe.optimizers.values()))
    optimizer: Any = type(own)(model.parameters(), lr=1.0)
    optimizer.load_state_dict(copy.deepcopy(own.state_dict()))
    if change is not None:
        optimizer = change(optimizer) or optimizer
    x, y = session.loop.batch
    loss(model(x), y).backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return float(loss(model(x), y).detach())


def set_option(**options: float) -> Callable[[Any], None]:
    def change(optimizer: Any) -> None:
        for group in optimizer.param_groups:
            group.update(options)

    return change


def clipped() -> Recipe:
    model = mlp()
    return classifier(
        model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.1),
        clip_norm=0.05,
    )


def fresh(cls: Any, rate: float) -> Callable[[Any], Any]:
    def change(optimizer: Any) -> Any:
        for group in optimizer.param_groups:
            return cls(group["params"], lr=rate)
        raise AssertionError

    return change


@pytest.mark.parametrize("moment", ["after a step", "after a forward", "after a backward"])
@pytest.mark.parametrize(
    ("alternative", "expected"),
    [
        (Alternative(), lambda s: by_hand(s, clip=0.05)),
        (Alternative(rate=10.0), lambda s: by_hand(s, set_option(lr=2.0), clip=0.05)),
        (Alternative(rate=0.1), lambda s: by_hand(s, set_option(lr=0.2 * 0.1), clip=0.05)),
        (Alternative(clip=False), lambda s: by_hand(s)),
        (Alternative(weight_decay=False), lambda s: by_hand(s, set_option(weight_decay=0.0), clip=0.05)),
        (Alternative(optimizer="Adam"), lambda s: by_hand(s, fresh(torch.optim.Adam, 0.2), clip=0.05)),
        (Alternative(optimizer="RMSprop", clip=False), lambda s: by_hand(s, fresh(torch.optim.RMSprop, 0.2))),
    ],
    ids=lambda value: value.words if isinstance(value, Alternative) else "",
)
def test_an_alternative_is_what_a_loop_of_ones_own_does(
    moment: str, alternative: Alternative, expected: Callable[[Session], float]
) -> None:
    session = session_of(clipped)
    if moment != "after a step":
        session.forward()
    if moment == "after a backward":
        session.backward()
    assert only(session.what_if([alternative])).loss == expected(session)


def test_a_smaller_batch_is_its_first_samples_and_a_larger_one_takes_more_of_the_data() -> None:
    session = session_of(clipped)
    x, y = session.loop.batch
    model = copy.deepcopy(session.recipe.model)
    assert isinstance(model, nn.Module)
    own = next(iter(session.recipe.optimizers.values()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.1)
    optimizer.load_state_dict(copy.deepcopy(own.state_dict()))
    nn.functional.cross_entropy(model(x[:3]), y[:3]).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    optimizer.step()
    smaller, larger, too_large = session.what_if([Alternative(batch_size=n) for n in (3, 12, 1000)]).tried
    assert smaller.loss == float(nn.functional.cross_entropy(model(x), y).detach()) and smaller.samples == 3
    assert larger.samples == 12 and larger.loss not in (None, smaller.loss)
    assert "samples at hand" in too_large.refusal and too_large.loss is None


def test_the_other_batches_are_of_the_data_without_the_newest() -> None:
    session = session_of(clipped, steps=1)
    model, batches = session.recipe.model, []
    session_of_its_own = Session(plain.seeded(clipped), seed=0)
    for _ in range(3):
        session_of_its_own.next_batch()
        batches.append(session_of_its_own.loop.batch)
    assert isinstance(model, nn.Module)
    with torch.no_grad():
        losses = [float(nn.functional.cross_entropy(model(x), y)) for x, y in batches[1:]]
    trials = session.what_if([Alternative()], other_batches=5)
    assert trials.other_batches == 2 and trials.others == pytest.approx(sum(losses) / 2)
    assert only(trials).others is not None and only(trials).others != trials.others


# ---------------------------------------------------------------------------------------------------- odd trainings


def gan() -> Recipe:
    model = nn.ModuleDict({"generator": nn.Linear(2, FEATURES), "critic": nn.Linear(FEATURES, 1)})

    def critic(model: Any, batch: Any) -> Tensor:
        return model["critic"](model["generator"](torch.randn(8, 2)).detach()).mean() - model["critic"](batch[0]).mean()

    def generator(model: Any, batch: Any) -> Tensor:
        return -model["critic"](model["generator"](torch.randn(8, 2))).mean()

    return Recipe(
        model=model,
        dataset=vectors(),
        optimizer={
            "critic": torch.optim.SGD(model["critic"].parameters(), lr=0.1),
            "generator": torch.optim.Adam(model["generator"].parameters(), lr=0.1),
        },
        training_step={"critic": critic, "generator": generator},
        batch_size=8,
    )


@pytest.mark.parametrize("turn", ["critic", "generator"])
def test_of_several_optimizers_it_is_the_step_of_the_one_whose_turn_it_is(turn: str) -> None:
    session = session_of(gan, 1)
    if turn == "generator":
        for _ in range(3):
            session.advance()
    session.forward()
    session.backward()
    before = parameters(session)
    trials = session.what_if([Alternative()])
    assert trials.of.turn == turn and any(turn in note for note in trials.of.notes)
    assert trials.loss == session.loop.loss, "the same noise is drawn"
    session.step()
    moved = math.sqrt(
        sum(float((a.double() - b.double()).square().sum()) for a, b in zip(parameters(session), before, strict=True))
    )
    assert only(trials).update_norm == pytest.approx(moved, rel=1e-12)


def test_of_an_accumulation_the_whole_windows_gradients_are_used_and_it_is_said_what_is_measured() -> None:
    session = after_backward(KINDS["accumulated and clipped"], 1)
    trials = session.what_if([Alternative()])
    assert trials.of.micro_batches == 3 and any("newest one alone" in note for note in trials.of.notes)
    between = session_of(KINDS["accumulated and clipped"]).what_if([Alternative()])
    assert any("adds up 3" in note for note in between.of.notes)


def test_a_step_that_the_scaler_leaves_out_is_said_to_be() -> None:
    session = after_backward(KINDS["half precision"])
    for tensor in session.recipe.model.parameters():  # type: ignore[union-attr]
        assert tensor.grad is not None
        tensor.grad.fill_(math.inf)
    tried = only(session.what_if([Alternative()]))
    assert tried.is_skipped and tried.update_norm == 0.0


def test_what_makes_no_sense_here_says_why() -> None:
    session = session_of(lambda: classifier(mlp()))
    trials = session.what_if(
        [
            Alternative(clip=False),
            Alternative(weight_decay=False),
            Alternative(optimizer="SparseAdam"),
            Alternative(optimizer="Nothing"),
        ]
    )
    reasons = [tried.refusal for tried in trials.tried]
    assert reasons[0] == "This training clips no gradients" and reasons[1] == "SGD has no weight decay here"
    assert "SparseAdam cannot step here" in reasons[2] and "'Nothing'" in reasons[3]
    assert trials.best is None


def test_a_step_that_goes_to_nan_has_a_loss_that_is_no_number_and_is_never_the_best() -> None:
    session = session_of(lambda: classifier(mlp(), optimizer=None))
    as_it_is, far = session.what_if([Alternative(), Alternative(rate=1e38)]).tried
    assert far.loss is not None and not math.isfinite(far.loss) and as_it_is.loss is not None


# ---------------------------------------------------------------------------------------------------- refused


def test_before_the_first_forward_there_is_no_batch() -> None:
    session = Session(plain.seeded(zoo.plain_mlp), seed=0)
    for ask in (session.what_if, session.loss_along_update, session.loss_surface, lambda: session.set_probe("newest")):
        with pytest.raises(BadInput, match="expected a Forward first"):
            ask()


def test_in_the_middle_of_an_accumulation_it_is_refused() -> None:
    session = session_of(KINDS["accumulated and clipped"], 1)
    session.forward()
    session.backward()
    with pytest.raises(BadInput, match="1 of the 3 micro-batches"):
        session.what_if()


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.what_if([]),
        lambda s: s.what_if([Alternative(rate=math.nan)]),
        lambda s: s.what_if([Alternative(batch_size=-1)]),
        lambda s: s.what_if(["rate x 2"]),
        lambda s: s.what_if([{"speed": 2}]),
        lambda s: s.what_if([{"rate": "fast"}]),
        lambda s: s.what_if([{"optimizer": 3}]),
        lambda s: s.loss_along_update({"rate": math.inf}),
        lambda s: s.what_if(other_batches=1000),
        lambda s: s.loss_along_update(low=0.5),
        lambda s: s.loss_along_update(points=1),
        lambda s: s.loss_surface("diagonal"),
        lambda s: s.loss_surface(side=1),
        lambda s: s.loss_surface(side=10_000),
        lambda s: s.loss_surface(reach=-1.0),
        lambda s: s.loss_surface(mode="training"),
        lambda s: s.set_probe("newest", every=-1),
        lambda s: s.run_probe(),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(ask: Callable[[Session], object]) -> None:
    session = session_of(zoo.plain_mlp, 1)
    with pytest.raises(BadInput, match="expected"):
        ask(session)


class Fragile(nn.Module):
    """Fails as soon as its parameters are other ones than a training of it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)
        self.most = 1e6

    def forward(self, x: Tensor) -> Tensor:
        if float(self.linear.weight.detach().abs().max()) > self.most:
            raise ValueError("too far")
        return self.linear(x)


def test_a_model_that_fails_is_told_and_put_back() -> None:
    session = session_of(lambda: classifier(Fragile()), 1)
    state = plain.state_of(session.recipe)
    with pytest.raises(UserCodeFailed, match="too far") as failed:
        session.what_if([Alternative(rate=1e9)])
    assert failed.value.failure.undone == "Training is as before"
    plain.assert_same(plain.state_of(session.recipe), state)
    session.next_batch()


def test_dropout_and_statistics_are_the_same_before_and_after() -> None:
    session = session_of(lambda: of_conv(sgd))
    trials = session.what_if([Alternative(rate=0.0)])
    assert only(trials).loss == trials.loss, "a step that moves nothing changes nothing"
    model = conv()
    assert any(isinstance(part, nn.Dropout) for part in model), "or this tests nothing"


@pytest.mark.parametrize("kind", ["adam", "lbfgs", "half precision", "one cycle"])
def test_what_is_tried_before_changes_nothing_of_what_is_tried_after(kind: str) -> None:
    session = after_backward(KINDS[kind])
    alone = only(session.what_if([Alternative()]))
    others = [Alternative(rate=100.0), Alternative(optimizer="Adam"), Alternative(batch_size=3), Alternative()]
    assert session.what_if(others).tried[-1] == alone


def test_data_that_cannot_be_cut_is_told() -> None:
    data = TensorDataset(torch.randn(20, FEATURES), torch.randint(0, CLASSES, (20,)))

    def collate(samples: list[Any]) -> Any:
        x, y = (torch.stack(parts) for parts in zip(*samples, strict=True))
        return {"x": x, "weights": torch.ones(3), "y": y}

    def step(model: Any, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"], weight=batch["weights"])

    session = session_of(lambda: classifier(mlp(), dataset=data, collate=collate, training_step=step), 1)
    refused, tried = session.what_if([Alternative(batch_size=2), Alternative()]).tried
    assert "cannot be made of this data" in refused.refusal and tried.loss is not None


def test_the_optimizer_that_it_is_already_is_told_and_not_tried_twice() -> None:
    def without_momentum() -> Recipe:
        recipe = clipped()
        parameters = list(recipe.model.parameters())  # type: ignore[union-attr]
        return replace(recipe, optimizer=torch.optim.SGD(parameters, lr=0.2))

    (own,) = session_of(without_momentum).what_if([Alternative(optimizer="SGD")]).tried
    assert own.refusal == "SGD is the training's own optimizer: that is the step as it is" and own.loss is None
    # With momentum that has been gathered, one that is made anew takes another step.
    fresh_one = only(session_of(clipped).what_if([Alternative(optimizer="SGD")]))
    assert not fresh_one.refusal and fresh_one.loss is not None
