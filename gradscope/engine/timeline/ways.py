"""What was done, step by step, on each of the ways that a training has gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradscope.engine.book.step_record import StepRecord
from gradscope.engine.stepping.best import Best
from gradscope.protocol.messages import Validated
from gradscope.protocol.messages.edits import Edit
from gradscope.protocol.messages.evaluate import Evaluate
from gradscope.protocol.messages.timeline import Branch
from gradscope.protocol.phases import Phase

if TYPE_CHECKING:
    from gradscope.engine.timeline.checkpoint import Checkpoint
    from gradscope.engine.timeline.marks import Mark


@dataclass(frozen=True)
class Ran:
    """A phase was run."""

    phase: Phase
    loss: float | None = None
    """That a forward has computed."""
    mark: Mark | None = field(default=None, compare=False)
    """After it; None where none was made."""


@dataclass(frozen=True)
class Edited:
    """An edit was made, or something evaluated with its effects kept; None: the newest edit was undone."""

    edit: Edit | Evaluate | None
    names: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """The console's variables that what was evaluated may have used, as they were then."""


@dataclass(frozen=True)
class Cleared:
    """The gradients were cleared by hand."""


@dataclass(frozen=True)
class ByHand:
    """A validation by hand, which is not repeated: only what came of it is."""

    validation: Validated
    best: Best | None


Action = Ran | Edited | Cleared | ByHand


def is_same(one: Action, other: Action) -> bool:
    """Whether the same was done again."""
    if isinstance(one, Ran) and isinstance(other, Ran):
        return one.phase is other.phase
    if isinstance(one, ByHand):
        return isinstance(other, ByHand)
    if isinstance(one, Edited) and isinstance(other, Edited) and not _are_same(one.names, other.names):
        return False
    return one == other


def _are_same(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Numbers and texts by what they are, everything else by which it is."""
    return some.keys() == others.keys() and all(
        one is other or (type(one) is type(other) and type(one) in (int, float, str) and one == other)
        for one, other in ((some[name], others[name]) for name in some)
    )


@dataclass(eq=False)
class StepLog:
    """One step, as far as it has come."""

    number: int
    actions: list[Action] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    mark: Mark | None = None
    """Before its first forward."""
    record: StepRecord | None = None
    """When it is done."""

    @property
    def begins_at(self) -> int:
        """What was done before its first forward."""
        for at, action in enumerate(self.actions):
            if isinstance(action, Ran):
                return at
        return len(self.actions)


@dataclass(eq=False)
class Way:
    """A branch: what its parent did before it went away from there, and what was done since."""

    id: int
    parent: int | None
    from_step: int
    forked_at: int = 0
    """So much of what was done in that step is its parent's."""
    steps: dict[int, StepLog] = field(default_factory=dict)
    """Those that can still be gone to, its parent's too."""
    records: dict[int, StepRecord] = field(default_factory=dict)
    """Of all steps that are done on it, its parent's too."""
    changes: list[str] = field(default_factory=list)

    @property
    def until_step(self) -> int:
        """The first step that is not done on it."""
        return max(self.records, default=self.from_step - 1) + 1

    @property
    def is_empty(self) -> bool:
        """Its first phase was broken off, and nothing has been done on it."""
        if self.parent is None or self.changes or self.until_step > self.from_step:
            return False
        return not any(
            log.number >= self.from_step and len(log.actions) > self.forked_at for log in self.steps.values()
        )

    def log(self, number: int) -> StepLog:
        """Of a step, which may only begin now."""
        if number not in self.steps:
            self.steps[number] = StepLog(number)
        return self.steps[number]

    def described(self) -> Branch:
        change = "; ".join(self.changes)
        return Branch(
            id=self.id, parent=self.parent, from_step=self.from_step, until_step=self.until_step, change=change
        )
