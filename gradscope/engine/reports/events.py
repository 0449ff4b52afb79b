"""`gradscope run --tensorboard`: the run as an event file that TensorBoard can look at while it grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradscope.engine.reports.report import PhaseReport
from gradscope.protocol.messages import Validated
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import L2, SubjectKind
from gradscope.snapshots.tensorboard import (
    COUNTS,
    SCALARS,
    EventFile,
    histogram,
    rate_tags,
    scalar,
    subject_tag,
    tag_of,
)

MAX_HISTOGRAMS = 64
"""Of one subject, evenly over the run."""


class EventLog:
    """Takes reports as they come; `end_step` writes what the step has shown. Raises BadInput if it cannot be written."""

    def __init__(self, folder: Path, *, first_step: int, steps: int, owners: Sequence[str] = ()) -> None:
        """`owners` names the optimizer of each parameter group, where there are several."""
        self.owners = owners
        self._file = EventFile(folder, live=True)
        self._last = first_step + steps - 1
        self._stride = -(-steps // MAX_HISTOGRAMS)
        self._step = 0
        self._scalars: dict[str, float] = {}
        self._histograms: dict[str, Any] = {}
        self._had_any: set[str] = set()
        """Tags of counts that were not zero once; from then on they are written."""

    def add(self, report: PhaseReport) -> None:
        """In a window of micro-batches the last one's numbers are kept."""
        self._step = report.step
        raw = report.raw
        if raw.loss is not None:
            self._scalars[tag_of("loss", raw.optimizer) if raw.optimizer else "loss"] = raw.loss
        if raw.phase is Phase.STEP:
            self._add_step(report)
        takes_histograms = raw.step % self._stride == 0 or raw.step == self._last
        for i, row in enumerate(report.rows):
            tag, summary = subject_tag(row.key), raw.summaries[i]
            for name, column in SCALARS.items():
                # NaN: there is no such number.
                if summary[column] == summary[column]:
                    self._scalars[f"{tag}/{name}"] = float(summary[column])
            for name, column in COUNTS.items():
                if summary[column] > 0:
                    self._had_any.add(f"{tag}/{name}")
                if f"{tag}/{name}" in self._had_any:
                    self._scalars[f"{tag}/{name}"] = float(summary[column])
            if takes_histograms:
                self._histograms[tag] = histogram(tag, raw.histograms[i], summary, int(raw.sampled[i]))

    def _add_step(self, report: PhaseReport) -> None:
        raw = report.raw
        self._scalars |= dict(zip(rate_tags(self.owners, len(raw.lr)), raw.lr, strict=True))
        if raw.scale is not None:
            self._scalars["loss_scale"] = raw.scale
        if raw.clip is not None:
            self._scalars["clip/norm"] = raw.clip.norm
            if raw.clip.coefficient is not None:
                self._scalars["clip/coefficient"] = raw.clip.coefficient
        norms = {(row.key.kind, row.key.name): float(raw.summaries[i, L2]) for i, row in enumerate(report.rows)}
        for (kind, name), size in norms.items():
            update = norms.get((SubjectKind.UPDATE, name))
            if kind is SubjectKind.PARAMETER and update is not None and size > 0:
                self._scalars[tag_of("update_ratio", name)] = update / size

    def add_validation(self, validation: Validated) -> None:
        """One that came with the step that is about to end."""
        if validation.loss is not None:
            self._scalars["validation/loss"] = validation.loss
        self._scalars |= {tag_of("validation", name): value for name, value in validation.metrics.items()}

    def end_step(self) -> None:
        values = [scalar(tag, value) for tag, value in self._scalars.items()]
        values += [value for value in self._histograms.values() if value is not None]
        self._file.add(self._step, values)
        self._scalars, self._histograms = {}, {}

    def close(self) -> None:
        """What was shown of a step that failed is written too."""
        try:
            if self._scalars:
                self.end_step()
        finally:
            self._file.close()
