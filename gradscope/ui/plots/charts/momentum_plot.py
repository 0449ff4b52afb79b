"""The momentum (or first beta) of every parameter group, below its learning rate: what it was, and what it will be."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.state.app_state import AppState
from gradscope.ui.look.colours import Theme
from gradscope.ui.plots.charts.lower_plot import LowerPlot
from gradscope.ui.plots.parts.axes import ChartAxis
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate
from gradscope.ui.plots.parts.scales import LinearScale

_MAX_POINTS = 2000
_MAX_DASHED_POINTS = 300


class MomentumPlot(LowerPlot):
    def __init__(self, upper: PlotView, *, groups: int) -> None:
        self._values_axis = ChartAxis("left")
        super().__init__(upper, left=self._values_axis)
        self.past: FloatArray = np.zeros((0, 0))
        """Shape (steps, groups), at the steps of the rates that were used."""
        self.ahead: FloatArray = np.zeros((0, 0))
        self._past_curves = [pg.PlotCurveItem() for _ in range(groups)]
        self._ahead_curves = [pg.PlotCurveItem() for _ in range(groups)]
        for item in (*self._past_curves, *self._ahead_curves):
            self.addItem(item, ignoreBounds=True)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        for past, ahead, colour in zip(self._past_curves, self._ahead_curves, theme.series, strict=False):
            past.setPen(pg.mkPen(colour, width=2))
            ahead.setPen(pg.mkPen(colour, width=1, style=Qt.PenStyle.DashLine))

    def take(self, state: AppState) -> bool:
        """Read the state; False where nothing moves the momentum, so that there is nothing to show."""
        schedule = state.schedule
        self.past = state.history.momentum.values
        self.ahead = schedule.momenta.T if schedule is not None and schedule.momenta.size else np.zeros((0, 0))
        return len(self.ahead) > 0 or _varies(self.past)

    def draw(self, past_steps: IntArray, ahead_steps: IntArray) -> None:
        scale = LinearScale.around(np.concatenate([self.past.ravel(), self.ahead.ravel()]))
        self._values_axis.show_exponent(scale.exponent)
        for curves, table, steps, max_points in (
            (self._past_curves, self.past, past_steps, _MAX_POINTS),
            (self._ahead_curves, self.ahead, ahead_steps, _MAX_DASHED_POINTS),
        ):
            for i, curve in enumerate(curves):
                values = table[:, i] if i < table.shape[1] else np.zeros(0)
                x = steps[: len(values)].astype(np.float64)
                curve.setData(*decimate(x, scale.place(values), max_points=max_points), connect="finite")
        pad = 0.08 * (scale.high - scale.low)
        self.show_heights((scale.low - pad, scale.high + pad))


def _varies(table: FloatArray) -> bool:
    """Whether any column has more than one value."""
    known = [column[np.isfinite(column)] for column in table.T]
    return any(len(column) > 0 and column.min() < column.max() for column in known)
