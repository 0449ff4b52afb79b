"""Paints the names of layers. A sign beside a name makes its row no higher: all rows of the tree are as high as the first."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QSize
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from gradscope.ui.widgets.guarded import guarded


@guarded
class NameDelegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        whole = super().sizeHint(option, index)
        plain = QStyleOptionViewItem(option)
        self.initStyleOption(plain, index)
        plain.features &= ~QStyleOptionViewItem.ViewItemFeature.HasDecoration
        style = QApplication.style() if option.widget is None else option.widget.style()
        text = style.sizeFromContents(QStyle.ContentsType.CT_ItemViewItem, plain, QSize(), option.widget)
        return QSize(whole.width(), min(whole.height(), text.height()))
