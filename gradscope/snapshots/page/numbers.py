"""Numbers, shapes and counts as short text for tables that people read."""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.protocol import numbers


def number(value: float | None) -> str:
    """Four significant digits; "–" for None."""
    return "–" if value is None else numbers.number(value)


def percent(part: float, whole: float) -> str:
    """A share in percent; "–" of nothing."""
    return numbers.percent(100 * part / whole) if whole else "–"


def shape(sizes: Sequence[int]) -> str:
    """ "784 × 256"; a 0-d tensor is a "scalar"."""
    return " × ".join(str(size) for size in sizes) if sizes else "scalar"


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 layer", "1,200 layers"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
