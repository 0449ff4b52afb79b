"""A checkpoint does not fit: what is missing, unexpected or of another shape, before anything is changed."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from gradscope.protocol.messages.checkpoints import CheckpointMismatch
from gradscope.protocol.visible import visible, visible_lines
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel


@guarded
class MismatchDialog(SizedDialog):
    """Emits `wanted` if what fits is to be loaded."""

    wanted = Signal()

    def __init__(self, mismatch: CheckpointMismatch, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("The checkpoint does not fit"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._mismatch = mismatch
        self.label = PlainLabel(self._summary(), self)
        self.label.setWordWrap(True)
        self.text = QPlainTextEdit(visible_lines("\n\n".join(self._sections())), self)
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setAccessibleName(self.tr("What does not fit"))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.load = self.buttons.addButton(self.tr("Load what fits"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.load.setEnabled(mismatch.fitting > 0)
        self.copy = self.buttons.addButton(self.tr("Copy list"), QDialogButtonBox.ButtonRole.ActionRole)
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setDefault(True)
        self.copy.clicked.connect(self._on_copy_clicked)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(12)
        column.addWidget(self.label)
        column.addWidget(self.text, 1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_copy_clicked(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())

    # ------------------------------------------------------------------------------------------ private

    def _summary(self) -> str:
        mismatch, name = self._mismatch, Path(self._mismatch.path).name
        if mismatch.fitting == 0:
            fate = self.tr("No tensor of {name} fits this model. Nothing was changed.")
        else:
            fate = self.tr(
                "{fitting} of {total} tensors of the model would be loaded from {name}. Nothing was changed."
            )
        return fate.format(name=visible(name), fitting=mismatch.fitting, total=mismatch.total)

    def _sections(self) -> list[str]:
        mismatch = self._mismatch
        parts = (
            (self.tr("Missing in the file"), mismatch.missing),
            (self.tr("Unexpected in the file"), mismatch.unexpected),
            (self.tr("Wrong shape"), mismatch.wrong_shape),
            (self.tr("Optimizer and scheduler"), mismatch.other),
        )
        return [
            "\n".join((f"{title} ({len(lines)})", *(f"    {line}" for line in lines)))
            for title, lines in parts
            if lines
        ]

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        self.wanted.emit()
        super().accept()

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), 24 * self.fontMetrics().lineSpacing())

    def least_height(self) -> int:
        return self.sizeHint().height()
