"""The delta of one parameter in one step as a sum of terms, and what share of its elements was lost to rounding."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from gradscope.engine.explain.adagrad import adagrad
from gradscope.engine.explain.adam import adam
from gradscope.engine.explain.parts import Factor, Given, Parts, StepTaken, Term, Unexplained, real64
from gradscope.engine.explain.rmsprop import rmsprop
from gradscope.engine.explain.sgd import sgd
from gradscope.engine.quantities.values import dtype_name

RESIDUAL_LIMIT = 1e-5
"""Relative residual up to which a formula holds in float32."""

_FORMULAS: dict[type[Optimizer], Callable[[Given], Parts]] = {
    SGD: sgd,
    AdamW: adam,
    Adam: adam,
    RMSprop: rmsprop,
    Adagrad: adagrad,
}
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class LostUpdates:
    """Elements that had a gradient and did not move: the parameter's type could not hold so small a change."""

    lost: int
    """Elements whose gradient is non-zero and whose delta is exactly zero."""
    with_gradient: int
    """Elements whose gradient is non-zero. Those that are not finite are in neither number."""
    elements: int
    not_finite: int = 0
    """Elements whose gradient or delta is NaN or Inf."""

    @property
    def share(self) -> float:
        """Of the elements with a gradient; 0 where there are none."""
        return self.lost / self.with_gradient if self.with_gradient else 0.0


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a parameter moved as it did. The terms, "rounding" among them, add up to `predicted`."""

    terms: tuple[Term, ...] = ()
    factors: tuple[Factor, ...] = ()
    predicted: Tensor | None = None
    """float64 (complex128); None where the step is not explained."""
    residual_relative: float | None = None
    """L2 norm of what the terms leave of the true delta, relative to the delta's."""
    lost: LostUpdates | None = None
    """None where there is no gradient to compare with."""
    reason: str = ""
    """Why there is no explanation, or what has to be known to read it."""

    @property
    def is_explained(self) -> bool:
        return self.predicted is not None


def explain(optimizer: Optimizer | type[Optimizer], step: StepTaken) -> Explanation:
    """Split the delta of one parameter into its terms. Computed in float64; nothing that is given is changed.

    "rounding" is what the parameter's own type could not hold: the difference between the true delta and the sum of the other
    terms, as far as rounding the parameter can account for it (half a unit in the last place, each time it is written).
    Whatever is left then is the residual.
    """
    lost = lost_updates(step)
    try:
        formula = _formula_of(optimizer)
        gradient = _usable_gradient(step)
        parts = formula(Given(step, gradient))
    except Unexplained as reason:
        return Explanation(lost=lost, reason=str(reason))
    true, before = real64(step.delta), real64(step.before)
    wanted = torch.stack([term.tensor for term in parts.terms]).sum(0)
    if not bool(torch.isfinite(true).all() and torch.isfinite(wanted).all()):
        return Explanation(lost=lost, reason="Not explained: NaN or Inf is in the gradient, the state or the delta")
    dtype = step.before.dtype
    room = parts.roundings * _half_unit(torch.maximum(before.abs(), (before + wanted).abs()), dtype)
    rounding = (true - wanted).clamp(-room, room)
    sentence = f"What {dtype_name(dtype)} cannot hold: each new weight is rounded to the nearest number there is"
    terms = (*parts.terms, Term("rounding", f"round(w + Δ) − (w + Δ), in {dtype_name(dtype)}", sentence, rounding))
    predicted = wanted + rounding
    residual = _relative(torch.linalg.vector_norm(true - predicted), torch.linalg.vector_norm(true))
    return Explanation(
        terms=tuple(Term(term.name, term.formula, term.sentence, _in_form(term.tensor, step.before)) for term in terms),
        factors=parts.factors,
        predicted=_in_form(predicted, step.before),
        residual_relative=residual,
        lost=lost,
        reason=_caution(residual, dtype),
    )


def lost_updates(step: StepTaken) -> LostUpdates | None:
    """How many elements had a gradient and did not move."""
    if step.gradient is None:
        return None
    gradient = step.gradient.detach()
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    not_finite = ~(torch.isfinite(gradient) & torch.isfinite(step.delta))
    has_gradient = (gradient != 0) & ~not_finite
    return LostUpdates(
        lost=int((has_gradient & (step.delta == 0)).sum()),
        with_gradient=int(has_gradient.sum()),
        elements=gradient.numel(),
        not_finite=int(not_finite.sum()),
    )


def _formula_of(optimizer: Optimizer | type[Optimizer]) -> Callable[[Given], Parts]:
    cls = optimizer if isinstance(optimizer, type) else type(optimizer)
    base = next((base for base in _FORMULAS if issubclass(cls, base)), None)
    if base is None:
        raise Unexplained(
            f"The steps of {cls.__name__} are not explained: only those of SGD, Adam, AdamW, RMSprop and Adagrad are"
        )
    for method in ("step", "_init_group"):
        # Also an instance's own: a scheduler wraps it, and says so.
        if _innermost(getattr(optimizer, method)) is not _innermost(getattr(base, method)):
            raise Unexplained(
                f"The steps of {cls.__name__} are not explained: it has a step of its own, not torch.optim.{base.__name__}'s"
            )
    return _FORMULAS[base]


def _innermost(method: Any) -> Any:
    return inspect.unwrap(getattr(method, "__func__", method))


def _usable_gradient(step: StepTaken) -> Tensor:
    if step.gradient is None:
        if bool((step.delta == 0).all()):
            raise Unexplained("It had no gradient, so the optimizer left it as it was")
        raise Unexplained("Not explained: the gradient that the step used is gone; press Step")
    if step.gradient.layout is not torch.strided:
        raise Unexplained("Not explained: the gradient is sparse, and only the rows in it were moved")
    if step.before.layout is not torch.strided or not (step.before.is_floating_point() or step.before.is_complex()):
        raise Unexplained(f"Not explained: the parameter is a {dtype_name(step.before.dtype)} tensor")
    if step.gradient.shape != step.before.shape:
        raise Unexplained("Not explained: the gradient has another shape than the parameter had")
    return step.gradient


def _half_unit(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Half a unit in the last place of numbers of this magnitude: how far rounding can move one."""
    limits = torch.finfo(dtype)
    _, exponent = torch.frexp(value.clamp(min=limits.smallest_normal))
    return torch.ldexp(torch.full_like(value, limits.eps / 4), exponent)


def _relative(part: Tensor, whole: Tensor) -> float:
    if float(whole) > 0:
        return float(part) / float(whole)
    return 0.0 if float(part) == 0 else float("inf")


def _in_form(tensor: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_complex(tensor) if like.is_complex() else tensor


def _caution(residual: float, dtype: torch.dtype) -> str:
    if residual <= RESIDUAL_LIMIT:
        return ""
    if dtype in _HALF:
        return (
            f"What is unexplained is the rounding of the optimizer's own arithmetic and state, in {dtype_name(dtype)}"
        )
    return (
        "The terms do not give the whole delta: something else changed the parameter or its gradient during the step "
        "(a hook on the optimizer, a constraint), or its numbers are too small for their type"
    )
