"""The words at a line of a plot, which stay inside of the plot: what has no room on their own side is moved in."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QPointF

Corner = tuple[float, float]
"""Which point of the text lies on the line: (0, 0) is its upper left corner, (1, 1) its lower right one."""


class InsideLabel(pg.InfLineLabel):
    """pyqtgraph's own lets the border of the plot cut its text. Where the plot is narrower than the words, shorter ones are
    shown, and none where there are none."""

    def __init__(self, line: pg.InfiniteLine, *, position: float, anchors: list[Corner]) -> None:
        self._forms: tuple[str, ...] = ("",)
        super().__init__(line, "", position=position, anchors=anchors)

    def say(self, text: str, *shorter: str) -> None:
        """These words, as they are; the longest of them that have room."""
        self._forms = (text, *shorter)
        # pyqtgraph fills in what stands in braces.
        self.setFormat(text.replace("{", "{{").replace("}", "}}"))

    def updatePosition(self) -> None:
        """pyqtgraph calls this whenever the line, the words or the room have changed."""
        super().updatePosition()
        box = self.getViewBox()
        if box is None or self.scene() is None:
            return
        room, at = box.sceneBoundingRect(), self.parentItem().mapToScene(self.pos())
        for form in (*self._forms, ""):
            if self.textItem.toPlainText() != form:
                self.setText(form)
            size = self.textItem.boundingRect()
            if size.width() <= room.width():
                break
        corner = QPointF(self.anchor[0], self.anchor[1])
        self.setAnchor(
            (
                _moved_in(corner.x(), at.x(), size.width(), room.left(), room.right()),
                _moved_in(corner.y(), at.y(), size.height(), room.top(), room.bottom()),
            )
        )


def _moved_in(anchor: float, at: float, size: float, low: float, high: float) -> float:
    """The share of a text that lies before the point `at`, so that it lies between `low` and `high`; it stays as it is where
    the point itself lies outside."""
    if not size or size > high - low or not low <= at <= high:
        return anchor
    start = min(max(at - anchor * size, low), high - size)
    return (at - start) / size
