"""torch.optim.Adagrad: lr_decay, weight decay, initial accumulator.

    d = g + weight_decay * w
    v = v_old + d^2
    delta = -lr / (1 + (t - 1) * lr_decay) * d / (sqrt(v) + eps)

Source: torch/optim/adagrad.py; Duchi et al., Adaptive subgradient methods, 2011.
"""

from __future__ import annotations

from gradscope.engine.explain.parts import Given, Parts
from gradscope.engine.explain.wording import decay_term, gradient_term, rate_factor, scale_factor


def adagrad(given: Given) -> Parts:
    decay, rate_decay = given.number("weight_decay", 0), given.number("lr_decay", 0)
    rate = given.number("lr") / (1 + (float(given.steps()) - 1) * rate_decay)
    scale = 1 / (given.newer("sum").sqrt() + given.number("eps"))
    lr = "lrₜ" if rate_decay else "lr"
    terms = [gradient_term(f"−{lr} · {given.g} · s", -rate * scale * given.descent)]
    if decay:
        terms.append(decay_term(f"−{lr} · weight_decay · w · s", decay, -rate * scale * decay * given.parameter))
    rates = (
        rate_factor(rate, "lrₜ = lr / (1 + (t − 1) · lr_decay)", "The learning rate, less with every step")
        if rate_decay
        else rate_factor(rate)
    )
    return Parts(terms=tuple(terms), factors=(rates, scale_factor("s = 1 / (√(sum of g²) + eps)", scale)))
