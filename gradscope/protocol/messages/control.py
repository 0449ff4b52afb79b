"""Going, pausing and ending, and what the engine says of it unasked."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.failure import Failure
from gradscope.protocol.limits import (
    Count,
    Name,
    Prose,
    Sentence,
)
from gradscope.protocol.phases import Position, RunUntil, Verb


@dataclass(frozen=True, kw_only=True)
class Go:
    """Use a verb (all but pause and reset). Reply when it has ended or was paused: Done or Failed."""

    verb: Verb
    until: RunUntil = RunUntil.PAUSED
    steps: int = 1
    """For RunUntil.STEPS: how many steps to complete."""
    keep_going: bool = False
    """Run and Next batch do not stop where the first NaN or Inf is found."""
    to: Name = ""
    """For Verb.RUN: it ends at the next place, or where the condition holds the next time, that this text says
    (see `protocol.stops.parsing`): "enter encoder.1"; "" is to nowhere."""
    traced: bool = False
    """In torch's anomaly mode: where a backward fails, the failure names the line of the forward. Several times as slow."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Stop at the next moment. Answered by the reader thread (Pong); the running Go replies when it has stopped."""


@dataclass(frozen=True, kw_only=True)
class Interrupt:
    """Break off the phase that is running, also inside user code, and undo it. Answered by the reader thread."""


@dataclass(frozen=True, kw_only=True)
class Ping:
    """Answered by the reader thread with Pong, whatever the main thread does (unless the user's code holds the GIL)."""


@dataclass(frozen=True, kw_only=True)
class Shutdown:
    """End the engine process."""


@dataclass(frozen=True, kw_only=True)
class Pong:
    """Done, nothing to say."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A Go has ended (its goal was met) or was paused on its way."""

    position: Position
    paused: bool = False


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The request failed. `position` is where the session stands now."""

    failure: Failure
    position: Position


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The session stands elsewhere (also while running, a few times a second)."""

    position: Position


@dataclass(frozen=True, kw_only=True)
class DeviceLost:
    """Event: an error has made the device useless to this process. The engine ends, and can be started again."""

    reason: Sentence


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something a person should know that is no failure."""

    text: Prose
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Reports that are not sent: the app has not taken in anything for so long that there was no room to keep them."""

    reports: Count
