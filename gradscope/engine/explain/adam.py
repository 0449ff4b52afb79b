"""torch.optim.Adam and AdamW, with AMSGrad.

    d = g + weight_decay * w                           (Adam; AdamW: d = g)
    m = beta1 * m_old + (1 - beta1) * d
    v = beta2 * v_old + (1 - beta2) * d^2              (AMSGrad: the largest v so far)
    s = 1 / (sqrt(v / (1 - beta2^t)) + eps)
    delta = -lr / (1 - beta1^t) * m * s                (AdamW: - lr * weight_decay * w)

Source: torch/optim/adam.py; Kingma and Ba, Adam, 2015; Loshchilov and Hutter, Decoupled weight decay regularization, 2019.
"""

from __future__ import annotations

from gradscope.engine.explain.parts import Factor, Given, Parts, Term, scalar
from gradscope.engine.explain.wording import decay_term, gradient_term, momentum_term, rate_factor, scale_factor
from gradscope.protocol.numbers import number


def adam(given: Given) -> Parts:
    rate, decay, eps = given.number("lr"), given.number("weight_decay", 0), given.number("eps")
    # As numbers they are exact; as tensors torch computes with their rounding.
    beta1, beta2 = given.options["betas"]
    steps = given.steps()
    correction1, correction2 = float(1 - beta1**steps), float(1 - beta2**steps)
    beta1, beta2 = float(beta1), float(beta2)
    is_decoupled = given.is_on("decoupled_weight_decay")
    v = given.newer("max_exp_avg_sq" if given.is_on("amsgrad") else "exp_avg_sq")
    scale = 1 / ((v / correction2).sqrt() + eps)
    reach = rate / correction1 * scale
    terms = [gradient_term(f"−lr · (1 − β₁) · {given.g} · b · s", -reach * (1 - beta1) * given.descent)]
    old = given.older("exp_avg")
    if old is not None:
        terms.append(momentum_term("−lr · β₁ · m · b · s", beta1, -reach * beta1 * old))
    if decay and is_decoupled:
        share = number(decay, digits=6)
        sentence = f"The pull towards zero, apart from the gradient: lr times weight_decay {share} of the weight w"
        terms.append(Term("weight decay", "−lr · weight_decay · w", sentence, -rate * decay * given.parameter))
    elif decay:
        formula = "−lr · (1 − β₁) · weight_decay · w · b · s"
        terms.append(decay_term(formula, decay, -reach * (1 - beta1) * decay * given.parameter))
    correction = Factor(
        "bias correction",
        "b = 1 / (1 − β₁^t)",
        "Makes up for an average that began at zero; close to 1 after some steps",
        scalar(1 / correction1),
    )
    largest = "largest v so far" if given.is_on("amsgrad") else "v"
    scaling = scale_factor(f"s = 1 / (√({largest} / (1 − β₂^t)) + eps)", scale)
    return Parts(
        terms=tuple(terms),
        factors=(rate_factor(rate), correction, scaling),
        # AdamW first multiplies by 1 - lr * weight_decay, which is itself rounded, and then subtracts.
        roundings=3 if decay and is_decoupled else 1,
    )
