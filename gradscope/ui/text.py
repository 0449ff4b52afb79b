"""Numbers, shapes and durations as short text for tables and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MAX_TIME = 32
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
    if 0 < abs(value) < 1e-3:
        # 8.8e-4, where "g" would write 0.00088.
        return f"{value:.{digits - 1}e}".replace("e-0", "e-")
    return f"{value:.{digits}g}".replace("e+0", "e+")


def shortened_numbers(text: str, *, at_most: int = 9) -> str:
    """A text of Python in which every decimal number that is longer is rounded to six significant digits."""
    return _DECIMAL.sub(lambda found: found[0] if len(found[0]) <= at_most else f"{float(found[0]):.6g}", text)


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
    """ "1.23 ms"; nothing for NaN."""
    if math.isnan(seconds):
        return ""
    for size, unit in _TIME_UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.2g} µs"


def byte_size(count: float) -> str:
    """ "12.5 KiB"; nothing for NaN."""
    if math.isnan(count):
        return ""
    for unit in _BYTE_UNITS:
        if count < 1024 or unit == _BYTE_UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError("the last unit takes everything")


def shortened(text: str, *, at_most: int) -> str:
    """The first clause of a text, cut where it is still too long."""
    text = text.partition(";")[0]
    return text if len(text) <= at_most else text[: at_most - 1].rstrip() + "…"
