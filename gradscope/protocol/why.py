"""Asking why a parameter moved as it did, and whether its gradient is right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Split a parameter's delta in the newest step into its terms. Reply: Explained; Failed without such a parameter."""

    parameter: str
    index: tuple[int, ...] | None = None
    """The element whose values are wanted; None: the one that moved farthest."""


@dataclass(frozen=True, kw_only=True)
class ExplainedTerm:
    """One summand of the delta."""

    name: str
    """"gradient", "momentum", "weight decay" or "rounding"."""
    formula: str
    sentence: str
    l2: float
    share: float | None
    """dot(term, delta) / ||delta||^2: the shares of all terms and the residual's add up to 1. None where nothing moved."""
    value: float | None
    """Of the chosen element; None for complex numbers."""


@dataclass(frozen=True, kw_only=True)
class ExplainedFactor:
    """Something that terms are multiplied by: the smallest, the middle and the largest of all elements' values."""

    name: str
    """"rate", "bias correction" or "adaptive scale"."""
    formula: str
    sentence: str
    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Why a parameter moved as it did in the newest step; without terms, `reason` says why it cannot be said."""

    parameter: str
    step: int
    """-1 before the first."""
    optimizer: str
    """Its class."""
    terms: tuple[ExplainedTerm, ...] = ()
    factors: tuple[ExplainedFactor, ...] = ()
    delta_l2: float | None = None
    residual: float | None = None
    """L2 norm of what the terms leave of the delta, relative to the delta's."""
    lost: int | None = None
    """Elements whose gradient is non-zero and whose delta is exactly zero; None where there is no gradient."""
    with_gradient: int = 0
    """Elements whose gradient is non-zero."""
    elements: int = 0
    reason: str = ""
    index: tuple[int, ...] | None = None
    """The chosen element."""
    before: float | None = None
    delta: float | None = None
    gradient: float | None = None
    """The chosen element's values; None for complex numbers."""


@dataclass(frozen=True, kw_only=True)
class CheckGradient:
    """Compare a parameter's gradient with differences of the loss. Reply: GradientChecked or Failed. Interrupt ends it."""

    parameter: str
    samples: int = 16
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SampledElement:
    """One element: autograd's derivative and the difference quotient, both in float64."""

    index: tuple[int, ...]
    """In the parameter; for complex ones followed by 0 (real part) or 1 (imaginary part)."""
    analytic: float
    numeric: float
    relative_error: float
    left: float
    """The slopes to both sides, which differ at a kink."""
    right: float
    verdict: str
    """"agrees", "differs" or "kink"."""
    actual: float | None = None
    """The real `.grad`, where it is comparable."""


@dataclass(frozen=True, kw_only=True)
class GradientChecked:
    """What a check came to, the worst element first."""

    parameter: str
    step: int
    """The step that comes next: the parameters are those after the one before."""
    samples: tuple[SampledElement, ...]
    size: int
    """Elements of the parameter."""
    agrees: bool
    tolerance: float
    loss: float
    actual_error: float | None = None
    """How far the real `.grad` is from the float64 gradient, relative to that, over all elements."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
