"""Numbers as text: short on screen, exact where a person asks. App process."""

from __future__ import annotations

import math

from gradscope.state.kept_numbers import LEAST

BEYOND = "3.4e38"
"""What float32 holds at most: `kept_numbers.MOST`."""
_MANY_PERCENT = 1e6


def short(value: float) -> str:
    """Four significant digits: for axes, titles and colour bars."""
    return _special(value) or f"{value:.4g}"


def exact(value: float) -> str:
    """Nine significant digits, which tell every float32 apart."""
    return _special(value) or f"{value:.9g}"


def two_digits(value: float) -> str:
    """ "1.2e-07": for errors, of which only the size matters."""
    return _special(value) or f"{value:.1e}"


def scaled(value: float, exponent: int) -> str:
    """value * 10**exponent as `short` has it, also where that is more, or less, than a float holds."""
    if not exponent or not value or not math.isfinite(value):
        return short(value)
    digits, _, own = f"{value:.3e}".partition("e")
    power = int(own) + exponent
    if -300 < power < 300:
        return short(float(f"{digits}e{power}"))
    return f"{digits.rstrip('0').rstrip('.')}e{power:+03d}"


def kept(value: float) -> str:
    """`exact`, of a number of the history, which is no infinite one where float32 was too small for it; "–" for none."""
    if math.isnan(value):
        return "–"
    sign = "-" if value < 0 else ""
    if math.isinf(value):
        return f"{'<' if sign else '>'}{sign}{BEYOND}"
    return f"{'>' if sign else '<'}{sign}1e-44" if 0 < abs(value) <= LEAST else exact(value)


def kept_cell(value: float) -> float | str:
    """The same for a table."""
    return value if math.isfinite(value) and not 0 < abs(value) <= LEAST else kept(value)


def percent(value: float) -> str:
    """A share that is given in percent: no "0.0 %" for what is more than nothing."""
    if math.isnan(value):
        return "–"
    if 0 < value < 0.1:
        return "<0.1 %"
    if 99.9 < value < 100:
        return ">99.9 %"
    if abs(value) >= _MANY_PERCENT:
        return f"{short(value)} %"
    return f"{value:.1f} %" if value % 1 else f"{value:.0f} %"


def power_of_ten(exponent: int) -> str:
    """A decade as axes write it: 0.01, 1, 100, and 1e-5 outside of that."""
    return f"{10.0**exponent:g}" if -3 <= exponent <= 3 else f"1e{exponent}"


def from_log10(exponent: float) -> str:
    """One significant digit of 10**exponent, also where no float holds that."""
    if -300 < exponent < 300:
        return f"{10.0**exponent:.1g}".replace("e-0", "e-")
    power = math.floor(exponent)
    digit = round(10 ** (exponent - power))
    return f"{digit}e{power:+d}" if digit < 10 else f"1e{power + 1:+d}"


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return ""
