"""A numerical check of backward: central differences in float64, on a copy of the model, against autograd's gradient.

The step of a difference is the cube root of the machine precision (6e-6) times the larger of 1 and |x|, where the errors of
truncation, about h^2, and of rounding, about eps / h, are alike small. An element that disagrees there gets two more chances,
with a step of 1/32 and of 32 times that, since some functions bend sharply and some losses are noisy; a wrong backward
disagrees with all of them. Source: Press et al., Numerical Recipes, 5.7.
"""

from __future__ import annotations

import contextlib
import math
import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.aside.door import Aside
from gradscope.engine.model.objective import Objective
from gradscope.engine.model.parameters import Model, named_tensors
from gradscope.engine.questions.float64_copy import Float64Copy, GoOn, UserCode, real_view
from gradscope.engine.stepping.undo import ForwardUndo
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.protocol.failure import BadInput
from gradscope.protocol.numbers import exact, number

TOLERANCE = 1e-4
"""Relative error up to which an element agrees."""
MAX_SAMPLES = 1000
_EPS = float(np.finfo(np.float64).eps)
_STEP = _EPS ** (1 / 3)
_STEPS = (_STEP, _STEP / 32, _STEP * 32)
_ROUNDINGS = 32
"""So many times the machine precision may a loss be off."""
_REPEATABLE = 1e-9
_COMPARABLE = 1e-3
"""Relative difference of two losses that are taken for the same, in whatever precision."""


class Verdict(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    KINK = "kink"
    """The slopes to the left and to the right differ, and autograd's gradient lies between them: no derivative there."""


@dataclass(frozen=True, kw_only=True)
class CheckedElement:
    """One element of the parameter: two derivatives of the loss by it."""

    index: tuple[int, ...]
    """In the parameter; a complex one has one index more, 0 for the real and 1 for the imaginary part."""
    analytic: float
    """Autograd's, in float64."""
    numeric: float
    """The central difference."""
    relative_error: float
    """|numeric - analytic| / (the larger of both + what rounding alone makes of zero)."""
    left: float
    """The slope to the left (x - h to x) and to the right (x to x + h)."""
    right: float
    verdict: Verdict
    actual: float | None = None
    """The real model's `.grad`, where it is comparable."""


@dataclass(frozen=True, kw_only=True)
class GradientCheck:
    """What the check of one parameter came to."""

    parameter: str
    elements: tuple[CheckedElement, ...]
    """Worst first: those that differ, then kinks, then by relative error."""
    size: int
    """Elements of the parameter."""
    loss: float
    """In float64, on the copy."""
    actual_error: float | None
    """L2 norm of `.grad` minus autograd's float64 gradient, relative to the latter; None where they are not comparable."""
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> CheckedElement:
        return self.elements[0]

    @property
    def agrees(self) -> bool:
        """Nothing differs; kinks are nobody's fault."""
        return all(element.verdict is not Verdict.DIFFERS for element in self.elements)


@dataclass(frozen=True, kw_only=True)
class Actual:
    """The real model's gradient, and the loss that it is of."""

    gradient: Tensor
    loss: float | None

    def dense(self) -> Tensor:
        """The gradient as real numbers, none of them left out."""
        return real_view(self.gradient.to_dense() if self.gradient.is_sparse else self.gradient)


def check_gradient(
    objective: Objective,
    batch: Any,
    parameter: str,
    *,
    samples: int = 16,
    seed: int = 0,
    states: RandomStates | None = None,
    buffers: ForwardUndo | None = None,
    actual: Actual | None = None,
    user_code: UserCode = contextlib.nullcontext,
    go_on: GoOn = lambda: None,
) -> GradientCheck:
    """Compare `samples` elements of a parameter (the one with the largest gradient is always among them).

    Every evaluation starts from the same random `states` and the same `buffers` (default: those of now; those that the
    forward began with make the same loss of it), so that dropout drops the same. `user_code` is entered around all code of
    the user's; `go_on` is called between evaluations and may raise. Afterwards everything that the user's code can reach is
    as it was (see `Aside`), or a note says what is not.

    Raises BadInput if there is nothing to check, and UserCodeFailed if the user's code fails on the float64 copy.
    """
    tensor = _checkable(objective.model, parameter, samples)
    with Aside(objective.roots()) as aside:
        copy = Float64Copy(
            objective,
            batch,
            parameter,
            aside=aside,
            states=states or RandomStates.capture(),
            buffers=buffers,
            user_code=user_code,
            go_on=go_on,
        )
        loss, gradient = copy.differentiate()
        again = copy.loss()
        noise = _ROUNDINGS * _EPS * abs(loss) + abs(again - loss)
        if not math.isfinite(loss):
            raise BadInput(f"The loss is {loss}: there is no gradient to check")
        notes = _notes(copy, loss, again, gradient)
        dense = torch.zeros_like(copy.values) if gradient is None else gradient
        indices = _sample(dense, samples, seed)
        elements = [_check_element(copy, index, float(dense[index]), loss, noise) for index in indices]
    notes += aside.notes
    error = None
    if actual is not None and actual.gradient.shape == tensor.shape:
        if _is_same_loss(actual.loss, loss):
            real = actual.dense().to(dense)
            error = _relative_norm(real - dense, dense)
            elements = [replace(element, actual=float(real[element.index])) for element in elements]
        else:
            notes.append(_not_comparable(loss, actual))
    return GradientCheck(
        parameter=parameter,
        elements=tuple(sorted(elements, key=_badness, reverse=True)),
        size=dense.numel(),
        loss=loss,
        actual_error=error,
        notes=tuple(notes),
    )


def _not_comparable(loss: float, actual: Actual) -> str:
    return (
        f"The copy's loss is {_told(loss)}, the step's {_told(actual.loss)}: .grad belongs to other random numbers, another "
        "precision or another state of the code, and is not compared"
    )


def _checkable(model: Model, parameter: str, samples: int) -> Tensor:
    tensor = next(
        (tensor for name, (tensor, others) in named_tensors(model).items() if parameter in (name, *others)), None
    )
    if tensor is None:
        raise BadInput(f"The model has no parameter {parameter!r}")
    if not tensor.requires_grad:
        raise BadInput(f"{parameter} is frozen (requires_grad is False): it has no gradient to check")
    if tensor.numel() == 0:
        raise BadInput(f"{parameter} has no elements: there is nothing to check")
    if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= MAX_SAMPLES:
        raise BadInput(f"{samples!r} samples were asked for; expected a whole number from 1 to {MAX_SAMPLES}")
    return tensor


def _check_element(
    copy: Float64Copy, index: tuple[int, ...], analytic: float, loss: float, noise: float
) -> CheckedElement:
    tries = (_difference(copy, index, analytic, loss, noise, step) for step in _STEPS)
    first = next(tries)
    if first.verdict is Verdict.AGREES:
        return first
    return next((other for other in tries if other.verdict is Verdict.AGREES), first)


def _difference(
    copy: Float64Copy, index: tuple[int, ...], analytic: float, loss: float, noise: float, relative_step: float
) -> CheckedElement:
    values = copy.values
    value = float(values[index])
    step = relative_step * max(1.0, abs(value))
    above, below = value + step, value - step
    try:
        values[index] = above
        loss_above = copy.loss()
        values[index] = below
        loss_below = copy.loss()
    finally:
        values[index] = value
    numeric = (loss_above - loss_below) / (above - below)
    left, right = (loss - loss_below) / (value - below), (loss_above - loss) / (above - value)
    unresolved = noise / step
    largest = max(abs(numeric), abs(analytic))
    error = abs(numeric - analytic)
    # What rounding makes of zero does not count: an error of that size is no more than the tolerance.
    relative = error / (largest + unresolved / TOLERANCE) if error else 0.0
    if not math.isfinite(relative):
        relative = math.inf
    if relative <= TOLERANCE:
        verdict = Verdict.AGREES
    else:
        slack = TOLERANCE * max(abs(left), abs(right)) + unresolved
        is_between = min(left, right) - slack <= analytic <= max(left, right) + slack
        verdict = Verdict.KINK if is_between and abs(right - left) > 4 * slack else Verdict.DIFFERS
    return CheckedElement(
        index=index,
        analytic=analytic,
        numeric=numeric,
        relative_error=relative,
        left=left,
        right=right,
        verdict=verdict,
    )


def _sample(gradient: Tensor, samples: int, seed: int) -> list[tuple[int, ...]]:
    """Element indices, without touching any global random state."""
    size = gradient.numel()
    chosen = random.Random(seed).sample(range(size), min(samples, size))
    largest = int(gradient.abs().argmax())
    if largest not in chosen:
        chosen[-1] = largest
    return [tuple(int(i) for i in np.unravel_index(k, gradient.shape)) for k in sorted(chosen)]


def _notes(copy: Float64Copy, loss: float, again: float, gradient: Tensor | None) -> list[str]:
    found = []
    if gradient is None:
        found.append(
            "Backward does not reach this parameter: the loss does not depend on it, or not on the model it is given"
        )
    if copy.loss_dtype is not torch.float64:
        dtype = str(copy.loss_dtype).removeprefix("torch.")
        found.append(f"The loss comes out as {dtype}, since some code converts to it: differences are rough")
    if abs(again - loss) > _REPEATABLE * max(abs(loss), _EPS):
        found.append(
            f"The same evaluation twice gives {exact(loss)} and {exact(again)}: the loss depends on more than parameters, "
            "batch and random numbers, and differences are not to be trusted"
        )
    return found


def _badness(element: CheckedElement) -> tuple[int, float]:
    return [Verdict.AGREES, Verdict.KINK, Verdict.DIFFERS].index(element.verdict), element.relative_error


def _is_same_loss(actual: float | None, loss: float) -> bool:
    return actual is not None and abs(actual - loss) <= _COMPARABLE * max(abs(loss), abs(actual))


def _relative_norm(part: Tensor, whole: Tensor) -> float:
    norm, reference = float(torch.linalg.vector_norm(part)), float(torch.linalg.vector_norm(whole))
    if reference > 0:
        return norm / reference
    return 0.0 if norm == 0 else math.inf


def _told(value: float | None) -> str:
    return "unknown" if value is None else number(value, digits=6)
