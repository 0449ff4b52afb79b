"""Numbers as people read them: the one format of tables, charts, messages, reports and the command line.

Numbers are shortened by rounding, never by cutting: what is left has the magnitude and the sign of the whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

EXACT_FLOAT32 = 9
"""Significant digits that tell every float32 apart."""
EXACT_FLOAT64 = 17
_LEAST_PLAIN = -3
"""Exponents from this on are written out: 0.001."""
_MOST_PLAIN = 6
"""Exponents below this are: 123456; or as many as there are digits."""
_MANY_PERCENT = 1e6
_DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]?\d+)?(?![\w.])|(?<![\w.])\d+e[+-]?\d+(?![\w.])")
_TOKEN = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]|,\d)")


def number(value: float | None, *, digits: int = 4) -> str:
    """So many significant digits, without the zeros at their end: "0.5", "1000", "1.25e6", "-2e-12"; the digits before the
    point are all there. "NaN", "Inf" and "-Inf" by their names; nothing for None."""
    if value is None:
        return ""
    special = of_special(value)
    if special:
        return special
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if not value or _LEAST_PLAIN <= exponent < max(_MOST_PLAIN, digits):
        return _trimmed(f"{value:.{max(0, digits - 1 - exponent)}f}")
    return scientific(value, digits=digits)


def exact(value: float) -> str:
    """Nine significant digits, which tell every float32 apart."""
    return number(value, digits=EXACT_FLOAT32)


def scientific(value: float, *, digits: int) -> str:
    """ "1.2e-7" of a finite number."""
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{_trimmed(mantissa)}e{int(exponent)}"


def of_special(value: float) -> str:
    """ "NaN", "Inf", "-Inf", or nothing for a number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return ""


def percent(share: float) -> str:
    """A share that is given in percent: no "0 %" for what is more than nothing, no "100 %" for what is less than all."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.1:
        return "<0.1 %"
    if 99.9 < share < 100:
        return ">99.9 %"
    if abs(share) >= _MANY_PERCENT:
        return f"{number(share)} %"
    return f"{share:.1f} %" if share % 1 else f"{share:.0f} %"


def fitted(text: str, fits: Callable[[str], bool]) -> str:
    """A text whose numbers are rounded until it fits; "…" where even one digit of each is too long."""
    if fits(text):
        return text
    for digits in range(EXACT_FLOAT64 - 1, 0, -1):
        rounded = rounded_in(text, digits=digits)
        if fits(rounded):
            return rounded
    return "…"


def rounded_in(text: str, *, digits: int) -> str:
    """A text in which every number has so many significant digits at most, in the shorter of the ways to write it."""

    def rounded(found: re.Match[str]) -> str:
        value = float(found[0].replace(",", ""))
        if math.isinf(value):
            return found[0]
        return min(found[0], number(value, digits=digits), scientific(value, digits=digits), key=len)

    return _TOKEN.sub(rounded, text)


def shortened_numbers(text: str, *, at_most: int = 9) -> str:
    """A text of Python in which every decimal number that is longer is rounded to six significant digits."""

    def short(found: re.Match[str]) -> str:
        value = float(found[0])
        return found[0] if len(found[0]) <= at_most or math.isinf(value) else number(value, digits=6)

    return _DECIMAL.sub(short, text)


def without_part_of_number(text: str, kept: int) -> int:
    """How many of the first `kept` characters of a text can be shown without the rest, so that no number is cut."""
    for found in _TOKEN.finditer(text):
        if found.start() < kept < found.end():
            return found.start()
    return kept


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
