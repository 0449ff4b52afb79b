"""What a picture is drawn of: the numbers of one trained example, and how they are to be shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from docs.finding_pictures.runs import Run, Watch


class Form(Enum):
    CURVES = "curves"
    """Both in one pair of axes."""
    BARS = "bars"
    """Two panels with the same axis."""


@dataclass(frozen=True)
class Values:
    """Of one example: a number for each place."""

    heights: tuple[float, ...]
    names: tuple[str, ...] = ()
    """Of the places; empty: they are numbered from `first`."""
    first: float = 0.0
    last: float | None = None
    """The numbers at both ends of the axis. None: of the last place."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """`of` is asked after the steps, `watch` after each of them."""

    form: Form
    up: str
    along: str
    of: Callable[[Run], Values]
    watch: Watch | None = None
    is_log: bool = False
