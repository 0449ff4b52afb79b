"""A table view whose cells can be copied as tab-separated text (Ctrl+C, or its menu)."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Qt, Slot
from PySide6.QtGui import QAction, QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QTableView, QWidget

from gradscope.ui.widgets.fitting_delegate import NumberDelegate
from gradscope.ui.widgets.guarded import guarded

COPY_ROLE = int(Qt.ItemDataRole.UserRole) + 1
"""A model may offer an exact text here for what it shows shortened."""
MAX_CELLS = 200_000


@guarded
class CopyTable(QTableView):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        self.setItemDelegate(NumberDelegate(self))
        self.setTabKeyNavigation(False)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        copy = QAction(self.tr("Copy"), self)
        copy.setShortcut(QKeySequence.StandardKey.Copy)
        copy.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        copy.triggered.connect(self._on_copy)
        copy_all = QAction(self.tr("Copy all with headings"), self)
        copy_all.triggered.connect(self._on_copy_all)
        self.addActions([copy, copy_all])

    def selection_as_text(self) -> str:
        """The rectangle around the selected cells, tabs between columns; cells in it that are not selected are empty."""
        chosen = self.selectionModel().selection()
        if chosen.isEmpty():
            return ""
        ranges = [chosen.at(i) for i in range(chosen.count())]
        top, bottom = min(r.top() for r in ranges), max(r.bottom() for r in ranges)
        left, right = min(r.left() for r in ranges), max(r.right() for r in ranges)
        bottom = min(bottom, top + max(1, MAX_CELLS // (right - left + 1)) - 1)
        only_one = len(ranges) == 1
        lines = []
        for row in range(top, bottom + 1):
            cells = []
            for column in range(left, right + 1):
                index = self.model().index(row, column)
                cells.append(self._text(index) if only_one or chosen.contains(index) else "")
            lines.append("\t".join(cells))
        return "\n".join(lines)

    def all_as_text(self) -> str:
        """Headings and all rows, up to MAX_CELLS cells."""
        model = self.model()
        columns = range(model.columnCount())
        rows = min(model.rowCount(), max(1, MAX_CELLS // max(1, len(columns))))
        heads = [str(model.headerData(c, Qt.Orientation.Horizontal) or "") for c in columns]
        lines = ["\t".join(heads)] if any(heads) else []
        lines += ["\t".join(self._text(model.index(row, c)) for c in columns) for row in range(rows)]
        return "\n".join(lines)

    @Slot()
    def _on_copy(self) -> None:
        text = self.selection_as_text()
        if text:
            QGuiApplication.clipboard().setText(text)

    @Slot()
    def _on_copy_all(self) -> None:
        QGuiApplication.clipboard().setText(self.all_as_text())

    def _text(self, index: QModelIndex) -> str:
        text = index.data(COPY_ROLE)
        if text is None:
            text = index.data()
        return "" if text is None else str(text)

    # ------------------------------------------------------------------------------------------ Qt

    def keyPressEvent(self, event: QKeyEvent) -> None:
        # Qt itself would copy the current cell alone.
        if event.matches(QKeySequence.StandardKey.Copy):
            self._on_copy()
        else:
            super().keyPressEvent(event)
