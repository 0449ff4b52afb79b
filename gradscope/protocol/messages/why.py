"""Asking why a parameter moved as it did, and whether its gradient is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.limits import AtMost, Count, Index, Name, Sentence, Sentences, StepDone

MAX_SAMPLES = 10_000
"""Elements of a gradient that are checked at most."""
MAX_TERMS = 100


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Split a parameter's delta in the newest step into its terms. Reply: Explained; Failed without such a parameter."""

    parameter: Name
    index: Index | None = None
    """The element whose values are wanted; None: the one that moved farthest."""


@dataclass(frozen=True, kw_only=True)
class ExplainedTerm:
    """One summand of the delta."""

    name: Name
    """"gradient", "momentum", "weight decay" or "rounding"."""
    formula: Name
    sentence: Sentence
    l2: float
    share: float | None
    """dot(term, delta) / ||delta||^2: the shares of all terms and the residual's add up to 1. None where nothing moved."""
    value: float | None
    """Of the chosen element; None for complex numbers."""


@dataclass(frozen=True, kw_only=True)
class ExplainedFactor:
    """Something that terms are multiplied by: the smallest, the middle and the largest of all elements' values."""

    name: Name
    """"rate", "bias correction" or "adaptive scale"."""
    formula: Name
    sentence: Sentence
    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Why a parameter moved as it did in the newest step; without terms, `reason` says why it cannot be said."""

    parameter: Name
    step: StepDone
    """-1 before the first."""
    optimizer: Name
    """Its class."""
    terms: Annotated[tuple[ExplainedTerm, ...], AtMost(MAX_TERMS)] = ()
    factors: Annotated[tuple[ExplainedFactor, ...], AtMost(MAX_TERMS)] = ()
    delta_l2: float | None = None
    residual: float | None = None
    """L2 norm of what the terms leave of the delta, relative to the delta's."""
    lost: Count | None = None
    """Elements whose gradient is non-zero and whose delta is exactly zero; None where there is no gradient."""
    with_gradient: Count = 0
    """Elements whose gradient is non-zero. Those that are not finite are in neither number."""
    not_finite: Count = 0
    """Elements whose gradient or delta is NaN or Inf."""
    elements: Count = 0
    reason: Sentence = ""
    index: Index | None = None
    """The chosen element."""
    before: float | None = None
    delta: float | None = None
    gradient: float | None = None
    """The chosen element's values; None for complex numbers."""


@dataclass(frozen=True, kw_only=True)
class CheckGradient:
    """Compare a parameter's gradient with differences of the loss. Reply: GradientChecked or Failed. Interrupt ends it."""

    parameter: Name
    samples: int = 16
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SampledElement:
    """One element: autograd's derivative and the difference quotient, both in float64."""

    index: Index
    """In the parameter; for complex ones followed by 0 (real part) or 1 (imaginary part)."""
    analytic: float
    numeric: float
    relative_error: float
    left: float
    """The slopes to both sides, which differ at a kink."""
    right: float
    verdict: Name
    """"agrees", "differs" or "kink"."""
    actual: float | None = None
    """The real `.grad`, where it is comparable."""


@dataclass(frozen=True, kw_only=True)
class GradientChecked:
    """What a check came to, the worst element first."""

    parameter: Name
    step: Count
    """The step that comes next: the parameters are those after the one before."""
    samples: Annotated[tuple[SampledElement, ...], AtMost(MAX_SAMPLES)]
    size: Count
    """Elements of the parameter."""
    agrees: bool
    tolerance: float
    loss: float
    actual_error: float | None = None
    """How far the real `.grad` is from the float64 gradient, relative to that, over all elements."""
    notes: Sentences = ()
    seconds: float = 0.0
