"""How a script is to be started: its arguments and its working directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import (
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.failure import BadInput
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.visible import visible
from gradscope.script_kind import file_of, join_arguments, script_of, split_arguments
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel, plain_tip


@guarded
class OpenScriptDialog(SizedDialog):
    """What is wrong with a field is said below them; else what would be run."""

    chosen = Signal(object)
    """Script."""

    def __init__(self, script: Script, parent: QWidget | None = None) -> None:
        """`script`: as it would be started where nothing is entered."""
        super().__init__(parent)
        self.setWindowTitle(self.tr("Open script"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._script = script
        self.arguments = QLineEdit(join_arguments(script.arguments), self)
        self.arguments.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.arguments.setClearButtonEnabled(True)
        # Not translated: an example is read as it is.
        self.arguments.setPlaceholderText("--lr 0.1 --name 'first try'")
        self.folder = QLineEdit(script.folder, self)
        self.browse = QPushButton(self.tr("Browse..."), self)
        self.browse.setAutoDefault(False)
        self.hint = WrappedLabel(parent=self)
        self.hint.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.open_button = self.buttons.addButton(self.tr("Open"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.open_button.setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.browse.clicked.connect(self._on_browse_clicked)
        self._arrange()
        self.arguments.textChanged.connect(self._on_edited)
        self.folder.textChanged.connect(self._on_edited)
        self._on_edited()
        self.arguments.setFocus()

    def script(self) -> Script:
        """As it is entered. Raises BadInput."""
        folder = self.folder.text().strip()
        if not folder or not Path(folder).expanduser().is_dir():
            raise BadInput(self.tr("Working directory: there is no folder {folder}").format(folder=folder or "''"))
        try:
            arguments = split_arguments(self.arguments.text())
        except BadInput as error:
            raise BadInput(self.tr("Arguments: {problem}").format(problem=error)) from None
        # A file that was named from another folder is the same one still.
        file, where = file_of(self._script), str(Path(folder).expanduser().absolute())
        is_same = where == self._script.folder
        named = replace(self._script, name=self._script.name if is_same or file is None else str(file))
        return script_of(named.name, arguments, folder=where, is_module=file is None)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_edited(self) -> None:
        try:
            text, role = self._in_words(self.script()), "muted"
        except BadInput as error:
            text, role = str(error), "bad"
        self.open_button.setEnabled(role != "bad")
        self.open_button.setToolTip(plain_tip(text if role == "bad" else ""))
        self.hint.setText(visible(text))
        self.hint.setProperty("role", role)
        self.hint.style().polish(self.hint)
        layout = self.layout()
        if self.isVisible() and layout is not None:
            # A longer sentence takes nothing from the fields.
            self.resize(self.width(), max(self.height(), layout.totalHeightForWidth(self.width())))

    @Slot()
    def _on_browse_clicked(self) -> None:
        dialog = QFileDialog(self, self.tr("Choose the working directory"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setDirectory(self.folder.text())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.folder.setText)
        dialog.open()

    # ------------------------------------------------------------------------------------------ private

    def _in_words(self, script: Script) -> str:
        count = len(script.arguments)
        if script.kind is ScriptKind.NOTEBOOK:
            what = self.tr("Its code cells are run one after the other, in an engine of their own.")
        else:
            what = self.tr("It is run from its beginning, in an engine of its own.")
        given = {0: self.tr("It is given no arguments."), 1: self.tr("It is given one argument.")}.get(
            count, self.tr("It is given {count} arguments.").format(count=count)
        )
        return f"{what} {given} " + self.tr("It stops before its first training step.")

    def _arrange(self) -> None:
        file = file_of(self._script)
        name = f"-m {self._script.name}" if file is None else str(file)
        title = ElidedLabel(mode=Qt.TextElideMode.ElideMiddle, parent=self)
        title.show_text(visible(name))
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.folder, 1)
        line.addWidget(self.browse)
        labels = [PlainLabel(text, self) for text in (self.tr("&Arguments"), self.tr("&Working directory"))]
        for label, field in zip(labels, (self.arguments, self.folder), strict=True):
            label.setBuddy(field)
            field.setAccessibleName(label.text().replace("&", ""))
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(12)
        form.addRow(self.tr("Script"), title)
        form.addRow(labels[0], self.arguments)
        form.addRow(labels[1], line)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(16)
        column.addLayout(form)
        column.addWidget(self.hint)
        column.addStretch(1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        try:
            script = self.script()
        except BadInput:
            return
        self.chosen.emit(script)
        super().accept()

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
