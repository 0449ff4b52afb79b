"""Numbers as text: short on screen, exact where a person asks. App process."""

from __future__ import annotations

import math


def short(value: float) -> str:
    """Four significant digits: for axes, titles and colour bars."""
    return _special(value) or f"{value:.4g}"


def exact(value: float) -> str:
    """Nine significant digits, which tell every float32 apart."""
    return _special(value) or f"{value:.9g}"


def cell(value: float) -> float | str:
    """A number for a table in which NaN says that there is none: not measured, or not defined."""
    return "–" if math.isnan(value) else value


def percent(value: float) -> str:
    """A share that is given in percent: no "0.0 %" for what is more than nothing."""
    if math.isnan(value):
        return "–"
    if 0 < value < 0.1:
        return "<0.1 %"
    if 99.9 < value < 100:
        return ">99.9 %"
    return f"{value:.1f} %" if value % 1 else f"{value:.0f} %"


def power_of_ten(exponent: int) -> str:
    """A decade as axes write it: 0.01, 1, 100, and 1e-5 outside of that."""
    return f"{10.0**exponent:g}" if -3 <= exponent <= 3 else f"1e{exponent}"


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return ""
