"""Clipping, accumulation and zero grad as fields; what is entered is applied at once."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QFormLayout, QLineEdit, QSizePolicy, QWidget

from gradscope.protocol.literals import literal
from gradscope.protocol.messages import SessionInfo
from gradscope.protocol.messages.edits import ArgumentInfo, ArgumentKind, EditAccumulation, EditClipping, EditZeroGrad
from gradscope.ui.training.argument_field import problem_with
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.plain import PlainLabel, plain_tip

_MOST_MICRO_BATCHES = 100_000


class StepForm(QWidget):
    """Emits `edited` with an edit when a field was changed by a person."""

    edited = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session: SessionInfo | None = None
        self.clip_norm, self.clip_value = self._limit("clip_norm"), self._limit("clip_value")
        self.accumulate = SpinBox(self)
        self.accumulate.setRange(1, _MOST_MICRO_BATCHES)
        self.accumulate.setAccessibleName("accumulate")
        self.accumulate.editingFinished.connect(self._on_accumulate_entered)
        self.zero_grad = ComboBox(self)
        self.zero_grad.addItem(self.tr("at the start of a window"), "auto")
        self.zero_grad.addItem(self.tr("only by hand"), "manual")
        self.zero_grad.setAccessibleName("zero_grad")
        self.zero_grad.activated.connect(self._on_zero_grad_chosen)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(8)
        form.setVerticalSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for label, field, tip in (
            (
                self.tr("Clip norm"),
                self.clip_norm,
                self.tr("Largest L2 norm of all gradients together; empty: no limit"),
            ),
            (self.tr("Clip value"), self.clip_value, self.tr("Largest magnitude of one element; empty: no limit")),
            (self.tr("Micro-batches"), self.accumulate, self.tr("How many are added up before each step")),
            (self.tr("Zero grad"), self.zero_grad, self.tr("When the gradients are cleared")),
        ):
            name = PlainLabel(label, self)
            name.setBuddy(field)
            field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            for widget in (name, field):
                widget.setToolTip(plain_tip(tip))
            form.addRow(name, field)

    def show_session(self, session: SessionInfo) -> None:
        """Show the settings of now; they replace what was entered and refused."""
        self._session = session
        for field, value in ((self.clip_norm, session.clip_norm), (self.clip_value, session.clip_value)):
            field.setText("" if value is None else repr(value))
        self.accumulate.setValue(session.accumulate)
        self.accumulate.setEnabled(len(session.optimizers) == 1)
        self.zero_grad.setCurrentIndex(self.zero_grad.findData(session.zero_grad))

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_limit_entered(self) -> None:
        session = self._session
        if session is None:
            return
        limits = [_limit_of(field) for field in (self.clip_norm, self.clip_value)]
        if not any(isinstance(limit, str) for limit in limits) and limits != [session.clip_norm, session.clip_value]:
            norm, value = limits
            assert not isinstance(norm, str) and not isinstance(value, str)
            self.edited.emit(EditClipping(norm=norm, value=value))

    @Slot()
    def _on_limit_changed(self) -> None:
        for field in (self.clip_norm, self.clip_value):
            limit = _limit_of(field)
            field.setProperty("differs", "true" if isinstance(limit, str) else "false")
            field.style().polish(field)

    @Slot()
    def _on_accumulate_entered(self) -> None:
        if self._session is not None and self.accumulate.value() != self._session.accumulate:
            self.edited.emit(EditAccumulation(micro_batches=self.accumulate.value()))

    @Slot(int)
    def _on_zero_grad_chosen(self, _index: int) -> None:
        mode = str(self.zero_grad.currentData())
        if self._session is not None and mode != self._session.zero_grad:
            self.edited.emit(EditZeroGrad(mode=mode))

    # ------------------------------------------------------------------------------------------ private

    def _limit(self, name: str) -> QLineEdit:
        field = QLineEdit(self)
        field.setPlaceholderText(self.tr("no limit"))
        field.setAccessibleName(name)
        field.textChanged.connect(self._on_limit_changed)
        field.editingFinished.connect(self._on_limit_entered)
        return field


def _limit_of(field: QLineEdit) -> float | str | None:
    """The limit that is entered, None for no limit; what is wrong with it as a text."""
    text = field.text().strip()
    if text in ("", "None"):
        return None
    argument = ArgumentInfo(name=field.accessibleName(), kind=ArgumentKind.NUMBER)
    return problem_with(argument, text) or float(literal(text))
