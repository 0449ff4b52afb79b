"""A watched expression over the steps, as a chart of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages.evaluate import WatchTime
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.console import Watch
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import ChartAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate, step_range
from gradscope.ui.plots.parts.scales import LinearScale
from gradscope.ui.plots.words.formats import exact, with_fewer_digits

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_POINTS = 4000
_FEW = 100


class WatchChart(Chart):
    """Of one expression at a time, by its id: what it is edited to is drawn in its place."""

    topics = frozenset({Topic.SESSION, Topic.CONSOLE, Topic.WATCHES})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        self._values_axis = ChartAxis("left")
        axes = {"left": self._values_axis, "bottom": StepAxis("bottom")}
        super().__init__(
            controller,
            themes,
            PlotView(axes=axes, zoom_x=True, zoom_y=True),
            title=self.tr("Watched expression"),
            explanation=self.tr(
                "The value of the expression after each step, from the step on at which it was first watched. A cross "
                "below is a step after which it was NaN or Inf; where it was no single number there is no point."
            ),
            readout_below=True,
            parent=parent,
        )
        self.plot.set_axis_label("bottom", self.tr("After training step"))
        self._watched: int | None = None
        self._steps: IntArray = np.zeros(0, dtype=np.int64)
        self._numbers: FloatArray = np.zeros(0)
        self._curve = pg.PlotCurveItem()
        self._points = pg.ScatterPlotItem(size=5, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=9, pxMode=True)
        for item in (self._curve, self._points, self._crosses):
            self.plot.addItem(item, ignoreBounds=True)
        self.plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def show_watch(self, watch_id: int) -> None:
        """Draw this expression."""
        self._watched = watch_id
        self.plot.fit()
        self.mark_dirty()

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._curve.setPen(pg.mkPen(theme.series[0], width=2))
        self._points.setPen(pg.mkPen(theme.series[0]))
        self._points.setBrush(pg.mkBrush(theme.series[0]))
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        watch = self._watch(state)
        if watch is None:
            return self.tr("The expression is not watched any more: choose another one in the Console panel")
        text = visible(watch.expression.text)
        self.set_title(text)
        self.plot.set_axis_label("left", text)
        self._steps = np.array(watch.steps, dtype=np.int64)
        self._numbers = np.array(watch.numbers, dtype=np.float64)
        if not len(self._steps):
            return self._why_nothing(watch)
        x, is_finite = self._steps.astype(np.float64), np.isfinite(self._numbers)
        scale = LinearScale.around(self._numbers)
        self._values_axis.show_exponent(scale.exponent)
        placed = scale.place(np.where(is_finite, self._numbers, np.nan))
        self._curve.setData(*decimate(x, placed, max_points=_MAX_POINTS), connect="finite")
        few = is_finite if len(x) < _FEW else np.zeros(len(x), dtype=bool)
        self._points.setData(x[few], placed[few])
        pad = 0.06 * (scale.high - scale.low)
        bad = x[~is_finite]
        self._crosses.setData(bad, np.full(len(bad), scale.low - pad))
        steps = step_range(int(self._steps[0]), int(self._steps[-1]))
        self.plot.show_range(steps, (scale.low - 2 * pad, scale.high + pad))
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        step = state.shown.step
        at = len(self._steps) - 1 if step is None else int(np.searchsorted(self._steps, step, side="right")) - 1
        if at < 0 or (step is not None and self._steps[at] != step):
            self.readout.show_text(self.tr("No number is known of it after step {step}").format(step=step))
            return
        told, value, known = self.tr("{value} after step {step}"), float(self._numbers[at]), int(self._steps[at])
        self.readout.show_forms(with_fewer_digits(lambda digits: told.format(value=digits(value), step=known)))

    def table(self, state: AppState) -> TableData:
        steps, numbers = self._steps, self._numbers
        return TableData(
            headers=(self.tr("After step"), self.tr("Value")),
            rows=len(steps),
            cell=lambda row, column: int(steps[row]) if column == 0 else float(numbers[row]),
        )

    def _watch(self, state: AppState) -> Watch | None:
        return next((watch for watch in state.console.watches if watch.id == self._watched), None)

    def _why_nothing(self, watch: Watch) -> str:
        if watch.value is not None and watch.value.error:
            return watch.value.error
        if watch.expression.each is not WatchTime.STEP:
            return self.tr("It is taken at stops only: have it taken after each step to see it over the steps")
        return self.tr("Nothing yet: the number after each step is drawn here")

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        if len(self._steps):
            at = int(np.argmin(np.abs(self._steps - x)))
            step = self.tr("After step {step}").format(step=int(self._steps[at]))
            self.plot.show_tip(f"{step}\n{exact(float(self._numbers[at]))}")
