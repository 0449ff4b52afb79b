"""The numbers of whole steps as curves: losses, rates, clipping, the loss scale, validations. Bounded in memory."""

from __future__ import annotations

import math
from copy import deepcopy
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import VALIDATION_LOSS, Clip, Report, Validated
from gradscope.protocol.phases import Phase
from gradscope.snapshots.format.content import StepTable
from gradscope.snapshots.format.saved_history import SavedCurve, SavedHistory
from gradscope.state.records.curve import Curve


class ClipColumn(IntEnum):
    """The columns of the clipping curve; NaN where a number is unknown."""

    NORM = 0
    """L2 norm of all gradients together, before."""
    AFTER = 1
    COEFFICIENT = 2
    THRESHOLD = 3
    """The largest norm that was allowed."""
    DOMINANT = 4
    """Which of `clip_parameters` had the largest gradient."""
    SHARE = 5
    """Its part of the squared norm."""


MAX_LOSSES = 4_000_000
"""Steps whose loss is kept in any case, in 16 bytes each. Of a longer run every second one is dropped, as in other curves."""
_SEVERAL = ("losses", "validations")
"""Attributes that hold curves by name."""


class StepCurves:
    """What there is one number of in each step, or in each validation."""

    def __init__(self) -> None:
        self.loss = Curve()
        """Of every step, whichever optimizer's turn it was: the mean of its micro-batches, once it is complete."""
        self.every_loss = Curve(max_points=MAX_LOSSES)
        """The same without a gap; the one to draw is `loss`, which is short."""
        self.losses: dict[str, Curve] = {}
        """The same by optimizer, where there are several."""
        self.lr = Curve()
        """Per parameter group."""
        self.momentum = Curve()
        """Per parameter group; NaN for a group that has none."""
        self.clipping = Curve(len(ClipColumn))
        self.clip_parameters: list[str] = []
        self.scale = Curve()
        """The loss scale."""
        self.skipped = Curve()
        """The loss scale of the steps that the gradient scaler left out."""
        self.skipped_steps = 0
        self.validations: dict[str, Curve] = {}
        """The validation loss ("loss") and every metric, by the newest step that was done before."""
        self._clip_parameter_index: dict[str, int] = {}

    def add_step(self, report: Report, *, clip_norm: float | None) -> None:
        """Take in what a report says of its step. A micro-batch's loss stands until the step's mean takes its place."""
        if report.loss is not None:
            self.loss.add(report.step, (report.loss,))
            self.every_loss.add(report.step, (report.loss,))
            if report.optimizer:
                self.losses.setdefault(report.optimizer, Curve()).add(report.step, (report.loss,))
        if report.phase is not Phase.STEP:
            return
        if report.lr:
            self.lr.add(report.step, report.lr)
        if report.momentum:
            self.momentum.add(report.step, report.momentum)
        if report.clip is not None:
            self.clipping.add(report.step, self._clip_numbers(report.clip, clip_norm))
        if report.scale is not None:
            self.scale.add(report.step, (report.scale,))
        if report.skipped and report.complete:
            self.skipped.add(report.step, (math.nan if report.scale is None else report.scale,))
            self.skipped_steps += 1

    def take_table(self, table: StepTable, *, clip_norm: float | None) -> None:
        """What a table of steps tells, in the place of all curves of steps that there are."""

        def curve(values: FloatArray, chosen: npt.NDArray[np.bool_] | None = None) -> Curve:
            columns = values if values.ndim == 2 else values[:, None]
            return Curve.of(table.step, columns) if chosen is None else Curve.of(table.step[chosen], columns[chosen])

        owners = np.array(table.optimizer, dtype=object)
        self.loss = curve(table.loss)
        self.losses = {name: curve(table.loss, owners == name) for name in dict.fromkeys(table.optimizer) if name}
        if table.rates.shape[1]:
            self.lr = curve(table.rates)
        clipping = np.full((len(table), len(ClipColumn)), math.nan)
        clipping[:, ClipColumn.NORM], clipping[:, ClipColumn.COEFFICIENT] = table.clip_norm, table.clip_coefficient
        clipping[:, ClipColumn.THRESHOLD] = _or_nan(clip_norm)
        self.clipping = curve(clipping, ~(np.isnan(table.clip_norm) & np.isnan(table.clip_coefficient)))
        self.scale = curve(table.scale, ~np.isnan(table.scale))
        self.skipped = curve(table.scale, table.is_skipped)
        self.skipped_steps = int(table.is_skipped.sum())

    def add_validation(self, validated: Validated) -> None:
        loss = {} if validated.loss is None else {VALIDATION_LOSS: validated.loss}
        for name, value in {**loss, **validated.metrics}.items():
            self.validations.setdefault(name, Curve()).add(validated.step, (value,))

    def copy_curves(self, other: StepCurves) -> None:
        """Make another one tell the same."""
        for name in vars(StepCurves()):
            setattr(other, name, deepcopy(getattr(self, name)))

    def cut(self, step: int) -> None:
        """Forget the steps from `step` on."""
        lost = len(self.skipped)
        for curve in (self.loss, self.every_loss, self.lr, self.momentum, self.clipping, self.scale, self.skipped):
            curve.cut(step)
        for curve in (*self.losses.values(), *self.validations.values()):
            curve.cut(step)
        self.skipped_steps -= lost - len(self.skipped)

    def cut_step(self, step: int) -> None:
        """Forget what the reports of the step itself have told from `step` on; the losses are the forwards'."""
        for curve in (self.lr, self.momentum, self.clipping, self.scale):
            curve.cut(step)

    def saved_curves(self) -> dict[str, SavedCurve]:
        """Copies for a snapshot, by name: "loss", "losses.generator"."""
        curves = {name: value for name, value in vars(self).items() if isinstance(value, Curve)}
        if len(self.every_loss) == len(self.loss):
            del curves["every_loss"]
        for several in _SEVERAL:
            curves |= {f"{several}.{name}": curve for name, curve in getattr(self, several).items()}
        return {name: curve.saved() for name, curve in curves.items()}

    def restore_curves(self, saved: SavedHistory) -> None:
        """The reverse. A curve that this version does not have is passed over."""
        if "loss" in saved.curves:
            self.every_loss = Curve.restored(saved.curves["loss"], max_points=MAX_LOSSES)
        for name, curve in saved.curves.items():
            of, _, which = name.partition(".")
            own = getattr(self, of, None)
            if of in _SEVERAL and which:
                getattr(self, of)[which] = Curve.restored(curve)
            elif isinstance(own, Curve):
                setattr(self, of, Curve.restored(curve, least_width=own.width, max_points=own.max_points))
        self.skipped_steps = saved.skipped_steps
        self.clip_parameters = list(saved.clip_parameters)
        self._clip_parameter_index = {name: i for i, name in enumerate(self.clip_parameters)}
        # The numbers of parameters that are not there are no numbers.
        dominant = self.clipping.values[:, ClipColumn.DOMINANT]
        dominant[~((dominant >= 0) & (dominant < len(self.clip_parameters)))] = math.nan

    def dominant_at(self, point: int) -> str:
        """The parameter with the largest gradient at a point of the clipping curve; "" where unknown."""
        index = self.clipping.values[point, ClipColumn.DOMINANT]
        return self.clip_parameters[int(index)] if math.isfinite(index) else ""

    def _clip_numbers(self, clip: Clip, threshold: float | None) -> tuple[float, ...]:
        if clip.dominant and clip.dominant not in self._clip_parameter_index:
            self._clip_parameter_index[clip.dominant] = len(self.clip_parameters)
            self.clip_parameters.append(clip.dominant)
        return (
            clip.norm,
            _or_nan(clip.norm_after),
            _or_nan(clip.coefficient),
            _or_nan(threshold),
            float(self._clip_parameter_index.get(clip.dominant, math.nan)),
            clip.dominant_share if clip.dominant else math.nan,
        )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
