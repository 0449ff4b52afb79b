"""Scales that stay: they widen when a number asks for it, and never follow every frame. numpy only.

What is drawn is not always the values themselves: pyqtgraph and Qt compute with the range of an axis and the size of a pixel,
so extreme numbers are drawn as so many times a power of ten. With any doubles whatever, a scale is finite and has a width.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.state.records.kept_numbers import MOST
from gradscope.ui.words.quantities import Scale

MAX_DECADES = 16
_LEAST_DRAWN, _MOST_DRAWN = 1e-12, 1e12
"""Magnitudes that are drawn as they are: Qt takes a pixel of fewer than 1e-12 for nothing."""
_MAX = sys.float_info.max

Floats = npt.NDArray[np.floating]


class GrowingScale:
    """The range of a quantity in the numbers that are drawn: powers of ten for LOG, otherwise the values
    times 10**-`exponent`."""

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
        high = self._high if math.isfinite(self._high) else 1.0
        return float(shifted(high, -self.exponent))

    @property
    def exponent(self) -> int:
        """The power of ten that numbers are drawn in; 0 in all ordinary cases."""
        return drawn_exponent(self._high) if self.scale is Scale.SIGNED and math.isfinite(self._high) else 0

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

    def widen_by_kept(self, values: Floats) -> bool:
        """The same for numbers of the history, of which the infinite ones are beyond float32; whether there are any."""
        self.widen(values)
        has_beyond = bool(np.isinf(values).any())
        if has_beyond:
            self.widen(np.array([MOST]))
        return has_beyond

    def place(self, values: Floats) -> Floats:
        """Where values lie on the drawn scale; on a LOG one, what is not above zero lies at the low end."""
        if self.scale is not Scale.LOG:
            return shifted(values, -self.exponent)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.log(np.maximum(values, 0)) * np.float32(1 / math.log(10))
        return np.maximum(drawn, np.float32(self.low))

    def place_apart(self, values: Floats) -> Floats:
        """The same, but that on a LOG scale zeros lie a power of ten below the low end: worse than what is small."""
        drawn = self.place(values)
        if self.scale is Scale.LOG:
            drawn[values == 0] = self.low - 1
        return drawn

    def _log_low(self) -> float:
        if not math.isfinite(self._low):
            return 0.0
        return max(self._low, self._high - MAX_DECADES)


@dataclass(frozen=True)
class LinearScale:
    """A range with round ends around values, in the numbers that are drawn: the values times 10**-`exponent`."""

    low: float = 0.0
    high: float = 1.0
    exponent: int = 0

    @classmethod
    def around(cls, values: Floats) -> LinearScale:
        """Of all finite values; from 0 to 1 where there are none."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return cls()
        low, high = float(finite.min()), float(finite.max())
        exponent = drawn_exponent(max(abs(low), abs(high)))
        return cls(*nice_range(float(shifted(low, -exponent)), float(shifted(high, -exponent))), exponent)

    def place(self, values: Floats) -> npt.NDArray[np.float64]:
        """Where values lie; NaN and Inf as they are."""
        return np.asarray(shifted(values.astype(np.float64), -self.exponent))


def drawn_exponent(largest: float) -> int:
    """The power of ten in which numbers up to a finite magnitude are drawn: 0 where that can be drawn as it is."""
    if largest == 0 or _LEAST_DRAWN <= largest <= _MOST_DRAWN:
        return 0
    return math.floor(math.log10(largest))


def shifted(values: Floats | float, exponent: int) -> Floats:
    """Values times a power of ten; in two steps, for the power alone may be more than a float holds."""
    if not exponent:
        return np.asarray(values)
    half = exponent // 2
    with np.errstate(all="ignore"):
        return np.asarray(values * float(f"1e{half}") * float(f"1e{exponent - half}"))


def nice_above(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... that is not below a positive finite value; above all of them the largest float."""
    exponent = math.floor(math.log10(value))
    # Read from text: 10.0**-324 is 0, and 10.0**309 an error.
    steps = (float(f"{factor}e{exponent}") for factor in (1, 2, 5, 10))
    return min(next((step for step in steps if value <= step * (1 + 1e-9)), _MAX), _MAX)


def nice_range(low: float, high: float) -> tuple[float, float]:
    """A range with round ends around low and high, so that it does not move with every new point."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    exponent = drawn_exponent(max(abs(low), abs(high)))
    if exponent:
        ends = nice_range(float(shifted(low, -exponent)), float(shifted(high, -exponent)))
        nice_low, nice_high = (min(max(float(shifted(end, exponent)), -_MAX), _MAX) for end in ends)
        nice_low, nice_high = min(nice_low, low), max(nice_high, high)
        # The least numbers that there are lie so far apart that nothing is between them.
        return (nice_low, nice_high) if nice_low < nice_high else (min(low, 0.0), max(high, 0.0))
    span = high - low
    # A range around one value, or around values that differ only in their last digits: wide enough for different labels.
    span = max(span, abs(high) * 0.02, abs(low) * 0.02) or 1.0
    step = nice_above(span) / 5
    nice_low, nice_high = math.floor(low / step) * step, math.ceil(high / step) * step
    if nice_low == nice_high:
        nice_low, nice_high = nice_low - step, nice_high + step
    return nice_low, nice_high
