"""The file dialog for snapshots: a .zip, or a snapshot's folder, which is chosen by going into it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from gradscope.snapshots.format.source import MANIFEST
from gradscope.snapshots.reader import is_snapshot


class OpenSnapshotDialog(QFileDialog):
    """Emits `chosen` with the path of the snapshot: no file dialog lets one choose files and folders alike."""

    chosen = Signal(str)

    def __init__(self, *, title: str, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setFileMode(QFileDialog.FileMode.ExistingFile)
        self.setNameFilters(
            [self.tr("Snapshots: a .zip, or {name} in a folder").format(name=MANIFEST) + f" (*.zip {MANIFEST})"]
        )
        self.setDirectory(str(folder))
        self.fileSelected.connect(self._on_file_selected)
        self.directoryEntered.connect(self._on_directory_entered)

    @Slot(str)
    def _on_file_selected(self, path: str) -> None:
        self.chosen.emit(str(Path(path).parent) if Path(path).name == MANIFEST else path)

    @Slot(str)
    def _on_directory_entered(self, path: str) -> None:
        """Who goes into a snapshot has chosen it."""
        if (Path(path) / MANIFEST).is_file():
            self.chosen.emit(path)
            self.close()


def may_be_snapshot(path: Path) -> bool:
    """Whether a path is to be read as a snapshot. Any folder is: a recipe is a file."""
    return path.is_dir() or is_snapshot(path)
