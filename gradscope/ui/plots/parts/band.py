"""The shaded stretch of an axis in which healthy training usually is, with its name."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication
from PySide6.QtGui import QColor

from gradscope.ui.look.colours import Theme
from gradscope.ui.plots.parts.inside_label import InsideLabel
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.words.formats import power_of_ten


class Band:
    """Between two powers of ten, given by their exponents. `horizontal` is a band of y values."""

    def __init__(self, plot: PlotView, *, horizontal: bool) -> None:
        orientation = "horizontal" if horizontal else "vertical"
        self._region = pg.LinearRegionItem(orientation=orientation, movable=False)
        self._region.setZValue(-100)
        self._region.hide()
        # Inside of the band, at its upper left corner, or at its lower right one.
        corner, position = ((0, 0), 0.01) if horizontal else ((1, 1), 0.98)
        self._label = InsideLabel(self._region.lines[1], position=position, anchors=[corner, corner])
        plot.addItem(self._region, ignoreBounds=True)

    def restyle(self, theme: Theme) -> None:
        fill, edge = QColor(theme.good), QColor(theme.good)
        fill.setAlpha(34 if theme.is_dark else 26)
        edge.setAlpha(140)
        self._region.setBrush(pg.mkBrush(fill))
        for line in self._region.lines:
            line.setPen(pg.mkPen(edge, width=1))
        behind = QColor(theme.surface)
        behind.setAlpha(190)
        self._label.setColor(QColor(theme.good))
        self._label.fill = pg.mkBrush(behind)

    def show_between(self, exponents: tuple[float, float] | None) -> None:
        self._region.setVisible(exponents is not None)
        if exponents is not None and self._region.getRegion() != exponents:
            self._region.setRegion(exponents)
            low, high = (power_of_ten(round(exponent)) for exponent in exponents)
            translate = QCoreApplication.translate
            self._label.say(
                translate("Band", "healthy: {low} to {high}").format(low=low, high=high), translate("Band", "healthy")
            )
