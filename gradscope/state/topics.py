"""What can change in the state: a view is told, and redraws what it shows of it."""

from __future__ import annotations

from enum import Enum, auto


class Topic(Enum):
    """What can change; a view is refreshed with the set of topics that did."""

    ENGINE = auto()
    """The engine process: starting, ready, busy, dead."""
    SESSION = auto()
    """Another session: every view starts anew."""
    POSITION = auto()
    HISTORY = auto()
    """A report or a validation came in."""
    SCHEDULE = auto()
    SETTINGS = auto()
    """Settings of the training step are different now, in the same session."""
    EDITS = auto()
    """An edit was made or undone."""
    SELECTION = auto()
    PINS = auto()
    LOG = auto()
    FAILURE = auto()
    NONFINITE = auto()
    """Where NaN or Inf began is known, or dismissed."""
