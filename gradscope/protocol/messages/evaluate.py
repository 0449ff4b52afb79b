"""Python that is evaluated in the stopped training, and expressions whose numbers are taken again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np

from gradscope.protocol.arrays import Dims, FloatArray, IntArray
from gradscope.protocol.limits import (
    AtMost,
    Count,
    CountFromOne,
    Index,
    Name,
    Prose,
    Sentence,
    Sentences,
    Shape,
    Traceback,
    Unfit,
)
from gradscope.protocol.subjects import COLUMNS, SubjectKey

MAX_CODE = 20_000
"""Characters of what is evaluated at once: a longer text belongs in a file."""
MAX_WATCHES = 50
MAX_COMPLETIONS = 500
MAX_TENSORS_TOLD = 8
"""Of one value: a tuple of tensors, a dict of them."""
PAGE_SIDE = 64
"""Rows and columns of a tensor's values that come with its summary."""

Code = Annotated[str, AtMost(MAX_CODE)]
"""Whole or not at all: code that is cut means something else."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate Python where the training stands: statements, and the value of the last one where it is an expression.

    What it changes of the training is put back, unless `keep`. Reply: Evaluated, or Failed where nothing can be evaluated.
    Interrupt breaks it off.
    """

    text: Code
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class TensorTold:
    """What there is to say of one tensor of a value."""

    leaf: Name
    """Where in the value it is: "", "[0]", ".logits"."""
    shape: Shape
    dtype: Name
    device: Name
    requires_grad: bool
    grad_fn: Name = ""
    """The name of what has made it in the graph; "" of a leaf."""
    note: Sentence = ""
    """What has to be known to read the numbers, or why there are none."""
    summary: Annotated[FloatArray, Dims(len(COLUMNS))]
    """As the columns of a report; all NaN where there are no numbers."""
    edges: Annotated[FloatArray, Dims("edges")]
    counts: Annotated[IntArray, Dims("counts")]
    """A linear histogram of the finite values, as in `Histogram`; empty where there is none, or too many values."""
    index: Index = ()
    values: Annotated[FloatArray, Dims("rows", "columns")]
    """The upper left of the 2-d slice at `index`, at most PAGE_SIDE x PAGE_SIDE."""
    integer: bool = False
    subject: SubjectKey | None = None
    """The same tensor in the panels, where it is one."""

    def check(self) -> None:
        if max(self.values.shape) > PAGE_SIDE:
            raise Unfit(f"has {self.values.shape} values; at most {PAGE_SIDE} x {PAGE_SIDE} are taken")
        if len(self.edges) != (len(self.counts) + 1 if len(self.counts) else 0):
            raise Unfit(f"has {len(self.edges)} edges for {len(self.counts)} counts")
        if self.counts.min(initial=0) < 0 or not np.isfinite(self.edges).all() or (np.diff(self.edges) < 0).any():
            raise Unfit("has bins that cannot be drawn")


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What came of it. Where it has raised, `error` says what, and there is no value."""

    text: Prose = ""
    """The value, as one would read it at a prompt; "" where there is none."""
    output: Prose = ""
    """What was printed."""
    tensors: Annotated[tuple[TensorTold, ...], AtMost(MAX_TENSORS_TOLD)] = ()
    seconds: float = 0.0
    error: Sentence = ""
    traceback: Traceback = ""
    """Cut to the code that was evaluated and the user's files."""
    line: CountFromOne | None = None
    column: CountFromOne | None = None
    """Where the code cannot be read, in a SyntaxError."""
    is_cancelled: bool = False
    """It was interrupted."""
    moved: Sentences = ()
    """With `keep`: what is not as before; otherwise what could not be put back."""
    notes: Sentences = ()
    """What else is to be known of it."""

    def check(self) -> None:
        if not self.seconds >= 0:
            raise Unfit(f"has taken {self.seconds} s")


@dataclass(frozen=True, kw_only=True)
class Complete:
    """Which names may stand at `cursor` in a text. Reply: Completions or Failed. Nothing of the user's is called."""

    text: Code
    cursor: Count


@dataclass(frozen=True, kw_only=True)
class Completions:
    """Each of the names may stand in the place of what is between `start` and the cursor."""

    start: Count
    names: Annotated[tuple[Name, ...], AtMost(MAX_COMPLETIONS)]


class WatchTime(StrEnum):
    """When the number of a watched expression is taken."""

    STOP = "stop"
    """Whenever the training stops."""
    STEP = "step"
    """After every step too."""


@dataclass(frozen=True, kw_only=True)
class WatchExpression:
    id: Count
    """Given by who sets it, and never again to another one."""
    text: Code
    each: WatchTime = WatchTime.STOP


@dataclass(frozen=True, kw_only=True)
class SetWatches:
    """These expressions are watched from now on, in the place of those before; one that was switched off is on again.

    Reply: Pong or Failed. Their values follow in WatchValues, at once where the training stands still.
    """

    watches: Annotated[tuple[WatchExpression, ...], AtMost(MAX_WATCHES)]


@dataclass(frozen=True, kw_only=True)
class WatchValue:
    """Of one expression."""

    id: Count
    text: Sentence = ""
    """The value, in a line; "" where it has raised."""
    number: float | None = None
    """The value as a number, where it is one."""
    error: Sentence = ""
    is_off: bool = False
    """It has raised after a step, and is not taken in steps any more."""


@dataclass(frozen=True, kw_only=True)
class WatchValues:
    """Event: the values of watched expressions."""

    step: Count
    """The step that is under way, or was just done where they were taken after it."""
    after_step: bool
    values: Annotated[tuple[WatchValue, ...], AtMost(MAX_WATCHES)]
    seconds: float = 0.0
    """That taking them has taken."""
    note: Sentence = ""
    """Why they are not taken in every step, where they are not."""

    def check(self) -> None:
        if not 0 <= self.seconds < math.inf:
            raise Unfit(f"has taken {self.seconds} s")
