"""The tree of the Layers panel: its menu, for the row under the mouse or by the keyboard, and how names are painted in it."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTreeView

from gradscope.ui.widgets.guarded import guarded


@guarded
class LayerView(QTreeView):
    menu_requested = Signal(QModelIndex, QPoint)
    """A row, and a place on the screen."""
    unfolding_wanted = Signal(QModelIndex)
    """Of a row, with all that is below it."""
    resized = Signal()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        # With Alt, Left and Right are those of the steps, also where there is none any more; Qt would fold the row.
        if event.modifiers() & Qt.KeyboardModifier.AltModifier and event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            event.ignore()
        elif event.key() == Qt.Key.Key_Asterisk and self.currentIndex().isValid():
            self.unfolding_wanted.emit(self.currentIndex())
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        by_keyboard = event.reason() is QContextMenuEvent.Reason.Keyboard
        index = self.currentIndex() if by_keyboard else self.indexAt(event.pos())
        if index.isValid():
            place = self.visualRect(index).bottomLeft() if by_keyboard else event.pos()
            self.menu_requested.emit(index, self.viewport().mapToGlobal(place))


@guarded
class NameDelegate(QStyledItemDelegate):
    """A sign beside a name makes its row no higher: all rows of the tree are as high as the first."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        whole = super().sizeHint(option, index)
        plain = QStyleOptionViewItem(option)
        self.initStyleOption(plain, index)
        plain.features &= ~QStyleOptionViewItem.ViewItemFeature.HasDecoration
        style = QApplication.style() if option.widget is None else option.widget.style()
        text = style.sizeFromContents(QStyle.ContentsType.CT_ItemViewItem, plain, QSize(), option.widget)
        return QSize(whole.width(), min(whole.height(), text.height()))
