"""Every keyboard shortcut, straight from the action table."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialogButtonBox,
    QHeaderView,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from gradscope.ui.actions.actions import plain, translated
from gradscope.ui.actions.table import TABLE
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.guarded import guarded


@guarded
class ShortcutsDialog(SizedDialog):
    def __init__(self, *, steps: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Keyboard shortcuts"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.list = QTreeWidget(self)
        self.list.setHeaderLabels([self.tr("Key"), self.tr("Action"), self.tr("What it does")])
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.list.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for row in TABLE.values():
            if row.shortcuts:
                keys = [QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) for key in row.shortcuts]
                name, what = plain(translated(row.text, steps=steps)), translated(row.tooltip, steps=steps)
                self.list.addTopLevelItem(QTreeWidgetItem([", ".join(keys), name, what]))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(12)
        column.addWidget(self.list, 1)
        column.addWidget(buttons)

    def sizeHint(self) -> QSize:
        return QSize(110 * self.fontMetrics().averageCharWidth(), 28 * self.fontMetrics().lineSpacing())
