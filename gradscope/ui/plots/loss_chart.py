"""The loss over the steps: as it was, and smoothed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.messages import FloatArray, IntArray
from gradscope.state.app_state import AppState, Topic
from gradscope.ui.plots.axes import ChartAxis, StepAxis
from gradscope.ui.plots.chart import Chart
from gradscope.ui.plots.formats import exact, short
from gradscope.ui.plots.number_table import TableData
from gradscope.ui.plots.plot_view import PlotView
from gradscope.ui.plots.sampling import Smoother, decimate, step_range
from gradscope.ui.plots.scales import nice_range
from gradscope.ui.theme import Theme, ThemeManager

if TYPE_CHECKING:
    from gradscope.ui.controller import Controller


class LossChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.HISTORY})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        plot = PlotView(axes={"left": ChartAxis("left"), "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Loss"),
            explanation=self.tr(
                "The thin line is the loss of each batch, the strong one its average over about the last ten. "
                "It should fall, quickly at first; a red cross on the axis is a step whose loss was NaN or Inf."
            ),
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("Loss"))
        plot.set_axis_label("bottom", self.tr("Training step"))
        self._smoother = Smoother()
        self._history: object = None
        self._steps: IntArray = np.zeros(0, dtype=np.int64)
        self._values: FloatArray = np.zeros(0)
        self._smooth: FloatArray = np.zeros(0)
        self._raw_curve, self._smooth_curve = pg.PlotCurveItem(), pg.PlotCurveItem()
        self._points = pg.ScatterPlotItem(symbol="o", size=5, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=10, pxMode=True)
        for item in (self._raw_curve, self._smooth_curve, self._points, self._crosses):
            plot.addItem(item, ignoreBounds=True)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._raw_curve.setPen(pg.mkPen(theme.muted, width=1))
        self._smooth_curve.setPen(pg.mkPen(theme.accent, width=2))
        self._points.setPen(pg.mkPen(theme.muted))
        self._points.setBrush(pg.mkBrush(theme.muted))
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        curve = state.history.loss
        if not len(curve):
            return self.tr("Press Forward (F5) to see the loss") if state.session else self.tr("Open a recipe to begin")
        if state.history is not self._history:
            self._history = state.history
            self._smoother = Smoother()
        self._steps, self._values = curve.steps, curve.values[:, 0]
        self._smooth = self._smoother.smooth(self._steps, self._values)
        self.readout.show_text(self._latest_text())
        self._draw_lines()
        return ""

    def _draw_lines(self) -> None:
        x = self._steps.astype(np.float64)
        is_finite = np.isfinite(self._values)
        values = np.where(is_finite, self._values, np.nan)
        max_points = 2 * max(100, int(self.plot.box.width()))
        self._raw_curve.setData(*decimate(x, values, max_points=max_points), connect="finite")
        # One step alone is no line yet.
        few = len(x) < 3
        self._smooth_curve.setData(*decimate(x, self._smooth, max_points=max_points), connect="finite")
        self._points.setData(x[is_finite][:2] if few else [], values[is_finite][:2] if few else [])
        known = values[is_finite]
        low, high = nice_range(float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        if low > 0 and low < 0.4 * high:
            low = 0.0
        pad = 0.04 * (high - low)
        bad = x[~is_finite]
        self._crosses.setData(bad, np.full(len(bad), low))
        self.plot.show_range(step_range(int(self._steps[0]), int(self._steps[-1])), (low - pad, high + pad))

    def _latest_text(self) -> str:
        return self.tr("{value} at step {step}").format(value=exact(float(self._values[-1])), step=int(self._steps[-1]))

    def table(self, state: AppState) -> TableData:
        steps, values, smooth = self._steps, self._values, self._smooth
        return TableData(
            headers=(self.tr("Step"), self.tr("Loss"), self.tr("Smoothed")),
            rows=len(steps),
            cell=lambda row, column: (int(steps[row]), float(values[row]), float(smooth[row]))[column],
        )

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        if not len(self._steps):
            return
        position = int(np.argmin(np.abs(self._steps - x)))
        self.plot.show_tip(
            self.tr("Step {step}\nLoss: {value}\nSmoothed: {smooth}").format(
                step=int(self._steps[position]),
                value=exact(float(self._values[position])),
                smooth=short(float(self._smooth[position])),
            )
        )
