"""Scales that stay: they widen when a number asks for it, and never follow every frame. numpy only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gradscope.ui.plots.quantities import Scale

MAX_DECADES = 16

Floats = npt.NDArray[np.floating]


class GrowingScale:
    """The range of a quantity in the numbers that are drawn: powers of ten for LOG, the values themselves otherwise."""

    def __init__(self, scale: Scale, *, band: tuple[float, float] | None = None) -> None:
        self.scale = scale
        self._low, self._high = math.inf, -math.inf
        if band is not None:
            # A power of ten more on both sides shows what lies outside.
            self.widen(np.array([band[0] / 10, band[1] * 10]))

    @property
    def low(self) -> float:
        return {Scale.PERCENT: 0.0, Scale.SIGNED: -self.high}.get(self.scale, self._log_low())

    @property
    def high(self) -> float:
        if self.scale is Scale.PERCENT:
            return 100.0
        return self._high if math.isfinite(self._high) else 1.0

    def widen(self, values: Floats) -> None:
        """Take in values; NaN and Inf are passed over."""
        if values.size == 0 or self.scale is Scale.PERCENT:
            return
        if self.scale is Scale.SIGNED:
            largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
            if largest > self._high:
                self._high = nice_above(largest) if largest > 0 else self._high
            return
        positive = (values > 0) & (values < np.inf)
        high = float(np.max(values, where=positive, initial=0.0))
        if high > 0:
            low = float(np.min(values, where=positive, initial=np.inf))
            self._low = min(self._low, math.floor(math.log10(low)))
            self._high = max(self._high, math.ceil(math.log10(high)), self._low + 1)

    def place(self, values: Floats) -> Floats:
        """Where values lie on the drawn scale; on a LOG one, zeros lie at the low end."""
        if self.scale is not Scale.LOG:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.log(values) * np.float32(1 / math.log(10))
        return np.maximum(drawn, np.float32(self.low))

    def _log_low(self) -> float:
        if not math.isfinite(self._low):
            return 0.0
        return max(self._low, self._high - MAX_DECADES)


def nice_above(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... that is not below a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next((factor * power for factor in (1, 2, 5) if value <= factor * power * (1 + 1e-9)), 10 * power)


def nice_range(low: float, high: float) -> tuple[float, float]:
    """A range with round ends around low and high, so that it does not move with every new point."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    span = high - low
    # A range around one value, or around values that differ only in their last digits: wide enough for different labels.
    span = max(span, abs(high) * 0.02, abs(low) * 0.02) or 1.0
    step = nice_above(span) / 5
    nice_low, nice_high = math.floor(low / step) * step, math.ceil(high / step) * step
    if nice_low == nice_high:
        nice_low, nice_high = nice_low - step, nice_high + step
    return nice_low, nice_high
