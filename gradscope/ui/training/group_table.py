"""The table of the parameter groups, with an editor for each kind of option."""

from __future__ import annotations

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, QSize, Qt, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLineEdit,
    QStyleOptionViewItem,
    QToolTip,
    QWidget,
)

from gradscope.protocol.visible import visible
from gradscope.ui.models.group_table import GroupTableModel
from gradscope.ui.training.argument_field import problem_with, texts_to_choose
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.fitting_delegate import NumberDelegate
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip

Index = QModelIndex | QPersistentModelIndex

_LEAST_COLUMN_DIGITS = 10
_MOST_NAME_DIGITS = 15


@guarded
class GroupTable(CopyTable):
    """As high as its rows; Enter, F2 or a double click edits a cell."""

    def __init__(self, model: GroupTableModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed | triggers.AnyKeyPressed)
        self.setModel(model)
        self._delegate = _OptionDelegate(model, self)
        self.setItemDelegate(self._delegate)
        self.setAccessibleName(self.tr("Options of the parameter groups"))
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAlternatingRowColors(True)
        # The names of options have letters that go down far: weight_decay.
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 10)
        self.verticalHeader().setMaximumWidth(_MOST_NAME_DIGITS * self.fontMetrics().horizontalAdvance("0"))
        self.verticalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(_LEAST_COLUMN_DIGITS * self.fontMetrics().horizontalAdvance("0"))
        header.setDefaultSectionSize(header.minimumSectionSize())
        # A number that is cut at the edge looks like another number: whole columns only, and rounded inside.
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerItem)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        model.shape_changed.connect(self._on_shape_changed)

    @Slot()
    def _on_shape_changed(self) -> None:
        # A few groups share the width; many are scrolled.
        header, room = self.horizontalHeader(), self.viewport().width()
        if self._least_width() <= room:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        else:
            whole = max(1, room // header.minimumSectionSize())
            header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
            for column in range(self.model().columnCount()):
                header.resizeSection(column, room // whole)
        self.updateGeometry()

    def _least_width(self) -> int:
        return self.model().columnCount() * self.horizontalHeader().minimumSectionSize()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._on_shape_changed()

    def sizeHint(self) -> QSize:
        rows = self.model().rowCount() * self.verticalHeader().defaultSectionSize()
        bar = self.horizontalScrollBar().sizeHint().height() if self._least_width() > self.viewport().width() else 0
        return QSize(super().sizeHint().width(), rows + self.horizontalHeader().sizeHint().height() + bar + 2)

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())


@guarded
class _OptionDelegate(NumberDelegate):
    def __init__(self, model: GroupTableModel, view: QWidget) -> None:
        super().__init__(view)
        self._model = model
        self._view = view

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        argument = self._model.argument(index)
        texts = texts_to_choose(argument) if argument is not None else []
        if not texts:
            return super().createEditor(parent, option, index)
        combo = ComboBox(parent)
        for text in texts:
            combo.addItem(visible(text.strip("'\"")), text)
        return combo

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        if isinstance(editor, QComboBox):
            editor.setCurrentIndex(max(0, editor.findData(index.data(Qt.ItemDataRole.EditRole))))
        else:
            super().setEditorData(editor, index)

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        if isinstance(editor, QComboBox):
            model.setData(index, editor.currentData())
            return
        assert isinstance(editor, QLineEdit)
        argument = self._model.argument(index)
        problem = problem_with(argument, editor.text()) if argument is not None else None
        if problem is not None:
            QToolTip.showText(editor.mapToGlobal(editor.rect().bottomLeft()), plain_tip(problem), self._view)
            return
        model.setData(index, editor.text())
