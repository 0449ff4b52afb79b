"""The loss scale of each step, and the steps that the gradient scaler left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.stops.quantities import Figure
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import ChartAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate, step_range
from gradscope.ui.plots.words.formats import exact, from_log10
from gradscope.ui.plots.words.wording import nothing_yet
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_POINTS = 4000
_LEAST_SCALE, _LARGEST_SCALE = 2.0**-126, 2.0**1023
_SKIPPED_SYMBOL, SKIPPED_GLYPH = "t", "▼"


class PowerOfTwoAxis(ChartAxis):
    """The numbers drawn are exponents of two."""

    def tickSpacing(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, float]]:  # noqa: N803
        levels = super().tickSpacing(minVal, maxVal, size)
        return [(max(1.0, float(round(spacing))), 0) for spacing, _ in levels]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        return [exact(2.0**value) if abs(value) < 1000 else from_log10(value * math.log10(2)) for value in values]


class ScaleChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.HISTORY})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        axes = {"left": PowerOfTwoAxis("left"), "bottom": StepAxis("bottom")}
        plot = PlotView(axes=axes, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Loss scale"),
            explanation=self.tr(
                "What the gradient scaler multiplies the loss with, so that small gradients survive in fp16. A gradient that "
                "overflows makes it skip the step (a triangle) and halve the scale; after 2,000 steps without one it doubles "
                "it. A few skipped steps at the start are normal; a scale that falls and falls is not."
            ),
            readout_below=True,
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("Loss scale"))
        plot.set_axis_label("bottom", self.tr("Training step"))
        self._steps: IntArray = np.zeros(0, dtype=np.int64)
        self._scales: FloatArray = np.zeros(0)
        self._skipped_steps: IntArray = np.zeros(0, dtype=np.int64)
        self._curve = pg.PlotCurveItem()
        self._end = pg.ScatterPlotItem(size=7, pxMode=True)
        self._skipped = pg.ScatterPlotItem(symbol=_SKIPPED_SYMBOL, size=10, pxMode=True)
        for item in (self._curve, self._end, self._skipped):
            plot.addItem(item, ignoreBounds=True)
        self._legend = Legend()
        self.body_layout.addWidget(self._legend)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._curve.setPen(pg.mkPen(theme.accent, width=2))
        self._end.setPen(pg.mkPen(theme.accent))
        self._end.setBrush(pg.mkBrush(theme.accent))
        self._skipped.setPen(pg.mkPen(theme.surface))
        self._skipped.setBrush(pg.mkBrush(theme.warning))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        history, session = state.history, state.session
        if session is None:
            return self.tr("Open a recipe to begin")
        if not len(history.scale):
            if session.precision != "fp16":
                return self.tr("Only recipes with precision fp16 scale their loss")
            return nothing_yet(state, self.tr("Press Step (F7) to see the loss scale"))
        self._steps, self._scales = history.scale.steps, history.scale.values[:, 0]
        self._skipped_steps = history.skipped.steps
        x, exponents = self._steps.astype(np.float64), _log2(self._scales)
        self._curve.setData(*decimate(x, exponents, max_points=_MAX_POINTS))
        self._end.setData(x[-1:], exponents[-1:])
        self._skipped.setData(self._skipped_steps.astype(np.float64), _log2(history.skipped.values[:, 0]) + 0.25)
        low, high = float(exponents.min()), float(exponents.max())
        self.plot.show_range(step_range(int(self._steps[0]), int(self._steps[-1])), (low - 1.2, high + 1.2))
        entry = LegendEntry(SKIPPED_GLYPH, self.theme.warning, self.tr("skipped step"))
        self._legend.show_entries([entry] if history.skipped_steps else [])
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        step, point = state.shown.step, state.shown.point_of(self._steps)
        if point is None:
            self.readout.show_text(self.tr("No loss scale is known of step {step}").format(step=step))
            return
        skipped = state.history.skipped_steps
        if step is not None:
            skipped = int(np.searchsorted(self._skipped_steps, step, side="right"))
        text = self.tr("{scale} in step {step}; skipped steps so far: {count}")
        scale, at = exact(float(self._scales[point])), int(self._steps[point])
        without_count = self.tr("{scale} in step {step}").format(scale=scale, step=at)
        self.readout.show_forms([text.format(scale=scale, step=at, count=skipped), without_count])

    def table(self, state: AppState) -> TableData:
        steps, scales, skipped = self._steps, self._scales, set(self._skipped_steps.tolist())
        word = self.tr("skipped")

        def cell(row: int, column: int) -> object:
            step = int(steps[row])
            return (step, float(scales[row]), word if step in skipped else "")[column]

        return TableData(headers=(self.tr("Step"), self.tr("Loss scale"), ""), rows=len(steps), cell=cell)

    # ------------------------------------------------------------------------------------------ slots

    def spot_at(self, x: float, _y: float) -> Spot | None:
        at = int(np.argmin(np.abs(self._steps - x))) if len(self._steps) else None
        return Spot(figure=Figure.SCALE, value=None if at is None else float(self._scales[at]))

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        if not len(self._steps):
            return
        point = int(np.argmin(np.abs(self._steps - x)))
        step = int(self._steps[point])
        text = self.tr("Step {step}\nLoss scale: {scale}").format(step=step, scale=exact(float(self._scales[point])))
        if step in self._skipped_steps:
            text += "\n" + self.tr("Skipped: a gradient was not finite")
        self.plot.show_tip(text)


def _log2(scales: FloatArray) -> FloatArray:
    """Of finite numbers above zero; what is none lies at the end that it is beyond, and NaN at the lower one."""
    return np.log2(np.clip(np.nan_to_num(scales, posinf=_LARGEST_SCALE), _LEAST_SCALE, _LARGEST_SCALE))
