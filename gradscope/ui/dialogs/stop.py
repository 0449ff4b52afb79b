"""The dialog of one stop: choices, the text that they make, which may also be typed, and what is wrong with it."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QFont, QFontDatabase
from PySide6.QtWidgets import QDialogButtonBox, QHBoxLayout, QLineEdit, QSizePolicy, QVBoxLayout, QWidget

from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import OF_A_RECIPE
from gradscope.protocol.stops.parsing import MAX_LENGTH, parse
from gradscope.protocol.stops.tree import Stop
from gradscope.state.app_state import AppState
from gradscope.state.stops import Wanted
from gradscope.ui.dialogs.sized_dialog import ScrolledForm, SizedDialog
from gradscope.ui.stops.choices import Choices, choices_of, text_of
from gradscope.ui.stops.form import StopForm
from gradscope.ui.stops.rechecker import Rechecker
from gradscope.ui.widgets.fields import SpinBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.ui.widgets.redraw import Held

_MOST_TIMES = 1_000_000
_PATIENCE_MS = 250
_LISTED = 8
_WIDTH, _LINES = 112, 28
"""In letters and lines: room for a condition with all its fields."""


@guarded
class StopDialog(SizedDialog):
    """`chosen`: a person wants this stop. The text has the last word; the choices follow it as far as they can say it."""

    chosen = Signal(object)
    """Wanted."""

    def __init__(self, state: AppState, wanted: Wanted, *, is_new: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._is_filling = Held()
        self._is_enabled = wanted.is_enabled
        self._stop: Stop | None = None
        self.setWindowTitle(self.tr("Add a stop") if is_new else self.tr("Change the stop"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        session = state.session
        layers = [] if session is None else [module.name for module in session.modules if module.name]
        substeps = OF_A_RECIPE if session is None else session.substeps or OF_A_RECIPE
        self.form = StopForm(layers, substeps, self)
        self.text = QLineEdit(self)
        self.text.setMaxLength(MAX_LENGTH)
        self.text.setFont(_monospaced())
        self.verdict = self._sentence(lines=2)
        self.rechecker = Rechecker(self)
        self.rechecker.changed.connect(self._on_rechecked)
        self.held = self._sentence(lines=1)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(_PATIENCE_MS)
        self._patience.timeout.connect(self._on_patience_over)
        self.every = SpinBox(self)
        self.every.setRange(1, _MOST_TIMES)
        self.every.setValue(min(wanted.every, _MOST_TIMES))
        self.every.setSpecialValueText(self.tr("every time"))
        self.every.setPrefix(self.tr("1 time in "))
        self.every.setAccessibleName(self.tr("How often"))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.ok = self.buttons.addButton(
            self.tr("Add") if is_new else self.tr("Change"), QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.ok.setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self._arrange()
        self.text.textChanged.connect(self._on_text_changed)
        self.form.changed.connect(self._on_choices_changed)
        self.text.setText(wanted.text)
        self._judge()
        self.text.setFocus()

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_choices_changed(self) -> None:
        with self._is_filling:
            self.text.setText(text_of(self.form.choices()))
        self._judge()

    @Slot()
    def _on_text_changed(self) -> None:
        if self._is_filling:
            return
        self._judge()
        if self._stop is not None or not self.text.text().strip():
            # What they cannot say is not half said by them. While something is typed they stay.
            self.form.show_choices((self._stop and choices_of(self._stop)) or Choices())

    # ------------------------------------------------------------------------------------------ private

    def _judge(self) -> None:
        """Say what the text means, or what is wrong with it and where."""
        text = self.text.text().strip()
        try:
            self._stop = parse(text)
        except BadInput as error:
            self._stop = None
            nothing = self.tr("Choose a place or a condition above, or type one")
            self._say(error.failure.sentence if text else nothing, is_bad=bool(text))
        else:
            self._say(self._meaning(self._stop), is_bad=False)
        self.ok.setEnabled(self._stop is not None)
        self.rechecker.give_up()
        self.held.setText("")
        if self._stop is not None and self._stop.condition is not None:
            self._patience.start()
        else:
            self._patience.stop()

    @Slot()
    def _on_patience_over(self) -> None:
        """Nobody has typed for a moment: how often would it have held?"""
        if self._stop is not None:
            self.rechecker.start(self._stop, self._state.history)

    @Slot()
    def _on_rechecked(self) -> None:
        self.held.setText(self.rechecker.told(listed=_LISTED))

    def _meaning(self, stop: Stop) -> str:
        if choices_of(stop) is None:
            return self.tr("Understood; it is more than the choices above can say")
        if stop.condition is None:
            return self.tr("Stops there each time, before anything later runs")
        if stop.place is None:
            return self.tr("Stops at the moment it becomes true, before anything later runs")
        return self.tr("Looks there whether it is true, and stops if it is")

    def _say(self, sentence: str, *, is_bad: bool) -> None:
        self.verdict.setText(sentence)
        role = "bad" if is_bad else "muted"
        if self.verdict.property("role") != role:
            self.verdict.setProperty("role", role)
            self.verdict.style().polish(self.verdict)

    def _sentence(self, *, lines: int) -> PlainLabel:
        label = PlainLabel(parent=self)
        label.setWordWrap(True)
        label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        label.setMinimumHeight(lines * self.fontMetrics().lineSpacing())
        label.setAlignment(Qt.AlignmentFlag.AlignTop)
        label.setProperty("role", "muted")
        return label

    def _arrange(self) -> None:
        label = PlainLabel(self.tr("&Stop"), self)
        label.setBuddy(self.text)
        times = QHBoxLayout()
        times.setSpacing(6)
        often = PlainLabel(self.tr("&How often"), self)
        often.setBuddy(self.every)
        for widget in (often, self.every):
            times.addWidget(widget)
        times.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(8)
        column.addWidget(ScrolledForm(self.form, self), 1)
        for part in (label, self.text, self.verdict, self.held):
            column.addWidget(part)
        column.addLayout(times)
        column.addSpacing(4)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        if self._stop is not None:
            # As the language itself writes it: texts that mean the same are the same.
            self.chosen.emit(Wanted(text=str(self._stop), is_enabled=self._is_enabled, every=self.every.value()))
            super().accept()

    def sizeHint(self) -> QSize:
        return QSize(_WIDTH * self.fontMetrics().averageCharWidth(), super().sizeHint().height())

    def least_height(self) -> int:
        """It stays as it is while other choices show other fields."""
        return _LINES * self.fontMetrics().lineSpacing()


def _monospaced() -> QFont:
    """The family alone: the size is that of everything else."""
    font = QFont()
    font.setFamilies(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).families())
    font.setStyleHint(QFont.StyleHint.Monospace)
    return font
