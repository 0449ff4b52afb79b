"""What is collected during one phase: subjects with their summaries, and the places that were passed, with times."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.capture.interning import Table
from gradscope.engine.capture.keeper import Keeper
from gradscope.engine.capture.native.fields import RecordFields, SlotFields
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.kernel.library import Jobs
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import (
    Readable,
    Unreadable,
    change_between,
    dtype_name,
    plain_address,
    readable,
    readable_in_place,
    shape_of,
    whole_number,
)
from gradscope.engine.surroundings import transforms
from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages import Absence, Place
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.source import SourceLine
from gradscope.protocol.subjects import SubjectKey, SubjectKind, SubjectRow


class Slot(SlotFields):
    """One subject of a session, with the form that it had when it was last seen."""

    __slots__ = ()

    def __init__(self, key: SubjectKey) -> None:
        self.key = key
        self.shape: tuple[int, ...] | None = None
        self.dtype: torch.dtype | None = None
        self.note = ""
        self.row = -1
        """The number of its row in this form."""
        self.record: int = 0
        """The number of the record that it was last in, and its position there."""
        self.position = -1


class Tables:
    """The rows that reports refer to by number, for a whole session."""

    def __init__(self) -> None:
        self.subjects: Table[SubjectRow] = Table()
        self.places: Table[Place] = Table()
        self.records = 0
        """How many have been begun."""
        self._slots: dict[SubjectKey, Slot] = {}
        self._places: dict[tuple[SubStep, str, int, str, str, SourceLine | None], int] = {}
        self._kinds = np.zeros(0, dtype=np.int8)

    def slot(self, key: SubjectKey) -> Slot:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot(key)
        return slot

    def place(
        self,
        substep: SubStep,
        layer: str = "",
        call: int = 0,
        event: str = "",
        detail: str = "",
        line: SourceLine | None = None,
    ) -> int:
        """The number of a place."""
        key = substep, layer, call, event, detail, line
        number = self._places.get(key)
        if number is None:
            number = self._places[key] = self.places.number(Place(*key))
        return number

    def set_form(self, slot: Slot, shape: tuple[int, ...], dtype: torch.dtype, note: str) -> None:
        """A slot has another row in each form."""
        if slot.shape != shape or slot.dtype is not dtype or slot.note != note:
            slot.shape, slot.dtype, slot.note = tuple(shape), dtype, note
            slot.row = self.subjects.number(SubjectRow(slot.key, slot.shape, dtype_name(dtype), note))

    def of_kind(self, numbers: IntArray, kind: SubjectKind) -> IntArray:
        """The positions of those row numbers that are of a kind."""
        known, rows = len(self._kinds), self.subjects.rows
        if known < len(rows):
            new = np.array([_CODES[row.key.kind] for row in rows[known:]], dtype=np.int8)
            self._kinds = np.concatenate([self._kinds, new])
        return np.flatnonzero(self._kinds[numbers] == _CODES[kind])


_CODES = {kind: code for code, kind in enumerate(SubjectKind)}


_MAIN_SUBSTEPS = {
    Phase.FORWARD: SubStep.FORWARD,
    Phase.BACKWARD: SubStep.BACKWARD,
    Phase.STEP: SubStep.STEP,
}


class PhaseRecord(RecordFields):
    """Filled by the hooks while a phase runs. `elapsed` is a monotonic time that leaves gradscope's own work out.

    `summaries` is this record's until the next one begins with it.
    """

    def __init__(self, phase: Phase, tables: Tables, keeper: Keeper, summaries: SummaryBatch) -> None:
        self.phase = phase
        self.substep = _MAIN_SUBSTEPS[phase]
        """What runs when nothing else is said."""
        self.absent: list[Absence] = []
        self.is_late = False
        """A backward that was not known to be one while it ran."""
        self.own_seconds = 0.0
        """Time spent observing."""
        self.paused_seconds = 0.0
        """Time that training stood still, stopped by a person."""
        tables.records += 1
        self._number = tables.records
        self._tables = tables
        self._keeper = keeper
        self._started = time.perf_counter()
        self._summaries = summaries
        self._rows: list[int] = []
        self._places: list[int] = []
        self._times: list[float] = []
        """(start, seconds, bytes of output) of each place, one after the other."""
        self._last: tuple[weakref.ref[Tensor], int, int] | None = None
        self._lock = threading.Lock()
        self.again: list[Slot] | None = None
        """Where somebody wants to know it: what was taken once more, and replaces what was known of it."""

    # ------------------------------------------------------------------------------------------ subjects

    def add(self, key: SubjectKey, tensor: Tensor, scale: float | None = None) -> None:
        """Summarise a tensor, divided by `scale`, now. A second time for the same subject replaces the first."""
        self.take(self._tables.slot(key), tensor, scale)

    def take(self, slot: Slot, tensor: Tensor, scale: float | None = None) -> None:
        """The same for a subject of which the slot is at hand."""
        started = time.perf_counter()
        # A model may call its layers on several threads, and each device has a thread of autograd's.
        with self._lock:
            try:
                self._take(slot, tensor, scale)
            except Unreadable as reason:
                self._tell(slot, reason)
            self.own_seconds += time.perf_counter() - started

    def _take(self, slot: Slot, tensor: Tensor, scale: float | None) -> None:
        is_again = slot.record == self._number
        position = slot.position if is_again else len(self._rows)
        same = None if is_again or self._last is None else self._last_position(tensor)
        if same is not None:
            # A container that hands on its last layer's output: the same numbers under another name.
            form = self._tables.subjects.rows[self._rows[same]]
            self._tables.set_form(slot, form.shape, tensor.dtype, form.note)
            self._summaries.copy(position, same)
        elif scale is None and summary.KERNEL is not None and (address := plain_address(tensor)):
            self._tables.set_form(slot, tensor.shape, torch.float32, "")
            self._summaries.set_plain(position, address, tensor.numel())
        elif (plain := transforms.unwrapped(tensor)) is not tensor and not transforms.is_wrapped(plain):
            with transforms.outside():
                self._take(slot, plain, scale)
            return
        else:
            values = readable_in_place(tensor) if scale is None else readable(tensor).divided_by(scale)
            self._tables.set_form(slot, shape_of(tensor), tensor.dtype, values.note)
            self._summaries.set(position, values)
        self._place(slot, position)
        if is_again and self.again is not None:
            self.again.append(slot)
        # A weak reference: a strong one to a gradient would keep autograd from adding to it in place.
        # An inference tensor has no version: changes of it cannot be noticed.
        self._last = None if tensor.is_inference() else (weakref.ref(tensor), tensor._version, position)
        if self._keeper.wants(slot.key):
            self._keeper.keep(slot.key, tensor, scale)

    def take_all(self, subjects: Iterable[tuple[Slot, Tensor]]) -> None:
        """Many subjects that this record has not yet."""
        self.take_parameters((slot, tensor, slot, None) for slot, tensor in subjects)

    def take_parameters(self, slots: Iterable[tuple[Slot, Tensor, Slot, Tensor | None]]) -> None:
        """Parameters and what a step has added to them: (slot, tensor, slot of the change, value before or None)."""
        started = time.perf_counter()
        with self._lock:
            jobs: Jobs = []
            waiting: list[Slot] = []
            numbers: list[float] = []
            counters: list[Slot] = []
            for slot, tensor, changed, before in slots:
                value = tensor.detach()
                address = plain_address(value) if summary.KERNEL is not None else 0
                address_before = 0 if before is None else plain_address(before)
                if address and (before is None or address_before):
                    jobs.append((address, address_before, value.numel()))
                    for own in (slot,) if before is None else (slot, changed):
                        self._tables.set_form(own, value.shape, torch.float32, "")
                        waiting.append(own)
                    continue
                # A parameter stays in its place.
                number = whole_number(value) if changed is slot else None
                if number is not None:
                    # Together, after all others: each batch normalisation has a counter.
                    self._tables.set_form(slot, value.shape, value.dtype, "")
                    numbers.append(number)
                    counters.append(slot)
                    continue
                # The positions have to be in order.
                self._summarise_all(jobs, waiting)
                self._telling_why(slot, partial(self._take_slowly, slot, tensor, partial(readable_in_place, value)))
                if before is not None:
                    read = partial(change_between, value, before)
                    self._telling_why(changed, partial(self._take_slowly, changed, tensor, read))
            self._summarise_all(jobs, waiting)
            if numbers:
                self._summaries.set_numbers(len(self._rows), numbers)
            for slot in counters:
                self._place(slot, len(self._rows))
            self.own_seconds += time.perf_counter() - started

    def take_by(self, work: Callable[[], int]) -> int:
        """What writes into this record itself, and says how much it has taken."""
        started = time.perf_counter()
        with self._lock:
            taken = work()
            self.own_seconds += time.perf_counter() - started
        return taken

    def _summarise_all(self, jobs: Jobs, slots: list[Slot]) -> None:
        """The jobs that have come together, in one call; then there are none."""
        if jobs:
            self._summaries.set_all(len(self._rows), jobs)
        for slot in slots:
            self._place(slot, len(self._rows))
        jobs.clear()
        slots.clear()

    def _take_slowly(self, slot: Slot, tensor: Tensor, read: Callable[[], Readable]) -> None:
        values = read()
        self._tables.set_form(slot, shape_of(tensor), tensor.dtype, values.note)
        self._summaries.set(len(self._rows), values)
        self._place(slot, len(self._rows))

    def _telling_why(self, slot: Slot, work: Callable[[], None]) -> None:
        try:
            work()
        except Unreadable as reason:
            self._tell(slot, reason)

    def _tell(self, slot: Slot, reason: Unreadable) -> None:
        self.absent.append(Absence(name=slot.key.label(), kind=slot.key.kind.value, reason=str(reason)))

    def _place(self, slot: Slot, position: int) -> None:
        """The summary of a subject is there. Only now it counts: broken off before, nothing of it is in the report."""
        if position == len(self._rows):
            self._rows.append(slot.row)
        else:
            self._rows[position] = slot.row
        slot.record, slot.position = self._number, position

    def _last_position(self, tensor: Tensor) -> int | None:
        if self._last is None or tensor.is_inference():
            return None
        reference, version, position = self._last
        return position if reference() is tensor and tensor._version == version else None

    def is_known_bad(self, slot: Slot) -> bool:
        """Whether what was taken for it has NaN or Inf; False where that is not known yet."""
        return slot.record == self._number and self._summaries.is_known_bad(slot.position)

    def is_known_nan(self, slot: Slot) -> bool:
        """The same of NaN alone."""
        return slot.record == self._number and self._summaries.is_known_nan(slot.position)

    def known_from(self, position: int) -> tuple[list[tuple[SubjectKey, FloatArray]], int]:
        """What was taken from a position on, and again, as far as it is known already; and the position to ask from next."""
        with self._lock:
            end, rows = len(self._rows), self._tables.subjects.rows
            positions = list(range(position, end))
            if self.again:
                positions += [slot.position for slot in self.again if slot.position < position]
                self.again.clear()
            known = ((rows[self._rows[n]].key, self._summaries.known(n)) for n in positions)
            return [(key, row) for key, row in known if row is not None], end

    def has(self, key: SubjectKey) -> bool:
        return self._tables.slot(key).record == self._number

    # ------------------------------------------------------------------------------------------ places

    def elapsed(self) -> float:
        """Seconds since the phase began, gradscope's own work and pauses left out."""
        return time.perf_counter() - self._started - self.own_seconds - self.paused_seconds

    def tell_absent(self, key: SubjectKey, reason: str) -> None:
        """It could have been there, and is not."""
        self.absent.append(Absence(name=key.label(), kind=key.kind.value, reason=reason))

    def pass_place(self, place: int, start: float | None, output_bytes: float = math.nan) -> None:
        """Note that something ran; `start` is when it began (`elapsed`), None where only the moment is known."""
        now = time.perf_counter() - self._started - self.own_seconds - self.paused_seconds
        with self._lock:
            self._places.append(place)
            self._times += (now, math.nan, output_bytes) if start is None else (start, now - start, output_bytes)

    def finish(self) -> Collected:
        with self._lock:
            return self._finished()

    def _finished(self) -> Collected:
        bare = self.elapsed()
        summaries, histograms, sampled = self._summaries.finish(len(self._rows))
        return Collected(
            # Of a list, np.array looks first what kind of numbers there are.
            subjects=np.fromiter(self._rows, np.int64, len(self._rows)) if self._rows else _NO_SUBJECTS,
            summaries=summaries,
            histograms=histograms,
            sampled=sampled,
            passed=tuple(self._places),
            passed_times=tuple(self._times),
            absent=tuple(self.absent),
            seconds=time.perf_counter() - self._started - self.paused_seconds,
            bare_seconds=bare,
        )


_NO_SUBJECTS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A finished record; fields as in `protocol.messages.Report`, the places as arrays when somebody asks for them."""

    subjects: IntArray
    summaries: FloatArray
    histograms: np.ndarray[tuple[int, ...], np.dtype[np.int32]]
    sampled: IntArray
    passed: tuple[int, ...]
    passed_times: tuple[float, ...]
    """(start, seconds, bytes of output) of each, one after the other."""
    absent: tuple[Absence, ...]
    seconds: float
    bare_seconds: float = 0.0
    """Without what it took to observe."""

    @cached_property
    def places(self) -> IntArray:
        return np.fromiter(self.passed, np.int64, len(self.passed))

    @cached_property
    def times(self) -> FloatArray:
        return np.fromiter(self.passed_times, np.float64, len(self.passed_times)).reshape(-1, 3)

    def total_l2(self, positions: IntArray) -> float | None:
        """The L2 norm of several subjects together, as `summary.total_l2` has it."""
        return summary.total_l2(self.summaries[positions])


def record_outside(tables: Tables, keeper: Keeper, capture: Capture) -> PhaseRecord:
    """Of what there is outside any phase; not in the memory of one that may be under way."""
    summaries = SummaryBatch()
    summaries.clear(norms_only=capture.norms_only)
    return PhaseRecord(Phase.STEP, tables, keeper, summaries)
