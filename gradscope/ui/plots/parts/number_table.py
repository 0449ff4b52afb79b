"""The numbers of a chart as a table model, made into text only where a person looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from gradscope.ui.plots.words.formats import exact
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting

Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class TableData:
    """A table of numbers and texts; `cell(row, column)` is asked for what is seen."""

    headers: tuple[str, ...]
    rows: int
    cell: Callable[[int, int], object]


@guarded
@plain_items
class NumberTable(QAbstractTableModel):
    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._data = TableData((), 0, lambda _row, _column: "")

    def set_data(self, data: TableData) -> None:
        """Show other numbers; rows that are only added at the end leave the selection where it is."""
        before = self._data
        if data.headers != before.headers or data.rows < before.rows:
            with resetting(self):
                self._data = data
            return
        if data.rows > before.rows:
            self.beginInsertRows(QModelIndex(), before.rows, data.rows - 1)
            self._data = data
            self.endInsertRows()
        self._data = data
        if before.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(before.rows - 1, len(data.headers) - 1))

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else self._data.rows

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(self._data.headers)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        roles = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.TextAlignmentRole, Qt.ItemDataRole.ToolTipRole)
        if role not in roles:
            return None
        value = self._data.cell(index.row(), index.column())
        is_text = isinstance(value, str) and not value.startswith(("–", "<", ">"))
        if role == Qt.ItemDataRole.ToolTipRole:
            # A long text is cut in its cell; a number never is.
            return value if is_text else None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignLeft if is_text else Qt.AlignmentFlag.AlignRight
            return side | Qt.AlignmentFlag.AlignVCenter
        if isinstance(value, (float, np.floating)):
            return exact(float(value))
        return str(value)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is not Qt.Orientation.Horizontal or section >= len(self._data.headers):
            return None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return self._data.headers[section]
        return None
