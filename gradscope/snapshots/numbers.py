"""Numbers, shapes and counts as short text for tables that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence

DIGITS = 4


def number(value: float | None) -> str:
    """Four significant digits; "NaN", "Inf" and "-Inf" by their names; "–" for None."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{DIGITS - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if abs(value) >= 10 ** (DIGITS - 1):
        return f"{value:.0f}"
    return f"{value:.{DIGITS}g}"


def percent(part: float, whole: float) -> str:
    """A share in percent: no "0 %" for what is more than nothing, no "100 %" for what is less than all."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    if 99.9 < share < 100:
        return ">99.9 %"
    return f"{share:.1f} %" if share % 1 else f"{share:.0f} %"


def shape(sizes: Sequence[int]) -> str:
    """ "784 × 256"; a 0-d tensor is a "scalar"."""
    return " × ".join(str(size) for size in sizes) if sizes else "scalar"


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 layer", "1,200 layers"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
