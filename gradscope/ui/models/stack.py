"""The user's lines at which training is stopped, as a Qt table model."""

from __future__ import annotations

from enum import IntEnum
from pathlib import PurePath
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.ui.look.colours import Theme
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting

Index = QModelIndex | QPersistentModelIndex
_Role = Qt.ItemDataRole


class StackColumn(IntEnum):
    FUNCTION = 0
    FILE = 1
    LINE = 2


@guarded
@plain_items
class StackModel(QAbstractTableModel):
    """A row for each line, the innermost first; frames of libraries between two of them are one row, which says how many."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._stack: tuple[StackFrame, ...] = ()
        self._rows: list[SourceLine | int] = []
        """A line, or how many frames of libraries lie between two."""

    def show_stack(self, stack: tuple[StackFrame, ...]) -> None:
        if stack == self._stack:
            return
        rows: list[SourceLine | int] = []
        for frame in stack:
            rows += [frame.line, frame.folded] if frame.folded else [frame.line]
        with resetting(self):
            self._stack, self._rows = stack, rows

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        if self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, StackColumn.LINE))

    def line(self, row: int) -> SourceLine | None:
        """None for frames of libraries."""
        found = self._rows[row]
        return found if isinstance(found, SourceLine) else None

    def row_of(self, line: SourceLine) -> int | None:
        return self._rows.index(line) if line in self._rows else None

    # ------------------------------------------------------------------------------------------ private

    def _display(self, row: int, column: int) -> str:
        found = self._rows[row]
        if isinstance(found, int):
            if column != StackColumn.FUNCTION:
                return ""
            one, more = self.tr("1 library frame"), self.tr("%1 library frames")
            return one if found == 1 else more.replace("%1", str(found))
        match column:
            case StackColumn.FUNCTION:
                return found.function
            case StackColumn.FILE:
                return file_name(found.file)
            case _:
                return str(found.line) if found.line else ""

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(StackColumn)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        match role:
            case _Role.DisplayRole:
                return (self.tr("Function"), self.tr("File"), self.tr("Line"))[section]
            case _Role.TextAlignmentRole:
                return _alignment(section)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        if index.isValid() and self.line(index.row()) is None:
            # Nothing to go to.
            return Qt.ItemFlag.NoItemFlags
        return super().flags(index)

    def data(self, index: Index, role: int = _Role.DisplayRole) -> Any:
        if not index.isValid():
            return None
        row, column = index.row(), index.column()
        line = self.line(row)
        match role:
            case _Role.DisplayRole:
                return self._display(row, column)
            case _Role.ToolTipRole:
                return line.file if line is not None else self.tr("Code of torch, Python and other packages")
            case _Role.ForegroundRole if line is None:
                return QColor(self._theme.muted)
            case _Role.TextAlignmentRole:
                return _alignment(column)
        return None


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column == StackColumn.LINE else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def file_name(file: str) -> str:
    """ "net.py" of its path; the name of a notebook's cell as it is."""
    return file if file.startswith("<") else PurePath(file.replace("\\", "/")).name
