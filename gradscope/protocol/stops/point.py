"""One place or condition at which a training is to stop."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.limits import Count, CountFromOne, Name, Sentence
from gradscope.protocol.phases import Moment

MAX_STOPS = 500


@dataclass(frozen=True, kw_only=True)
class StopPoint:
    """As a person has set it."""

    id: Count
    """Given by who sets it, and never again to another one."""
    text: Name
    """What `protocol.stops.parsing.parse` reads: "step 40", "enter encoder.0", "grad.l2 > 10 in encoder.*"."""
    is_enabled: bool = True
    every: CountFromOne = 1
    """Stop at each so manyeth time that it holds."""


@dataclass(frozen=True, kw_only=True)
class StopHit:
    """A training has stopped because of a point."""

    id: Count
    hits: Count
    """How often it has held so far, this time included."""
    step: Count
    moment: Moment | None
    """Where inside a phase; None between two phases."""
    subject: str = ""
    """The layer, parameter or other subject that it held for; "" for none."""
    sentence: Sentence = ""
    """"grad.l2 of encoder.0.weight is 12.4, above 10": the threshold that was set, and the value that was found."""
