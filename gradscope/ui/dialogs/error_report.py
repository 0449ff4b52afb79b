"""Our own bug, or a crash of the last start: a text that can be copied into a bug report."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from gradscope.protocol.visible import visible_lines
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel


@guarded
class ErrorReportDialog(SizedDialog):
    """`report` can grow while the dialog is open."""

    def __init__(self, title: str, explanation: str, report: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        label = PlainLabel(explanation, self)
        label.setWordWrap(True)
        self.text = QPlainTextEdit(visible_lines(report), self)
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setAccessibleName(self.tr("Report"))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        copy = buttons.addButton(self.tr("Copy report"), QDialogButtonBox.ButtonRole.ActionRole)
        copy.setDefault(True)
        copy.clicked.connect(self._on_copy_clicked)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(12)
        column.addWidget(label)
        column.addWidget(self.text, 1)
        column.addWidget(buttons)

    def add(self, report: str) -> None:
        self.text.appendPlainText("\n" + visible_lines(report))

    @Slot()
    def _on_copy_clicked(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), 26 * self.fontMetrics().lineSpacing())

    def least_height(self) -> int:
        return self.sizeHint().height()
