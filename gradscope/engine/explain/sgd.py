"""torch.optim.SGD: momentum, dampening, Nesterov, weight decay.

    d = g + weight_decay * w
    m = momentum * m_old + (1 - dampening) * d        (m = d at the first step)
    delta = -lr * m                                   (Nesterov: -lr * (d + momentum * m))

Source: torch/optim/sgd.py; Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradscope.engine.explain.parts import Given, Parts
from gradscope.engine.explain.wording import decay_term, gradient_term, momentum_term, rate_factor


def sgd(given: Given) -> Parts:
    rate, momentum, decay = given.number("lr"), given.number("momentum", 0), given.number("weight_decay", 0)
    dampening, is_nesterov = given.number("dampening", 0), given.is_on("nesterov")
    old = given.older("momentum_buffer") if momentum else None
    # c of d, k of the old average: the delta is -lr * (c * d + k * m_old).
    c, c_text, k, k_text = 1.0, "", 0.0, ""
    if momentum and old is not None:
        c, k, k_text = 1 - dampening, momentum, "momentum · "
        c_text = "(1 − dampening) · " if dampening else ""
    if momentum and is_nesterov:
        c, k, k_text = 1 + momentum * c, momentum * k, "momentum² · "
        c_text = "(1 + momentum · (1 − dampening)) · " if dampening and old is not None else "(1 + momentum) · "
    descent = _descent(given, momentum=momentum, dampening=dampening, decay=decay, old=old)
    terms = [gradient_term(f"−lr · {c_text}{given.g}", -rate * c * descent)]
    if old is not None:
        terms.append(momentum_term(f"−lr · {k_text}m", momentum, -rate * k * old))
    if decay:
        terms.append(decay_term(f"−lr · {c_text}weight_decay · w", decay, -rate * c * decay * given.parameter))
    return Parts(terms=tuple(terms), factors=(rate_factor(rate),))


def _descent(given: Given, *, momentum: float, dampening: float, decay: float, old: Tensor | None) -> Tensor:
    """The gradient that was gone down. With foreach, Nesterov and no weight decay, torch adds momentum * m to `.grad` itself;
    the new m tells which of the two `.grad` is."""
    descent = given.descent
    may_be_changed = momentum and given.is_on("nesterov") and not decay and not given.is_maximized
    if not may_be_changed or given.is_on("fused") or given.options.get("foreach") is False:
        return descent
    new = given.newer("momentum_buffer")
    unchanged = descent - momentum * new

    def misfit(d: Tensor) -> float:
        expected = d if old is None else momentum * old + (1 - dampening) * d
        return float(torch.linalg.vector_norm(expected - new))

    return unchanged if misfit(unchanged) < misfit(descent) else descent
