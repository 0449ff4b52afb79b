"""The loss, the validations and the learning rates so far, as curves of a report page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages import Validated
from gradscope.snapshots.page.markup import Markup, clipped, element
from gradscope.snapshots.page.numbers import counted, number
from gradscope.snapshots.page.svg import SERIES_COLOURS, Line, curves


class Steps(Protocol):
    """What is drawn of the completed steps, oldest first."""

    @property
    def step(self) -> IntArray: ...

    @property
    def epoch(self) -> IntArray: ...

    @property
    def loss(self) -> FloatArray:
        """Shape (steps,)."""

    @property
    def rates(self) -> FloatArray:
        """Shape (steps, parameter groups): the rates that each step used; NaN where there was no such group."""

    @property
    def optimizer(self) -> Sequence[str]:
        """Whose turn each step was, where the recipe has several optimizers; "" where it has one."""


def history_section(history: Steps, validations: Sequence[Validated]) -> Markup:
    """Loss and rates over the steps; nothing before the first completed step."""
    if len(history.step) == 0:
        return Markup("")
    first_of_epoch = history.step[1:][np.diff(history.epoch) != 0]
    lines = _losses(history, validations)
    loss = element(
        "figure",
        element("h3", "Loss"),
        curves(list(lines.values()), title="Loss of each step", boundaries=first_of_epoch),
        _legend({name: values for name, (_, values) in lines.items()}) if len(lines) > 1 else "",
        _loss_caption(history),
        class_="card",
    )
    groups = history.rates.shape[1]
    rates = {f"group {group}": history.rates[:, group] for group in range(min(groups, SERIES_COLOURS))}
    left_out = f"{groups - len(rates):,} more groups are not drawn; history.csv has them" if groups > len(rates) else ""
    rate = element(
        "figure",
        element("h3", "Learning rate"),
        curves([(history.step, line) for line in rates.values()], title="Learning rates", boundaries=first_of_epoch)
        if rates
        else "",
        _legend(rates, left_out) if groups > 1 else "",
        class_="card",
    )
    return element("div", loss, rate if rates else "", class_="row")


def _losses(history: Steps, validations: Sequence[Validated]) -> dict[str, Line]:
    """A line for each optimizer's turns, and one for the validations."""
    turns = np.array(history.optimizer)
    names = list(dict.fromkeys(history.optimizer))[: SERIES_COLOURS - 1]
    lines = {name or "training": (history.step[turns == name], history.loss[turns == name]) for name in names}
    known = [validation for validation in validations if validation.loss is not None]
    if known:
        steps = np.array([validation.step for validation in known], dtype=np.int64)
        lines["validation"] = (steps, np.array([validation.loss for validation in known], dtype=np.float64))
    return lines


def _loss_caption(history: Steps) -> Markup:
    bad = history.step[~np.isfinite(history.loss)]
    said = counted(len(history.step), "step")
    said += "; dashed lines: a new epoch begins" if np.diff(history.epoch).any() else ""
    if len(bad) == 0:
        return element("figcaption", said)
    marked = f"; × marks {counted(len(bad), 'step')} whose loss is not finite, the first is step {int(bad[0])}"
    return element("figcaption", said, element("span", marked, class_="bad"))


def _legend(lines: dict[str, FloatArray], left_out: str = "") -> Markup:
    """The colour, name and last value of each line."""
    keys = [
        element(
            "li",
            element("span", "—", class_=f"key s{i % SERIES_COLOURS}"),
            element("span", f" {clipped(name, 100)}: {_last(values)}", class_="label"),
        )
        for i, (name, values) in enumerate(lines.items())
    ]
    return element("ul", keys, element("li", left_out) if left_out else "", class_="legend")


def _last(values: FloatArray) -> str:
    known = values[~np.isnan(values)]
    return number(float(known[-1])) if known.size else "–"
