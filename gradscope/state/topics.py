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
    SHOWN = auto()
    """Another step is looked at, or the newest of everything again."""
    TIMELINE = auto()
    """How far one can go back, which branches there are, or how far a replay has come."""
    SOURCE = auto()
    """Training stands at another line of the user's, or goes on."""
    SCHEDULE = auto()
    MODEL = auto()
    """There are other layers, parameters or buffers, in the same session."""
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
    WHAT_IF = auto()
    """Something was tried beside the training, or has come further."""
    PROBE = auto()
    """The pinned batch was run again, or another one is pinned, or none."""
    CONSOLE = auto()
    """Something is evaluated, or has been."""
    WATCHES = auto()
    """Other expressions are watched, or values of them have come."""
    FINDINGS = auto()
    """Something else has been found, or dismissed; or a check-up has come further."""
    STOPS = auto()
    """There are other stops, or training has come to one, or goes on from it."""
