"""Lists that grow with the training, kept short: the beginning and the newest part of each."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")
FIRST, MOST = 64, 512


def note(series: list[T], item: T, *, first: int = FIRST, most: int = MOST) -> None:
    """Append; where it has become too long, part of the middle goes."""
    series.append(item)
    if len(series) > most:
        del series[first : first + (most - first) // 2]
