"""Thin upright lines in a plot over steps: where settings were changed by hand."""

from __future__ import annotations

import math

import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication
from PySide6.QtGui import QColor

from gradscope.protocol.visible import visible
from gradscope.state.edits import EditMark
from gradscope.ui.look.colours import Theme

_MAX_LINES = 60
_NEAR_PIXELS = 6


class EditMarks:
    """A line between the step before an edit and the first that it counts for; the newest ones, where there are many."""

    def __init__(self, plot: pg.PlotItem) -> None:
        self._plot = plot
        self._marks: list[EditMark] = []
        self._lines: list[pg.InfiniteLine] = []
        self._pen = pg.mkPen("k")

    @property
    def steps(self) -> list[int]:
        """Where lines are drawn now."""
        return [mark.step for mark in self._marks]

    def show(self, marks: list[EditMark]) -> None:
        """Draw these marks and no others."""
        self._marks = marks[-_MAX_LINES:]
        while len(self._lines) < len(self._marks):
            line = pg.InfiniteLine(angle=90, movable=False, pen=self._pen)
            line.addMarker("v", position=0.985, size=7)
            self._lines.append(line)
            self._plot.addItem(line, ignoreBounds=True)
        for number, line in enumerate(self._lines):
            line.setVisible(number < len(self._marks))
            if number < len(self._marks):
                line.setValue(self._marks[number].step - 0.5)

    def restyle(self, theme: Theme) -> None:
        colour = QColor(theme.accent)
        colour.setAlpha(150)
        self._pen = pg.mkPen(colour, width=1)
        for line in self._lines:
            line.setPen(self._pen)

    def text_at(self, x: float) -> str:
        """What was edited near a place on the axis of steps; "" for nothing."""
        pixel = abs(self._plot.vb.viewPixelSize()[0]) if self._marks else math.nan
        lines = []
        for mark in self._marks:
            if abs(mark.step - 0.5 - x) <= _NEAR_PIXELS * pixel:
                lines.append(
                    QCoreApplication.translate("EditMarks", "Edited before step %1:").replace("%1", str(mark.step))
                )
                lines += map(visible, mark.texts)
        return "\n".join(lines)
