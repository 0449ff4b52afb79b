"""A training at one time, in memory: before the forward of a step."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradscope.engine.timeline.own_state import OwnState
from gradscope.engine.timeline.reach import ReachKept
from gradscope.engine.timeline.ways import StepLog

OVERHEAD_BYTES = 16 * 1024
"""Of what a checkpoint holds beside tensors."""


@dataclass(eq=False)
class Checkpoint:
    step: int
    at: int
    """So much of what was done in this step lies before."""
    reach: ReachKept
    own: OwnState
    homes: list[StepLog] = field(default_factory=list)
    """In the logs of all branches that go through it."""
