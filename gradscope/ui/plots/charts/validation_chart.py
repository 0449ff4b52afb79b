"""The validation loss, or a metric, after the steps that it was taken at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages import VALIDATION_LOSS
from gradscope.protocol.visible import visible
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
from gradscope.ui.plots.parts.scales import LinearScale
from gradscope.ui.plots.words.formats import exact, short, two_digits
from gradscope.ui.plots.words.wording import nothing_yet

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_POINTS = 2000
_MAX_DOTS = 200


class ValidationChart(Chart):
    """`metric` is "loss" or the name of one of the recipe's metrics."""

    topics = frozenset({Topic.SESSION, Topic.HISTORY})

    def __init__(
        self, controller: Controller, themes: ThemeManager, *, metric: str, parent: QWidget | None = None
    ) -> None:
        self._values_axis = ChartAxis("left")
        plot = PlotView(axes={"left": self._values_axis, "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        is_loss = metric == VALIDATION_LOSS
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Validation loss") if is_loss else visible(metric),
            explanation=self.tr(
                "The mean over the whole validation data, taken in eval mode after the step at which it stands: after the "
                "last step of every epoch, and whenever Validate is pressed. A validation loss that rises while the "
                "training loss falls means that the model learns its training data by heart."
            ),
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("Loss") if is_loss else metric)
        plot.set_axis_label("bottom", self.tr("Training step"))
        self._metric = metric
        self._steps: IntArray = np.zeros(0, dtype=np.int64)
        self._values: FloatArray = np.zeros(0)
        self._curve = pg.PlotCurveItem()
        self._dots = pg.ScatterPlotItem(symbol="o", size=6, pxMode=True)
        self._best = pg.ScatterPlotItem(symbol="star", size=15, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=10, pxMode=True)
        for item in (self._curve, self._dots, self._best, self._crosses):
            plot.addItem(item, ignoreBounds=True)
        self._legend = Legend()
        self.body_layout.addWidget(self._legend)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        colour = theme.series[2]
        self._curve.setPen(pg.mkPen(colour, width=1))
        self._dots.setPen(pg.mkPen(colour))
        self._dots.setBrush(pg.mkBrush(colour))
        self._best.setPen(pg.mkPen(theme.surface))
        self._best.setBrush(pg.mkBrush(theme.accent))
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        if state.session is None:
            return self.tr("Open a recipe to begin")
        curve = state.history.validations.get(self._metric)
        if curve is None or not len(curve):
            return nothing_yet(state, self.tr("Press Validate (F3), or run to the end of an epoch"))
        self._steps, self._values = curve.steps, curve.values[:, 0]
        x, is_finite = self._steps.astype(np.float64), np.isfinite(self._values)
        scale = LinearScale.around(self._values)
        self._values_axis.show_exponent(scale.exponent)
        known, low, high = scale.place(self._values[is_finite]), scale.low, scale.high
        pad = 0.05 * (high - low)
        self._curve.setData(*decimate(x[is_finite], known, max_points=_MAX_POINTS))
        few = len(known) <= _MAX_DOTS
        self._dots.setData(x[is_finite] if few else [], known if few else [])
        bad = x[~is_finite]
        self._crosses.setData(bad, np.full(len(bad), low))
        # Over the same steps as the training's loss.
        steps = np.concatenate(
            [self._steps[[0, -1]], state.history.loss.steps[[0, -1]] if len(state.history.loss) else []]
        )
        self.plot.show_range(step_range(int(steps.min()), int(steps.max())), (low - pad, high + pad))
        self._mark_best(state, scale)
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        """The newest one up to the step that is shown."""
        step = state.shown.step
        point = len(self._steps) - 1
        if step is not None:
            point = int(np.searchsorted(self._steps, step, side="right")) - 1
        if point < 0:
            self.readout.show_text(self.tr("There was no validation up to step {step}").format(step=step))
            return
        text = self.tr("{value} after step {step}")
        value, at = float(self._values[point]), int(self._steps[point])
        self.readout.show_forms([text.format(value=written(value), step=at) for written in (short, two_digits)])

    def _mark_best(self, state: AppState, scale: LinearScale) -> None:
        best, entries = state.best, []
        if best is not None:
            value = best.value(self._metric)
            has_place = bool(np.isfinite(value))
            self._best.setData([best.step] if has_place else [], scale.place(np.array([value])) if has_place else [])
            words = self.tr("best, kept: {value} after step {step}")
            entries.append(LegendEntry("★", self.theme.accent, words.format(value=short(value), step=best.step)))
        else:
            self._best.setData([], [])
        self._legend.show_entries(entries)

    def table(self, state: AppState) -> TableData:
        steps, values = self._steps, self._values
        return TableData(
            headers=(self.tr("After step"), self._metric),
            rows=len(steps),
            cell=lambda row, column: (int(steps[row]), float(values[row]))[column],
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        if len(self._steps):
            point = int(np.argmin(np.abs(self._steps - x)))
            text = self.tr("After step {step}\n{metric}: {value}")
            value = exact(float(self._values[point]))
            self.plot.show_tip(text.format(step=int(self._steps[point]), metric=visible(self._metric), value=value))
