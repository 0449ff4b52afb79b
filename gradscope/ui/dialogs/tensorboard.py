"""Export to TensorBoard: into which folder, and how far it is. Stays open until the file is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.snapshots.tensorboard import missing, occupied
from gradscope.state.history import History
from gradscope.state.records.event_export import event_source
from gradscope.ui.actions.event_export import EventExport
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel

_FORBIDDEN = '<>:"/\\|?*'


@guarded
class TensorBoardDialog(SizedDialog):
    """Writes `history` as it is when Export is pressed; `owners` names the optimizer of each parameter group."""

    written = Signal(str, int)
    """Path of the file, and its size in bytes."""

    def __init__(
        self,
        history: History,
        *,
        folder: Path,
        name: str,
        owners: Sequence[str] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Export to TensorBoard"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._history, self._owners = history, owners
        self._export: EventExport | None = None
        self.name = QLineEdit(name, self)
        self.folder = QLineEdit(str(folder), self)
        self.browse = QPushButton(self.tr("Browse..."), self)
        self.browse.setAutoDefault(False)
        self.hint = PlainLabel(parent=self)
        self.hint.setWordWrap(True)
        self.hint.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.progress = QProgressBar(self)
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName(self.tr("Progress"))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.export = self.buttons.addButton(self.tr("Export"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.export.setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.browse.clicked.connect(self._on_browse_clicked)
        self.name.textChanged.connect(self._on_edited)
        self.folder.textChanged.connect(self._on_edited)
        self._arrange()
        self._set_writing(False)
        self._on_edited()
        self.name.setFocus()
        self.name.selectAll()

    def path(self) -> Path:
        """The folder of the event file."""
        return Path(self.folder.text().strip()).expanduser() / self.name.text().strip()

    def problem(self) -> str | None:
        """One sentence that says why the file cannot be written there, or None."""
        folder, name = self.folder.text().strip(), self.name.text().strip()
        lacking = missing()
        if lacking is not None:
            return lacking
        if not name:
            return self.tr("The name is empty; expected the name of the run, which becomes a folder")
        if name in (".", "..") or any(character in _FORBIDDEN for character in name):
            return self.tr("{name} cannot be the name of a folder").format(name=name)
        if not folder or not Path(folder).expanduser().is_dir():
            return self.tr("There is no folder {folder}").format(folder=folder or "''")
        if self.path().exists() and not self.path().is_dir():
            return self.tr("{path} is a file; choose another name").format(path=self.path())
        try:
            return occupied(self.path())
        except OSError as error:
            return self.tr("{path} cannot be read: {reason}").format(path=self.path(), reason=error.strerror or error)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_edited(self) -> None:
        problem = self.problem()
        self.export.setEnabled(problem is None and self._export is None)
        what = self.tr(
            "The loss and the learning rates, and the numbers and histograms of every layer and parameter over the steps"
        )
        self._tell(problem or what, role="bad" if problem else "muted")

    @Slot()
    def _on_browse_clicked(self) -> None:
        dialog = QFileDialog(self, self.tr("Choose the folder of your runs"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setDirectory(self.folder.text())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.folder.setText)
        dialog.open()

    @Slot(float)
    def _on_progressed(self, share: float) -> None:
        self.progress.setValue(round(1000 * share))

    @Slot(str, int)
    def _on_finished(self, path: str, size_bytes: int) -> None:
        self.written.emit(path, size_bytes)
        super().accept()

    @Slot(str)
    def _on_failed(self, sentence: str) -> None:
        self._set_writing(False)
        self._on_edited()
        self._tell(sentence, role="bad")

    @Slot()
    def _on_cancelled(self) -> None:
        super().reject()

    # ------------------------------------------------------------------------------------------ private

    def _set_writing(self, is_writing: bool) -> None:
        if not is_writing:
            self._export = None
        for widget in (self.name, self.folder, self.browse):
            widget.setEnabled(not is_writing)
        self.progress.setVisible(is_writing)

    def _tell(self, text: str, *, role: str) -> None:
        self.hint.setText(text)
        self.hint.setProperty("role", role)
        self.hint.style().polish(self.hint)

    def _arrange(self) -> None:
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.folder, 1)
        line.addWidget(self.browse)
        label = PlainLabel(self.tr("&Folder of runs"), self)
        label.setBuddy(self.folder)
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(12)
        form.addRow(self.tr("&Name of the run"), self.name)
        form.addRow(label, line)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(16)
        column.addLayout(form)
        column.addWidget(self.hint)
        column.addWidget(self.progress)
        column.addStretch(1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        if self._export is not None or self.problem() is not None:
            return
        self._export = EventExport(event_source(self._history, self._owners), self.path())
        self._export.progressed.connect(self._on_progressed)
        self._export.finished.connect(self._on_finished)
        self._export.failed.connect(self._on_failed)
        self._export.cancelled.connect(self._on_cancelled)
        self.progress.setValue(0)
        self._set_writing(True)
        self.export.setEnabled(False)
        self._tell(self.tr("Writing to {path}").format(path=self.path()), role="muted")
        self._export.start()

    def reject(self) -> None:
        if self._export is None:
            super().reject()
        else:
            self._export.cancel()

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
