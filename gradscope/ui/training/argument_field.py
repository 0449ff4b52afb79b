"""One argument of a class as a field: a check box, a list to choose from, or a line of text."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLineEdit, QSizePolicy, QWidget

from gradscope.protocol.failure import BadInput
from gradscope.protocol.literals import parsed
from gradscope.protocol.messages.edits import ArgumentInfo, ArgumentKind
from gradscope.protocol.visible import visible
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip

_MIN_DIGITS = 9


def texts_to_choose(argument: ArgumentInfo) -> list[str]:
    """The literals of an argument that takes only some; nothing for one that takes any number or text."""
    match argument.kind:
        case ArgumentKind.BOOL:
            texts = ["True", "False"]
        case ArgumentKind.CHOICE:
            texts = [repr(choice) for choice in argument.choices]
        case _:
            return []
    return ["None", *texts] if argument.can_be_none else texts


def problem_with(argument: ArgumentInfo, text: str) -> str | None:
    """What is wrong with a text as the value of an argument, in one sentence; None if it can be sent."""
    try:
        parsed(argument, text, where=argument.name)
    except BadInput as error:
        return str(error)
    return None


@guarded
class ArgumentField(QWidget):
    """`text` is a Python literal; what is wrong with it is marked and said in a tooltip."""

    changed = Signal()

    def __init__(self, argument: ArgumentInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.argument = argument
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        choices = texts_to_choose(argument)
        self.check = QCheckBox(self) if choices == ["True", "False"] else None
        self.combo = ComboBox(self) if choices and self.check is None else None
        self.line = QLineEdit(self) if not choices else None
        if self.check is not None:
            self.check.toggled.connect(self._on_changed)
        elif self.combo is not None:
            for text in choices:
                self.combo.addItem(visible(text.strip("'\"")), text)
            self.combo.setMinimumContentsLength(4)
            self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            self.combo.currentIndexChanged.connect(self._on_changed)
        elif self.line is not None:
            self.line.setPlaceholderText(self.tr("to be given") if argument.default is None else argument.default)
            self.line.textChanged.connect(self._on_changed)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        editor = self.check or self.combo or self.line
        assert editor is not None
        editor.setAccessibleName(argument.name)
        row.addWidget(editor, 1)
        self.setFocusProxy(editor)
        self.set_text(argument.default or "")

    @property
    def text(self) -> str:
        if self.check is not None:
            return str(self.check.isChecked())
        if self.combo is not None:
            return str(self.combo.currentData())
        assert self.line is not None
        return self.line.text().strip()

    def set_text(self, text: str) -> None:
        if self.check is not None:
            self.check.setChecked(text == "True")
        elif self.combo is not None:
            self.combo.setCurrentIndex(max(0, self.combo.findData(text)))
        elif self.line is not None:
            self.line.setText(text)
        self._mark()

    @property
    def problem(self) -> str | None:
        """One sentence about what is wrong with the text; None if nothing is."""
        if self.line is None or (not self.text and self.argument.default is not None):
            # An empty line leaves the default.
            return None
        return problem_with(self.argument, self.text)

    @property
    def is_default(self) -> bool:
        return self.text in ("", self.argument.default)

    @Slot()
    def _on_changed(self) -> None:
        self._mark()
        self.changed.emit()

    def _mark(self) -> None:
        if self.line is not None:
            problem = self.problem
            self.line.setToolTip(plain_tip(problem or self.argument.doc))
            self.line.setProperty("differs", "true" if problem and self.text else "false")
            self.line.style().polish(self.line)

    def minimumSizeHint(self) -> QSize:
        return QSize(_MIN_DIGITS * self.fontMetrics().horizontalAdvance("0"), super().minimumSizeHint().height())
