"""The newest summary of every subject. A report is taken in as a whole; one subject's numbers are picked out when asked for.

With thousands of layers an object for each of them in each report would take longer than everything else of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectRow
from gradscope.snapshots.format.saved_history import SavedLatest
from gradscope.state.records.report_subjects import ReportSubjects

_NOBODY = -1
_LEAST_SOURCES = 32
"""Only of more is it asked which nobody needs any more."""


@dataclass(frozen=True, kw_only=True)
class Latest:
    """The newest summary of one subject."""

    row: SubjectRow
    step: int
    phase: Phase | None
    """None: from before the first step."""
    summary: FloatArray
    """Shape (len(COLUMNS),)."""
    histogram: npt.NDArray[np.int32]
    """Shape (HISTOGRAM_BINS,)."""
    sampled: int


@dataclass(frozen=True, kw_only=True)
class Told:
    """The summaries of one moment; every array has a first axis of len(subjects.keys)."""

    subjects: ReportSubjects
    step: int
    phase: Phase | None
    summaries: FloatArray
    histograms: npt.NDArray[np.int32]
    sampled: IntArray

    def latest(self, position: int) -> Latest:
        return Latest(
            row=self.subjects.row(position),
            step=self.step,
            phase=self.phase,
            summary=self.summaries[position],
            histogram=self.histograms[position],
            sampled=int(self.sampled[position]),
        )


class Newest:
    """Of every subject, which of the moments told of it last, and where in it."""

    def __init__(self) -> None:
        self._places: dict[SubjectKey, int] = {}
        """In the order in which they were first seen."""
        self._sources = np.zeros(0, dtype=np.int64)
        """By place, the number of the moment in `_told`."""
        self._positions = np.zeros(0, dtype=np.int64)
        """By place, where in that moment."""
        self._told: dict[int, Told] = {}
        self._numbers: dict[ReportSubjects, tuple[int, IntArray]] = {}
        """Of the reports that come again and again: their number in `_told`, and the places of their subjects."""
        self._made: dict[SubjectKey, Latest] = {}
        """What was asked for since anything has changed: views ask for the same ones again and again."""
        self._next = 0
        self._most = _LEAST_SOURCES

    def get(self, key: SubjectKey) -> Latest | None:
        made = self._made.get(key)
        if made is not None:
            return made
        place = self._places.get(key)
        source = _NOBODY if place is None else int(self._sources[place])
        if place is None or source == _NOBODY:
            return None
        made = self._made[key] = self._told[source].latest(int(self._positions[place]))
        return made

    def __iter__(self) -> Iterator[Latest]:
        for source, position in zip(self._sources.tolist(), self._positions.tolist(), strict=True):
            if source != _NOBODY:
                yield self._told[source].latest(position)

    def take(self, told: Told) -> None:
        """All subjects of a moment."""
        self._made.clear()
        known = self._numbers.get(told.subjects)
        if known is None:
            known = self._numbers[told.subjects] = self._next, self._places_of(told.subjects.keys)
            self._next += 1
        number, places = known
        self._told[number] = told
        self._sources[places], self._positions[places] = number, np.arange(len(places))
        self._forget_unused()

    def take_some(self, told: Told, positions: IntArray) -> None:
        """Only those at some positions of a moment."""
        self._made.clear()
        places = self._places_of(told.subjects.keys)[positions]
        self._told[self._next] = told
        self._sources[places], self._positions[places] = self._next, positions
        self._next += 1
        self._forget_unused()

    def forget(self, keys: Iterable[SubjectKey]) -> None:
        self._made.clear()
        known = [place for key in keys if (place := self._places.get(key)) is not None]
        self._sources[known] = _NOBODY

    def of_step(self, step: int) -> Iterator[tuple[Told, IntArray]]:
        """The moments of a step, and the positions that no later one has replaced."""
        for number, told in self._told.items():
            if told.step == step:
                yield told, self._positions[self._sources == number]

    def is_of(self, subjects: ReportSubjects, step: int) -> npt.NDArray[np.bool_]:
        """Whose newest summary is from a phase of a step, shape (n,)."""
        numbers = [number for number, told in self._told.items() if told.phase is not None and told.step == step]
        places = self._places_of(subjects.keys)
        return np.isin(self._sources[places], numbers)

    def saved(self) -> SavedLatest:
        """A copy, for a snapshot."""
        sources, positions = (of[self._sources != _NOBODY] for of in (self._sources, self._positions))
        count = len(sources)
        whence = [
            (self._told[source], position)
            for source, position in zip(sources.tolist(), positions.tolist(), strict=True)
        ]
        saved = SavedLatest(
            rows=tuple(told.subjects.row(position) for told, position in whence),
            phases=tuple(told.phase for told, _ in whence),
            steps=np.array([told.step for told, _ in whence], dtype=np.int64),
            summaries=np.zeros((count, len(COLUMNS))),
            histograms=np.zeros((count, HISTOGRAM_BINS), dtype=np.int32),
            sampled=np.zeros(count, dtype=np.int64),
        )
        for number in np.unique(sources).tolist():
            own, told = sources == number, self._told[number]
            saved.summaries[own] = told.summaries[positions[own]]
            saved.histograms[own] = told.histograms[positions[own]]
            saved.sampled[own] = told.sampled[positions[own]]
        return saved

    @classmethod
    def restored(cls, saved: SavedLatest) -> Newest:
        """The reverse."""
        newest, subjects = cls(), ReportSubjects(np.arange(len(saved.rows)), saved.rows)
        newest._places_of(subjects.keys)
        moments: dict[tuple[int, Phase | None], list[int]] = {}
        for position, moment in enumerate(zip(saved.steps.tolist(), saved.phases, strict=True)):
            moments.setdefault(moment, []).append(position)
        for (step, phase), positions in moments.items():
            told = Told(
                subjects=subjects,
                step=step,
                phase=phase,
                summaries=saved.summaries,
                histograms=saved.histograms,
                sampled=saved.sampled,
            )
            newest.take_some(told, np.array(positions, dtype=np.int64))
        return newest

    def _places_of(self, keys: tuple[SubjectKey, ...]) -> IntArray:
        """Those that are new get a place, in which nothing is yet."""
        places = np.array([self._places.setdefault(key, len(self._places)) for key in keys], dtype=np.int64)
        more = len(self._places) - len(self._sources)
        if more:
            self._sources = np.append(self._sources, np.full(more, _NOBODY))
            self._positions = np.append(self._positions, np.zeros(more, dtype=np.int64))
        return places

    def _forget_unused(self) -> None:
        """Moments that nobody's newest summary is of; only now and then, since all subjects are looked at for it."""
        if len(self._told) <= self._most:
            return
        used = set(np.unique(self._sources).tolist())
        self._told = {number: told for number, told in self._told.items() if number in used}
        self._numbers = {subjects: known for subjects, known in self._numbers.items() if known[0] in used}
        self._most = max(_LEAST_SOURCES, 2 * len(self._told))
