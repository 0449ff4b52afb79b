"""Thin upright lines in a plot over steps: where something that is wrong was first seen."""

from __future__ import annotations

import math

import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QColor

from gradscope.protocol.findings import Severity
from gradscope.protocol.visible import visible
from gradscope.state.findings import FindingMark
from gradscope.ui.look.colours import Theme
from gradscope.ui.words.findings import place_of, severity_name

_MAX_LINES = 30
_NEAR_PIXELS = 6


class FindingMarks:
    """A dashed line at the step itself, with a triangle at its foot: those of edits have theirs at the top. The first ones,
    where there are many."""

    def __init__(self, plot: pg.PlotItem) -> None:
        self._plot = plot
        self._marks: list[FindingMark] = []
        self._lines: list[pg.InfiniteLine] = []
        self._pens = {severity: pg.mkPen("k") for severity in Severity}

    @property
    def steps(self) -> list[int]:
        """Where lines are drawn now."""
        return [mark.step for mark in self._marks]

    def show(self, marks: list[FindingMark]) -> None:
        """Draw these marks and no others."""
        if marks == self._marks:
            return
        self._marks = marks[:_MAX_LINES]
        while len(self._lines) < len(self._marks):
            line = pg.InfiniteLine(angle=90, movable=False)
            line.addMarker("^", position=0.02, size=9)
            self._lines.append(line)
            self._plot.addItem(line, ignoreBounds=True)
        for number, line in enumerate(self._lines):
            line.setVisible(number < len(self._marks))
            if number < len(self._marks):
                line.setValue(self._marks[number].step)
        self._paint()

    def restyle(self, theme: Theme) -> None:
        for severity, name in ((Severity.ERROR, theme.bad), (Severity.WARNING, theme.warning)):
            colour = QColor(name)
            colour.setAlpha(170)
            self._pens[severity] = pg.mkPen(colour, width=1, style=Qt.PenStyle.DashLine)
        self._paint()

    def text_at(self, x: float) -> str:
        """What was first seen near a place on the axis of steps; "" for nothing."""
        pixel = abs(self._plot.vb.viewPixelSize()[0]) if self._marks else math.nan
        lines = []
        for mark in self._marks:
            if abs(mark.step - x) <= _NEAR_PIXELS * pixel:
                seen = QCoreApplication.translate("FindingMarks", "First seen in step %1:")
                lines.append(seen.replace("%1", str(mark.step)))
                lines += [
                    f"{severity_name(finding.severity)}: {visible(finding.title)} ({place_of(finding)})"
                    for finding in mark.findings
                ]
        return "\n".join(lines)

    def _paint(self) -> None:
        for mark, line in zip(self._marks, self._lines, strict=False):
            is_error = any(finding.severity is Severity.ERROR for finding in mark.findings)
            line.setPen(self._pens[Severity.ERROR if is_error else Severity.WARNING])
