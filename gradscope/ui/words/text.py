"""Shapes, durations, sizes and times as short text for tables and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from gradscope.protocol.numbers import number

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MAX_TIME = 32
_TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


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
    in_units = ((number(seconds / size, digits=3), unit) for size, unit in _TIME_UNITS)
    # 0.9996 ms is 1 ms, and not 1000 µs.
    text, unit = next(((text, unit) for text, unit in in_units if abs(float(text)) >= 1), ("", ""))
    return f"{text} {unit}" if text else f"{number(seconds / _TIME_UNITS[-1][0], digits=2)} µs"


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
        text = f"{count:.0f}" if unit == "B" else number(count, digits=3)
        if abs(float(text)) < 1024 or unit == _BYTE_UNITS[-1]:
            return f"{text} {unit}"
        count /= 1024
    raise AssertionError("the last unit takes everything")


def shortened(text: str, *, at_most: int) -> str:
    """The first clause of a text, cut where it is still too long."""
    text = text.partition(";")[0]
    return text if len(text) <= at_most else text[: at_most - 1].rstrip() + "…"
