"""What a snapshot tells of its moment. The engine makes one to write it, and reading gives the same back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.findings import Findings
from gradscope.protocol.limits import Count, Name
from gradscope.protocol.messages import Place, Report, SessionInfo, Validated
from gradscope.protocol.messages.edits import EditMade
from gradscope.protocol.phases import Phase, Position
from gradscope.protocol.subjects import SubjectRow
from gradscope.snapshots.format.saved_history import SavedHistory


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One completed step. None: there is no such number."""

    step: int
    epoch: int
    batch: int
    loss: float | None
    rates: tuple[float | None, ...]
    """Of each parameter group, as this step used them."""
    grad_l2: float | None
    """L2 norm of all parameters' gradients together."""
    update_l2: float | None
    seconds: float | None
    micro_batches: float | None = None
    clip_norm: float | None = None
    """L2 norm of all gradients before clipping."""
    clip_coefficient: float | None = None
    scale: float | None = None
    """The loss scale of the step's gradients."""
    is_skipped: bool = False
    """The gradient scaler left the step out."""
    optimizer: str = ""
    """Whose turn it was, where there are several."""


@dataclass(frozen=True, kw_only=True)
class StepTable:
    """The completed steps as arrays of shape (steps,), oldest first; see StepRow. NaN also where there is no number."""

    step: IntArray
    epoch: IntArray
    batch: IntArray
    loss: FloatArray
    rates: FloatArray
    """Shape (steps, parameter groups)."""
    grad_l2: FloatArray
    update_l2: FloatArray
    seconds: FloatArray
    micro_batches: FloatArray
    clip_norm: FloatArray
    clip_coefficient: FloatArray
    scale: FloatArray
    is_skipped: npt.NDArray[np.bool_]
    optimizer: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.step)

    def without(self, step: int) -> StepTable:
        """The other steps."""
        kept = self.step != step
        fields = {name: value[kept] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return StepTable(**fields, optimizer=tuple(compress(self.optimizer, kept)))


@dataclass(frozen=True, kw_only=True)
class FirstWeights:
    """The parameters before the first step of a run, as a digest."""

    step: Count
    """That they were before: another one than 0 where a checkpoint was loaded."""
    digest: Name
    """Hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything but the values of tensors and the pictures."""

    manifest: Mapping[str, Any]
    """As in manifest.json: when and where it was written, the moment, what had to be left out and why."""
    session: SessionInfo
    position: Position
    rows: tuple[SubjectRow, ...]
    """The subject table that the reports refer to by number."""
    places: tuple[Place, ...]
    """The place table that the reports refer to by number."""
    reports: Mapping[Phase, Report]
    """The newest report of each phase."""
    steps: StepTable
    validations: tuple[Validated, ...] = ()
    """Oldest first."""
    edits: tuple[EditMade, ...] = ()
    """What was changed by hand while it was trained, oldest first."""
    findings: Findings | None = None
    """What was known to be wrong; None in a snapshot of a version that did not look for it."""
    history: SavedHistory | None = field(default=None, repr=False)
    """Every summary that the app has seen, where it was the app that wrote the snapshot."""

    def rows_of(self, report: Report) -> list[SubjectRow]:
        """The rows of a report's subjects, in its own order."""
        return [self.rows[number] for number in report.subjects.tolist()]


@dataclass(frozen=True, kw_only=True)
class SessionFile:
    """session.json."""

    session: SessionInfo
    position: Position
    subjects: tuple[SubjectRow, ...]
    places: tuple[Place, ...]
    validations: tuple[Validated, ...] = ()
    edits: tuple[EditMade, ...] = ()
    findings: Findings | None = None
