"""One loss over the steps: as it was, and smoothed."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.state.records.curve import Curve
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import Smoother, decimate
from gradscope.ui.plots.parts.scales import GrowingScale, LinearScale

_FEW = 3
"""With fewer steps there is no line yet."""


class LossLine:
    """A thin line, a strong one, and points while there are only a few."""

    def __init__(self, plot: PlotView) -> None:
        self._plot = plot
        self._weight = 0.9
        self._smoother = Smoother(weight=self._weight)
        self.steps: IntArray = np.zeros(0, dtype=np.int64)
        self.values: FloatArray = np.zeros(0)
        self.smooth: FloatArray = np.zeros(0)
        """NaN where the loss is not finite: an average that went on would be taken for a loss."""
        self.bad_from: int | None = None
        """The position from which on no loss is finite any more."""
        self._raw, self._strong = pg.PlotCurveItem(), pg.PlotCurveItem()
        self._points = pg.ScatterPlotItem(symbol="o", size=5, pxMode=True)
        for item in (self._raw, self._strong, self._points):
            plot.addItem(item, ignoreBounds=True)

    def restyle(self, *, thin: QColor, strong: QColor) -> None:
        self._raw.setPen(pg.mkPen(thin, width=1))
        self._strong.setPen(pg.mkPen(strong, width=2))
        self._points.setPen(pg.mkPen(thin))
        self._points.setBrush(pg.mkBrush(thin))

    def forget(self) -> None:
        """Other training: nothing is known of it."""
        self._smoother = Smoother(weight=self._weight)
        self.take(Curve())
        self.draw(LinearScale())

    def smooth_over(self, steps: int) -> None:
        """The average is over about so many of the last steps; 1 is the loss itself."""
        self._weight = 1 - 1 / steps
        self._smoother = Smoother(weight=self._weight)

    def take(self, curve: Curve) -> None:
        """Read the losses; `draw` shows them."""
        self.steps, self.values = curve.steps, curve.values[:, 0]
        is_finite = np.isfinite(self.values)
        self.smooth = np.where(is_finite, self._smoother.smooth(self.steps, self.values), np.nan)
        bad_from = int(np.flatnonzero(is_finite)[-1]) + 1 if is_finite.any() else 0
        self.bad_from = bad_from if bad_from < len(self.values) else None

    def draw(self, scale: LinearScale | GrowingScale) -> None:
        x, is_finite = self.steps.astype(np.float64), np.isfinite(self.values)
        values = np.asarray(scale.place(np.where(is_finite, self.values, np.nan)), dtype=np.float64)
        smooth = np.asarray(scale.place(self.smooth), dtype=np.float64)
        max_points = 2 * max(100, int(self._plot.box.width()))
        self._raw.setData(*decimate(x, values, max_points=max_points), connect="finite")
        self._strong.setData(*decimate(x, smooth, max_points=max_points), connect="finite")
        few = is_finite if len(x) < _FEW else np.zeros(len(x), dtype=bool)
        self._points.setData(x[few], values[few])

    def end(self, step: int | None) -> tuple[int, float] | None:
        """(step, last finite loss) where the line ends: where its losses are not finite any more, or at `step`, where NaN is
        known to begin. None if it goes on, or has not begun."""
        last = len(self.values) if self.bad_from is None else self.bad_from
        if last == 0 or (self.bad_from is None and (step is None or step < self.steps[-1])):
            return None
        return int(step if self.bad_from is None and step is not None else self.steps[last]), float(
            self.values[last - 1]
        )

    @property
    def lost_steps(self) -> IntArray:
        """The steps after a finite loss from which on none is finite any more."""
        return self.steps[self.bad_from :] if self.bad_from else self.steps[:0]

    def nearest(self, x: float) -> int:
        """The position of the step that is nearest to a place; there has to be one."""
        return int(np.argmin(np.abs(self.steps - x)))
