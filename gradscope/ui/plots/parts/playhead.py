"""The upright line at the step that the window shows; it can be dragged to another one."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QColor

from gradscope.ui.look.colours import Theme

_HANDLE = 0.93
"""Below the marks of edits, above those of findings."""
_SHAPE, _LEFT_HALF, _RIGHT_HALF = ">|<", ">|", "|<"
"""Two arrows towards the line, of a kind that no value is drawn with: a dot would be taken for one. At an edge of the plot
the one that is whole: a half of each would be cut off."""
_SIZE = 9
_ROOM = 0.5 * _SIZE + 2
"""Pixels that an arrow takes beside the line, with its outline."""


class Playhead(QObject):
    """Dotted where that is the newest step."""

    dragged = Signal(float)
    """To this step, while a person does so."""

    def __init__(self, plot: pg.PlotItem) -> None:
        super().__init__(plot)
        self._line = pg.InfiniteLine(angle=90, movable=True)
        self._line.setCursor(Qt.CursorShape.SizeHorCursor)
        self._line.setZValue(20)
        self._place, self._shape = _HANDLE, ""
        self._line.hide()
        self._line.sigDragged.connect(self._on_dragged)
        self._line.sigPositionChangeFinished.connect(self._on_let_go)
        self._is_earlier = False
        self._is_for_picture = False
        self._step = -1.0
        self._pens: tuple[object, object] = (pg.mkPen("k"), pg.mkPen("k"))
        plot.addItem(self._line, ignoreBounds=True)
        self._box = plot.vb
        for changed in (self._box.sigXRangeChanged, self._box.sigResized, self._line.sigPositionChanged):
            changed.connect(self._fit_handle)
        self._fit_handle()

    @property
    def step(self) -> float | None:
        """Where it is drawn; None where it is not."""
        return self._step if self._line.isVisible() else None

    @property
    def is_earlier(self) -> bool:
        """It stands at an earlier step than the newest."""
        return self._is_earlier

    def show(self, step: float, *, is_earlier: bool) -> None:
        """Stand at a step; a negative one is none. While it is dragged, it stays where the mouse is."""
        self._step = step
        if is_earlier != self._is_earlier:
            self._is_earlier = is_earlier
            self._paint()
        self._line.setVisible(step >= 0 and (is_earlier or not self._is_for_picture))
        if not self._line.moving:
            self._line.setValue(step)

    def show_for_picture(self) -> None:
        """Only where it stands at an earlier step: there is nothing to drag."""
        self._is_for_picture = True
        self.show(self._step, is_earlier=self._is_earlier)

    def turn_around(self) -> None:
        """In a plot whose rows are counted downwards, the handle would be at the foot."""
        self._place, self._shape = 1 - _HANDLE, ""
        self._fit_handle()

    def restyle(self, theme: Theme, *, is_over_colours: bool = False) -> None:
        """`is_over_colours`: the plot is a map of colours, on which the accent would not be seen."""
        colour = QColor(theme.text if is_over_colours else theme.accent)
        now = pg.mkPen(theme.text if is_over_colours else theme.muted, width=1, style=Qt.PenStyle.DotLine)
        self._pens = (now, pg.mkPen(colour, width=2))
        self._line.setHoverPen(pg.mkPen(colour, width=2))
        self._paint()

    def _paint(self) -> None:
        self._line.setPen(self._pens[self._is_earlier])

    @Slot()
    def _fit_handle(self) -> None:
        low, high = self._box.viewRange()[0]
        pixels = self._box.width() / (high - low) if high > low else 0.0
        left, right = ((step * pixels) for step in (self._line.value() - low, high - self._line.value()))
        shape = _SHAPE
        if left < _ROOM <= right:
            shape = _RIGHT_HALF
        elif right < _ROOM <= left:
            shape = _LEFT_HALF
        if shape != self._shape:
            self._shape = shape
            self._line.clearMarkers()
            self._line.addMarker(shape, position=self._place, size=_SIZE)

    @Slot(object)
    def _on_dragged(self, line: pg.InfiniteLine) -> None:
        self.dragged.emit(max(0.0, float(line.value())))

    @Slot(object)
    def _on_let_go(self, _line: object) -> None:
        self._line.setValue(self._step)
