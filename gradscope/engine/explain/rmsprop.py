"""torch.optim.RMSprop: centered, momentum, weight decay.

    d = g + weight_decay * w
    v = alpha * v_old + (1 - alpha) * d^2              (centered: minus the square of the average of d)
    s = 1 / (sqrt(v) + eps)
    m = momentum * m_old + d * s
    delta = -lr * m                                    (without momentum: -lr * d * s)

Source: torch/optim/rmsprop.py; Hinton, Lecture 6e of Neural networks for machine learning, 2012; Graves, 2013 (centered).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradscope.engine.explain.parts import Given, Parts
from gradscope.engine.explain.wording import decay_term, gradient_term, momentum_term, rate_factor, scale_factor


def rmsprop(given: Given) -> Parts:
    rate, momentum, decay = given.number("lr"), given.number("momentum", 0), given.number("weight_decay", 0)
    scale = 1 / (_spread(given) + given.number("eps"))
    terms = [gradient_term(f"−lr · {given.g} · s", -rate * scale * given.descent)]
    old = given.older("momentum_buffer") if momentum > 0 else None
    if old is not None:
        terms.append(momentum_term("−lr · momentum · m", momentum, -rate * momentum * old))
    if decay:
        terms.append(decay_term("−lr · weight_decay · w · s", decay, -rate * scale * decay * given.parameter))
    formula = "s = 1 / (√(v − mean²) + eps)" if given.is_on("centered") else "s = 1 / (√v + eps)"
    return Parts(terms=tuple(terms), factors=(rate_factor(rate), scale_factor(formula, scale)))


def _spread(given: Given) -> Tensor:
    v = given.newer("square_avg")
    if not given.is_on("centered"):
        return v.sqrt()
    # In the parameter's own precision, as torch does it: where the gradient hardly changes, the difference is all rounding.
    mean = given.newer("grad_avg").to(given.dtype)
    return v.to(given.dtype).addcmul(mean, mean, value=-1).sqrt().to(torch.float64)
