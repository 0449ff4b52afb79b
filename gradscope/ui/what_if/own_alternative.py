"""The form for an alternative of one's own."""

from __future__ import annotations

import math

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QCheckBox, QLineEdit, QPushButton, QVBoxLayout, QWidget

from gradscope.protocol.what_if.tried import Alternative
from gradscope.ui.what_if.held import held, row_of
from gradscope.ui.what_if.words import tr
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip

_OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "LBFGS")
_MOST_SAMPLES = 100_000


@guarded
class OwnAlternative(QWidget):
    """One line, or as many as it takes."""

    added = Signal(object)
    """An Alternative."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rate = QLineEdit("3")
        self.rate.setFixedWidth(7 * self.fontMetrics().horizontalAdvance("0"))
        self.rate.setAccessibleName(tr("Factor of the rate"))
        self.rate.setToolTip(plain_tip(tr("What every learning rate is multiplied with")))
        self.optimizer = ComboBox()
        self.optimizer.addItem(tr("its own optimizer"), "")
        for name in _OPTIMIZERS:
            self.optimizer.addItem(name, name)
        self.optimizer.setAccessibleName(tr("Optimizer"))
        self.optimizer.setToolTip(plain_tip(tr("Made anew with the rates that there are, and without state")))
        self.samples = SpinBox()
        self.samples.setRange(0, _MOST_SAMPLES)
        self.samples.setSpecialValueText(tr("all samples"))
        self.samples.setAccessibleName(tr("Samples of the batch"))
        self.samples.setToolTip(
            plain_tip(tr("How many samples the gradient is of; more than there are in the batch come from the data"))
        )
        self.clip = QCheckBox(tr("clip"))
        self.clip.setChecked(True)
        self.decay = QCheckBox(tr("weight decay"))
        self.decay.setChecked(True)
        self.add = QPushButton(tr("Try it too"))
        self.add.clicked.connect(self._on_add_clicked)
        self.rate.returnPressed.connect(self._on_add_clicked)
        self.problem = PlainLabel(parent=self)
        self.problem.setProperty("role", "bad")
        self.problem.setWordWrap(True)
        self.problem.hide()
        row = row_of(
            self,
            held(PlainLabel(tr("One more: rate ×")), self.rate),
            held(self.optimizer),
            held(self.samples),
            held(self.clip, self.decay),
            held(self.add),
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(row)
        column.addWidget(self.problem)

    def say(self, problem: str) -> None:
        """Next to the fields."""
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))

    @Slot()
    def _on_add_clicked(self) -> None:
        try:
            rate = float(self.rate.text())
        except ValueError:
            rate = math.nan
        if not math.isfinite(rate):
            self.say(tr("The factor of the rate has to be a number: 0.5"))
            self.rate.setFocus()
            return
        self.say("")
        self.added.emit(
            Alternative(
                rate=rate,
                clip=self.clip.isChecked(),
                weight_decay=self.decay.isChecked(),
                optimizer=str(self.optimizer.currentData()),
                batch_size=self.samples.value(),
            )
        )
