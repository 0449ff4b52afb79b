"""What is said of one cell of the history: one subject at one step, or at several that share a column."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QCoreApplication

from gradscope.protocol.subjects import INF, NAN, SubjectKey
from gradscope.state.history import History
from gradscope.state.records.block import Block
from gradscope.state.records.cells import FAR_MEAN, LOW_L2, LOW_STD, TOP_ZEROS, Origin
from gradscope.ui.plots.words.wording import kept_number
from gradscope.ui.words.quantities import ORIGINS, QUANTITIES, Quantity, series_of, text

_CONTEXT = "CellText"


def others_in_line(keys: list[SubjectKey], rows: slice) -> str:
    """Which rows share a pixel, of which the worst is the one that is named."""
    text = QCoreApplication.translate(_CONTEXT, "The worst of {count} rows that share this pixel: {first} to {last}")
    first, last = keys[rows.start].shown(), keys[rows.stop - 1].shown()
    return text.format(count=rows.stop - rows.start, first=first, last=last)


def _other_extremes(block: Block, row: int, quantity: Quantity, where: slice, newest: float) -> list[str]:
    """What else the history keeps of several steps, where it is not the newest number."""
    translate = QCoreApplication.translate
    least = translate(_CONTEXT, "Least: {value} at step {step}")
    known = {
        Quantity.STD: (LOW_STD, Origin.LOW_STD, least),
        Quantity.L2: (LOW_L2, Origin.LOW_L2, least),
        Quantity.ZEROS: (TOP_ZEROS, Origin.ZEROS, translate(_CONTEXT, "Most: {value} at step {step}")),
        Quantity.MEAN: (FAR_MEAN, Origin.FAR_MEAN, translate(_CONTEXT, "Farthest from zero: {value} at step {step}")),
    }.get(quantity)
    if known is None or not block.is_merged:
        return []
    plane, origin, words = known
    values = block.column(plane)[row, where]
    if np.isnan(values).all():
        return []
    badness = -values if words == least else np.abs(values)
    at = int(np.nanargmax(badness))
    seen = float(values[at])
    if seen == newest:
        return []
    return [words.format(value=kept_number(seen), step=int(block.origins(origin)[row, where][at]))]


def cell_lines(history: History, key: SubjectKey, quantity: Quantity, start: int, end: int) -> list[str]:
    """`start` and `end`: the positions of the first and the last column of the history that the cell is of."""
    translate, block = QCoreApplication.translate, history.blocks[key.kind]
    first, last = block.first_step(start), int(block.steps[end])
    label, several = text(QUANTITIES[quantity].label), last > first
    row, where = block.index_of(key), slice(start, end + 1)
    value = float(series_of(history, key, quantity)[end])
    said = f"{label}: {kept_number(value)}"
    if not several:
        lines = [translate(_CONTEXT, "Step {step}").format(step=last), said]
    else:
        lines = [translate(_CONTEXT, "Steps {first} to {last}").format(first=first, last=last)]
        lines.append(translate(_CONTEXT, "{said} at step {step}").format(said=said, step=last))
        greatest = series_of(history, key, quantity, greatest=True)[where]
        if row is not None and quantity in ORIGINS and not np.isnan(greatest).all():
            at = int(np.nanargmax(greatest))
            step = int(block.origins(ORIGINS[quantity])[row, start + at])
            said = translate(_CONTEXT, "Greatest: {value} at step {step}")
            lines.append(said.format(value=kept_number(float(greatest[at])), step=step))
    if several and row is not None:
        lines += _other_extremes(block, row, quantity, where, value)
    nan, inf = (block.series(key, which)[where] for which in (NAN, INF))
    bad = np.flatnonzero((nan > 0) | (inf > 0))
    if row is None or not len(bad):
        return lines
    nan_count, inf_count = (int(np.nanmax(counts)) for counts in (nan, inf))
    if not several:
        said = translate(_CONTEXT, "{nan} NaN, {inf} Inf (the number is of the rest)")
        return [*lines, said.format(nan=nan_count, inf=inf_count)]
    words = {"NaN": nan_count, "Inf": inf_count}
    said = translate(_CONTEXT, "{what} first at step {step}; at most {nan} NaN, {inf} Inf in a step")
    step = int(block.origins(Origin.BAD)[row, start + bad[0]])
    what = " / ".join(word for word, count in words.items() if count)
    return [*lines, said.format(what=what, step=step, nan=nan_count, inf=inf_count)]
