"""The losses of two or three runs over each other: what the training did, and what it did with one thing changed."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QVBoxLayout, QWidget

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.findings import Curve
from gradscope.protocol.numbers import number
from gradscope.protocol.visible import visible
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import LogAxis, StepAxis
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate
from gradscope.ui.plots.parts.scales import LinearScale

_LINES = 7
"""The height of the plot, in lines of text."""
_MOST_POINTS = 2000
_WIDE = 100.0
"""From this ratio of the largest to the smallest loss on, the axis is logarithmic."""
_STYLES = (
    (Qt.PenStyle.SolidLine, "—"),
    (Qt.PenStyle.DashLine, "- -"),
    (Qt.PenStyle.DotLine, "···"),
    (Qt.PenStyle.DashDotLine, "-·-"),
)
"""Told apart without their colours, too."""


class CurvesChart(QWidget):
    """The curves, and a legend below. Hidden while there are none; the plot is made for the first ones."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._curves: tuple[Curve, ...] = ()
        self._axis = LogAxis("left")
        self.plot: PlotView | None = None
        self.legend = Legend(self)
        self._items: list[pg.PlotCurveItem] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self.legend)
        self.hide()
        themes.changed.connect(self._on_theme_changed)

    def show_curves(self, curves: tuple[Curve, ...]) -> None:
        if curves == self._curves and self.plot is not None:
            return
        self._curves = curves
        if curves:
            self._draw(self.plot or self._make_plot())
        self.setVisible(bool(curves))

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        if self.plot is not None and self._curves:
            self._draw(self.plot)

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        step = round(x)
        known = [curve for curve in self._curves if 0 <= step < len(curve.values)]
        if known and self.plot is not None:
            lines = [f"{visible(curve.name)}: {number(curve.values[step])}" for curve in known]
            self.plot.show_tip("\n".join([self.tr("Step {step} of the run").format(step=step), *lines]))

    # ------------------------------------------------------------------------------------------ private

    def _make_plot(self) -> PlotView:
        axes = {"left": self._axis, "bottom": StepAxis("bottom")}
        self.plot = plot = PlotView(axes=axes, zoom_x=False, zoom_y=False, is_over_steps=False, parent=self)
        plot.set_axis_label("bottom", self.tr("step of the run"))
        plot.set_axis_label("left", self.tr("loss"))
        plot.setFixedHeight(_LINES * self.fontMetrics().lineSpacing())
        plot.setAccessibleName(self.tr("Losses of the runs"))
        plot.pointed_at.connect(self._on_pointed_at)
        self._column.insertWidget(0, plot)
        return plot

    def _draw(self, plot: PlotView) -> None:
        theme = self._themes.theme
        plot.restyle(theme)
        values = [np.array(curve.values, dtype=np.float64) for curve in self._curves]
        self._axis.is_log = is_log = _is_wide(np.concatenate(values))
        values = [np.log10(run) for run in values] if is_log else values
        scale = LinearScale.around(np.concatenate(values))
        self._axis.show_exponent(0 if is_log else scale.exponent)
        while len(self._items) < len(values):
            self._items.append(pg.PlotCurveItem())
            plot.addItem(self._items[-1], ignoreBounds=True)
        entries = []
        for i, item in enumerate(self._items):
            item.setVisible(i < len(values))
            if i >= len(values):
                continue
            style, glyph = _STYLES[i % len(_STYLES)]
            colour = theme.series[(1, 0, *range(2, len(theme.series)))[i % len(theme.series)]]
            item.setPen(pg.mkPen(colour, width=2, style=style))
            steps = np.arange(len(values[i]), dtype=np.float64)
            item.setData(*decimate(steps, scale.place(values[i]), max_points=_MOST_POINTS), connect="finite")
            entries.append(
                LegendEntry(glyph, colour, f"{self._curves[i].name} ({self._ending(self._curves[i].values)})")
            )
        self.legend.show_entries(entries)
        pad = 0.08 * (scale.high - scale.low)
        plot.show_range((0.0, max(1.0, max(map(len, values)) - 1.0)), (scale.low - pad, scale.high + pad))

    def _ending(self, values: tuple[float, ...]) -> str:
        return self.tr("ends at {loss}").format(loss=number(values[-1], digits=3)) if values else self.tr("no step")


def _is_wide(values: FloatArray) -> bool:
    """Whether the runs lie so far apart that one would be flat beside the other: one diverges, as a rule."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() / finite.min() > _WIDE)
