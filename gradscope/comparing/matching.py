"""Two sheets of one kind laid over each other: the rows and moments that both have, and where their numbers differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.comparing.sheets import DATA, WHOLE_STEP, Floats, Sheet
from gradscope.protocol.arrays import IntArray
from gradscope.protocol.subjects import COLUMNS, COUNT, INF, L2, MAX, MEAN, MIN, NAN, STD, ZERO, SubjectKey

_LOOKS = slice(ZERO, STD + 1)
"""What is not known where only norms are captured."""
_OF_MAGNITUDE = (MIN, MAX, MEAN, STD)
"""Their tolerance goes by the largest magnitude of the subject: a mean near 0 is the rest of what has cancelled."""
_LEAST = np.float32(np.finfo(np.float32).smallest_subnormal)


@dataclass(frozen=True, kw_only=True)
class Match:
    """The numbers of both sides at the rows and moments that both have."""

    sheet: Sheet
    """That of the first side: stage, kind and columns are the same on both."""
    keys: tuple[SubjectKey | str, ...]
    steps: IntArray
    first_steps: IntArray
    micros: IntArray
    """WHOLE_STEP where one side knows no micro-batches."""
    ours: Floats
    """Shape (columns, rows, moments)."""
    theirs: Floats
    differs: npt.NDArray[np.bool_]
    """The same shape."""

    def gap(self, column: int, row: int, moment: int) -> tuple[float, float]:
        """(absolute, relative to the larger of both); infinite where one of them is no number."""
        a, b = float(self.ours[column, row, moment]), float(self.theirs[column, row, moment])
        return gap_of(a, b)

    def telling(self, row: int, moment: int) -> int:
        """The column that tells most of the difference: a count of what is no number, the norm, or else the largest one."""
        found = np.flatnonzero(self.differs[:, row, moment]).tolist()
        if len(self.differs) == len(COLUMNS):
            for column in (COUNT, NAN, INF, L2):
                if column in found:
                    return column
        return max(found, key=lambda column: self.gap(column, row, moment)[1])


def gap_of(a: float, b: float) -> tuple[float, float]:
    """How far two numbers are apart: (absolute, relative to the larger magnitude)."""
    if a == b or (np.isnan(a) and np.isnan(b)):
        return 0.0, 0.0
    absolute = abs(a - b)
    if not np.isfinite(absolute):
        return float("inf"), float("inf")
    return absolute, absolute / max(abs(a), abs(b))


def match(ours: Sheet, theirs: Sheet, *, rtol: float = 0.0) -> Match | None:
    """What both sheets know; None where they have no row or no moment in common. Numbers are the same if they are equal, or
    apart by at most `rtol` of the larger one (of the least, greatest and mean value and of the standard deviation: of the
    largest magnitude in the tensor). Counts of NaN and Inf are exact, that of zeros only where `rtol` is 0."""
    index = {key: row for row, key in enumerate(theirs.keys)}
    rows = [(row, index[key]) for row, key in enumerate(ours.keys) if key in index]
    moments = _moments(ours, theirs)
    if not rows or not moments:
        return None
    i, j = (np.array(side, dtype=np.int64) for side in zip(*rows, strict=True))
    m, n = (np.array(side, dtype=np.int64) for side in zip(*moments, strict=True))
    a, b = ours.values[:, i][:, :, m], theirs.values[:, j][:, :, n]
    if ours.is_single != theirs.is_single:
        a, b = as_single(a), as_single(b)
    rtol = 0.0 if DATA in ours.keys else rtol
    is_whole = (ours.micros[m] == WHOLE_STEP) | (theirs.micros[n] == WHOLE_STEP)
    # What a column of several steps, or micro-batches, counts is not what the newest of them has.
    is_one = (ours.first_steps[m] == theirs.first_steps[n]) & (ours.micros[m] == theirs.micros[n])
    return Match(
        sheet=ours,
        keys=tuple(ours.keys[row] for row, _ in rows),
        steps=ours.steps[m],
        first_steps=np.minimum(ours.first_steps[m], theirs.first_steps[n]),
        micros=np.where(is_whole, WHOLE_STEP, ours.micros[m]),
        ours=a,
        theirs=b,
        differs=_differs(a, b, is_one, rtol=rtol, of_subjects=ours.columns == COLUMNS),
    )


def as_single(numbers: Floats) -> npt.NDArray[np.float32]:
    """As a history keeps them: what would vanish is the least number that there is."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        kept = numbers.astype(np.float32)
    vanished = (kept == 0) & (numbers != 0)
    if vanished.any():
        kept[vanished] = np.copysign(_LEAST, numbers[vanished])
    return kept


def _moments(ours: Sheet, theirs: Sheet) -> list[tuple[int, int]]:
    """The pairs of columns that are of the same moment: a step as a whole goes with the last of its micro-batches."""
    found = {}
    # The newest summary stands for a step; a number of its own, as its mean loss, does not.
    goes_together = ours.kind is not None
    for number, (step, micro) in enumerate(zip(theirs.steps.tolist(), theirs.micros.tolist(), strict=True)):
        found[step, micro] = number
        if micro != WHOLE_STEP and goes_together:
            found[step, None] = number
    last = dict(zip(ours.steps.tolist(), range(len(ours.steps)), strict=True))
    pairs = []
    for number, (step, micro) in enumerate(zip(ours.steps.tolist(), ours.micros.tolist(), strict=True)):
        other = found.get((step, micro))
        if other is None and micro == WHOLE_STEP:
            other = found.get((step, None))
        if other is None and micro != WHOLE_STEP and goes_together and last[step] == number:
            other = found.get((step, WHOLE_STEP))
        if other is not None:
            pairs.append((number, other))
    return pairs


def _differs(
    a: Floats, b: Floats, is_one: npt.NDArray[np.bool_], *, rtol: float, of_subjects: bool
) -> npt.NDArray[np.bool_]:
    with np.errstate(all="ignore"):
        differs: npt.NDArray[np.bool_] = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if rtol and differs.any():
            is_near = np.abs(a - b) <= rtol * scales_of(a, b, of_subjects=of_subjects)
            if of_subjects:
                is_near[NAN : INF + 1] = False
                is_near[ZERO] |= np.isfinite(a[ZERO]) & np.isfinite(b[ZERO])
            differs &= ~is_near
    if not of_subjects:
        return differs
    differs[NAN : INF + 1, :, ~is_one] = False
    is_norm = np.isnan(a[ZERO]) | np.isnan(b[ZERO])
    is_seen_by_both = ~np.isnan(a[0]) & ~np.isnan(b[0])
    differs[_LOOKS] &= ~(is_norm & is_seen_by_both)
    # What one side alone has seen at this moment is one difference, not nine.
    differs[1:] &= is_seen_by_both
    return differs


def scales_of(a: Floats, b: Floats, *, of_subjects: bool) -> npt.NDArray[Any]:
    """What a difference is a share of, column by column."""
    scales = np.fmax(np.abs(a), np.abs(b))
    if of_subjects:
        scales[list(_OF_MAGNITUDE)] = np.fmax(scales[MIN], scales[MAX])
    return scales
