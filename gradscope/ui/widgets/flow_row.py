"""Widgets side by side that go on in the next line where there is no more room, as words do."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QEvent, QPoint, QRect, QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded


@guarded
class FlowRow(QWidget):
    """Every widget has the size that it asks for, and the whole width at most: none is made smaller for the sake of another.

    A widget and no layout: PySide6 6.11 loses the overrides of a layout that lies in another one.
    """

    def __init__(self, parent: QWidget | None = None, *, spacing: int) -> None:
        super().__init__(parent)
        self._widgets: list[QWidget] = []
        self._spacing = spacing
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def add(self, widget: QWidget) -> None:
        widget.setParent(self)
        self._widgets.append(widget)

    def _places(self, width: int) -> Iterator[tuple[QWidget, QRect]]:
        """Where each widget that is shown goes."""
        x, y, line_height = 0, 0, 0
        for widget in self._widgets:
            if widget.isHidden():
                continue
            size = widget.sizeHint().expandedTo(widget.minimumSize()).boundedTo(widget.maximumSize())
            size.setWidth(min(size.width(), width))
            if x > 0 and x + size.width() > width:
                x, y, line_height = 0, y + line_height + self._spacing, 0
            yield widget, QRect(QPoint(x, y), size)
            x += size.width() + self._spacing
            line_height = max(line_height, size.height())

    def _arrange(self) -> None:
        for widget, place in self._places(self.width()):
            widget.setGeometry(place)

    def _height(self, width: int) -> int:
        return max((place.bottom() + 1 for _, place in self._places(width)), default=0)

    # ------------------------------------------------------------------------------------------ Qt

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            # One of them is shown, hidden, or has another text.
            self._arrange()
            self.updateGeometry()
        return super().event(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def heightForWidth(self, width: int) -> int:
        return self._height(width)

    def sizeHint(self) -> QSize:
        sizes = [widget.sizeHint().width() for widget in self._widgets if not widget.isHidden()]
        width = sum(sizes) + self._spacing * max(0, len(sizes) - 1)
        return QSize(width, self._height(width))

    def minimumSizeHint(self) -> QSize:
        shown = [widget for widget in self._widgets if not widget.isHidden()]
        width = max((widget.minimumSizeHint().width() for widget in shown), default=0)
        return QSize(width, max((widget.sizeHint().height() for widget in shown), default=0))
