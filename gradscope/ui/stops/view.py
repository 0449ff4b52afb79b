"""The table of stops: Space turns one on and off, Delete removes it, Enter or a double click changes it."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from gradscope.ui.stops.model import Column, StopsModel
from gradscope.ui.widgets.fitting_delegate import NumberDelegate
from gradscope.ui.widgets.guarded import guarded

_WIDTHS = {Column.ON: 5, Column.HITS: 6}
"""In digits."""
_TEXT, _PLACE = (22, 46), (16, 44)
"""Least and most digits of what is as wide as its texts; the newest hit has the rest."""
_LEAST_SENTENCE = 24


@guarded
class StopsView(QTableView):
    toggle_wanted = Signal()
    """Of the rows that are selected."""
    remove_wanted = Signal()
    edit_wanted = Signal()
    menu_wanted = Signal(QPoint)
    """At a place on the screen; the row is selected."""

    def __init__(self, model: StopsModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setModel(model)
        self._numbers = NumberDelegate(self)
        self.setItemDelegateForColumn(Column.HITS, self._numbers)
        self.setAccessibleName(self.tr("Stops"))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setMinimumSize(1, 1)
        vertical = self.verticalHeader()
        vertical.hide()
        vertical.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        vertical.setDefaultSectionSize(self.fontMetrics().height() + 8)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(24)
        self.doubleClicked.connect(self._on_double_clicked)
        model.modelReset.connect(self.fit_columns)
        model.dataChanged.connect(self.fit_columns)

    def rows(self) -> list[int]:
        """Those that are selected, else the current one."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        current = self.currentIndex()
        return rows or ([current.row()] if current.isValid() else [])

    def fit_columns(self) -> None:
        """The text and the place are whole where there is room; the sentence takes what is left, or goes first."""
        digit, room = self.fontMetrics().horizontalAdvance("0"), self.viewport().width()
        header = self.horizontalHeader()
        widths: dict[Column, int] = {
            column: max(digits * digit, header.sectionSizeHint(column)) for column, digits in _WIDTHS.items()
        }
        for column, (least, most) in {Column.TEXT: _TEXT, Column.PLACE: _PLACE}.items():
            needed = self.sizeHintForColumn(column) + digit
            widths[column] = max(least * digit, min(needed, most * digit))
        left = room - sum(widths.values())
        if left < _LEAST_SENTENCE * digit:
            widths[Column.PLACE] = _PLACE[0] * digit
            left = room - sum(widths.values())
        is_narrow = left < _LEAST_SENTENCE * digit
        if is_narrow:
            # Where it has stopped is said in the status bar too, and the tooltips are whole.
            del widths[Column.PLACE]
            left = room - sum(widths.values())
        if left < _LEAST_SENTENCE * digit // 2:
            widths[Column.TEXT] = max(10 * digit, room - widths[Column.ON] - widths[Column.HITS])
        else:
            widths[Column.SENTENCE] = left
        for column in Column:
            self.setColumnHidden(column, column not in widths)
            if column in widths:
                header.resizeSection(column, widths[column])

    # ------------------------------------------------------------------------------------------ private

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if index.column() != Column.ON:
            self.edit_wanted.emit()

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.fit_columns()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self.rows() or event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier:
            super().keyPressEvent(event)
            return
        match event.key():
            case Qt.Key.Key_Space:
                self.toggle_wanted.emit()
            case Qt.Key.Key_Delete | Qt.Key.Key_Backspace:
                self.remove_wanted.emit()
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self.edit_wanted.emit()
            case _:
                super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        by_keyboard = event.reason() is QContextMenuEvent.Reason.Keyboard
        index = self.currentIndex() if by_keyboard else self.indexAt(event.pos())
        place = self.visualRect(index).bottomLeft() if by_keyboard and index.isValid() else event.pos()
        if index.isValid() and index.row() not in self.rows():
            self.selectRow(index.row())
        self.menu_wanted.emit(self.viewport().mapToGlobal(place))
