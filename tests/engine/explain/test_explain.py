"""Every term of every formula against torch's own optimizers: the true delta is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from gradscope.engine.explain.explain import Explanation, explain
from gradscope.engine.explain.parts import StepTaken

STEPS = 4
SHAPE = (6, 5)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

rates = st.floats(1e-4, 0.5)
decays = st.sampled_from([0.0, 1e-4, 0.1])
momenta = st.sampled_from([0.0, 0.5, 0.9])
loops = st.sampled_from([{"foreach": False}, {"foreach": True}, {"fused": True}])
unfused = st.sampled_from([{"foreach": False}, {"foreach": True}])
kinds = {
    SGD: st.builds(
        lambda loop, nesterov, momentum, dampening, **rest: {
            **loop,
            **rest,
            "momentum": 0.9 if nesterov else momentum,
            "dampening": 0.0 if nesterov else dampening,
            "nesterov": nesterov,
        },
        loop=loops,
        nesterov=st.booleans(),
        momentum=momenta,
        dampening=st.sampled_from([0.0, 0.3]),
        lr=rates,
        weight_decay=decays,
        maximize=st.booleans(),
    ),
    Adam: st.builds(
        lambda loop, **rest: {**loop, **rest},
        loop=loops,
        lr=rates,
        betas=st.tuples(st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.5, 0.99, 0.999])),
        eps=st.sampled_from([1e-8, 1e-3]),
        weight_decay=decays,
        amsgrad=st.booleans(),
        maximize=st.booleans(),
    ),
    RMSprop: st.builds(
        lambda loop, **rest: {**loop, **rest},
        loop=unfused,
        lr=rates,
        alpha=st.sampled_from([0.5, 0.99]),
        eps=st.sampled_from([1e-8, 1e-3]),
        weight_decay=decays,
        momentum=momenta,
        centered=st.booleans(),
        maximize=st.booleans(),
    ),
    Adagrad: st.builds(
        lambda loop, **rest: {**loop, **rest},
        loop=loops,
        lr=rates,
        lr_decay=st.sampled_from([0.0, 0.1]),
        weight_decay=decays,
        initial_accumulator_value=st.sampled_from([0.0, 0.1]),
        maximize=st.booleans(),
    ),
}
kinds[AdamW] = kinds[Adam]


def copied(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in state.items()}


def stepped(optimizer: Optimizer, parameter: Tensor, gradient: Tensor | None) -> StepTaken:
    """One real step with this gradient, as gradscope sees it: `.grad` is read when the step is over."""
    before = parameter.detach().clone()
    state = copied(optimizer.state.get(parameter, {}))
    parameter.grad = gradient
    options = copied({key: value for key, value in optimizer.param_groups[0].items() if key != "params"})
    optimizer.step()
    return StepTaken(
        options=options,
        before=before,
        gradient=parameter.grad,
        state_before=state,
        state_after=optimizer.state.get(parameter, {}),
        delta=parameter.detach() - before,
    )


def explained(optimizer: Optimizer, parameter: Tensor, gradient: Tensor | None) -> tuple[Explanation, StepTaken]:
    step = stepped(optimizer, parameter, gradient)
    return explain(optimizer, step), step


def assert_complete(explanation: Explanation, step: StepTaken, limit: float = 1e-5) -> None:
    """The terms add up to what is predicted, and that to the true delta."""
    assert explanation.predicted is not None, explanation.reason
    total = sum((term.tensor for term in explanation.terms), torch.zeros_like(explanation.predicted))
    torch.testing.assert_close(total, explanation.predicted, rtol=1e-12, atol=1e-300)
    delta = step.delta.to(total.dtype)
    residual = float((delta - total).norm() / delta.norm())
    assert explanation.residual_relative == pytest.approx(residual, rel=1e-3, abs=1e-12)
    assert residual < limit
    if limit <= 1e-5:
        assert explanation.reason == ""


@pytest.mark.parametrize("cls", list(kinds), ids=lambda cls: cls.__name__)
@QUICK
@given(data=st.data(), seed=st.integers(0, 1000), exponent=st.integers(-4, 3))
def test_the_terms_add_up_to_the_true_delta(cls: type[Optimizer], data: Any, seed: int, exponent: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parameter = torch.randn(SHAPE, generator=generator).requires_grad_()
    optimizer = cls([parameter], **data.draw(kinds[cls]))
    for _ in range(STEPS):
        gradient = torch.randn(SHAPE, generator=generator) * 10.0**exponent
        explanation, step = explained(optimizer, parameter, gradient)
        assert_complete(explanation, step)
        # Rounding is not the bin for everything: it stays below the last place of the weight.
        rounding = explanation.terms[-1]
        assert rounding.name == "rounding"
        assert bool((rounding.tensor.abs() <= 1.5 * 2**-23 * (step.before.abs() + step.delta.abs())).all())


def terms_of(explanation: Explanation) -> dict[str, Tensor]:
    return {term.name: term.tensor for term in explanation.terms}


def double(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_each_term_of_sgd_by_hand() -> None:
    w, g1, g2 = double(seed=1).requires_grad_(), double(seed=2), double(seed=3)
    optimizer = SGD([w], lr=0.1, momentum=0.9, dampening=0.25, weight_decay=0.01)
    first, taken = explained(optimizer, w, g1)
    assert list(terms_of(first)) == ["gradient", "weight decay", "rounding"]
    torch.testing.assert_close(terms_of(first)["gradient"], -0.1 * g1)
    m = g1 + 0.01 * taken.before
    second, taken = explained(optimizer, w, g2)
    found = terms_of(second)
    assert list(found) == ["gradient", "momentum", "weight decay", "rounding"]
    torch.testing.assert_close(found["gradient"], -0.1 * 0.75 * g2)
    torch.testing.assert_close(found["momentum"], -0.1 * 0.9 * m)
    torch.testing.assert_close(found["weight decay"], -0.1 * 0.75 * 0.01 * taken.before)


def test_each_term_of_adam_by_hand() -> None:
    w, g1, g2 = double(seed=1).requires_grad_(), double(seed=2), double(seed=3)
    optimizer = Adam([w], lr=0.01, betas=(0.9, 0.99))
    first, _ = explained(optimizer, w, g1)
    torch.testing.assert_close(terms_of(first)["gradient"], -0.01 * g1.sign(), rtol=1e-6, atol=0)
    assert "momentum" not in terms_of(first)
    second, _ = explained(optimizer, w, g2)
    v = 0.99 * 0.01 * g1**2 + 0.01 * g2**2
    s = 1 / ((v / (1 - 0.99**2)).sqrt() + 1e-8)
    b = 1 / (1 - 0.9**2)
    torch.testing.assert_close(terms_of(second)["gradient"], -0.01 * b * s * 0.1 * g2)
    torch.testing.assert_close(terms_of(second)["momentum"], -0.01 * b * s * 0.9 * 0.1 * g1)
    factors = {factor.name: factor.values for factor in second.factors}
    assert float(factors["rate"]) == 0.01
    assert float(factors["bias correction"]) == pytest.approx(b)
    torch.testing.assert_close(factors["adaptive scale"], s)


def test_adamw_decays_apart_from_the_gradient() -> None:
    w = double(seed=1).requires_grad_()
    explanation, taken = explained(AdamW([w], lr=0.01, weight_decay=0.1), w, double(seed=2))
    torch.testing.assert_close(terms_of(explanation)["weight decay"], -0.001 * taken.before)


def test_a_formula_that_is_off_by_a_little_is_caught() -> None:
    """The rounding term must not swallow a wrong delta."""
    w = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).requires_grad_()
    optimizer = SGD([w], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: w.data.mul_(0.999))
    explanation, _ = explained(optimizer, w, torch.ones(SHAPE))
    assert explanation.residual_relative is not None and explanation.residual_relative > 1e-3
    assert "something else changed the parameter" in explanation.reason


@pytest.mark.parametrize(
    "make",
    [
        lambda w: SGD([w], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda w: Adam([w], lr=0.1, weight_decay=0.01, amsgrad=True),
        lambda w: AdamW([w], lr=0.1),
        lambda w: RMSprop([w], lr=0.1, momentum=0.9, centered=True),
        lambda w: Adagrad([w], lr=0.1),
    ],
)
def test_complex_parameters(make: Callable[[Tensor], Optimizer]) -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(SHAPE, dtype=torch.complex64, generator=generator).requires_grad_()
    optimizer = make(w)
    for _ in range(3):
        explanation, step = explained(optimizer, w, torch.randn(SHAPE, dtype=torch.complex64, generator=generator))
        assert explanation.predicted is not None and explanation.predicted.dtype is torch.complex128
        assert_complete(explanation, step)


def test_a_rate_in_a_tensor_and_parameters_of_no_dimension() -> None:
    w = torch.tensor(2.0, requires_grad=True)
    for optimizer in (Adam([w], lr=torch.tensor(0.01)), SGD([w], lr=torch.tensor(0.1), momentum=0.9)):
        for _ in range(2):
            assert_complete(*explained(optimizer, w, torch.tensor(0.5)))


def test_a_scheduler_does_not_hide_the_step() -> None:
    w = torch.randn(SHAPE).requires_grad_()
    optimizer = Adam([w], lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert_complete(*explained(optimizer, w, torch.ones(SHAPE)))


class Constrained(SGD):
    """What people write: a projection after the step."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        with torch.no_grad():
            self.param_groups[0]["params"][0].clamp_(-1, 1)


class Renamed(SGD):
    """Only another constructor: its steps are SGD's."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1, momentum=0.9)


def test_a_subclass_with_a_step_of_its_own_is_not_explained() -> None:
    w = torch.randn(SHAPE).requires_grad_()
    explanation, _ = explained(Constrained([w], lr=0.1), w, torch.ones(SHAPE))
    assert not explanation.is_explained and explanation.terms == ()
    assert explanation.reason.startswith("The steps of Constrained are not explained")
    renamed = Renamed([w])
    for _ in range(2):
        assert_complete(*explained(renamed, w, torch.ones(SHAPE)))


@pytest.mark.parametrize(
    "cls", [torch.optim.RAdam, torch.optim.NAdam, torch.optim.Adamax, torch.optim.Adadelta, torch.optim.ASGD]
)
def test_other_optimizers_are_not_explained(cls: type[Optimizer]) -> None:
    w = torch.randn(SHAPE).requires_grad_()
    explanation, _ = explained(cls([w]), w, torch.ones(SHAPE))
    assert not explanation.is_explained
    assert cls.__name__ in explanation.reason and "SGD, Adam, AdamW, RMSprop and Adagrad" in explanation.reason
    assert explanation.lost is not None and explanation.lost.with_gradient == w.numel()


def test_no_gradient_a_lost_one_and_a_sparse_one() -> None:
    w = torch.randn(SHAPE).requires_grad_()
    optimizer = SGD([w], lr=0.1)
    explanation, step = explained(optimizer, w, None)
    assert explanation.reason == "It had no gradient, so the optimizer left it as it was"
    assert explanation.lost is None
    step = stepped(optimizer, w, torch.ones(SHAPE))
    gone = StepTaken(**{**step.__dict__, "gradient": None})
    assert "press Step" in explain(optimizer, gone).reason
    explanation, _ = explained(optimizer, w, torch.ones(SHAPE).to_sparse())
    assert "sparse" in explanation.reason
    assert explanation.lost is not None and explanation.lost.lost == 0


def test_not_a_number() -> None:
    w = torch.randn(SHAPE).requires_grad_()
    gradient = torch.ones(SHAPE)
    gradient[0, 0] = float("nan")
    explanation, _ = explained(Adam([w]), w, gradient)
    assert not explanation.is_explained and "NaN" in explanation.reason


def test_lost_updates_in_bfloat16() -> None:
    w = torch.tensor([1.0, 1.0, 1e-3, 1.0], dtype=torch.bfloat16).requires_grad_()
    gradient = torch.tensor([1.0, 0.0, 1.0, 100.0], dtype=torch.bfloat16)
    explanation, step = explained(SGD([w], lr=1e-3), w, gradient)
    # 1 - 0.001 is 1 again; the zero gradient is nothing that could be lost.
    assert step.delta.tolist()[:2] == [0, 0]
    assert explanation.lost is not None
    assert (explanation.lost.lost, explanation.lost.with_gradient, explanation.lost.elements) == (1, 3, 4)
    assert explanation.lost.share == pytest.approx(1 / 3)
    found = terms_of(explanation)
    assert float(found["gradient"][0]) == pytest.approx(-1e-3)
    assert float(found["rounding"][0]) == pytest.approx(1e-3)
    assert_complete(explanation, step, limit=1e-2)


def test_state_in_bfloat16_is_told() -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(SHAPE, generator=generator).bfloat16().requires_grad_()
    optimizer = Adam([w], lr=0.3)
    for _ in range(3):
        explanation, step = explained(optimizer, w, torch.randn(SHAPE, generator=generator).bfloat16())
        assert_complete(explanation, step, limit=0.1)
    assert "bfloat16" in explanation.reason


def test_no_step_at_all() -> None:
    """A rate of zero: nothing moves, and nothing is left to explain."""
    w = torch.randn(SHAPE).requires_grad_()
    explanation, _ = explained(SGD([w], lr=0.0), w, torch.ones(SHAPE))
    assert explanation.is_explained and explanation.residual_relative == 0
    assert explanation.lost is not None and explanation.lost.share == 1


def test_nothing_that_is_given_is_changed() -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(SHAPE, generator=generator).requires_grad_()
    optimizer = Adam([w], weight_decay=0.1, amsgrad=True, maximize=True)
    stepped(optimizer, w, torch.randn(SHAPE, generator=generator))
    step = stepped(optimizer, w, torch.randn(SHAPE, generator=generator))
    assert step.gradient is not None
    tensors = [step.before, step.gradient, step.delta, *step.state_before.values(), *step.state_after.values()]
    versions = [(tensor._version, tensor.clone()) for tensor in tensors]
    explain(optimizer, step)
    for tensor, (version, copy) in zip(tensors, versions, strict=True):
        assert tensor._version == version and torch.equal(tensor, copy)
