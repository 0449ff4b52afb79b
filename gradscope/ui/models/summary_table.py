"""The numbers of one summary as a table model, two pairs of name and number side by side."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from gradscope.ui.widgets.copy_table import COPY_ROLE
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting

Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    text: str
    """As it is shown."""
    exact: str
    """As it is copied."""
    is_alarming: bool = False
    note: str = ""
    """What there is to say instead of a number."""


@guarded
@plain_items
class SummaryTableModel(QAbstractTableModel):
    """Entries run down the left pair of columns first."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.entries: tuple[Entry, ...] = ()
        self.muted = self.bad = ""
        self._rows = 0

    def show_entries(self, entries: tuple[Entry, ...]) -> None:
        rows = (len(entries) + 1) // 2
        if rows != self._rows:
            with resetting(self):
                self.entries, self._rows = entries, rows
        elif entries != self.entries:
            self.entries = entries
            self.dataChanged.emit(self.index(0, 0), self.index(rows - 1, 3))

    def position(self, index: Index) -> int | None:
        """Which entry a cell belongs to; None for none."""
        position = index.row() + self._rows * (index.column() // 2)
        return position if index.isValid() and position < len(self.entries) else None

    def set_colours(self, *, muted: str, bad: str) -> None:
        self.muted, self.bad = muted, bad
        if self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(self._rows - 1, 3))

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else self._rows

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else 4

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        position = self.position(index)
        if position is None:
            return None
        entry, is_name = self.entries[position], index.column() % 2 == 0
        match role:
            case Qt.ItemDataRole.DisplayRole:
                # The second pair keeps its distance from the first.
                return ("\u2003" if index.column() == 2 else "") + entry.name if is_name else entry.text
            case Qt.ItemDataRole.ToolTipRole:
                return f"{entry.name}: {entry.exact or entry.note or entry.text}"
            case Qt.ItemDataRole.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignLeft if is_name else Qt.AlignmentFlag.AlignRight
                return side | Qt.AlignmentFlag.AlignVCenter
            case Qt.ItemDataRole.ForegroundRole if is_name and self.muted:
                return QColor(self.muted)
            case Qt.ItemDataRole.ForegroundRole if entry.is_alarming and self.bad:
                return QColor(self.bad)
            case _ if role == COPY_ROLE:
                return entry.name if is_name else entry.exact
        return None
