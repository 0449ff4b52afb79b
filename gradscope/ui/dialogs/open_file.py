"""The file dialog for scripts, notebooks and recipes."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QWidget

from gradscope.script_kind import SUFFIXES


class OpenFileDialog(QFileDialog):
    """`fileSelected` tells the chosen path."""

    def __init__(self, *, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Open script, notebook or recipe"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setFileMode(QFileDialog.FileMode.ExistingFile)
        patterns = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        self.setNameFilters([self.tr("Python files and notebooks") + f" ({patterns})", self.tr("All files (*)")])
        self.setDirectory(str(folder))
