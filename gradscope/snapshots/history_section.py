"""The loss and the learning rates so far, as curves of a report page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.protocol.messages import FloatArray, IntArray
from gradscope.snapshots.markup import Markup, element
from gradscope.snapshots.numbers import counted, number
from gradscope.snapshots.svg import SERIES_COLOURS, curves


@dataclass(frozen=True, kw_only=True)
class StepTable:
    """The completed steps behind a moment, oldest first."""

    step: IntArray
    epoch: IntArray
    loss: FloatArray
    """Shape (steps,)."""
    rates: FloatArray
    """Shape (steps, parameter groups): the learning rates that each step used; NaN where there was no such group."""


def history_section(history: StepTable) -> Markup:
    """Loss and rates over the steps; nothing before the first completed step."""
    if len(history.step) == 0:
        return Markup("")
    first_of_epoch = history.step[1:][np.diff(history.epoch) != 0]
    loss = element(
        "figure",
        element("h3", "Loss"),
        curves(history.step, [history.loss], title="Loss of each step", boundaries=first_of_epoch),
        _loss_caption(history),
        class_="card",
    )
    groups = min(history.rates.shape[1], SERIES_COLOURS)
    lines = [history.rates[:, group] for group in range(groups)]
    rates = element(
        "figure",
        element("h3", "Learning rate"),
        curves(history.step, lines, title="Learning rate of each step", boundaries=first_of_epoch),
        _legend(history.rates),
        class_="card",
    )
    return element("div", loss, rates if groups else "", class_="row")


def _loss_caption(history: StepTable) -> Markup:
    bad = history.step[~np.isfinite(history.loss)]
    said = counted(len(history.step), "step")
    said += "; dashed lines: a new epoch begins" if np.diff(history.epoch).any() else ""
    if len(bad) == 0:
        return element("figcaption", said)
    marked = f"; × marks {counted(len(bad), 'step')} whose loss is not finite, the first is step {int(bad[0])}"
    return element("figcaption", said, element("span", marked, class_="bad"))


def _legend(rates: FloatArray) -> Markup:
    groups = rates.shape[1]
    if groups == 1:
        return Markup("")
    keys = [
        element(
            "li",
            element("span", "—", class_=f"key s{group}"),
            element("span", f" group {group}: {_last(rates[:, group])}", class_="label"),
        )
        for group in range(min(groups, SERIES_COLOURS))
    ]
    if groups > SERIES_COLOURS:
        keys.append(element("li", f"{groups - SERIES_COLOURS:,} more groups are not drawn; history.csv has them"))
    return element("ul", keys, class_="legend")


def _last(values: FloatArray) -> str:
    known = values[~np.isnan(values)]
    return number(float(known[-1])) if known.size else "–"
