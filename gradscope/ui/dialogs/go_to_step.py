"""The dialog that asks where the training is to be taken: before a step, or before the last one in which something held."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDialogButtonBox,
    QGridLayout,
    QLineEdit,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import GoTo
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.going_back.timeline import Timeline
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.stops.rechecker import Rechecker
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.words.again import how_again
from gradscope.ui.words.timeline import branch_name, reach

_MOST = 2**31 - 1
_BRANCH_LETTERS = 18
_PATIENCE_MS = 150
"""After the last key, before it is looked up."""


@guarded
class GoToStepDialog(SizedDialog):
    """`step`: what the field begins with. What is wrong with a field is said below it.

    Where a condition has held is looked up in what is recorded: nothing is run for it.
    """

    chosen = Signal(object)
    """GoTo."""
    again_wanted = Signal(int, bool)
    """Of a script: the step, and whether it is to stop when the backward of the step is done and not before the step."""
    look_wanted = Signal(int)
    """The step is only to be looked at; training stays where it is."""

    def __init__(self, state: AppState, *, step: int, newest: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state, timeline = state, state.timeline
        told = timeline.told
        self.setWindowTitle(self.tr("Go to step"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        is_script = state.in_script
        self._choices = QButtonGroup(self)
        self._make_choices(is_script)
        self.step = SpinBox(self)
        self.step.setRange(
            0 if is_script or told is None or told.earliest is None else min(told.earliest, _MOST), min(newest, _MOST)
        )
        self.step.setValue(min(step, _MOST))
        self.step.setAccessibleName(self.tr("Step"))
        self.branch = self._make_branch(timeline)
        self.condition = QLineEdit(self)
        # Not translated: an example is read as it is.
        self.condition.setPlaceholderText("grad.l2 > 10")
        self.condition.setAccessibleName(self.tr("Condition"))
        self.condition.setClearButtonEnabled(True)
        self.problem = PlainLabel(parent=self)
        self.problem.setWordWrap(True)
        self.hint = PlainLabel(how_again() if is_script else reach(timeline), self)
        self.hint.setWordWrap(True)
        self.hint.setProperty("role", "muted")
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self
        )
        self.look = self.buttons.addButton(self.tr("&Look at it"), QDialogButtonBox.ButtonRole.ActionRole)
        self.look.setToolTip(plain_tip(self.tr("Show that step everywhere; training stays where it is")))
        self.look.clicked.connect(self._on_look_clicked)
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setText(
            self.tr("&Run again to it") if is_script else self.tr("&Go there")
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.rechecker = Rechecker(self)
        self.rechecker.changed.connect(self._on_changed)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(_PATIENCE_MS)
        self._patience.timeout.connect(self._look_up)
        self._arrange()
        self._connect()
        self._on_changed()
        self.step.selectAll()
        self.step.setFocus()

    def _connect(self) -> None:
        self._choices.buttonToggled.connect(self._on_changed)
        # By a click or its letter: what is typed next is the condition, or the step.
        self.by_condition.clicked.connect(lambda: self.condition.setFocus())
        self.by_step.clicked.connect(lambda: self.step.setFocus())
        self.condition.textChanged.connect(self._on_condition_changed)
        # Whoever writes a condition means it.
        self.condition.textEdited.connect(lambda: self.by_condition.setChecked(True))
        self.step.valueChanged.connect(lambda: self.by_step.setChecked(True))

    def _make_choices(self, is_script: bool) -> None:
        self.by_step = QRadioButton(self.tr("&Step") if is_script else self.tr("Before the forward of &step"), self)
        self.by_condition = QRadioButton(
            self.tr("The last step in &which") if is_script else self.tr("Before the last step in &which"), self
        )
        self.in_backward = QCheckBox(self.tr("Stop when its &backward is done, not before it"), self)
        self.in_backward.setVisible(is_script)
        for choice in (self.by_step, self.by_condition):
            self._choices.addButton(choice)
        self.by_step.setChecked(True)

    def _make_branch(self, timeline: Timeline) -> QComboBox:
        box = ComboBox(self)
        box.setAccessibleName(self.tr("Branch"))
        # Changes are long sentences.
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(_BRANCH_LETTERS)
        for branch in timeline.branches.values():
            box.addItem(visible(branch_name(branch)), branch.id)
        box.setCurrentIndex(box.findData(timeline.branch))
        box.setVisible(box.count() > 1)
        return box

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_changed(self) -> None:
        wrong, step = self._wrong(), self._step()
        for button in (self.buttons.button(QDialogButtonBox.StandardButton.Ok), self.look):
            button.setEnabled(step is not None)
        self.problem.setText(wrong or self._held())
        self.problem.setProperty("role", "bad" if wrong else "muted")
        self.problem.style().polish(self.problem)

    @Slot()
    def _on_condition_changed(self) -> None:
        self.rechecker.give_up()
        self._patience.start()
        self._on_changed()

    @Slot()
    def _look_up(self) -> None:
        if self.condition.text().strip() and not self._wrong():
            self.rechecker.start(parse(self.condition.text()), self._state.history)

    @Slot()
    def _on_look_clicked(self) -> None:
        step = self._step()
        if step is not None:
            self.look_wanted.emit(step)
            self.reject()

    # ------------------------------------------------------------------------------------------ private

    def _step(self) -> int | None:
        """That is chosen; None while there is none."""
        if not self.by_condition.isChecked():
            return self.step.value()
        held = [step for step in self.rechecker.held_steps if step < self._state.position.step]
        is_known = not self.rechecker.is_running and not self._patience.isActive() and not self._wrong()
        return max(held) if held and is_known else None

    def _wrong(self) -> str:
        """What is wrong with the condition, or ""."""
        if not self.by_condition.isChecked() or not self.condition.text().strip():
            return ""
        try:
            parse(self.condition.text())
        except BadInput as error:
            return str(error)
        return self.rechecker.refusal

    def _held(self) -> str:
        """What has come of looking the condition up."""
        step = self._step()
        if not self.by_condition.isChecked():
            return ""
        if not self.condition.text().strip():
            return self.tr("A condition, as stops have them: grad.l2 > 10")
        found = self.rechecker.told()
        if step is None:
            return found
        told = next(text for at, _, text in reversed(self.rechecker.found) if at == step)
        return self.tr("Step {step}: {told}").format(step=step, told=told) + f"\n{found}"

    def _arrange(self) -> None:
        fields = QGridLayout()
        fields.setHorizontalSpacing(8)
        fields.setVerticalSpacing(8)
        fields.setColumnStretch(2, 1)
        fields.addWidget(self.by_step, 0, 0)
        fields.addWidget(self.step, 0, 1)
        fields.addWidget(self.branch, 0, 2)
        fields.addWidget(self.by_condition, 1, 0)
        fields.addWidget(self.condition, 1, 1, 1, 2)
        fields.addWidget(self.in_backward, 2, 0, 1, 3)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(8)
        column.addLayout(fields)
        column.addWidget(self.problem)
        column.addWidget(self.hint)
        column.addSpacing(8)
        column.addStretch(1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        step, branch = self._step(), self.branch.currentData()
        if step is None:
            return
        if self._state.in_script:
            self.again_wanted.emit(step, self.in_backward.isChecked())
            super().accept()
            return
        # What is recorded is that of the branch that training is on.
        is_here = self.by_condition.isChecked() or branch in (None, self._state.timeline.branch)
        self.chosen.emit(GoTo(step=step, branch=None if is_here else branch))
        super().accept()

    def sizeHint(self) -> QSize:
        return QSize(70 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
