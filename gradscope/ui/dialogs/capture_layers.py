"""The dialog that asks which layers to capture: names or patterns, and what they fit in this model."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QDialogButtonBox, QLineEdit, QVBoxLayout, QWidget

from gradscope.protocol.capture import Capture
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import SessionInfo
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.words.text import shortened

_MAX_NAME = 60


@guarded
class CaptureLayersDialog(SizedDialog):
    """What is wrong with the field is said below it, and how much of the model it takes in."""

    chosen = Signal(object)
    """Capture."""

    def __init__(self, session: SessionInfo, *, layers: Iterable[str] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._modules = [module.name for module in session.modules if module.name]
        self._parameters = [parameter.name for parameter in session.parameters]
        self._buffers = [buffer.name for buffer in session.buffers]
        self.setWindowTitle(self.tr("Capture chosen layers"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.field = QLineEdit(", ".join(layers), self)
        self.field.setClearButtonEnabled(True)
        # Not translated: an example is read as it is.
        self.field.setPlaceholderText("encoder.0, head*")
        self.field.selectAll()
        self.result_line = PlainLabel(parent=self)
        self.result_line.setWordWrap(True)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self._arrange()
        self.field.textChanged.connect(self._on_changed)
        self._on_changed()

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_changed(self) -> None:
        problem = self._problem()
        ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        ok.setEnabled(not problem)
        ok.setToolTip(plain_tip(problem))
        self.result_line.setText(problem or self._in_numbers())
        self.result_line.setProperty("role", "bad" if problem and self.field.text().strip() else "muted")
        self.result_line.style().polish(self.result_line)

    # ------------------------------------------------------------------------------------------ private

    def _capture(self) -> Capture:
        return Capture.parse(f"layers:{self.field.text()}")

    def _problem(self) -> str:
        """What is wrong with the field, or ""."""
        try:
            unmatched = self._capture().unmatched([*self._modules, *self._parameters, *self._buffers])
        except BadInput:
            return self.tr("Name at least one layer")
        if not unmatched:
            return ""
        name = shortened(unmatched[0], at_most=_MAX_NAME)
        return self.tr("No layer, parameter or buffer of this model has the name {name}").format(name=name)

    def _in_numbers(self) -> str:
        capture = self._capture()
        layers, parameters = (sum(map(capture.wants, names)) for names in (self._modules, self._parameters))
        return self.tr(
            "Takes in {layers} of {all_layers} layers and {parameters} of {all_parameters} parameters"
        ).format(
            layers=layers,
            all_layers=len(self._modules),
            parameters=parameters,
            all_parameters=len(self._parameters),
        )

    def _arrange(self) -> None:
        label = PlainLabel(self.tr("&Layers to capture"), self)
        label.setBuddy(self.field)
        hint = PlainLabel(
            self.tr(
                "Names as in the Layers panel, with commas between them; * stands for anything and ? for one letter. "
                "What is inside a layer belongs to it. Nothing is recorded of the others."
            ),
            self,
        )
        hint.setWordWrap(True)
        hint.setProperty("role", "muted")
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(8)
        column.addWidget(label)
        column.addWidget(self.field)
        column.addWidget(self.result_line)
        column.addWidget(hint)
        column.addSpacing(8)
        column.addStretch(1)
        column.addWidget(self.buttons)

    # ------------------------------------------------------------------------------------------ Qt

    def accept(self) -> None:
        if not self._problem():
            self.chosen.emit(self._capture())
            super().accept()

    def sizeHint(self) -> QSize:
        return QSize(70 * self.fontMetrics().averageCharWidth(), super().sizeHint().height())
