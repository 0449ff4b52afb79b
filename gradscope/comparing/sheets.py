"""What is known of a run as sheets of numbers: one for each kind of subject, or for a number of whole steps.

A sheet has a row for each subject and a column for each moment. The stages of a step, and the order of the rows of a sheet,
are the order in which things happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind

Floats = npt.NDArray[np.floating[Any]]

WHOLE_STEP = -1
"""Instead of the index of a micro-batch: the column is of the step as a whole, or of the newest of its micro-batches."""
STAGES = (SubStep.BATCH, SubStep.FORWARD, SubStep.LOSS, SubStep.BACKWARD, SubStep.CLIP, SubStep.STEP, SubStep.VALIDATE)
"""In the order of time."""
STAGE_OF_KIND: dict[SubjectKind, SubStep] = {
    SubjectKind.ACTIVATION: SubStep.FORWARD,
    SubjectKind.BUFFER: SubStep.FORWARD,
    SubjectKind.ACTIVATION_GRAD: SubStep.BACKWARD,
    SubjectKind.GRAD: SubStep.BACKWARD,
    SubjectKind.CLIPPED_GRAD: SubStep.CLIP,
    SubjectKind.UPDATE: SubStep.STEP,
    SubjectKind.OPTIMIZER_STATE: SubStep.STEP,
    SubjectKind.PARAMETER: SubStep.STEP,
}
DATA = "the data of the batch"
"""The row of a digest, which is the same or is not."""
LOSS = "loss"
VALUE = ("value",)
"""The one column of a sheet of plain numbers."""


class RecordedKind(Protocol):
    """The summaries of all subjects of one kind over the steps, as a `state.records.block.Block` has them."""

    @property
    def keys(self) -> Sequence[SubjectKey]:
        """In the order in which they come in a step."""

    @property
    def steps(self) -> IntArray:
        """The newest step of each column, rising."""

    def first_step(self, column: int) -> int:
        """The first step that a column may be of; it is the same as in `steps` where each column is of one step."""

    def column(self, column: int, /) -> npt.NDArray[np.float32]:
        """One of `protocol.subjects.COLUMNS` for all subjects and steps, shape (subjects, steps); NaN where unseen."""


class RecordedCurve(Protocol):
    """A number (or several) of each step, as a `state.records.curve.Curve` has them."""

    @property
    def steps(self) -> IntArray: ...

    @property
    def values(self) -> FloatArray:
        """Shape (steps, width)."""


class Recorded(Protocol):
    """One run as it is remembered: steps, their subjects, and the summary of each. A `state.history.History` is one."""

    @property
    def blocks(self) -> Mapping[SubjectKind, RecordedKind]: ...

    @property
    def every_loss(self) -> RecordedCurve: ...

    @property
    def lr(self) -> RecordedCurve:
        """The rate of each parameter group."""

    @property
    def scale(self) -> RecordedCurve:
        """The loss scale."""

    @property
    def clipping(self) -> RecordedCurve:
        """First the norm of all gradients before clipping."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Numbers of some rows at some moments."""

    stage: SubStep
    kind: SubjectKind | None
    """None for a sheet of numbers that belong to no subject."""
    keys: tuple[SubjectKey | str, ...]
    """The rows: subjects, or names like "loss"."""
    columns: tuple[str, ...]
    """What there is of each row: `COLUMNS`, or VALUE."""
    steps: IntArray
    """The newest step of each moment, shape (moments,); rising, and with the index of the micro-batch unlike all others."""
    first_steps: IntArray
    """The first step that a moment may be of."""
    micros: IntArray
    """The index of the micro-batch of each moment, or WHOLE_STEP."""
    values: Floats
    """Shape (columns, rows, moments); NaN where unseen."""

    @property
    def is_single(self) -> bool:
        """The numbers are float32, which were float64 once."""
        return self.values.dtype == np.float32


def sheets_of(run: Recorded) -> Iterator[Sheet]:
    """The sheets of a remembered run."""
    for kind, block in run.blocks.items():
        if len(block.keys):
            yield _of_block(kind, block)
    for name, stage, curve, width in (
        (LOSS, SubStep.LOSS, run.every_loss, 1),
        ("loss scale", SubStep.BACKWARD, run.scale, 1),
        ("norm of all gradients", SubStep.CLIP, run.clipping, 1),
        ("learning rate", SubStep.STEP, run.lr, None),
    ):
        if len(curve.steps):
            yield sheet_of_numbers(stage, name, curve.steps, curve.values[:, :width])


def _of_block(kind: SubjectKind, block: RecordedKind) -> Sheet:
    steps = block.steps
    firsts = [block.first_step(column) for column in range(len(steps))]
    return Sheet(
        stage=STAGE_OF_KIND[kind],
        kind=kind,
        keys=tuple(block.keys),
        columns=COLUMNS,
        steps=steps,
        first_steps=np.array(firsts, dtype=np.int64),
        micros=np.full(len(steps), WHOLE_STEP, dtype=np.int64),
        values=np.stack([block.column(number) for number in range(len(COLUMNS))]),
    )


def sheet_of_numbers(
    stage: SubStep, name: str, steps: IntArray, values: FloatArray, micros: IntArray | None = None
) -> Sheet:
    """Numbers of whole steps, or of micro-batches; `values` has the shape (moments, width). Of several, each has a row."""
    width = values.shape[1]
    return Sheet(
        stage=stage,
        kind=None,
        keys=(name,) if width == 1 else tuple(f"{name} of group {number}" for number in range(width)),
        columns=VALUE,
        steps=steps,
        first_steps=steps,
        micros=np.full(len(steps), WHOLE_STEP, dtype=np.int64) if micros is None else micros,
        values=values.T[None],
    )
