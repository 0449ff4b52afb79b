"""The quantities that can be drawn over layers and steps: their names, their scales, and what they mean. No pyqtgraph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QCoreApplication

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import COUNT, INF, L2, MAX, MEAN, MIN, NAN, STD, ZERO, SubjectKey, SubjectKind
from gradscope.state.history import History
from gradscope.state.records.block import Block
from gradscope.state.records.cells import FAR_MEAN, LOW_L2, LOW_STD, TOP_L2, TOP_STD, TOP_ZEROS, Origin
from gradscope.state.records.kept_numbers import LEAST
from gradscope.state.shown_step import ShownStep
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

Floats = npt.NDArray[np.float32]
ALL_STEPS = slice(None)
HEALTHY_UPDATE_RATIO = (1e-4, 1e-1)


class Scale(Enum):
    LOG = "log"
    SIGNED = "signed"
    """Linear, the same on both sides of zero."""
    PERCENT = "percent"


class BadEnd(Enum):
    """Which of several numbers that share a pixel is the one to be seen."""

    HIGH = "high"
    FAR_FROM_ZERO = "far from zero"
    UNUSUAL = "unusual"
    """Both ends: the one that is most powers of ten away from the middle of the band, or from most others."""


class Quantity(Enum):
    STD = "std"
    L2 = "l2"
    MEAN = "mean"
    LARGEST = "largest"
    ZEROS = "zeros"
    RATIO = "ratio"


@dataclass(frozen=True, kw_only=True)
class QuantityInfo:
    """How a quantity is shown. The texts are marked for translation; see `text`."""

    label: str
    axis: str
    """With the unit."""
    scale: Scale
    bad: BadEnd
    meaning: str
    """One line below the plot: what is healthy."""
    band: tuple[float, float] | None = None


QUANTITIES: dict[Quantity, QuantityInfo] = {
    Quantity.STD: QuantityInfo(
        label=QT_TRANSLATE_NOOP("Quantities", "Standard deviation"),
        axis=QT_TRANSLATE_NOOP("Quantities", "Standard deviation"),
        scale=Scale.LOG,
        bad=BadEnd.UNUSUAL,
        meaning=QT_TRANSLATE_NOOP(
            "Quantities",
            "How far the values spread. It should stay within a few powers of ten from the first layer to the last; "
            "a fall towards zero means that the signal dies out, a steep rise that it explodes",
        ),
    ),
    Quantity.L2: QuantityInfo(
        label=QT_TRANSLATE_NOOP("Quantities", "L2 norm"),
        axis=QT_TRANSLATE_NOOP("Quantities", "L2 norm"),
        scale=Scale.LOG,
        bad=BadEnd.UNUSUAL,
        meaning=QT_TRANSLATE_NOOP(
            "Quantities",
            "The length of the whole tensor as one vector; larger tensors are longer. Sudden jumps are worth a look",
        ),
    ),
    Quantity.MEAN: QuantityInfo(
        label=QT_TRANSLATE_NOOP("Quantities", "Mean"),
        axis=QT_TRANSLATE_NOOP("Quantities", "Mean"),
        scale=Scale.SIGNED,
        bad=BadEnd.FAR_FROM_ZERO,
        meaning=QT_TRANSLATE_NOOP(
            "Quantities", "The average value. A mean that wanders away from zero step after step is a drift"
        ),
    ),
    Quantity.LARGEST: QuantityInfo(
        label=QT_TRANSLATE_NOOP("Quantities", "Largest |x|"),
        axis=QT_TRANSLATE_NOOP("Quantities", "Largest absolute value"),
        scale=Scale.LOG,
        bad=BadEnd.UNUSUAL,
        meaning=QT_TRANSLATE_NOOP(
            "Quantities",
            "The one value that is farthest from zero. Above 65,504 it no longer fits into float16",
        ),
    ),
    Quantity.ZEROS: QuantityInfo(
        label=QT_TRANSLATE_NOOP("Quantities", "Zeros"),
        axis=QT_TRANSLATE_NOOP("Quantities", "Zeros (% of the values)"),
        scale=Scale.PERCENT,
        bad=BadEnd.HIGH,
        meaning=QT_TRANSLATE_NOOP(
            "Quantities",
            "The share of exact zeros. About half is usual behind a ReLU; near 100 % for many steps, units are dead",
        ),
    ),
    Quantity.RATIO: QuantityInfo(
        label=QT_TRANSLATE_NOOP("Quantities", "Update ratio"),
        axis=QT_TRANSLATE_NOOP("Quantities", "‖update‖ / ‖parameter‖"),
        scale=Scale.LOG,
        bad=BadEnd.UNUSUAL,
        band=HEALTHY_UPDATE_RATIO,
        meaning=QT_TRANSLATE_NOOP(
            "Quantities",
            "How much one step changes a parameter, relative to its size. Below the band it hardly learns, "
            "above it the steps are too large",
        ),
    ),
}

ORIGINS = {Quantity.STD: Origin.STD, Quantity.L2: Origin.L2, Quantity.LARGEST: Origin.LARGEST}
"""The quantities of which the greatest of several steps is kept, and what its step is known as."""

_COMMON = (Quantity.STD, Quantity.L2, Quantity.MEAN, Quantity.LARGEST, Quantity.ZEROS)
CHOICES: dict[SubjectKind, tuple[Quantity, ...]] = {
    SubjectKind.ACTIVATION: _COMMON,
    SubjectKind.ACTIVATION_GRAD: (Quantity.L2, Quantity.STD, Quantity.MEAN, Quantity.LARGEST, Quantity.ZEROS),
    SubjectKind.GRAD: (Quantity.L2, Quantity.STD, Quantity.MEAN, Quantity.LARGEST, Quantity.ZEROS),
    SubjectKind.UPDATE: (
        Quantity.RATIO,
        Quantity.L2,
        Quantity.STD,
        Quantity.MEAN,
        Quantity.LARGEST,
        Quantity.ZEROS,
    ),
    SubjectKind.PARAMETER: _COMMON,
    SubjectKind.CLIPPED_GRAD: (Quantity.L2, Quantity.STD, Quantity.MEAN, Quantity.LARGEST, Quantity.ZEROS),
    SubjectKind.BUFFER: (Quantity.MEAN, Quantity.STD, Quantity.L2, Quantity.LARGEST, Quantity.ZEROS),
    SubjectKind.OPTIMIZER_STATE: (Quantity.L2, Quantity.STD, Quantity.MEAN, Quantity.LARGEST, Quantity.ZEROS),
}
"""The first one is shown first."""


def text(marked: str) -> str:
    """A text of this table, in the language of the app."""
    return QCoreApplication.translate("Quantities", marked)


def usual_of(info: QuantityInfo, drawn: npt.NDArray[np.floating], *, low: float) -> float:
    """What is usual (see `protocol.extremes`), on the drawn scale; `low`: what lies below is zero."""
    if info.bad is BadEnd.HIGH:
        return -math.inf
    if info.bad is BadEnd.FAR_FROM_ZERO:
        return 0.0
    if info.band is not None:
        return math.log10(info.band[0] * info.band[1]) / 2
    known = drawn[np.isfinite(drawn) & (drawn >= low)]
    return float(np.median(known)) if known.size else low


def values_of(
    history: History,
    kind: SubjectKind,
    quantity: Quantity,
    steps: IntArray | slice = ALL_STEPS,
    *,
    greatest: bool = False,
) -> Floats:
    """A quantity of all subjects of a kind at some steps (their positions), shape (subjects, steps).

    In the block's order; NaN where undefined. Of a column of several steps the newest number, or the greatest where it is
    known (see `ORIGINS`) and asked for.
    """
    block = history.blocks[kind]
    if quantity is Quantity.RATIO:
        sizes = history.blocks[SubjectKind.PARAMETER]
        found = [sizes.index_of(SubjectKey(SubjectKind.PARAMETER, key.name)) for key in block.keys]
        rows = [row for row in found if row is not None]
        if len(rows) < len(found) or not np.array_equal(sizes.steps, block.steps):
            return history.update_ratio()[2][:, steps]
        return _ratio(block.column(L2)[:, steps], sizes.column(L2)[:, steps][rows])
    computed: Floats = _computed(lambda column: block.column(column)[:, steps], quantity, greatest=greatest)
    return computed


def bounds_of(history: History, kind: SubjectKind, quantity: Quantity) -> tuple[Floats, Floats]:
    """The least and the greatest of a quantity that is known of each column of the history, as `values_of` has them.

    Twice the same array where each column is of one step, or the history does not tell. Of the mean, what was farthest
    from zero, as both.
    """
    block = history.blocks[kind]
    newest = values_of(history, kind, quantity)
    if not block.is_merged:
        return newest, newest
    match quantity:
        case Quantity.STD:
            return block.column(LOW_STD), block.column(TOP_STD)
        case Quantity.L2:
            return block.column(LOW_L2), block.column(TOP_L2)
        case Quantity.ZEROS:
            return newest, block.column(TOP_ZEROS)
        case Quantity.MEAN:
            return block.column(FAR_MEAN), block.column(FAR_MEAN)
    return newest, newest


def has_lost_ratios(history: History, kind: SubjectKind, quantity: Quantity) -> bool:
    """Whether some ratio is not known any more: its norms are beyond what the history holds."""
    return quantity is Quantity.RATIO and bool(np.isinf(history.blocks[kind].column(L2)).any())


def newest_values(history: History, kind: SubjectKind, quantity: Quantity) -> FloatArray:
    """The same of all subjects at the newest step, shape (subjects,); also where float32 is too small for them: the newest
    summaries are float64."""
    values = values_of(history, kind, quantity, slice(-1, None))[:, 0].astype(np.float64)
    block, sizes = history.blocks[kind], np.abs(values)
    is_lost = np.isinf(values) | ((sizes > 0) & (sizes <= LEAST))
    if quantity is Quantity.RATIO:
        is_lost |= np.isnan(values) & np.isinf(block.column(L2)[:, -1])
    for row in np.flatnonzero(is_lost):
        key = block.keys[row]
        latest, size = history.latest(key), history.latest(SubjectKey(SubjectKind.PARAMETER, key.name))
        if latest is None or latest.step != block.steps[-1]:
            continue
        if quantity is not Quantity.RATIO:
            values[row] = _computed(latest.summary.__getitem__, quantity, greatest=False)
        elif size is not None and size.step == latest.step:
            values[row] = float(latest.summary[L2]) / float(size.summary[L2])
    return values


def values_in_step(shown: ShownStep, history: History, kind: SubjectKind, quantity: Quantity) -> FloatArray | None:
    """The same of all subjects at the step that is shown, NaN for those that it has nothing of; None where it has nothing of
    the kind."""
    if shown.step is None:
        return newest_values(history, kind, quantity) if len(history.blocks[kind].steps) else None
    found = shown.summaries(kind)
    if found is None or quantity is not Quantity.RATIO:
        return None if found is None else np.asarray(_computed(found.T.__getitem__, quantity, greatest=False))
    sizes, block = shown.summaries(SubjectKind.PARAMETER), history.blocks[SubjectKind.PARAMETER]
    rows = [block.index_of(SubjectKey(SubjectKind.PARAMETER, key.name)) for key in history.blocks[kind].keys]
    own = [math.nan if row is None or sizes is None else float(sizes[row, L2]) for row in rows]
    with np.errstate(all="ignore"):
        return np.where(np.array(own) > 0, found[:, L2] / np.array(own), np.nan)


def series_of(history: History, key: SubjectKey, quantity: Quantity, *, greatest: bool = False) -> Floats:
    """A quantity of one subject over all steps, shape (steps,); NaN where undefined. `greatest` as in `values_of`."""
    block = history.blocks[key.kind]
    if quantity is Quantity.RATIO:
        sizes, row = history.blocks[SubjectKind.PARAMETER], block.index_of(key)
        if row is None or not np.array_equal(sizes.steps, block.steps):
            nothing = np.full(len(block.steps), np.nan, dtype=np.float32)
            return nothing if row is None else history.update_ratio()[2][row]
        return _ratio(block.series(key, L2), sizes.series(SubjectKey(SubjectKind.PARAMETER, key.name), L2))
    computed: Floats = _computed(lambda column: block.series(key, column), quantity, greatest=greatest)
    return computed


def non_finite(block: Block, steps: IntArray | slice = ALL_STEPS) -> npt.NDArray[np.bool_]:
    """Where subjects held NaN or Inf, shape (subjects, steps)."""
    return (block.column(NAN)[:, steps] > 0) | (block.column(INF)[:, steps] > 0)


def _computed(column: Callable[[int], Any], quantity: Quantity, *, greatest: bool) -> Any:
    match quantity:
        case Quantity.STD:
            return column(TOP_STD if greatest else STD)
        case Quantity.L2:
            return column(TOP_L2 if greatest else L2)
        case Quantity.MEAN:
            return column(MEAN)
        case Quantity.LARGEST:
            return np.maximum(np.abs(column(MIN)), np.abs(column(MAX)))
        case Quantity.ZEROS:
            with np.errstate(divide="ignore", invalid="ignore"):
                return 100 * column(ZERO) / column(COUNT)
        case Quantity.RATIO:
            raise ValueError("The update ratio is of two subjects")


def _ratio(norms: Floats, sizes: Floats) -> Floats:
    """As History.update_ratio has it."""
    with np.errstate(all="ignore"):
        return np.where(sizes > 0, norms / sizes, np.float32(np.nan))
