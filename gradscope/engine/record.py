"""What is collected during one phase: subjects with their summaries, and the places that were passed, with times."""

from __future__ import annotations

import math
import time
import weakref
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.interning import Table
from gradscope.engine.keeper import Keeper
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import Readable, Unreadable, change_between, dtype_name, readable, shape_of
from gradscope.protocol.messages import Absence, FloatArray, IntArray, Place
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectRow


@dataclass
class Tables:
    """The rows that reports refer to by number, for a whole session."""

    subjects: Table[SubjectRow] = field(default_factory=Table)
    places: Table[Place] = field(default_factory=Table)
    _newest: dict[SubjectKey, tuple[tuple[int, ...], torch.dtype, str, int]] = field(default_factory=dict)

    def subject(self, key: SubjectKey, tensor: Tensor, note: str) -> int:
        """The number of a subject's row; it has another one in each form."""
        shape, dtype = shape_of(tensor), tensor.dtype
        newest = self._newest.get(key)
        if newest is not None and newest[0] == shape and newest[1] is dtype and newest[2] == note:
            return newest[3]
        number = self.subjects.number(SubjectRow(key, shape, dtype_name(dtype), note))
        self._newest[key] = (shape, dtype, note, number)
        return number


class PhaseRecord:
    """Filled by the hooks while a phase runs. `clock` is a monotonic time that leaves gradscope's own work out."""

    def __init__(self, phase: Phase, tables: Tables, keeper: Keeper) -> None:
        self.phase = phase
        self.absent: list[Absence] = []
        self.own_seconds = 0.0
        """Time spent observing."""
        self.paused_seconds = 0.0
        """Time that training stood still, stopped by a person."""
        self._tables = tables
        self._keeper = keeper
        self._started = time.perf_counter()
        self._summaries = SummaryBatch()
        self._rows: list[int] = []
        self._positions: dict[SubjectKey, int] = {}
        self._places: list[int] = []
        self._times: list[tuple[float, float, float]] = []
        self._last: tuple[weakref.ref[Tensor], int, int] | None = None

    # ------------------------------------------------------------------------------------------ subjects

    def add(self, key: SubjectKey, tensor: Tensor, scale: float | None = None) -> None:
        """Summarise a tensor, divided by `scale`, now. A second time for the same subject replaces the first."""
        started = time.perf_counter()
        try:
            self._add(key, tensor, scale)
        except Unreadable as reason:
            self.absent.append(Absence(name=key.label(), kind=key.kind.value, reason=str(reason)))
        self.own_seconds += time.perf_counter() - started

    def add_change(self, key: SubjectKey, now: Tensor, before: Tensor) -> None:
        """Summarise now - before."""
        started = time.perf_counter()
        try:
            values = change_between(now, before)
            self._positions[key] = self._place_summary(key, values, self._tables.subject(key, now, values.note))
        except Unreadable as reason:
            self.absent.append(Absence(name=key.label(), kind=key.kind.value, reason=str(reason)))
        self.own_seconds += time.perf_counter() - started

    def _add(self, key: SubjectKey, tensor: Tensor, scale: float | None) -> None:
        same = self._last_position(tensor)
        if same is not None and key not in self._positions:
            # A container that hands on its last layer's output: the same numbers under another name.
            form = self._tables.subjects.rows[self._rows[same]]
            position = self._summaries.repeat(same)
            row = SubjectRow(key, form.shape, form.dtype, form.note)
            self._rows.append(self._tables.subjects.number(row))
        else:
            values = readable(tensor) if scale is None else readable(tensor).divided_by(scale)
            position = self._place_summary(key, values, self._tables.subject(key, tensor, values.note))
        self._positions[key] = position
        # A weak reference: a strong one to a gradient would keep autograd from adding to it in place.
        # An inference tensor has no version: changes of it cannot be noticed.
        self._last = None if tensor.is_inference() else (weakref.ref(tensor), tensor._version, position)
        if self._keeper.wants(key):
            self._keeper.keep(key, tensor, scale)

    def _place_summary(self, key: SubjectKey, values: Readable, row_number: int) -> int:
        position = self._positions.get(key)
        if position is None:
            self._rows.append(row_number)
            return self._summaries.add(values)
        self._rows[position] = row_number
        self._summaries.replace(position, values)
        return position

    def _last_position(self, tensor: Tensor) -> int | None:
        if self._last is None or tensor.is_inference():
            return None
        reference, version, position = self._last
        return position if reference() is tensor and tensor._version == version else None

    def has(self, key: SubjectKey) -> bool:
        return key in self._positions

    # ------------------------------------------------------------------------------------------ places

    def elapsed(self) -> float:
        """Seconds since the phase began, gradscope's own work and pauses left out."""
        return time.perf_counter() - self._started - self.own_seconds - self.paused_seconds

    def pass_place(
        self,
        substep: SubStep,
        *,
        layer: str = "",
        call: int = 0,
        event: str = "",
        detail: str = "",
        start: float | None = None,
        output_bytes: float = math.nan,
    ) -> None:
        """Note that something ran; `start` is when it began (`elapsed`), None where only the moment is known."""
        now = self.elapsed()
        self._places.append(self._tables.places.number(Place(substep, layer, call, event, detail)))
        self._times.append((now if start is None else start, math.nan if start is None else now - start, output_bytes))

    def finish(self) -> Collected:
        summaries, histograms, sampled = self._summaries.finish()
        return Collected(
            subjects=np.asarray(self._rows, dtype=np.int64),
            summaries=summaries,
            histograms=histograms,
            sampled=sampled,
            places=np.asarray(self._places, dtype=np.int64),
            times=np.asarray(self._times, dtype=np.float64).reshape(-1, 3),
            absent=tuple(self.absent),
            seconds=time.perf_counter() - self._started - self.paused_seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A finished record; fields as in `protocol.messages.Report`."""

    subjects: IntArray
    summaries: FloatArray
    histograms: np.ndarray[tuple[int, ...], np.dtype[np.int32]]
    sampled: IntArray
    places: IntArray
    times: FloatArray
    absent: tuple[Absence, ...]
    seconds: float
