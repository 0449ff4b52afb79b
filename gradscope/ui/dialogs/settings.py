"""The settings dialog: the interpreter of the engine, what new sessions begin with, and the theme."""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.capture import CaptureLevel
from gradscope.ui.actions.spare_keeper import lacking_memory_bytes
from gradscope.ui.dialogs.interpreter import problem_with_interpreter
from gradscope.ui.dialogs.sized_dialog import ScrolledForm, SizedDialog
from gradscope.ui.look.settings import MAX_BUDGET_MB, Setting, Settings, ThemeChoice
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.ui.words.capture import cost_of, name_of


@guarded
class SettingsDialog(SizedDialog):
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
        self.hint = self._make_hint()
        self.spare = QCheckBox(self.tr("&Keep a spare engine ready"), self)
        self.spare_hint = self._make_hint()
        self._show_spare()
        self.stop = QCheckBox(self.tr("&Stop Run and Next batch where NaN or Inf begins"), self)
        self.stop.setChecked(settings.get(Setting.STOP_AT_NONFINITE))
        self.findings = QCheckBox(self.tr("&Look for findings"), self)
        self.findings.setChecked(settings.get(Setting.FINDINGS))
        self.findings_hint = self._make_hint()
        self.findings_hint.setText(
            self.tr(
                "Watch each training along the way for what is wrong with it: where, how that is known, and what helps. "
                "Takes effect when a recipe or a script is opened, and at Reset"
            )
        )
        self.capture = ComboBox(self)
        for level in (CaptureLevel.FULL, CaptureLevel.NORMS, CaptureLevel.OFF):
            self.capture.addItem(name_of(level), level)
        self.capture.setCurrentIndex(self.capture.findData(settings.get(Setting.CAPTURE)))
        self.capture_hint = self._make_hint()
        self.capture.currentIndexChanged.connect(self._on_capture_changed)
        self.budget, self.budget_hint = self._make_budget()
        self.timeline, self.timeline_hint = self._make_timeline()
        self.theme = ComboBox(self)
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
        self._on_capture_changed()

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
    def _on_capture_changed(self) -> None:
        later = self.tr("For recipes that are opened from now on; the tool bar changes it for the open one")
        self.capture_hint.setText(f"{cost_of(self.capture.currentData())}. {later}")

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

    def _make_budget(self) -> tuple[QSpinBox, QLabel]:
        budget, hint = SpinBox(self), self._make_hint()
        budget.setRange(1, MAX_BUDGET_MB)
        budget.setSuffix(self.tr(" MB"))
        budget.setGroupSeparatorShown(True)
        budget.setStepType(QSpinBox.StepType.AdaptiveDecimalStepType)
        budget.setValue(self._settings.get(Setting.BUDGET_MB))
        hint.setText(
            self.tr(
                "Copies of outputs and of their gradients, kept so that their values can be looked at; the oldest give way. "
                "Takes effect when a recipe is opened, and at Reset"
            )
        )
        return budget, hint

    def _make_timeline(self) -> tuple[QSpinBox, QLabel]:
        timeline, hint = SpinBox(self), self._make_hint()
        timeline.setRange(0, MAX_BUDGET_MB)
        timeline.setSuffix(self.tr(" MB"))
        timeline.setSpecialValueText(self.tr("Off"))
        timeline.setGroupSeparatorShown(True)
        timeline.setStepType(QSpinBox.StepType.AdaptiveDecimalStepType)
        timeline.setValue(self._settings.get(Setting.TIMELINE_MB))
        hint.setText(
            self.tr(
                "States of a recipe's training that one can go back to: every step where they fit, else "
                "fewer the longer ago. Takes effect at once"
            )
        )
        return timeline, hint

    def _make_hint(self) -> QLabel:
        hint = PlainLabel(parent=self)
        hint.setWordWrap(True)
        # A form gives a row its whole width only if something in it wants that.
        hint.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        hint.setProperty("role", "muted")
        return hint

    def _show_spare(self) -> None:
        memory = lacking_memory_bytes()
        self.spare.setEnabled(memory is None)
        self.spare.setChecked(memory is None and self._settings.get(Setting.SPARE_ENGINE))
        if memory is None:
            hint = self.tr(
                "A second engine that has torch imported and nothing else: Restart engine takes half a second with it. "
                "It needs about 250 MB of memory"
            )
        else:
            hint = self.tr("Off: this machine has {memory} GB of memory, and a spare is kept from 4 GB on").format(
                memory=f"{memory / 1e9:.1f}"
            )
        self.spare_hint.setText(hint)

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
        spare, capture, budget, timeline, findings = (QVBoxLayout() for _ in range(5))
        for column, widget, hint in (
            (spare, self.spare, self.spare_hint),
            (capture, self.capture, self.capture_hint),
            (budget, self.budget, self.budget_hint),
            (timeline, self.timeline, self.timeline_hint),
            (findings, self.findings, self.findings_hint),
        ):
            column.setSpacing(4)
            column.addWidget(widget, 0, Qt.AlignmentFlag.AlignLeft)
            column.addWidget(hint)
        fields = QWidget(self)
        form = QFormLayout(fields)
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(16)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        label = PlainLabel(self.tr("&Python for the engine"), self)
        label.setBuddy(self.python)
        form.addRow(label, field)
        form.addRow("", spare)
        for text, buddy, layout in (
            (self.tr("&Capture"), self.capture, capture),
            (self.tr("&Memory for values"), self.budget, budget),
            (self.tr("Memory for &going back"), self.timeline, timeline),
        ):
            label = PlainLabel(text, self)
            label.setBuddy(buddy)
            form.addRow(label, layout)
        form.addRow("", findings)
        form.addRow("", self.stop)
        form.addRow(self.tr("&Theme"), self.theme)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(16)
        column.addWidget(ScrolledForm(fields, self), 1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        path = self.python.text().strip()
        if problem_with_interpreter(path) is None:
            self._settings.set(Setting.PYTHON, path)
            if self.spare.isEnabled():
                self._settings.set(Setting.SPARE_ENGINE, self.spare.isChecked())
            self._settings.set(Setting.FINDINGS, self.findings.isChecked())
            self._settings.set(Setting.STOP_AT_NONFINITE, self.stop.isChecked())
            self._settings.set(Setting.CAPTURE, self.capture.currentData())
            self._settings.set(Setting.BUDGET_MB, self.budget.value())
            self._settings.set(Setting.TIMELINE_MB, self.timeline.value())
            self._settings.set(Setting.THEME, self.theme.currentData())
            super().accept()

    def sizeHint(self) -> QSize:
        return QSize(90 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
