"""The first value of a training that is NaN or infinite: when, in which part of the step, where, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gradscope.protocol.limits import Count, Name, Sentence, Unfit
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey


class Stage(StrEnum):
    """Where a value can become non-finite, in the order in which things happen."""

    BATCH = "batch"
    PARAMETERS = "parameters"
    """Before the forward: an earlier step that was not looked at, a checkpoint, or how they were made."""
    BUFFERS = "buffers"
    """The same of them."""
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    CLIPPING = "clipping"
    OPTIMIZER_STATE = "optimizer state"
    UPDATE = "update"

    @property
    def phase(self) -> Phase:
        if self in (Stage.CLIPPING, Stage.OPTIMIZER_STATE, Stage.UPDATE):
            return Phase.STEP
        return Phase.BACKWARD if self is Stage.BACKWARD else Phase.FORWARD


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What made it, inside the forward of a layer that is the user's own."""

    name: Name
    """As torch calls it, without dots and underscores: "log", "truediv"."""
    source: Name
    """ "model.py, line 8"."""
    code: Name
    """That line."""


@dataclass(frozen=True, kw_only=True)
class FirstNonFinite:
    """Where it began. Told once, in the report of the phase in which it was found."""

    step: Count
    stage: Stage
    place: Name
    """Short: "1 (Log)", "weight"; "" where the stage says all."""
    nan: Count
    inf: Count
    count: Count
    """Elements of the tensor that the two counts are of."""
    sentence: Sentence
    """All of it, in words."""
    subject: SubjectKey | None = None
    """The tensor, where it is one that is captured."""
    operation: Operation | None = None

    @property
    def kind(self) -> str:
        """ "NaN" or "Inf"."""
        return "NaN" if self.nan else "Inf"

    @property
    def title(self) -> str:
        """ "First NaN: step 30, forward, 1 (Log)": what the sentence begins with."""
        parts = (f"step {self.step}", self.stage.value, self.place)
        return f"First {self.kind}: {', '.join(part for part in parts if part)}"

    def check(self) -> None:
        if not 0 < self.nan + self.inf <= self.count:
            raise Unfit(f"has {self.nan} NaN and {self.inf} Inf of {self.count} elements")
