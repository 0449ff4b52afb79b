"""The loss along a step: before it, at it, and beyond, with the tangent that the gradient predicts."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.what_if.bench import Progressing, open_bench
from gradscope.engine.what_if.one_step import OneStep, take
from gradscope.engine.what_if.trials import Given, checked_alternative, measured
from gradscope.engine.what_if.vectors import dot, length
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.failure import BadInput
from gradscope.protocol.what_if.tried import MAX_POINTS, AlongUpdate


def loss_along(
    stepper: Stepper,
    *,
    given: Given,
    low: float,
    high: float,
    points: int,
    progress: Progressing | None = None,
) -> AlongUpdate:
    """See `Session.loss_along_update`."""
    alternative = checked_alternative(given)
    at = _places(low, high, points)
    losses = np.empty(len(at))
    with open_bench(stepper, progress) as bench:
        bench.planned, bench.what = len(at) + 2, alternative.words
        gradient = bench.gradient()
        taken = take(OneStep(bench, []), alternative)
        parameters = bench.parameters
        update = parameters.update(taken.after)
        for i, a in enumerate(at.tolist()):
            # The step itself to the last bit: a sum is rounded.
            is_step = a == 1.0
            losses[i] = bench.loss(
                at=partial(parameters.put, taken.after) if is_step else partial(parameters.go_to, (a, update))
            )
    return AlongUpdate(
        of=measured(bench),
        alternative=alternative,
        at=at,
        losses=losses,
        slope=dot(gradient, update),
        update_norm=length(update),
    )


def _places(low: float, high: float, points: int) -> FloatArray:
    """Evenly spread, with 0 and 1 among them."""
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0 and high >= 1):
        raise BadInput(f"The curve goes from {low} to {high}; expected at most 0, and at least 1")
    if type(points) is not int or not 2 <= points <= MAX_POINTS - 2:
        raise BadInput(f"The curve has {points!r:.40} points; expected 2 to {MAX_POINTS - 2}")
    even = np.linspace(low, high, points)
    # What lies beside 0 or 1 by rounding only is one of them.
    even = np.array([round(a) if abs(a - round(a)) < 1e-9 and round(a) in (0, 1) else a for a in even.tolist()])
    return np.unique(np.concatenate([even, [0.0, 1.0]]))
