"""How a failure is told: who is to blame, in one sentence, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gradscope.protocol.limits import Count, Name, Sentence, Traceback
from gradscope.protocol.phases import Phase, SubStep


class FailureKind(StrEnum):
    USER_CODE = "user code"
    """The user's recipe, model, loss, data or optimizer raised."""
    BAD_INPUT = "bad input"
    """A file, a field or a flag is wrong."""
    CANCELLED = "cancelled"
    """A person interrupted it."""
    OUR_BUG = "our bug"
    """gradscope itself failed."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failure, told once. `sentence` says what, where and what was expected; the rest is evidence."""

    kind: FailureKind
    sentence: Sentence
    traceback: Traceback = ""
    """The traceback, cut to the user's own files where it is the user's code that failed."""
    phase: Phase | None = None
    substep: SubStep | None = None
    layer: Name | None = None
    """Qualified name of the innermost layer that had been entered; "" is the model itself; None is outside any layer."""
    call: Count = 0
    undone: Sentence = ""
    """What was undone, and where the session stands now."""
    can_be_traced: bool = False
    """A backward has failed: with `Go(traced=True)` it would say of which line."""


class GradscopeError(Exception):
    """An error that carries a `Failure`; its text is the sentence."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence)
        self.failure = failure


class BadInput(GradscopeError):
    """A file, a field or a flag is wrong: one sentence that names the thing, what is wrong and what is expected."""

    def __init__(self, sentence: str, *, traceback: str = "") -> None:
        super().__init__(Failure(kind=FailureKind.BAD_INPUT, sentence=sentence, traceback=traceback))


class UserCodeFailed(GradscopeError):
    """The user's code raised during a phase. The phase has been undone when this is seen."""

    report: Any = None
    """What the engine had captured of the phase up to there (a PhaseReport), or None."""


class Interrupted(GradscopeError):
    """A person stopped a phase. The phase has been undone when this is seen."""
