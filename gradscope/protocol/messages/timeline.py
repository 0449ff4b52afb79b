"""Going back: what is asked for, how far one can go, and which branches there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.limits import AtMost, Count, Name, Sentence, Shape
from gradscope.protocol.messages.edits import EditMade
from gradscope.protocol.phases import Position
from gradscope.protocol.subjects import SubjectKey

MAX_CHECKPOINTS = 100_000
MAX_BRANCHES = 1000
MAX_EDITS = 100_000


@dataclass(frozen=True, kw_only=True)
class StepBack:
    """Go to before the newest phase, or to before the newest step. Reply: WentTo, Cancelled or Failed."""

    whole_step: bool = False


@dataclass(frozen=True, kw_only=True)
class GoTo:
    """Go to before the forward of a step that was made, on this branch or another one. Reply: WentTo, Cancelled or Failed."""

    step: Count
    branch: Count | None = None
    """None is the one that the training is on."""


@dataclass(frozen=True, kw_only=True)
class GoToLast:
    """Go back to the newest step before this one in which a condition held. Reply: WentTo, Cancelled or Failed."""

    condition: Name
    """As `protocol.stops.parsing.parse` reads it."""


@dataclass(frozen=True, kw_only=True)
class SetTimeline:
    """How much memory checkpoints may take; 0 keeps none. Reply: Pong or Failed."""

    limit_bytes: Count


@dataclass(frozen=True, kw_only=True)
class RestoreWeights:
    """Of a script, between two steps: put the parameters, buffers, optimizer states and random states of before that step in
    place. Its own variables are left alone. Reply: WeightsRestored or Failed."""

    step: Count


@dataclass(frozen=True, kw_only=True)
class WeightsRestored:
    """They are in place."""

    step: Count
    notes: Annotated[tuple[Sentence, ...], AtMost(100)] = ()
    """What could not be put back."""


Travel = StepBack | GoTo | GoToLast
"""What takes the training elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Recompute:
    """Compute the tensor of a subject in a step that is over again; training stands where it stood. FetchPage and the like
    with that `step` are answered then, as long as it is kept. Reply: Recomputed, Cancelled or Failed."""

    step: Count
    subject: SubjectKey


@dataclass(frozen=True, kw_only=True)
class Recomputed:
    """The values of a subject in an earlier step are there."""

    step: Count
    subject: SubjectKey
    shape: Shape
    dtype: Name
    verified: bool | None = None
    """The replay was the same as then; None where nothing was known to compare with."""
    notes: Annotated[tuple[Sentence, ...], AtMost(100)] = ()


@dataclass(frozen=True, kw_only=True)
class ReplayProgress:
    """Event, while a training is replayed: this step of those up to `until` is done. Interrupt breaks it off."""

    step: Count
    start: Count
    until: Count


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One way that the training has gone from a step of another one."""

    id: Count
    parent: Count | None
    """None for the first one."""
    from_step: Count
    """Up to here it is its parent."""
    until_step: Count
    """Steps that are done on it."""
    change: Sentence = ""
    """What was changed where it begins: "group 0: lr 0.1 -> 0.01"; "" for nothing that is known."""


@dataclass(frozen=True, kw_only=True)
class WentTo:
    """The training stands elsewhere. Reports up to there stay true; those behind it are of another branch."""

    position: Position
    branch: Count
    verified: bool | None = None
    """A replay has led to the same state as then; None where nothing was replayed, or nothing was known to compare with."""
    notes: Annotated[tuple[Sentence, ...], AtMost(100)] = ()
    """From which step on a replay was not the same, what could not be put back, why it is only near."""
    edits: Annotated[tuple[EditMade, ...], AtMost(MAX_EDITS)] = ()
    """All that were made on the way there: those behind it, and those of other branches, were not."""


@dataclass(frozen=True, kw_only=True)
class TimelineState:
    """Event: how far back one can go now, and what it costs."""

    limit_bytes: Count
    used_bytes: Count
    checkpoints: Annotated[tuple[Count, ...], AtMost(MAX_CHECKPOINTS)]
    """Steps before whose forward a state is kept, of the branch that the training is on, in their order. Of a script: the
    steps whose weights can be put back."""
    earliest: Count | None
    """The first step that can be gone to; None where none can."""
    branch: Count = 0
    """That the training is on."""
    branches: Annotated[tuple[Branch, ...], AtMost(MAX_BRANCHES)] = ()
    reason: Sentence = ""
    """Why one cannot go back, where one cannot: capture off, too large for the limit, data that is gone through once."""
