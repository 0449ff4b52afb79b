"""Export snapshot: where to, what goes in and how large it is; then how far it has come. A taken name is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.parts import Contents, Part
from gradscope.ui.actions.snapshot_export import SnapshotExport
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.ui.words import text
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

_FORBIDDEN = '<>:"/\\|?*'
_ZIP = ".zip"
_PARTS: dict[Part, str] = {
    Part.PARAMETERS: QT_TRANSLATE_NOOP("ExportDialog", "Parameters"),
    Part.BUFFERS: QT_TRANSLATE_NOOP("ExportDialog", "Buffers"),
    Part.GRADIENTS: QT_TRANSLATE_NOOP("ExportDialog", "Gradients"),
    Part.UPDATES: QT_TRANSLATE_NOOP("ExportDialog", "Updates"),
    Part.OPTIMIZER: QT_TRANSLATE_NOOP("ExportDialog", "Optimizer state"),
    Part.BATCH: QT_TRANSLATE_NOOP("ExportDialog", "Batch"),
    Part.ACTIVATIONS: QT_TRANSLATE_NOOP("ExportDialog", "Activations"),
    Part.ACTIVATION_GRADIENTS: QT_TRANSLATE_NOOP("ExportDialog", "Gradients of activations"),
    Part.HISTORY: QT_TRANSLATE_NOOP("ExportDialog", "History over the steps"),
    Part.PLOTS: QT_TRANSLATE_NOOP("ExportDialog", "Plots (PNG and SVG)"),
    Part.REPORT: QT_TRANSLATE_NOOP("ExportDialog", "Report (report.html)"),
}
_ROWS = 5


@guarded
class ExportDialog(SizedDialog):
    """Runs `export`, which it owns from now on, and closes when the snapshot is written."""

    written = Signal(str, object)
    """Path of the snapshot, and its size in bytes."""

    def __init__(
        self,
        export: SnapshotExport,
        *,
        folder: Path,
        name: str,
        as_zip: bool = False,
        without: Contents = frozenset(),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Export snapshot"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        export.setParent(self)
        self._export = export
        self.name = QLineEdit(name, self)
        self.form = ComboBox(self)
        self.form.addItem(self.tr("Folder"), False)
        self.form.addItem(self.tr("One .zip file"), True)
        self.form.setCurrentIndex(int(as_zip))
        self.form.setAccessibleName(self.tr("Form"))
        self.folder = QLineEdit(str(folder), self)
        self.browse = QPushButton(self.tr("Browse..."), self)
        self.browse.setAutoDefault(False)
        self.parts: dict[Part, QCheckBox] = {}
        self.sizes: dict[Part, QLabel] = {}
        for part, label in _PARTS.items():
            self.parts[part] = QCheckBox(self.tr(label), self)
            self.parts[part].setChecked(part not in without)
            self.parts[part].toggled.connect(self._on_edited)
            self.sizes[part] = PlainLabel(parent=self)
            self.sizes[part].setProperty("role", "muted")
        self.total = PlainLabel(parent=self)
        self.hint = PlainLabel(parent=self)
        self.hint.setWordWrap(True)
        self.hint.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName(self.tr("Progress"))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.export = self.buttons.addButton(self.tr("Export"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.export.setDefault(True)
        self._connect(export)
        self._arrange()
        self._set_writing(False)
        self._on_measured()
        self._on_edited()
        self.name.setFocus()
        self.name.selectAll()
        export.prepare()

    def _connect(self, export: SnapshotExport) -> None:
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.browse.clicked.connect(self._on_browse_clicked)
        self.name.textChanged.connect(self._on_edited)
        self.folder.textChanged.connect(self._on_edited)
        self.form.currentIndexChanged.connect(self._on_edited)
        export.measured.connect(self._on_measured)
        export.refusal_changed.connect(self._on_edited)
        export.progressed.connect(self._on_progressed)
        export.finished.connect(self._on_finished)
        export.failed.connect(self._on_failed)
        export.cancelled.connect(self._on_cancelled)

    def path(self) -> Path:
        """The folder or the file that is to be made."""
        name = self.name.text().strip()
        if self.is_zip and not name.lower().endswith(_ZIP):
            name += _ZIP
        return Path(self.folder.text().strip()).expanduser() / name

    @property
    def is_zip(self) -> bool:
        return bool(self.form.currentData())

    def contents(self) -> Contents:
        return frozenset(part for part, box in self.parts.items() if box.isChecked())

    def problem(self) -> str | None:
        """One sentence that says why the snapshot cannot be written there, or None."""
        folder, name = self.folder.text().strip(), self.name.text().strip()
        refusal = self._export.refusal()
        if refusal is not None:
            return refusal
        if not name:
            return self.tr("The name is empty; expected the name of a new folder or file")
        if name in (".", "..") or any(character in _FORBIDDEN for character in name):
            return self.tr("{name} cannot be the name of a folder or file").format(name=name)
        if not self.is_zip and name.lower().endswith(_ZIP):
            return self.tr("{name} is the name of a file; choose one .zip file, or another name").format(name=name)
        if not folder or not Path(folder).expanduser().is_dir():
            return self.tr("There is no folder {folder}").format(folder=folder or "''")
        # Not Path.exists, which raises where a name is too long.
        if os.path.lexists(self.path()):
            return self.tr("{path} is there already; choose another name").format(path=self.path())
        return None

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_edited(self) -> None:
        problem = self.problem()
        self.export.setEnabled(problem is None and not self._export.is_running)
        what = self.tr("The numbers of the newest step and the loss of all steps are in every snapshot")
        self._tell(problem or what, role="bad" if problem else "muted")
        self._show_total()

    @Slot()
    def _on_measured(self) -> None:
        for part, label in self.sizes.items():
            size = self._export.sizes.get(part)
            label.setText("…" if size is None else text.byte_size(size))
        self._show_total()

    @Slot()
    def _on_browse_clicked(self) -> None:
        dialog = QFileDialog(self, self.tr("Choose a folder"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setDirectory(self.folder.text())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.folder.setText)
        dialog.open()

    @Slot(str, object, object)
    def _on_progressed(self, what: str, done: int, total: int) -> None:
        # Shares, because a bar counts with 32 bits; without a total it only moves.
        self.progress.setRange(0, 1000 if total else 0)
        self.progress.setValue(round(1000 * done / total) if total else 0)
        if what == SnapshotExport.DRAWING:
            self._tell(self.tr("Drawing the plots"), role="muted")
        elif not total:
            self._tell(self.tr("Writing to {path}").format(path=self.path()), role="muted")
        else:
            told = self.tr("{done} of {total} written to {path}").format(
                done=text.byte_size(done), total=text.byte_size(total), path=self.path()
            )
            self._tell(told, role="muted")

    @Slot(str, object)
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

    def _show_total(self) -> None:
        total, free = self._export.total_bytes(self.contents()), self._free_bytes()
        is_too_much = total is not None and free is not None and total > free
        told = self.tr("In all {size}; only {free} are free there") if is_too_much else self.tr("In all {size}")
        size = "…" if total is None else text.byte_size(total)
        self.total.setText(told.format(size=size, free=text.byte_size(free or 0)))
        role = "bad" if is_too_much else ""
        if self.total.property("role") != role:
            self.total.setProperty("role", role)
            self.total.style().polish(self.total)

    def _free_bytes(self) -> int | None:
        """On the disk of the folder that is chosen; None where that is unknown."""
        try:
            return shutil.disk_usage(Path(self.folder.text().strip()).expanduser()).free
        except (OSError, ValueError, RuntimeError):
            return None

    def _set_writing(self, is_writing: bool) -> None:
        for widget in (self.name, self.form, self.folder, self.browse, *self.parts.values()):
            widget.setEnabled(not is_writing)
        self.progress.setVisible(is_writing)

    def _tell(self, sentence: str, *, role: str) -> None:
        self.hint.setText(sentence)
        if self.hint.property("role") != role:
            self.hint.setProperty("role", role)
            self.hint.style().polish(self.hint)

    def _arrange(self) -> None:
        first = QHBoxLayout()
        first.setSpacing(8)
        first.addWidget(self.name, 1)
        first.addWidget(self.form)
        second = QHBoxLayout()
        second.setSpacing(8)
        second.addWidget(self.folder, 1)
        second.addWidget(self.browse)
        name, folder = PlainLabel(self.tr("&Name"), self), PlainLabel(self.tr("&Folder"), self)
        name.setBuddy(self.name)
        folder.setBuddy(self.folder)
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(12)
        form.addRow(name, first)
        form.addRow(folder, second)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(16)
        column.addLayout(form)
        column.addLayout(self._parts_grid())
        column.addWidget(self.hint)
        column.addWidget(self.progress)
        column.addStretch(1)
        last = QHBoxLayout()
        last.addWidget(self.total)
        last.addWidget(self.buttons, 1)
        column.addLayout(last)

    def _parts_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(6)
        for i, part in enumerate(_PARTS):
            row, block = i % _ROWS, 3 * (i // _ROWS)
            grid.addWidget(self.parts[part], row, block)
            grid.addWidget(
                self.sizes[part], row, block + 1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            )
        # A gap between the two blocks of parts.
        grid.setColumnMinimumWidth(2, 24)
        for stretched in (1, 4):
            grid.setColumnStretch(stretched, 1)
        return grid

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        if self._export.is_running or self.problem() is not None:
            return
        self._set_writing(True)
        self.export.setEnabled(False)
        self._on_progressed("", 0, 0)
        self._export.start(self.path(), self.contents())

    def reject(self) -> None:
        if not self._export.is_running:
            super().reject()
            return
        self._tell(self.tr("Cancelling"), role="muted")
        self._export.cancel()

    def done(self, result: int) -> None:
        self._export.close()
        super().done(result)

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
