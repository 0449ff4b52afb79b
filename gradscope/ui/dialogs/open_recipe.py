"""The file dialog for recipes."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QWidget


class OpenRecipeDialog(QFileDialog):
    """`fileSelected` tells the chosen path."""

    def __init__(self, *, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Open recipe"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setFileMode(QFileDialog.FileMode.ExistingFile)
        self.setNameFilters([self.tr("Python files (*.py)"), self.tr("All files (*)")])
        self.setDirectory(str(folder))
