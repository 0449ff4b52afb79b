"""A ring around what has the keyboard, as long as the keyboard is what is used."""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QObject, QPoint, QRect, QRectF, Qt, QTimer, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QApplication, QScrollArea, QWidget

from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded

_WIDTH = 2
_FOLLOW_MS = 50
"""A widget moves with everything that it lies in: looking where it is costs less than listening to all of that."""


@guarded
class FocusRing(QWidget):
    """Over a window, around the part of a widget that is in sight."""

    def __init__(self, widget: QWidget, themes: ThemeManager) -> None:
        super().__init__(widget.window())
        self._widget = widget
        self._themes = themes
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._timer = QTimer(self)
        self._timer.setInterval(_FOLLOW_MS)
        self._timer.timeout.connect(self._follow)
        self._timer.start()
        self._follow()

    @Slot()
    def _follow(self) -> None:
        if not shiboken6.isValid(self._widget):
            self.hide()
            return
        place = part_in_sight(self._widget)
        if place != self.geometry():
            self.setGeometry(place)
        if self.isHidden() != place.isEmpty():
            self.setVisible(not place.isEmpty())
            self.raise_()

    # ------------------------------------------------------------------------------------------ Qt

    def paintEvent(self, _event: QPaintEvent) -> None:
        # Inside of the widget: what fills its parent has nothing around it.
        inset = _WIDTH / 2
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(self._themes.theme.accent), _WIDTH))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(inset, inset, -inset, -inset), 4, 4)
        painter.end()


def part_in_sight(widget: QWidget) -> QRect:
    """The rectangle of a widget that nothing around it cuts off, in coordinates of its window."""
    window = widget.window()
    part = QRect(widget.mapTo(window, QPoint()), widget.size()) & window.rect()
    if not shiboken6.createdByPython(widget):
        return part
    holder = widget.parentWidget()
    while holder is not None and holder is not window:
        part &= QRect(holder.mapTo(window, QPoint()), holder.size())
        holder = holder.parentWidget()
    return part if widget.isVisible() else QRect()


class FocusRings(QObject):
    """Of a whole application: what gets the keyboard is scrolled into sight, and has a ring around it.

    One ring at a time: it belongs to the window of its widget, and ends with it.
    """

    def __init__(self, app: QApplication, themes: ThemeManager) -> None:
        super().__init__(app)
        self._themes = themes
        self._ring: FocusRing | None = None
        app.focusChanged.connect(self._on_focus_changed)

    @Slot()
    def _on_focus_changed(self) -> None:
        # Not the signal's own arguments: what has lost the keyboard may be half destroyed.
        new = QApplication.focusWidget()
        if self._ring is not None and shiboken6.isValid(self._ring):
            self._ring.hide()
            self._ring.deleteLater()
        self._ring = None
        if new is not None and new.window().testAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange):
            _scroll_to(new)
            self._ring = FocusRing(new, self._themes)


def _scroll_to(widget: QWidget) -> None:
    """Qt does so only within one scroll area. Widgets that Qt has made itself are left to it: `parentWidget()` would tie
    their Python objects to their parents', where they outlive them, and another object may get their address.
    """
    holder = widget.parentWidget() if shiboken6.createdByPython(widget) else None
    while holder is not None:
        if isinstance(holder, QScrollArea):
            holder.ensureWidgetVisible(widget)
        holder = holder.parentWidget()
