"""Means, their standard errors, and whether one run has ended clearly better than another."""

from __future__ import annotations

import math
from collections.abc import Sequence

BETTER = 0.7
"""A change has to lower the loss by 30 %, and by three standard errors, before it names a cause."""

GAIN = 0.02
"""An improvement by less is none."""


def mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def standard_error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1) / len(values))


def last(values: Sequence[float], share: float = 0.25, least: int = 8) -> Sequence[float]:
    """The last quarter, 8 values or more."""
    return values[-max(least, int(len(values) * share)) :]


def is_lower(a: Sequence[float], b: Sequence[float]) -> bool:
    """The mean of a is below that of b by three standard errors, or all of it lies below all of b."""
    gap = mean(b) - mean(a)
    return gap > 3 * math.hypot(standard_error(a), standard_error(b)) or max(a) < min(b)


def has_improved(values: Sequence[float]) -> bool:
    """Clearly lower at the end than in the first eight steps, by more than GAIN; also where something is not finite."""
    first, newest = values[:8], last(values)
    if not all(map(math.isfinite, (*first, *newest))):
        return True
    gain = (mean(first) - mean(newest)) / (abs(mean(first)) + 1e-12)
    return gain >= GAIN and is_lower(newest, first)
