"""The file dialogs for checkpoints."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QWidget


class SaveCheckpointDialog(QFileDialog):
    """`fileSelected` tells the chosen path; Qt asks before a file is replaced."""

    def __init__(self, title: str, *, folder: Path, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        self.setFileMode(QFileDialog.FileMode.AnyFile)
        self.setNameFilters([self.tr("Checkpoints (*.pt *.pth)"), self.tr("All files (*)")])
        self.setDefaultSuffix("pt")
        self.setDirectory(str(folder))
        self.selectFile(name)


class LoadCheckpointDialog(QFileDialog):
    """`fileSelected` tells the chosen path."""

    def __init__(self, *, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Load checkpoint"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setFileMode(QFileDialog.FileMode.ExistingFile)
        checkpoints = self.tr("Checkpoints and weights (*.pt *.pth *.ckpt *.bin *.safetensors)")
        self.setNameFilters([checkpoints, self.tr("All files (*)")])
        self.setDirectory(str(folder))
