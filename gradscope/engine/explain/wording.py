"""The terms and factors that several optimizers share, in words."""

from __future__ import annotations

from torch import Tensor

from gradscope.engine.explain.parts import Factor, Term, scalar
from gradscope.protocol.numbers import number


def gradient_term(formula: str, tensor: Tensor) -> Term:
    return Term("gradient", formula, "What this batch's gradient g asks for", tensor)


def momentum_term(formula: str, kept: float, tensor: Tensor) -> Term:
    sentence = (
        f"What the gradients of earlier steps still contribute: {number(kept, digits=6)} of the old average m is kept"
    )
    return Term("momentum", formula, sentence, tensor)


def decay_term(formula: str, decay: float, tensor: Tensor) -> Term:
    share = number(decay, digits=6)
    sentence = f"The pull towards zero: weight_decay {share} adds a share of the weight w itself to the gradient"
    return Term("weight decay", formula, sentence, tensor)


def rate_factor(rate: float, formula: str = "lr", sentence: str = "The learning rate of this step") -> Factor:
    return Factor("rate", formula, sentence, scalar(rate))


def scale_factor(formula: str, tensor: Tensor) -> Factor:
    sentence = "One over the usual size of each element's gradients: a small gradient moves as far as a large one"
    return Factor("adaptive scale", formula, sentence, tensor)
