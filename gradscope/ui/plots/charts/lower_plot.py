"""A second, smaller plot below a chart's own, over the same steps: for numbers of another unit."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from gradscope.ui.plots.parts.axes import StepAxis
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.reach import Range


class LowerPlot(PlotView):
    """It shows the steps that the upper plot shows, also while a person moves that one. It begins hidden."""

    def __init__(self, upper: PlotView, *, left: pg.AxisItem, parent: QWidget | None = None) -> None:
        super().__init__(axes={"left": left, "bottom": StepAxis("bottom")}, zoom_x=False, zoom_y=False, parent=parent)
        self._upper = upper
        upper.box.sigXRangeChanged.connect(self._on_upper_moved)
        upper.playhead_shown.connect(self.show_playhead)
        self.step_chosen.connect(upper.step_chosen)
        self.step_taken_back.connect(upper.step_taken_back)
        self.hide()

    def show_heights(self, y: Range) -> None:
        """Show values between y[0] and y[1]."""
        steps = self._upper.box.viewRange()[0]
        self.show_range((steps[0], steps[1]), y)

    @Slot()
    def _on_upper_moved(self) -> None:
        self.show_heights(self._wanted[1])
