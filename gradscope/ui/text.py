"""Numbers, shapes and durations as short text for tables and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MAX_TIME = 32
_LEAST_PLAIN, _MOST_PLAIN = 1e-99, 1e100
_DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]?\d+)?(?![\w.])|(?<![\w.])\d+e[+-]?\d+(?![\w.])")
_TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def number(value: float | None, *, digits: int = 3) -> str:
    """Three significant digits; "NaN", "Inf" and "-Inf" by their names; nothing for None."""
    if value is None:
        return ""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    if value and not _LEAST_PLAIN < abs(value) < _MOST_PLAIN:
        # Exponents of three digits take the place of a digit: "2.2e154".
        return f"{value:.{max(digits - 2, 1)}e}".replace("e+", "e")
    if 0 < abs(value) < 1e-3:
        # 8.8e-4, where "g" would write 0.00088.
        return f"{value:.{digits - 1}e}".replace("e-0", "e-")
    return f"{value:.{digits}g}".replace("e+0", "e+")


def shortened_numbers(text: str, *, at_most: int = 9) -> str:
    """A text of Python in which every decimal number that is longer is rounded to six significant digits."""

    def short(found: re.Match[str]) -> str:
        value = float(found[0])
        return found[0] if len(found[0]) <= at_most or math.isinf(value) else f"{value:.6g}"

    return _DECIMAL.sub(short, text)


def shape(sizes: Sequence[int]) -> str:
    """ "784 × 256"; a 0-d tensor is a "scalar"."""
    return " × ".join(str(size) for size in sizes) if sizes else "scalar"


def written_at(created: str) -> str:
    """ "2026-11-21 10:12 UTC" of a snapshot's ISO 8601 time; what is none is shown as it is, shortened."""
    try:
        when = datetime.fromisoformat(created)
        when = when.astimezone(UTC) if when.tzinfo is not None else when
    except (ValueError, OverflowError):
        return created[:_MAX_TIME]
    return f"{when:%Y-%m-%d %H:%M}" + (" UTC" if when.tzinfo is not None else "")


def duration(seconds: float) -> str:
    """ "1.23 ms"; nothing for NaN and Inf."""
    if not math.isfinite(seconds):
        return ""
    for size, unit in _TIME_UNITS:
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.2g} µs"


def time_left(seconds: float) -> str:
    """ "45 s", "12 min", "3.5 h": a guess, and no more exact than that."""
    if seconds < 99.5:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.3g} h"


def byte_size(count: float) -> str:
    """ "12.5 KiB"; nothing for NaN and Inf."""
    if not math.isfinite(count):
        return ""
    for unit in _BYTE_UNITS:
        if abs(count) < 1024 or unit == _BYTE_UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError("the last unit takes everything")


def shortened(text: str, *, at_most: int) -> str:
    """The first clause of a text, cut where it is still too long."""
    text = text.partition(";")[0]
    return text if len(text) <= at_most else text[: at_most - 1].rstrip() + "…"
