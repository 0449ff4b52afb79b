"""Export snapshot: where to write the folder. A folder that is there already is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
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

_FORBIDDEN = '<>:"/\\|?*'


class ExportDialog(QDialog):
    """Emits `chosen` with the path of the folder to be made."""

    chosen = Signal(str)

    def __init__(self, *, folder: Path, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Export snapshot"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.folder = QLineEdit(str(folder), self)
        self.name = QLineEdit(name, self)
        self.hint = QLabel(self)
        self.hint.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.export = self.buttons.addButton(self.tr("Export"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.export.setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.folder.textChanged.connect(self._on_edited)
        self.name.textChanged.connect(self._on_edited)
        self._arrange()
        self._on_edited()
        self.name.setFocus()
        self.name.selectAll()

    def path(self) -> Path:
        return Path(self.folder.text().strip()).expanduser() / self.name.text().strip()

    def problem(self) -> str | None:
        """One sentence that says why the snapshot cannot be written there, or None."""
        folder, name = self.folder.text().strip(), self.name.text().strip()
        if not name:
            return self.tr("The name is empty; expected the name of a new folder")
        if name in (".", "..") or any(character in _FORBIDDEN for character in name):
            return self.tr("{name} cannot be the name of a folder").format(name=name)
        if not folder or not Path(folder).expanduser().is_dir():
            return self.tr("There is no folder {folder}").format(folder=folder or "''")
        if self.path().exists():
            return self.tr("{path} is there already; choose another name").format(path=self.path())
        return None

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_edited(self) -> None:
        problem = self.problem()
        self.export.setEnabled(problem is None)
        what = self.tr(
            "Numbers and history as CSV, parameters, gradients, updates, activations and the batch as safetensors, "
            "the plots as PNG"
        )
        self.hint.setText(problem or what)
        self.hint.setProperty("role", "bad" if problem else "muted")
        self.hint.style().polish(self.hint)

    @Slot()
    def _on_browse_clicked(self) -> None:
        dialog = QFileDialog(self, self.tr("Choose a folder"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setDirectory(self.folder.text())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.folder.setText)
        dialog.open()

    # ------------------------------------------------------------------------------------------ private

    def _arrange(self) -> None:
        browse = QPushButton(self.tr("Browse..."), self)
        browse.setAutoDefault(False)
        browse.clicked.connect(self._on_browse_clicked)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.folder, 1)
        line.addWidget(browse)
        label = QLabel(self.tr("&Folder"), self)
        label.setBuddy(self.folder)
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(12)
        form.addRow(self.tr("&Name"), self.name)
        form.addRow(label, line)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(16)
        column.addLayout(form)
        column.addWidget(self.hint)
        column.addStretch(1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        if self.problem() is None:
            self.chosen.emit(str(self.path()))
            super().accept()

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
