"""What the phases of a step have shown: tables of subjects and places, reports, the rates ahead, validations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from gradscope.protocol.arrays import Dims, FloatArray, Int32Array, IntArray
from gradscope.protocol.checks import check_counts, check_numbers, check_samples
from gradscope.protocol.limits import (
    MAX_GROUPS,
    MAX_METRICS,
    AtMost,
    Count,
    CountFromOne,
    Name,
    Sentence,
    Sentences,
    StepDone,
    Unfit,
)
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.source import SourceLine
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectRow

VALIDATION_LOSS = "loss"
"""The validation's loss, where a metric is asked for by name."""
OfGroups = Annotated[tuple[float, ...], AtMost(MAX_GROUPS)]
"""One number for each parameter group."""


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """New rows of the subject table, numbered from `first`. Never dropped; always before a report that uses them."""

    first: Count
    rows: tuple[SubjectRow, ...]


@dataclass(frozen=True)
class Place:
    """One kind of event in a phase: a layer call, the loss, a parameter's gradient arriving."""

    substep: SubStep
    layer: Name
    call: Count
    event: Name
    """ "call" for a layer call, "gradient" for a parameter's gradient, "" for a sub-step itself."""
    detail: Name
    """The shapes that came out, as text: "(32, 256)"."""
    line: SourceLine | None = None
    """The user's line that made it happen; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """New rows of the place table, numbered from `first`. Never dropped; always before a report that uses them."""

    first: Count
    rows: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Absence:
    """A subject that could have been there and is not, and why."""

    name: Name
    kind: Name
    reason: Sentence


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What clipping did in one step."""

    norm: float
    """L2 norm of all gradients together before."""
    coefficient: float | None
    """What every gradient was multiplied with, at most 1; None where only single values were clipped."""
    norm_after: float | None
    dominant: Name = ""
    """The parameter with the largest gradient norm."""
    dominant_share: float = 0.0
    """Its part of the squared norm, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class ReportHead:
    """What a phase has to tell, but for its subjects and places."""

    step: Count
    epoch: Count
    batch: Count
    loss: float | None
    """NaN and Inf are values; None before a loss is known."""
    lr: OfGroups
    """Per parameter group: in a step report the rates that this very step used."""
    seconds: float = 0.0
    """How long the phase took, capture included."""
    complete: bool = True
    """False: the phase failed or was broken off; this is what was captured up to there."""
    micro: Count = 0
    """Index of the micro-batch in its window, from 0."""
    window: CountFromOne = 1
    """Micro-batches in the window: the divisor of the loss."""
    optimizer: Name = ""
    """Whose turn it was, where the recipe has several optimizers."""
    scale: float | None = None
    """The loss scale of this step; gradients are shown divided by it."""
    skipped: bool = False
    """The gradient scaler found a gradient that is not finite and left the step out."""
    clip: Clip | None = None
    evaluations: Count = 0
    """How often the closure was evaluated in a step, for an optimizer that needs one (LBFGS)."""
    momentum: OfGroups = ()
    """Per parameter group: momentum, or the first beta; NaN for a group that has none."""
    notes: Sentences = ()
    """Sentences about what a person should know of this phase."""
    first_nonfinite: FirstNonFinite | None = None
    """Where NaN or Inf began, in the report of the phase in which that was found: once in a training."""
    line: SourceLine | None = None
    """Where a script stood when the phase ended; None in a recipe."""


@dataclass(frozen=True, kw_only=True)
class Report(ReportHead):
    """All summaries of one phase."""

    phase: Phase
    subjects: Annotated[IntArray, Dims("subjects")]
    """Row numbers in the subject table, shape (n,)."""
    summaries: Annotated[FloatArray, Dims("subjects", len(COLUMNS))]
    """Shape (n, len(COLUMNS))."""
    histograms: Annotated[Int32Array, Dims("histograms", HISTOGRAM_BINS)]
    """Shape (n, HISTOGRAM_BINS): counts by sign and power of two. (0, HISTOGRAM_BINS) where a frame had no room for them."""
    sampled: Annotated[IntArray, Dims("subjects")]
    """How many elements each histogram looked at, shape (n,); less than the count where a large tensor was sampled."""
    places: Annotated[IntArray, Dims("places")]
    """Row numbers in the place table, in order of time, shape (m,)."""
    times: Annotated[FloatArray, Dims("places", 3)]
    """Shape (m, 3): start in seconds since the phase began, duration in seconds, output bytes. NaN where unknown."""
    absent: tuple[Absence, ...] = ()

    def check(self) -> None:
        check_counts(self.summaries)
        check_samples(self.histograms, self.sampled)


@dataclass(frozen=True, kw_only=True)
class ReportStack:
    """The numbers of several reports of one phase that have the same subjects."""

    phase: Phase
    subjects: Annotated[IntArray, Dims("subjects")]
    """As in Report, shape (n,)."""
    summaries: Annotated[FloatArray, Dims("reports", "subjects", len(COLUMNS))]
    """Shape (reports, n, len(COLUMNS))."""

    def check(self) -> None:
        check_counts(self.summaries)


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Several reports, in the order of time, without histograms and places: they had to wait, and newer ones of the same kind
    follow."""

    heads: tuple[ReportHead, ...]
    numbers: Annotated[IntArray, Dims("heads")]
    """Which of `stacks` each has its numbers in; there they lie in the same order. Shape (len(heads),)."""
    stacks: tuple[ReportStack, ...]

    def check(self) -> None:
        check_numbers(self.numbers, len(self.stacks), "stack")
        counts = np.bincount(self.numbers, minlength=len(self.stacks))
        if len(self.heads) != len(self.numbers) or counts.tolist() != [len(stack.summaries) for stack in self.stacks]:
            raise Unfit("does not have the numbers of each of its reports")


@dataclass(frozen=True, kw_only=True)
class InitialParameters:
    """Event after Opened: summaries of the parameters and buffers before any step. Fields as in Report."""

    subjects: Annotated[IntArray, Dims("subjects")]
    summaries: Annotated[FloatArray, Dims("subjects", len(COLUMNS))]
    histograms: Annotated[Int32Array, Dims("histograms", HISTOGRAM_BINS)]
    sampled: Annotated[IntArray, Dims("subjects")]

    def check(self) -> None:
        check_counts(self.summaries)
        check_samples(self.histograms, self.sampled)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rates ahead, simulated: rates[g, k] is group g's rate at step `first_step` + k."""

    first_step: Count
    rates: Annotated[FloatArray, Dims("groups", "steps")]
    reason: Sentence = ""
    """Why nothing can be foretold, where `rates` has the next step only (in a snapshot: no step)."""
    momenta: Annotated[FloatArray, Dims("momenta", "their steps")] = field(default_factory=lambda: np.zeros((0, 0)))
    """Momentum (or first beta) of each group ahead, in the shape of `rates`; empty where no schedule moves it."""
    horizon: Count | None = None
    """The step at which the schedule ends (OneCycleLR): stepping it further is an error."""

    def check(self) -> None:
        if self.momenta.size and self.momenta.shape != self.rates.shape:
            raise Unfit(f"has momenta of the shape {self.momenta.shape} for rates of {self.rates.shape}")

    def from_step(self, step: int) -> Schedule:
        """What it says of step `step` and those after it."""
        passed = step - self.first_step
        if passed <= 0:
            return self
        return replace(self, first_step=step, rates=self.rates[:, passed:], momenta=self.momenta[:, passed:])


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Event: one pass over the validation data. Means, weighted by samples; NaN and Inf are values."""

    step: StepDone
    """The newest step that was done before it; -1 before the first."""
    epoch: Count
    loss: float | None
    metrics: Annotated[dict[str, float], AtMost(MAX_METRICS)]
    batches: Count
    samples: Count
    seconds: float
    is_best: bool = False
    """The best so far by the recipe's `best_metric`; its weights are kept."""
    notes: Sentences = ()
    """What the validation has left otherwise than it was, and cannot be put back. Where it ended an epoch, the report of that
    step says it."""

    def value(self, metric: str) -> float:
        """The loss ("loss") or a metric; NaN where it is unknown."""
        if metric == VALIDATION_LOSS:
            return math.nan if self.loss is None else self.loss
        return self.metrics.get(metric, math.nan)
