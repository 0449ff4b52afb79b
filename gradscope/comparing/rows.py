"""Every row that at least one of two runs has: at one step, or where its two numbers are farthest apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from gradscope.comparing.matching import Match, scales_of
from gradscope.comparing.reading.run import Run
from gradscope.comparing.sheets import DATA, STAGES, WHOLE_STEP, Sheet
from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import COLUMNS, COUNT, INF, NAN, SubjectKey

RowKey = SubjectKey | str
"""A subject, or the name of a number of whole steps."""


class Presence(StrEnum):
    BOTH = "both"
    OURS = "the first run alone"
    THEIRS = "the second run alone"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the table of two runs."""

    key: RowKey
    stage: SubStep
    place: int
    """In the order of time within a step."""
    presence: Presence
    moments: int
    """At how many moments both have it."""
    first_step: int | None
    """The first step at which it differs; None where it is the same throughout, or is not in both."""
    step: int | None
    """That the numbers are of; None where there are none."""
    column: str
    """Which number it is: "l2", "value", or another one of `protocol.subjects.COLUMNS` where that tells the difference."""
    ours: float
    """NaN where it is not known."""
    theirs: float
    relative: float
    """How far they are apart, as a share of the larger one: 0 the same, infinite where one of them is no number or was not
    seen, NaN where nothing could be compared."""
    forms: tuple[str, str] | None = None
    """Shape and dtype in each run, where these are not the same."""

    @property
    def name(self) -> str:
        return self.key if isinstance(self.key, str) else self.key.shown()

    @property
    def absolute(self) -> float:
        """The difference itself; infinite where one of the numbers is none, NaN where nothing could be compared."""
        if math.isnan(self.relative) or math.isinf(self.relative):
            return self.relative
        return abs(self.ours - self.theirs)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number over the steps."""

    steps: IntArray
    values: FloatArray
    """The same length; NaN where it was none."""


class Rows:
    """Of two runs and everything that they have in common. Nothing is read here."""

    def __init__(self, ours: Run, theirs: Run, found: Sequence[Match]) -> None:
        self._ours, self._theirs = ours, theirs
        self._found = found
        self._sizes = [_sizes_of(one) for one in found]
        self._sheets = _sheets_by_key(ours), _sheets_by_key(theirs)
        self._keys = _in_order(*self._sheets)
        self._places = {key: place for place, key in enumerate(self._keys)}
        self._firsts, self._moments = self._over_all()

    @property
    def keys(self) -> Sequence[RowKey]:
        """Of all rows, in the order of time within a step."""
        return self._keys

    def at(self, step: int | None) -> list[Entry]:
        """Every row, in the order of time within a step: its numbers at that step, or (None) where they are farthest apart
        of all steps that both have."""
        best: dict[RowKey, tuple[float, Match, int, int]] = {}
        for one, sizes in zip(self._found, self._sizes, strict=True):
            moments = np.arange(len(one.steps)) if step is None else _moments_of(one.first_steps, one.steps, step)
            if not len(moments):
                continue
            own = sizes[:, moments]
            # Of several that are as large the newest where all are the same, the first where they differ.
            chosen = np.where(own.max(axis=1) > 0, own.argmax(axis=1), len(moments) - 1)
            for row, (key, place) in enumerate(zip(one.keys, chosen.tolist(), strict=True)):
                size = float(own[row, place])
                if key not in best or size > best[key][0]:
                    best[key] = size, one, row, int(moments[place])
        return [self._entry(key, best.get(key), step) for key in self._keys]

    def lines(self, key: RowKey) -> tuple[Line, Line]:
        """The norm of a subject, or the number, over all steps of each run."""
        ours, theirs = (_line(sheets.get(key, ())) for sheets in self._sheets)
        return ours, theirs

    # ------------------------------------------------------------------------------------------ private

    def _entry(self, key: RowKey, best: tuple[float, Match, int, int] | None, step: int | None) -> Entry:
        is_in = key in self._sheets[0], key in self._sheets[1]
        presence = Presence.BOTH if all(is_in) else Presence.OURS if is_in[0] else Presence.THEIRS
        if best is not None:
            relative, one, row, moment = best
            column = _column_of(one, row, moment)
            at: int | None = int(one.steps[moment])
            name = one.sheet.columns[column]
            numbers = float(one.ours[column, row, moment]), float(one.theirs[column, row, moment])
        else:
            relative, at = math.nan, step
            name = "value" if isinstance(key, str) else "l2"
            numbers = self._alone(key, step)
            if np.isnan(numbers).all():
                at = None
        return Entry(
            key=key,
            stage=next(sheets[key][0][0].stage for sheets in self._sheets if key in sheets),
            place=self._places[key],
            presence=presence,
            moments=self._moments.get(key, 0),
            first_step=self._firsts.get(key),
            step=at,
            column=name,
            ours=numbers[0],
            theirs=numbers[1],
            relative=relative,
            forms=self._other_forms(key),
        )

    def _alone(self, key: RowKey, step: int | None) -> tuple[float, float]:
        """What each run has where there is nothing to compare it with."""
        if step is None:
            return math.nan, math.nan
        ours, theirs = (_number_at(sheets.get(key, ()), step) for sheets in self._sheets)
        return ours, theirs

    def _other_forms(self, key: RowKey) -> tuple[str, str] | None:
        if isinstance(key, str):
            return None
        forms = form_text(self._ours, key), form_text(self._theirs, key)
        return forms if "" not in forms and forms[0] != forms[1] else None

    def _over_all(self) -> tuple[dict[RowKey, int], dict[RowKey, int]]:
        """Of each row the first step at which it differs, and the number of moments that both have."""
        firsts: dict[RowKey, int] = {}
        moments: dict[RowKey, int] = {}
        for one in self._found:
            differs = np.asarray(one.differs.any(axis=0))
            first = np.where(differs.any(axis=1), one.steps[differs.argmax(axis=1)], -1).tolist()
            for key, step in zip(one.keys, first, strict=True):
                moments[key] = max(moments.get(key, 0), len(one.steps))
                if step >= 0:
                    firsts[key] = min(firsts.get(key, step), step)
        return firsts, moments


def form_text(run: Run, key: SubjectKey) -> str:
    """ "(10, 256) float32"; "" where it is not known: a history has no shapes."""
    if key not in run.forms:
        return ""
    shape, dtype = run.forms[key]
    return f"({', '.join(map(str, shape))}) {dtype}"


def _sizes_of(one: Match) -> npt.NDArray[np.float32]:
    """How far apart the numbers are, shape (rows, moments), as `Entry.relative` has it."""
    differs = one.differs
    with np.errstate(all="ignore"):
        a, b = one.ours[-1].astype(np.float64), one.theirs[-1].astype(np.float64)
        sizes = np.abs(a - b) / np.fmax(np.abs(a), np.abs(b))
        sizes = np.where(differs[-1], np.where(np.isfinite(sizes), sizes, np.inf), 0.0)
        if DATA in one.keys:
            # Of two digests, how far they are apart says nothing.
            sizes[differs[-1]] = np.inf
        if one.sheet.columns == COLUMNS:
            is_seen_once = np.isnan(one.ours[COUNT]) != np.isnan(one.theirs[COUNT])
            sizes[(differs[COUNT] & is_seen_once) | differs[NAN] | differs[INF]] = np.inf
            # The norms are the same, and something else is not.
            rows, moments = np.nonzero(differs.any(axis=0) & (sizes == 0))
            if len(rows):
                ours, theirs = (side[:, rows, moments].astype(np.float64) for side in (one.ours, one.theirs))
                gaps = np.abs(ours - theirs) / scales_of(ours, theirs, of_subjects=True)
                gaps = np.where(differs[:, rows, moments], np.where(np.isfinite(gaps), gaps, np.inf), 0.0)
                sizes[rows, moments] = gaps.max(axis=0)
        return sizes.astype(np.float32)


def _column_of(one: Match, row: int, moment: int) -> int:
    """The norm, or the number that tells the difference where the norm does not."""
    differs = one.differs[:, row, moment]
    last = len(differs) - 1
    if one.sheet.columns != COLUMNS or not differs.any():
        return last
    # What only one of them has seen has no other number than its own.
    candidates = (NAN, INF, last) if not differs[COUNT] else (NAN, INF, last, COUNT)
    found = next((column for column in candidates if differs[column]), None)
    if found is None:
        return one.telling(row, moment)
    is_seen_once = bool(np.isnan(one.ours[COUNT, row, moment]) != np.isnan(one.theirs[COUNT, row, moment]))
    return last if is_seen_once else found


def _sheets_by_key(run: Run) -> Mapping[RowKey, list[tuple[Sheet, int]]]:
    found: dict[RowKey, list[tuple[Sheet, int]]] = {}
    for sheet in run.sheets:
        for row, key in enumerate(sheet.keys):
            found.setdefault(key, []).append((sheet, row))
    return found


def _in_order(
    ours: Mapping[RowKey, list[tuple[Sheet, int]]], theirs: Mapping[RowKey, list[tuple[Sheet, int]]]
) -> list[RowKey]:
    """In the order of the stages; what the second run alone has comes behind what is before it there."""
    behind: dict[RowKey | None, list[RowKey]] = {}
    before: RowKey | None = None
    for key in theirs:
        if key in ours:
            before = key
        else:
            behind.setdefault(before, []).append(key)
    order = behind.get(None, [])
    for key in ours:
        order += [key, *behind.get(key, ())]
    stages = {key: STAGES.index(own[key][0][0].stage) for own in (theirs, ours) for key in own}
    return sorted(order, key=lambda key: stages[key])


def _moments_of(first_steps: IntArray, steps: IntArray, step: int) -> IntArray:
    """Those that are of a step: a column may be of several."""
    return np.flatnonzero((first_steps <= step) & (step <= steps))


def _number_at(sheets: Sequence[tuple[Sheet, int]], step: int) -> float:
    for sheet, row in sheets:
        moments = _moments_of(sheet.first_steps, sheet.steps, step)
        if len(moments):
            return float(sheet.values[-1, row, moments[-1]])
    return math.nan


def _line(sheets: Sequence[tuple[Sheet, int]]) -> Line:
    """From the sheet that has most of it; of several micro-batches the newest, unless the step has a number of its own."""
    if not sheets:
        return Line(steps=np.zeros(0, dtype=np.int64), values=np.zeros(0))

    def worth(entry: tuple[Sheet, int]) -> tuple[int, bool]:
        return len(np.unique(entry[0].steps)), bool((entry[0].micros == WHOLE_STEP).all())

    sheet, row = max(sheets, key=worth)
    values = sheet.values[:, row].astype(np.float64)
    is_seen = ~np.isnan(values[COUNT]) if sheet.columns == COLUMNS else np.ones(len(sheet.steps), dtype=bool)
    steps, numbers = sheet.steps[is_seen], values[-1, is_seen]
    is_last = np.append(np.diff(steps) > 0, True)[: len(steps)]
    return Line(steps=steps[is_last], values=numbers[is_last])
