"""The dialog that asks for two runs: snapshots, or files of JSON lines. Stays open until they are compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QDir, QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.snapshots.format.source import MANIFEST
from gradscope.ui.actions.run_comparisons import FileComparison
from gradscope.ui.dialogs.open_snapshot import OpenSnapshotDialog
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel


class OpenRunDialog(OpenSnapshotDialog):
    """The same dialog as for a snapshot, for files of JSON lines too."""

    def __init__(self, *, title: str, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(title=title, folder=folder, parent=parent)
        runs = self.tr("Runs: JSON lines, a snapshot's .zip, or {name} in its folder").format(name=MANIFEST)
        self.setNameFilters([f"{runs} (*.jsonl *.zip {MANIFEST})", self.tr("All files") + " (*)"])


@guarded
class CompareRunsDialog(SizedDialog):
    """`paths`: what its fields begin with."""

    compared = Signal(object)
    """Beside."""
    chosen = Signal(list)
    """The paths that are being compared."""

    def __init__(
        self, comparison: FileComparison, *, paths: Sequence[str] = (), folder: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Compare two runs"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._comparison, self._folder = comparison, folder
        comparison.setParent(self)
        ours, theirs = (*paths, "", "")[:2]
        self.ours, self.theirs = QLineEdit(ours, self), QLineEdit(theirs, self)
        self.browse = (QPushButton(self.tr("Browse..."), self), QPushButton(self.tr("Browse..."), self))
        self.hint = WrappedLabel(parent=self)
        self.hint.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.progress = QProgressBar(self)
        self.progress.setRange(0, 0)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName(self.tr("Progress of the comparison"))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.compare = self.buttons.addButton(self.tr("Compare"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.compare.setDefault(True)
        self._arrange()
        for field in (self.ours, self.theirs):
            field.setClearButtonEnabled(True)
            field.textChanged.connect(self._on_edited)
        for button, field, name in zip(self.browse, (self.ours, self.theirs), ("A", "B"), strict=True):
            button.setAutoDefault(False)
            button.setAccessibleName(self.tr("Browse for run {name}").format(name=name))
            button.clicked.connect(lambda _checked=False, field=field: self._browse(field))
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        comparison.done.connect(self._on_done)
        comparison.failed.connect(self._on_failed)
        self._set_busy(False)
        self._on_edited()
        (self.theirs if ours and not theirs else self.ours).setFocus()

    def problem(self) -> str | None:
        """One sentence that says why these two cannot be compared, as far as is known without reading them."""
        for field in (self.ours, self.theirs):
            text = field.text().strip()
            try:
                is_there = bool(text) and Path(text).expanduser().exists()
            except (OSError, ValueError, RuntimeError) as error:
                return self.tr("{path} cannot be read: {reason}").format(path=text, reason=error)
            if text and not is_there:
                return self.tr("{path} does not exist").format(path=text)
        return None

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_edited(self) -> None:
        problem = self.problem()
        is_complete = bool(self.ours.text().strip() and self.theirs.text().strip())
        self.compare.setEnabled(is_complete and problem is None and not self._comparison.is_busy)
        what = self.tr(
            "Snapshots (a .zip, or a folder), and files of JSON lines as gradscope run --jsonl writes them, in any "
            "combination. Nothing of them is run."
        )
        self._tell(problem or what, role="bad" if problem else "muted")

    @Slot(object)
    def _on_done(self, beside: object) -> None:
        self.compared.emit(beside)
        super().accept()

    @Slot(str)
    def _on_failed(self, sentence: str) -> None:
        self._set_busy(False)
        self._on_edited()
        self._tell(sentence, role="bad")
        # It was lost with the fields, and is where the sentence is to be answered.
        self.compare.setDefault(True)
        (self.ours if sentence.startswith(self.ours.text().strip()) else self.theirs).setFocus()

    # ------------------------------------------------------------------------------------------ private

    def _browse(self, field: QLineEdit) -> None:
        beside = Path(field.text().strip() or self.ours.text().strip() or self._folder or QDir.homePath()).expanduser()
        folder = beside if not field.text().strip() and beside.is_dir() else beside.parent
        dialog = OpenRunDialog(title=self.tr("Choose a run"), folder=folder, parent=self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(field.setText)
        dialog.open()

    def _set_busy(self, is_busy: bool) -> None:
        for widget in (self.ours, self.theirs, *self.browse):
            widget.setEnabled(not is_busy)
        self.progress.setVisible(is_busy)

    def _tell(self, text: str, *, role: str) -> None:
        self.hint.setText(text)
        self.hint.setProperty("role", role)
        self.hint.style().polish(self.hint)

    def _arrange(self) -> None:
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(12)
        rows = ((self.tr("Run &A"), self.ours, self.browse[0]), (self.tr("Run &B"), self.theirs, self.browse[1]))
        for text, field, button in rows:
            label = PlainLabel(text, self)
            label.setBuddy(field)
            line = QHBoxLayout()
            line.setSpacing(8)
            line.addWidget(field, 1)
            line.addWidget(button)
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
        if not self.compare.isEnabled():
            return
        paths = [self.ours.text().strip(), self.theirs.text().strip()]
        self.chosen.emit(paths)
        self._comparison.start(*paths)
        self._set_busy(True)
        self.compare.setEnabled(False)
        self._tell(self.tr("Reading both runs, and comparing them"), role="muted")

    def reject(self) -> None:
        self._comparison.give_up()
        super().reject()

    def sizeHint(self) -> QSize:
        return QSize(96 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
