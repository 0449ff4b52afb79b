"""Numbers of charts as text, in the format of `protocol.numbers`: short on screen, exact where a person asks. App process."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradscope.protocol.numbers import exact, number, percent, scientific
from gradscope.state.records.kept_numbers import LEAST

__all__ = [
    "BEYOND",
    "exact",
    "from_log10",
    "kept",
    "kept_cell",
    "percent",
    "power_of_ten",
    "scaled",
    "short",
    "two_digits",
    "with_fewer_digits",
]

BEYOND = "3.4e38"
"""What float32 holds at most: `kept_numbers.MOST`."""


def short(value: float) -> str:
    """Four significant digits: for axes, titles and colour bars."""
    return number(value)


def two_digits(value: float) -> str:
    """ "1.2e-7": for errors, of which only the size matters."""
    return number(value, digits=2)


def with_fewer_digits(tell: Callable[[Callable[[float], str]], str]) -> list[str]:
    """What is told with exact numbers, and the same with shorter ones, for `ElidedLabel.show_forms`. `tell` is given how a
    number is written; what is no measured number, like a step, it writes itself."""
    return list(dict.fromkeys(tell(written) for written in (exact, short, two_digits)))


def scaled(value: float, exponent: int) -> str:
    """value * 10**exponent as `short` has it, also where that is more, or less, than a float holds."""
    if not exponent or not value or not math.isfinite(value):
        return short(value)
    digits, _, own = scientific(value, digits=4).partition("e")
    power = int(own) + exponent
    if -300 < power < 300:
        return short(float(f"{digits}e{power}"))
    return f"{digits}e{power}"


def kept(value: float, digits: Callable[[float], str] = exact) -> str:
    """A number of the history, as `digits` write it; no infinite one where float32 was too small for it. "–" for none."""
    if math.isnan(value):
        return "–"
    sign = "-" if value < 0 else ""
    if math.isinf(value):
        return f"{'<' if sign else '>'}{sign}{BEYOND}"
    return f"{'>' if sign else '<'}{sign}1e-44" if 0 < abs(value) <= LEAST else digits(value)


def kept_cell(value: float) -> float | str:
    """The same for a table."""
    return value if math.isfinite(value) and not 0 < abs(value) <= LEAST else kept(value)


def power_of_ten(exponent: int) -> str:
    """A decade as axes write it: 0.01, 1, 100, and 1e-5 outside of that."""
    return number(float(f"1e{exponent}")) if -300 < exponent < 300 else f"1e{exponent}"


def from_log10(exponent: float) -> str:
    """One significant digit of 10**exponent, also where no float holds that."""
    if -300 < exponent < 300:
        return number(float(f"{10.0**exponent:.0e}"), digits=1)
    power = math.floor(exponent)
    digit = round(10 ** (exponent - power))
    return f"{digit}e{power}" if digit < 10 else f"1e{power + 1}"
