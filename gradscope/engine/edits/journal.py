"""What was done by hand to a training, and at which place: what a script that repeats the training has to do there."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from gradscope.engine.book.turns import groups_of
from gradscope.engine.edits.arguments import as_literal
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.messages.edits import Edit, EditOption
from gradscope.protocol.phases import Phase, Rest


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """A place between two phases."""

    step: int
    after: Phase | None = None
    """FORWARD or BACKWARD of a micro-batch of that step; None: before the step."""
    micro: int = 0

    @staticmethod
    def of(stepper: Stepper) -> Place:
        """Where a training stands now, between two phases."""
        step, micro, rest = stepper.position.step, stepper.loop.window.micro, stepper.position.rest
        match rest:
            case Rest.FORWARD:
                return Place(step=step, after=Phase.FORWARD, micro=micro)
            case Rest.ACCUMULATING:
                # The next micro-batch is counted already.
                return Place(step=step, after=Phase.BACKWARD, micro=micro - 1)
            case Rest.BACKWARD:
                return Place(step=step, after=Phase.BACKWARD, micro=micro)
        return Place(step=step)


class DeedKind(Enum):
    EDIT = auto()
    UNDO = auto()
    """Of the edit of that number."""
    CLEAR = auto()
    """Zero grad, by hand."""
    CODE = auto()
    """Evaluated, with its effects kept."""


@dataclass(kw_only=True)
class Deed:
    """One thing that was done by hand."""

    kind: DeedKind
    place: Place
    number: int = -1
    """Of the edit."""
    edit: Edit | None = None
    turn: str = ""
    """Whose optimizer it was about, for CLEAR."""
    said: str = ""
    """What undoing had to say: it is not the plain inverse then."""
    values: tuple[str | None, str | None] = (None, None)
    """Of an option, as Python literals: before, and after. None for what cannot be written so."""
    is_tensor: bool = False
    """The option is a tensor of one element."""
    scheduler: tuple[str, dict[str, str]] | None = None
    """Of another optimizer: the class of the scheduler that was made for it, with its arguments."""


@dataclass
class Journal:
    """The deeds of one session, oldest first."""

    deeds: list[Deed] = field(default_factory=list)

    def cut(self, step: int) -> None:
        """The training stands before step `step`: what was done there, or later, has not been done."""
        self.deeds = [deed for deed in self.deeds if deed.place.step < step]


def option_value(stepper: Stepper, edit: Edit) -> tuple[str | None, bool]:
    """(the value of the option that an edit is about, as it is now, whether it is a tensor)."""
    if not isinstance(edit, EditOption):
        return None, False
    value: Any = groups_of(stepper.training.optimizers)[edit.group].get(edit.option)
    return as_literal(value), hasattr(value, "numel")
