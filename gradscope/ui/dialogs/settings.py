"""The settings dialog: the interpreter of the engine, and the theme."""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.ui.dialogs.interpreter import problem_with_interpreter
from gradscope.ui.settings import Setting, Settings, ThemeChoice


class SettingsDialog(QDialog):
    """`running` is the interpreter that runs the engine now; what is wrong with a field is said below it."""

    def __init__(self, settings: Settings, *, running: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._running = running
        self.setWindowTitle(self.tr("Settings"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.python = QLineEdit(settings.get(Setting.PYTHON), self)
        self.python.setPlaceholderText(sys.executable)
        self.python.setClearButtonEnabled(True)
        self.python.textChanged.connect(self._on_python_changed)
        self.hint = QLabel(self)
        self.hint.setWordWrap(True)
        self.theme = QComboBox(self)
        for choice, text in (
            (ThemeChoice.SYSTEM, self.tr("As the system")),
            (ThemeChoice.LIGHT, self.tr("Light")),
            (ThemeChoice.DARK, self.tr("Dark")),
        ):
            self.theme.addItem(text, choice)
        self.theme.setCurrentIndex(self.theme.findData(settings.get(Setting.THEME)))
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self._arrange()
        self._on_python_changed(self.python.text())

    # ------------------------------------------------------------------------------------------ slots

    @Slot(str)
    def _on_python_changed(self, path: str) -> None:
        problem = problem_with_interpreter(path.strip())
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(problem is None)
        later = self.tr(
            "The interpreter of your project's environment; it needs torch. "
            "Takes effect when the engine starts anew (Session menu, Restart engine)"
        )
        self.hint.setText(problem or later)
        self.hint.setProperty("role", "bad" if problem else "muted")
        self.hint.style().polish(self.hint)

    @Slot()
    def _on_browse_clicked(self) -> None:
        dialog = QFileDialog(self, self.tr("Choose a Python interpreter"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        start = Path(self.python.text() or self._running or sys.executable).parent
        dialog.setDirectory(str(start))
        # Following the link of a virtual environment's python would leave the environment.
        dialog.setOption(QFileDialog.Option.DontResolveSymlinks)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.python.setText)
        dialog.open()

    # ------------------------------------------------------------------------------------------ private

    def _arrange(self) -> None:
        browse = QPushButton(self.tr("Browse..."), self)
        browse.setAutoDefault(False)
        browse.clicked.connect(self._on_browse_clicked)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.python, 1)
        line.addWidget(browse)
        field = QVBoxLayout()
        field.setSpacing(4)
        field.addLayout(line)
        field.addWidget(self.hint)
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(16)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        label = QLabel(self.tr("&Python for the engine"), self)
        label.setBuddy(self.python)
        form.addRow(label, field)
        form.addRow(self.tr("&Theme"), self.theme)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(16)
        column.addLayout(form)
        column.addStretch(1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        path = self.python.text().strip()
        if problem_with_interpreter(path) is None:
            self._settings.set(Setting.PYTHON, path)
            self._settings.set(Setting.THEME, self.theme.currentData())
            super().accept()

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
