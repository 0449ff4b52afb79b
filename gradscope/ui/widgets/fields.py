"""Fields that the wheel goes past: it scrolls what they lie in. A value that it changed in passing would go unnoticed."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QKeySequence, QPaintEvent, QShortcut, QWheelEvent
from PySide6.QtWidgets import QComboBox, QLineEdit, QSpinBox, QStyle, QStyleOptionComboBox, QStylePainter, QWidget

from gradscope.ui.widgets.elided_label import elided
from gradscope.ui.widgets.guarded import guarded

_ROUNDED_OFF = 2
"""Pixels by which a field that is as wide as its text may seem too narrow."""


def clear_on_escape(field: QLineEdit, *, within: QWidget) -> None:
    """Esc empties a filter that has a text, also in the list that it filters. Both lie `within` the widget."""
    escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), within)
    escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
    escape.activated.connect(field.clear)
    # An empty one leaves the key to others.
    escape.setEnabled(bool(field.text()))
    field.textChanged.connect(lambda text: escape.setEnabled(bool(text)))


@guarded
class SpinBox(QSpinBox):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # Not by the wheel either.
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


@guarded
class ComboBox(QComboBox):
    SHORTER = Qt.ItemDataRole.UserRole + 1
    """What stands in the closed field for an entry whose text has no room: what is different about it, not how it begins."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shorter: tuple[str, ...] = ()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def set_shorter(self, texts: Sequence[str]) -> None:
        """Of each entry; the field has room for any of these."""
        for index, text in enumerate(texts):
            self.setItemData(index, text, self.SHORTER)
        self._shorter = tuple(texts)
        self.updateGeometry()

    def minimumSizeHint(self) -> QSize:
        if not self._shorter:
            return super().minimumSizeHint()
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        metrics = self.fontMetrics()
        room = QSize(max(map(metrics.horizontalAdvance, self._shorter)), metrics.height())
        return self.style().sizeFromContents(QStyle.ContentsType.CT_ComboBox, option, room, self)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """As Qt does, but what has no room ends in dots: a style sheet has Qt cut it within a letter."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        field = QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, field, self).width()
        if self.fontMetrics().horizontalAdvance(option.currentText) > room + _ROUNDED_OFF:
            shorter = self.currentData(self.SHORTER)
            option.currentText = elided(shorter or option.currentText, self.fontMetrics(), room)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


@guarded
class WheelFilter(QObject):
    """The same for a field that Qt has made."""

    def __init__(self, field: QWidget) -> None:
        super().__init__(field)
        field.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return super().eventFilter(watched, event)
