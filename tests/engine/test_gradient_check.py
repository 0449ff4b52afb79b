"""The numerical gradient check: right backwards pass, wrong ones are caught, and training never knows of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import Tensor, nn

from gradscope import BadInput, Recipe, Session
from gradscope.engine.model.objective import Objective
from gradscope.engine.questions.gradient_check import MAX_SAMPLES, GradientCheck, Verdict, check_gradient
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.protocol.failure import FailureKind, UserCodeFailed
from gradscope.protocol.phases import Rest

ZOO = [
    zoo.plain_mlp,
    zoo.batchnorm_dropout_conv,
    zoo.lstm,
    zoo.multihead_attention,
    zoo.transformer_encoder,
    zoo.sparse_embedding,
    zoo.weight_norm,
    zoo.spectral_norm,
    zoo.tied,
    zoo.custom_function,
    zoo.in_place,
    zoo.checkpoint_reentrant,
    zoo.checkpoint_plain,
    zoo.bare_tensors,
    zoo.gradient_penalty,
]


def trained(recipe: Recipe, rest: Rest) -> Session:
    session = Session(recipe)
    session.next_batch()
    while session.position.rest is not rest:
        session.advance()
    return session


def movable(session: Session) -> list[str]:
    return [name for name, tensor in session.observer.tensors().items() if tensor.requires_grad]


@pytest.mark.parametrize("make", ZOO, ids=lambda make: make.__name__)
def test_torchs_own_backwards_are_right(make: Callable[[], Recipe]) -> None:
    with trained(plain.seeded(make), Rest.BACKWARD) as session:
        for name in movable(session)[:4]:
            check = session.check_gradient(name, 4)
            assert check.agrees, (name, check.worst)
            assert check.worst.verdict is Verdict.KINK or check.worst.relative_error < 1e-4
            if check.actual_error is not None:
                assert check.actual_error < 1e-3
                assert all(element.actual is not None for element in check.elements)


@pytest.mark.parametrize("make", ZOO, ids=lambda make: make.__name__)
def test_training_does_not_know_of_it(make: Callable[[], Recipe]) -> None:
    steps = 3
    untouched = plain.train_plainly(plain.seeded(make), steps=steps)
    with Session(plain.seeded(make)) as session:
        while session.position.step < steps:
            report = session.advance()
            subjects = [(subject.key, subject.l2) for subject in report.subjects]
            before = plain.state_of(session.recipe)
            session.check_gradient(movable(session)[0], 2)
            plain.assert_same(before, plain.state_of(session.recipe))
            assert [(subject.key, subject.l2) for subject in session.reports[report.phase].subjects] == subjects
        plain.assert_same_outcome(untouched, plain.outcome_of(session))
        assert session.observer.errors == []


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class AlmostSquared(Squared):
    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2.01 * x * gradient


def of_function(function: Callable[[Tensor], Tensor], w: Tensor, samples: int = 4, **more: Any) -> GradientCheck:
    """The check of `w` for the loss sum(function(w) * batch)."""
    w = w.detach().requires_grad_()
    batch = torch.linspace(1.0, 2.0, w.numel()).reshape(w.shape)
    objective = Objective({"w": w}, None, lambda tensors, batch: (function(tensors["w"]) * batch).sum().abs())
    return check_gradient(objective, batch, "w", samples=samples, **more)


def test_a_custom_backward_that_is_a_little_wrong_is_caught() -> None:
    w = torch.tensor([[0.5, -1.0], [2.0, 3.0]])
    right = of_function(Squared.apply, w)
    assert right.agrees and right.worst.relative_error < 1e-7 and right.notes == ()
    wrong = of_function(AlmostSquared.apply, w)
    assert not wrong.agrees
    assert wrong.worst.verdict is Verdict.DIFFERS
    assert wrong.worst.relative_error == pytest.approx(0.01 / 2.01, rel=1e-3)
    for element in wrong.elements:
        assert element.analytic == pytest.approx(1.005 * element.numeric)


def test_worst_first() -> None:
    def wrong_in_one(w: Tensor) -> Tensor:
        # detach() hides a quarter of the second element from backward.
        return w * w + torch.tensor([0.0, 1.0, 0.0]) * w.detach()

    check = of_function(wrong_in_one, torch.tensor([1.0, 2.0, 3.0]))
    assert [element.verdict for element in check.elements] == [Verdict.DIFFERS, Verdict.AGREES, Verdict.AGREES]
    assert check.worst.index == (1,)
    assert check.worst.numeric == pytest.approx(1.5 * (4 + 1))
    assert check.worst.analytic == pytest.approx(1.5 * 4)


def test_a_kink_is_no_wrong_backward() -> None:
    check = of_function(torch.relu, torch.tensor([1.0, 0.0, -1.0]))
    assert check.agrees
    kink = check.worst
    assert (kink.index, kink.verdict) == ((1,), Verdict.KINK)
    assert (kink.left, kink.right) == (0, pytest.approx(1.5))
    assert kink.analytic == 0 and kink.numeric == pytest.approx(0.75)
    # A kink that is only near is none.
    assert of_function(torch.relu, torch.tensor([1.0, 1e-6, -1e-6])).worst.verdict is Verdict.AGREES


def test_a_straight_through_estimator_differs() -> None:
    check = of_function(lambda w: w + (w.round() - w).detach(), torch.tensor([0.3, 0.8]))
    assert not check.agrees
    assert check.worst.numeric == 0 and check.worst.analytic != 0


def test_a_steep_function_and_a_large_loss() -> None:
    assert of_function(lambda w: torch.sin(3000 * w), torch.tensor([0.3, 0.8])).agrees
    assert of_function(lambda w: 1e9 + w, torch.tensor([0.3, 0.8])).agrees


def test_complex_parameters() -> None:
    w = torch.tensor([1 + 2j, -0.5 + 0.25j])
    check = of_function(lambda w: (w * w * (3 + 1j)).abs(), w, samples=8)
    assert check.agrees and check.size == 4
    assert sorted(element.index for element in check.elements) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert not of_function(lambda w: w.detach().imag + w.real, w, samples=8).agrees


def test_the_sample() -> None:
    w = torch.ones(50, 40)
    w[7, 31] = 9.0
    check = of_function(lambda w: w**3, w, samples=10)
    indices = {element.index for element in check.elements}
    assert len(indices) == 10 and check.size == 2000
    assert (7, 31) in indices, "the largest gradient is always checked"
    assert indices == {element.index for element in of_function(lambda w: w**3, w, samples=10).elements}
    assert indices != {element.index for element in of_function(lambda w: w**3, w, samples=10, seed=1).elements}
    assert len(of_function(torch.square, torch.ones(3), samples=1).elements) == 1


def test_dropout_drops_the_same_each_time() -> None:
    states = RandomStates.capture()
    check = of_function(lambda w: torch.dropout(w, 0.5, True), torch.ones(20), samples=20)
    assert check.agrees
    assert {element.numeric == 0 for element in check.elements} == {True, False}
    plain.assert_same(states.torch_cpu, torch.get_rng_state())


class Counting(nn.Linear):
    """Scales by a buffer that every forward moves."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


def test_buffers_begin_the_same_each_time() -> None:
    model = Counting()
    check = check_gradient(Objective(model, lambda out, _: out.sum(), None), (torch.ones(3, 2), None), "weight")
    assert check.agrees and check.notes == ()
    assert check.worst.numeric == pytest.approx(6)
    assert model.calls == 1


def test_what_cannot_be_repeated_is_told() -> None:
    def restless(w: Tensor) -> Tensor:
        return w * time.perf_counter()

    check = of_function(restless, torch.ones(2))
    assert any("not to be trusted" in note for note in check.notes)


def test_code_that_converts_to_float32_is_told() -> None:
    check = of_function(lambda w: w.float(), torch.ones(2))
    assert check.notes == ()  # the batch has made it float64 again
    w = torch.ones(2, requires_grad=True)
    objective = Objective({"w": w}, None, lambda tensors, batch: tensors["w"].float().pow(2).sum())
    check = check_gradient(objective, None, "w")
    assert any("float32" in note for note in check.notes)


def test_a_parameter_that_the_loss_does_not_need() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 1)})
    objective = Objective(model, None, lambda model, x: model["used"](x).sum())
    check = check_gradient(objective, torch.ones(3, 2), "idle.weight")
    assert check.agrees and check.worst.numeric == 0
    assert any("Backward does not reach" in note for note in check.notes)


def test_a_training_step_that_uses_another_model_than_it_is_given() -> None:
    """Its buffers move in every evaluation; they are put back."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    x = torch.randn(5, 2)
    model(x).sum().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [(p.grad, p.grad.clone()) for p in model.parameters() if p.grad is not None]
    check = check_gradient(Objective(model, None, lambda _, batch: model(x).pow(3).sum()), x, "0.weight")
    assert any("not on the model it is given" in note for note in check.notes)
    plain.assert_same(before, dict(model.state_dict()))
    for p, (gradient, copy) in zip(model.parameters(), gradients, strict=True):
        assert p.grad is gradient and torch.equal(gradient, copy)


class MakesItsOwn(nn.Module):
    """Constants of the default type, a plain attribute, and a result that is kept: none may be in the way."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNN(3, 4, batch_first=True)
        self.scale = torch.full((4, 2), 0.5)
        self.kept: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.cell(x, torch.zeros(1, len(x), 4))
        self.kept["newest"] = [output]
        return output[:, -1] @ self.scale


def test_models_that_are_not_made_for_float64() -> None:
    model = MakesItsOwn()
    x, y = torch.randn(5, 6, 3), torch.tensor([0, 1, 0, 1, 1])
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.3, 0.7]))
    loss(model(x), y).backward()
    kept = model.kept["newest"][0]
    check = check_gradient(Objective(model, loss, None), (x, y), "cell.weight_ih_l0")
    assert check.agrees and check.worst.relative_error < 1e-5
    assert model.kept["newest"][0] is kept and kept.dtype is torch.float32
    assert loss.weight is not None and loss.weight.dtype is torch.float32
    assert torch.get_default_dtype() is torch.float32


def test_failures_are_one_sentence() -> None:
    class Fussy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype is torch.float64:
                raise RuntimeError("only float32 here")
            return super().forward(x)

    objective = Objective(Fussy(2, 1), lambda output, y: output.sum(), None)
    with pytest.raises(UserCodeFailed) as failed:
        check_gradient(objective, (torch.ones(1, 2), None), "weight")
    failure = failed.value.failure
    assert failure.kind is FailureKind.USER_CODE
    assert failure.sentence.startswith(
        "The loss could not be computed in float64, on a copy of the model: RuntimeError: only float32 here"
    )
    assert "\n" not in failure.sentence and failure.undone == "Training is as before"

    class Uncopyable(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("there can be only one")

    with pytest.raises(UserCodeFailed, match="The model cannot be copied: TypeError: there can be only one"):
        check_gradient(Objective(Uncopyable(2, 1), lambda output, y: output.sum(), None), None, "weight")


def test_what_cannot_be_checked() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        name = movable(session)[0]
        with pytest.raises(BadInput, match="press Forward first"):
            session.check_gradient(name)
        session.forward()
        with pytest.raises(BadInput, match="The model has no parameter 'nonsense'"):
            session.check_gradient("nonsense")
        for samples in (0, MAX_SAMPLES + 1, True):
            with pytest.raises(BadInput, match=f"{samples} samples were asked for; expected a whole number from 1 to"):
                session.check_gradient(name, samples)
        dict(session.observer.tensors())[name].requires_grad_(False)
        with pytest.raises(BadInput, match="frozen"):
            session.check_gradient(name)
    assert isinstance(session.recipe.model, nn.Module)
    model = nn.Linear(1, 1)
    with pytest.raises(BadInput, match="The loss is nan"):
        check_gradient(
            Objective(model, lambda out, _: out.sum() * float("nan"), None), (torch.ones(1, 1), None), "bias"
        )


def test_it_can_be_broken_off() -> None:
    class Enough(BaseException):
        pass

    calls = []

    def go_on() -> None:
        calls.append(None)
        if len(calls) == 5:
            raise Enough

    with trained(plain.seeded(zoo.batchnorm_dropout_conv), Rest.FORWARD) as session:
        before = plain.state_of(session.recipe)
        objective = Objective(session.training.model, session.training.loss, None)
        with pytest.raises(Enough):
            check_gradient(objective, session.batch, movable(session)[0], go_on=go_on)
        plain.assert_same(before, plain.state_of(session.recipe))
        session.backward()


def test_the_real_gradient_is_compared_after_a_backward_only() -> None:
    with Session(plain.seeded(zoo.batchnorm_dropout_conv)) as session:
        name = movable(session)[0]
        session.forward()
        assert session.check_gradient(name).actual_error is None
        session.backward()
        check = session.check_gradient(name)
        assert check.actual_error is not None and check.actual_error < 1e-4
        # A gradient that somebody has meddled with shows.
        gradient = dict(session.observer.tensors())[name].grad
        assert gradient is not None
        gradient.mul_(1.5)
        assert session.check_gradient(name).actual_error == pytest.approx(0.5, rel=1e-3)
        session.step()
        assert session.check_gradient(name).actual_error is None


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("is_part", [False, True])
def test_a_scripted_model(*, is_part: bool) -> None:
    def make() -> Recipe:
        inner = torch.jit.script(
            nn.Sequential(nn.Linear(zoo.FEATURES, 4), nn.BatchNorm1d(4), nn.Linear(4, zoo.CLASSES))
        )
        return zoo.classifier(nn.Sequential(inner) if is_part else inner)

    with Session(plain.seeded(make)) as session:
        session.forward()
        session.backward()
        check = session.check_gradient("0.0.weight" if is_part else "0.weight", samples=4)
    assert check.agrees and not check.notes
