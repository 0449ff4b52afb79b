"""What one phase has shown, for scripts and notebooks: the same engine report, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from gradscope.engine.capture.record import Collected
from gradscope.engine.quantities.summary import total_l2
from gradscope.protocol import messages
from gradscope.protocol.messages import Absence
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind, SubjectRow


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One subject's summary. min to l2 are of the finite part; None where undefined, or not looked at (`CaptureLevel`).
    std: population."""

    kind: str
    name: str
    call: int
    leaf: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    nan: int
    inf: int
    zero: int | None
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    l2: float | None
    note: str = ""
    histogram: npt.NDArray[np.int32] = field(repr=False, compare=False)
    """Counts by sign and power of two; edges: `protocol.subjects.histogram_edges()`."""

    @property
    def key(self) -> SubjectKey:
        return SubjectKey(SubjectKind(self.kind), self.name, self.call, self.leaf)


class PhaseReport:
    """The report of one forward, backward or step. Iterate `subjects`, or ask for one by name with `get`."""

    def __init__(self, raw: Callable[[], messages.Report], rows: list[SubjectRow], *, is_partial: bool = False) -> None:
        """`raw` makes what is sent to the app, out of what was known when the phase ended."""
        self._make_raw = raw
        self.is_partial = is_partial
        """Some layers were left out, by the capture level."""
        self._rows = rows

    def __repr__(self) -> str:
        return f"<{self.phase.value} of step {self.step}: loss {self.loss}, {len(self.raw.subjects)} subjects>"

    @cached_property
    def raw(self) -> messages.Report:
        """As it is sent to the app."""
        return self._make_raw()

    @property
    def phase(self) -> Phase:
        return self.raw.phase

    @property
    def step(self) -> int:
        """Index of the step, from 0."""
        return self.raw.step

    @property
    def epoch(self) -> int:
        return self.raw.epoch

    @property
    def batch(self) -> int:
        """Index of the batch in its epoch, from 0."""
        return self.raw.batch

    @property
    def loss(self) -> float | None:
        """Of the micro-batch; in a step, the mean over its micro-batches."""
        return self.raw.loss

    @property
    def micro(self) -> int:
        """Index of the micro-batch in its window, from 0."""
        return self.raw.micro

    @property
    def optimizer(self) -> str:
        """Whose turn it was, where the recipe has several optimizers."""
        return self.raw.optimizer

    @property
    def clip(self) -> messages.Clip | None:
        """What clipping did in this step."""
        return self.raw.clip

    @property
    def scale(self) -> float | None:
        """The loss scale; gradients are shown divided by it."""
        return self.raw.scale

    @property
    def is_skipped(self) -> bool:
        """The gradient scaler left this step out."""
        return self.raw.skipped

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of this phase."""
        return self.raw.notes

    @property
    def first_nonfinite(self) -> FirstNonFinite | None:
        """Where NaN or Inf began, if that was found in this phase: once in a training."""
        return self.raw.first_nonfinite

    @property
    def lr(self) -> tuple[float, ...]:
        """The learning rate of every parameter group that this step uses."""
        return self.raw.lr

    @property
    def absent(self) -> tuple[Absence, ...]:
        """What could not be seen, and why."""
        return self.raw.absent

    @property
    def rows(self) -> list[SubjectRow]:
        """The rows of the subject table that this report refers to, in its own order."""
        return [self._rows[number] for number in self.raw.subjects.tolist()]

    @cached_property
    def subjects(self) -> list[Subject]:
        """Every subject of the phase, in the order in which it was seen."""
        return subjects_of(self.raw, self._rows)

    def with_more(self, more: Collected) -> PhaseReport:
        """The same with further subjects."""
        raw = partial(
            replace,
            self.raw,
            subjects=np.concatenate([self.raw.subjects, more.subjects]),
            summaries=np.concatenate([self.raw.summaries, more.summaries]),
            histograms=np.concatenate([self.raw.histograms, more.histograms]),
            sampled=np.concatenate([self.raw.sampled, more.sampled]),
        )
        return PhaseReport(raw, self._rows, is_partial=self.is_partial)

    def __iter__(self) -> Iterator[Subject]:
        return iter(self.subjects)

    def __len__(self) -> int:
        return len(self.raw.subjects)

    def total_l2(self, kind: SubjectKind) -> float | None:
        """The L2 norm of all subjects of a kind together: NaN if one of them has NaN or Inf, None if there are none, or
        some were left out."""
        if self.is_partial:
            return None
        positions = [i for i, row in enumerate(self.rows) if row.key.kind is kind]
        return total_l2(self.raw.summaries[positions])

    def get(self, kind: str, name: str, call: int = 0, leaf: str = "") -> Subject | None:
        """The subject of that identity, or None."""
        wanted = (kind, name, call, leaf)
        return next((s for s in self.subjects if (s.kind, s.name, s.call, s.leaf) == wanted), None)


def subjects_of(raw: messages.Report | messages.InitialParameters, rows: Sequence[SubjectRow]) -> list[Subject]:
    """The subjects of a report in its own order; `rows` is the table that it refers to by number."""
    return [
        _subject(rows[number], raw.summaries[i], raw.histograms[i]) for i, number in enumerate(raw.subjects.tolist())
    ]


def _subject(row: SubjectRow, summary: npt.NDArray[np.float64], histogram: npt.NDArray[np.int32]) -> Subject:
    numbers = [None if math.isnan(value) else value for value in summary.tolist()]
    counts = {name: None if value is None else int(value) for name, value in zip(COLUMNS[:4], numbers[:4], strict=True)}
    finite = dict(zip(COLUMNS[4:], numbers[4:], strict=True))
    return Subject(
        kind=row.key.kind.value,
        name=row.key.name,
        call=row.key.call,
        leaf=row.key.leaf,
        shape=row.shape,
        dtype=row.dtype,
        note=row.note,
        histogram=histogram,
        **counts,  # type: ignore[arg-type]
        **finite,  # type: ignore[arg-type]
    )
